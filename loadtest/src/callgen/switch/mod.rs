//! The switch of a call, as far as it matters to its caller: what each leg's module does with the messages of the
//! relay, and what it tells the relay.
//!
//! Runs in: a callgen worker, one per call; pure (times are given). Owns what a switch remembers of a call besides the
//! audio, which waits in the call's [`Ear`]. Never opens a socket: what is to be sent is said in [`Said`].
//! Invariant: audio reaches the ear exactly as the real switch would play it, or is dropped where that would drop it.

pub mod asterisk_socket;
pub mod asterisk_websocket;
pub mod fork;
pub mod script;
pub mod stream;

use super::ear::Ear;
use super::leg::Leg;
use super::options::Playback;
use asterisk_socket::AsteriskSocket;
use asterisk_websocket::AsteriskWebSocket;
use fork::Fork;
use script::Script;
use stream::Stream;
use tandem::base::SampleRate;

/// What came of a message or of time passing.
#[derive(Debug, Default)]
pub struct Said {
    /// Texts for the relay.
    pub replies: Vec<String>,
    /// The audio that the message held, whatever becomes of it.
    pub audio: Vec<i16>,
    /// The relay took back what was waiting.
    pub is_cleared: bool,
    /// The switch ends the call: why.
    pub error: Option<String>,
    /// Work area.
    decoded: Vec<u8>,
}

impl Said {
    /// Forgets everything, keeping the memory.
    pub fn reset(&mut self) {
        self.replies.clear();
        self.audio.clear();
        self.is_cleared = false;
        self.error = None;
    }

    fn fail(&mut self, why: impl Into<String>) {
        self.error.get_or_insert_with(|| why.into());
    }

    /// Reads s16le samples into `audio`; half a sample is an error.
    fn samples(&mut self, bytes: &[u8]) -> bool {
        let (pairs, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            self.fail("audio with half a sample");
            return false;
        }
        self.audio.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        true
    }
}

/// The switch of one call.
pub enum Switch {
    /// mod_audio_stream that plays itself.
    Stream(Stream),
    /// mod_audio_stream and our script, which plays files.
    Script(Script),
    /// mod_audio_fork.
    Fork(Fork),
    /// Asterisk, AudioSocket.
    AsteriskSocket(AsteriskSocket),
    /// Asterisk, chan_websocket.
    AsteriskWebSocket(AsteriskWebSocket),
}

impl Switch {
    /// The switch of `leg`, whose call came up at `up_ns`, with the ear of its caller; `first_ns` is the call's first
    /// frame, `number` tells calls apart.
    pub fn new(leg: Leg, rate: SampleRate, number: u64, up_ns: u64, first_ns: u64) -> (Self, Ear) {
        let rate_hz = u64::from(rate.hz());
        let ear = Ear::ticking(rate_hz, first_ns);
        match leg {
            Leg::ModAudioStream(Playback::File) => (Self::Script(Script::new(rate, number)), ear),
            Leg::ModAudioStream(playback) => (Self::Stream(Stream::new(rate, playback)), ear),
            Leg::AudioFork => (Self::Fork(Fork::new(rate)), ear),
            Leg::AudioSocket => {
                (Self::AsteriskSocket(AsteriskSocket::new(rate, up_ns)), Ear::at_phone(rate_hz))
            }
            Leg::ChanWebSocket => {
                let media = AsteriskWebSocket::new(rate, number);
                // Its timer has nothing to do with the caller's packets: another phase in each call.
                let phase_ns = number.wrapping_mul(7_919_000) % super::ear::TICK_NS;
                (Self::AsteriskWebSocket(media), Ear::ticking(rate_hz, up_ns + phase_ns))
            }
        }
    }

    /// The texts that the switch sends when the connection is up; `metadata` is what the dialplan gives the module.
    pub fn opening(&self, metadata: &str) -> Vec<String> {
        let metadata = || (!metadata.is_empty()).then(|| metadata.to_owned());
        match self {
            Self::Stream(_) | Self::Fork(_) => metadata().into_iter().collect(),
            Self::Script(_) => metadata().into_iter().chain([script::HELLO.to_owned()]).collect(),
            Self::AsteriskSocket(_) => Vec::new(),
            Self::AsteriskWebSocket(media) => vec![media.media_start()],
        }
    }

