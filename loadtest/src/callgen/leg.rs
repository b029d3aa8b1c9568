//! The legs a call can have: which switch is played, and how it plays audio to its caller.
//!
//! Runs in: anywhere: pure. Owns the names. Never opens anything.
//! Invariant: a leg's name, and its playback's behind a colon, are read back as the same leg.

use super::handshake::Target;
use super::options::{Mix, Playback};
use tandem::base::SampleRate;

/// The switch that a call is made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// FreeSWITCH with mod_audio_stream: the build, and with `file` the scripts too, are told by the playback.
    ModAudioStream(Playback),
    /// FreeSWITCH with jambonz' mod_audio_fork, bidirectional and binary.
    AudioFork,
    /// Asterisk with AudioSocket: TCP, no queue.
    AudioSocket,
    /// Asterisk with chan_websocket as the client, controlled by JSON.
    ChanWebSocket,
}

impl Leg {
    /// Every leg and playback, in the order of the tables.
    pub const ALL: [Self; 6] = [
        Self::ModAudioStream(Playback::Binary),
        Self::ModAudioStream(Playback::Json),
        Self::ModAudioStream(Playback::File),
        Self::AudioFork,
        Self::AudioSocket,
        Self::ChanWebSocket,
    ];

    /// As written after `--leg`, without the playback.
    pub fn name(self) -> &'static str {
        match self {
            Self::ModAudioStream(_) => "mod_audio_stream",
            Self::AudioFork => "audio_fork",
            Self::AudioSocket => "audiosocket",
            Self::ChanWebSocket => "chan_websocket",
        }
    }

    /// How audio comes: only mod_audio_stream has a choice.
    pub fn playback(self) -> Playback {
        match self {
            Self::ModAudioStream(playback) => playback,
            Self::AudioFork | Self::AudioSocket | Self::ChanWebSocket => Playback::Binary,
        }
    }

    /// Reads `NAME[:PLAYBACK],NAME[:PLAYBACK],…`; `playback` is that of a mod_audio_stream without one.
    ///
    /// # Errors
    /// A text that names the leg or playback that does not exist, and those that do.
    pub fn list(text: &str, playback: Playback) -> Result<Vec<Self>, String> {
        text.split(',').map(|one| Self::parse(one.trim(), playback)).collect()
    }

    fn parse(text: &str, playback: Playback) -> Result<Self, String> {
        let (name, chosen) = match text.split_once(':') {
            Some((name, chosen)) => (name, Some(Playback::parse(chosen)?)),
            None => (text, None),
        };
        match (name, chosen) {
            ("mod_audio_stream", chosen) => Ok(Self::ModAudioStream(chosen.unwrap_or(playback))),
            ("audio_fork", None) => Ok(Self::AudioFork),
            ("audiosocket", None) => Ok(Self::AudioSocket),
            ("chan_websocket", None) => Ok(Self::ChanWebSocket),
            ("audio_fork" | "audiosocket" | "chan_websocket", Some(_)) => {
                Err(format!("{text:?}: only mod_audio_stream has a choice of playback; write {name}"))
            }
            _ => Err(format!(
                "{name:?} is no leg; write mod_audio_stream, audio_fork, audiosocket or chan_websocket"
            )),
        }
    }

    /// The subprotocol that the leg offers in its upgrade request.
    pub fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::AudioFork => Some("audio.drachtio.org"),
            Self::ChanWebSocket => Some("media"),
            Self::ModAudioStream(_) | Self::AudioSocket => None,
        }
    }

    /// Whether the leg can send two channels.
    pub fn has_stereo(self) -> bool {
        matches!(self, Self::ModAudioStream(_) | Self::AudioFork)
    }

    /// Adds to the URL what the operator's dialplan or script adds for this leg; `{uuid}` and `{caller}` are filled
    /// in for each call.
    pub(super) fn complete(self, target: &mut Target, rate: SampleRate, mix: Mix) {
        let is_scripted = self == Self::ModAudioStream(Playback::File);
        if is_scripted || self == Self::ChanWebSocket {
            for (name, value) in [("uuid", "{uuid}"), ("did", "5000"), ("caller", "{caller}")] {
                target.add_query(name, value);
            }
        }
        if matches!(self, Self::ModAudioStream(_) | Self::AudioFork) {
            target.add_query("rate", &rate.hz().to_string());
            target.add_query("mix", mix.name());
        }
        if let Self::ModAudioStream(playback) = self {
            target.add_query("playback", playback.name());
        }
        if is_scripted {
            target.add_query("script", "1");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for leg in Leg::ALL {
            let text = match leg {
                Leg::ModAudioStream(playback) => format!("{}:{}", leg.name(), playback.name()),
                _ => leg.name().to_owned(),
            };
            assert_eq!(Leg::list(&text, Playback::Binary), Ok(vec![leg]));
        }
        let several = Leg::list("audiosocket, mod_audio_stream,mod_audio_stream:json", Playback::File);
        let expected =
            [Leg::AudioSocket, Leg::ModAudioStream(Playback::File), Leg::ModAudioStream(Playback::Json)];
        assert_eq!(several, Ok(expected.to_vec()));
        for (wrong, part) in [("telephone", "telephone"), ("audiosocket:json", "choice"), ("", "no leg")] {
            assert!(Leg::list(wrong, Playback::Binary).is_err_and(|text| text.contains(part)), "{wrong}");
        }
    }

    #[test]
    fn the_scripts_url_says_what_the_relay_must_know() {
        let mut target = Target::parse("ws://127.0.0.1:9094/").expect("a URL");
        Leg::ModAudioStream(Playback::File).complete(&mut target, SampleRate::Hz8000, Mix::Mono);
        let expected = "/?uuid={uuid}&did=5000&caller={caller}&rate=8000&mix=mono&playback=file&script=1";
        assert_eq!(target.path, expected);
        let mut target = Target::parse("ws://127.0.0.1:9094/media?agent=x").expect("a URL");
        Leg::ChanWebSocket.complete(&mut target, SampleRate::Hz16000, Mix::Mono);
        assert_eq!(target.path, "/media?agent=x&uuid={uuid}&did=5000&caller={caller}");
    }
}