    /// A text message.
    pub fn text(&mut self, now_ns: u64, text: &[u8], ear: &mut Ear, said: &mut Said) {
        match self {
            Self::Stream(stream) => stream.text(now_ns, text, ear, said),
            Self::Script(script) => script.text(now_ns, text, ear, said),
            Self::Fork(fork) => fork.text(text, ear, said),
            Self::AsteriskWebSocket(media) => media.text(now_ns, text, ear, said),
            Self::AsteriskSocket(_) => said.fail("a text on a leg that knows none"),
        }
    }

    /// A binary message.
    pub fn binary(&mut self, now_ns: u64, bytes: &[u8], ear: &mut Ear, said: &mut Said) {
        match self {
            Self::Stream(stream) => stream.binary(now_ns, bytes, ear, said),
            Self::Script(_) => said.fail("binary audio on a call with file playback"),
            Self::Fork(fork) => fork.binary(now_ns, bytes, ear, said),
            Self::AsteriskWebSocket(media) => media.binary(now_ns, bytes, ear, said),
            Self::AsteriskSocket(_) => said.fail("a binary message on a leg that knows none"),
        }
    }

    /// When [`Self::event`] is wanted next.
    pub fn event_ns(&self) -> u64 {
        match self {
            Self::Script(script) => script.event_ns(),
            Self::AsteriskSocket(socket) => socket.event_ns(),
            _ => u64::MAX,
        }
    }

    /// The time of the next event has come; the ear has played until then.
    pub fn event(&mut self, ear: &mut Ear, said: &mut Said) {
        match self {
            Self::Script(script) => script.event(ear, said),
            Self::AsteriskSocket(socket) => socket.event(said),
            _ => {}
        }
    }

    /// The ear has played: the switch may have something to tell.
    pub fn played(&mut self, ear: &mut Ear, said: &mut Said) {
        said.replies.append(&mut ear.marks_passed);
        if let Self::AsteriskWebSocket(media) = self {
            media.played(ear, said);
        }
    }
}

#[cfg(test)]
mod support {
    //! What the switches' tests have in common.

    use super::*;

    pub(super) const MS: u64 = 1_000_000;

    /// A switch, its ear and what it said, at 8 kHz; ticks at multiples of 20 ms.
    pub(super) struct Bench {
        pub(super) switch: Switch,
        pub(super) ear: Ear,
        pub(super) said: Said,
    }

    impl Bench {
        pub(super) fn new(leg: Leg) -> Self {
            let (switch, ear) = Switch::new(leg, SampleRate::Hz8000, 0, 0, 0);
            Self { switch, ear, said: Said::default() }
        }

        /// Plays until `ms`: gives when each piece was heard, in ms, and its first sample.
        pub(super) fn play(&mut self, ms: u64) -> Vec<(u64, i16)> {
            let mut all = Vec::new();
            let mut note = |heard: crate::callgen::ear::Heard<'_>| {
                all.push((heard.at_ns / MS, heard.samples.first().copied().unwrap_or(0)));
            };
            while self.switch.event_ns() <= ms * MS {
                self.ear.advance(self.switch.event_ns(), &mut note);
                self.switch.event(&mut self.ear, &mut self.said);
            }
            self.ear.advance(ms * MS, &mut note);
            self.switch.played(&mut self.ear, &mut self.said);
            all
        }

        /// A text at `ms`; gives what was heard before.
        pub(super) fn text(&mut self, ms: u64, text: &str) -> Vec<(u64, i16)> {
            let heard = self.play(ms);
            self.said.audio.clear();
            self.switch.text(ms * MS, text.as_bytes(), &mut self.ear, &mut self.said);
            heard
        }

        /// `samples` samples of `value` as a binary message at `ms`.
        pub(super) fn binary(&mut self, ms: u64, samples: usize, value: i16) -> Vec<(u64, i16)> {
            let heard = self.play(ms);
            self.said.audio.clear();
            let bytes = value.to_le_bytes().repeat(samples);
            self.switch.binary(ms * MS, &bytes, &mut self.ear, &mut self.said);
            heard
        }

        /// What was told to the relay since it was last asked.
        pub(super) fn replies(&mut self) -> Vec<String> {
            std::mem::take(&mut self.said.replies)
        }
    }
}
