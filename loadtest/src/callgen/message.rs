//! What a server's text means to FreeSWITCH's modules and to our scripts: `streamAudio`, `clearAudio`, `killAudio`, a
//! mark, an order, or something that nobody acts on.
//!
//! Runs in: a callgen worker; pure. Owns nothing. Never believes a rate or a type it does not know.
//! Invariant: agrees with protocols of mod_audio_stream main (streamAudio), cloudfieldcz (clearAudio), jambonz
//! mod_audio_fork (killAudio, mark) and tandem_events.lua (order).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// A text, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerText {
    /// Raw s16le audio; the bytes were appended to the vector given.
    StreamAudio {
        /// As the message says.
        rate_hz: u32,
        /// The turn it belongs to, if the message says.
        turn: Option<u64>,
        /// Its number within the turn, if the message says.
        chunk: Option<u64>,
        /// What was to be said ends with it.
        last: bool,
    },
    /// `clearAudio`: the queue is to be emptied.
    Clear {
        /// The turn that begins with it, if the message says.
        turn: Option<u64>,
    },
    /// `killAudio`: mod_audio_fork's word for the same.
    Kill,
    /// mod_audio_fork's mark with this name.
    Mark(String),
    /// An order to the script.
    Order {
        /// Its number.
        id: u64,
        /// What is to be done: `hangup`, `transfer`, `dtmf`, `break`, `set`.
        order: String,
    },
    /// Anything else, which the module hands to the script.
    Other,
    /// A `streamAudio` that cannot be played; why.
    Unplayable(&'static str),
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<WireAudio<'a>>,
    #[serde(default)]
    turn: Option<u64>,
    #[serde(default)]
    id: Option<u64>,
    #[serde(borrow, default)]
    order: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireAudio<'a> {
    #[serde(borrow, default)]
    audio_data_type: Cow<'a, str>,
    #[serde(default)]
    sample_rate: Option<u32>,
    #[serde(borrow, default)]
    audio_data: Cow<'a, str>,
    #[serde(default)]
    turn: Option<u64>,
    #[serde(default)]
    chunk: Option<u64>,
    #[serde(default)]
    last: bool,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
}

/// Reads one text message; the audio of a `streamAudio` replaces what is in `audio`.
pub fn read_text(text: &[u8], audio: &mut Vec<u8>) -> ServerText {
    audio.clear();
    let Ok(wire) = serde_json::from_slice::<Wire<'_>>(text) else {
        // What is no JSON, or has `data` of another form, the module hands on unread; but a damaged streamAudio
        // would be silence for the caller.
        let looks_like_audio = text.windows(13).any(|w| w == b"\"streamAudio\"");
        return if looks_like_audio {
            ServerText::Unplayable("malformed streamAudio")
        } else {
            ServerText::Other
        };
    };
    match (&*wire.kind, wire.data) {
        ("clearAudio", _) => ServerText::Clear { turn: wire.turn },
        ("killAudio", _) => ServerText::Kill,
        ("mark", Some(data)) => ServerText::Mark(data.name.into_owned()),
        ("tandem", _) if !wire.order.is_empty() => {
            ServerText::Order { id: wire.id.unwrap_or(0), order: wire.order.into_owned() }
        }
        ("streamAudio", Some(data)) => stream_audio(&data, audio),
        ("streamAudio", None) => ServerText::Unplayable("streamAudio without data"),
        _ => ServerText::Other,
    }
}

fn stream_audio(data: &WireAudio<'_>, audio: &mut Vec<u8>) -> ServerText {
    if data.audio_data_type != "raw" {
        return ServerText::Unplayable("streamAudio of a type other than raw");
    }
    let Some(rate_hz) = data.sample_rate else {
        return ServerText::Unplayable("streamAudio without a sampleRate");
    };
    match STANDARD.decode_vec(data.audio_data.as_bytes(), audio) {
        Ok(()) => ServerText::StreamAudio { rate_hz, turn: data.turn, chunk: data.chunk, last: data.last },
        Err(_) => ServerText::Unplayable("streamAudio with bad base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_text_is_told_apart() {
        let mut audio = Vec::new();
        let mut read = |text: &str| {
            let got = read_text(text.as_bytes(), &mut audio);
            (got, audio.clone())
        };
        let good = r#"{"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":8000,"audioData":"AQID","turn":3,"chunk":7}}"#;
        let expected = ServerText::StreamAudio { rate_hz: 8000, turn: Some(3), chunk: Some(7), last: false };
        assert_eq!(read(good), (expected, vec![1, 2, 3]));
        assert_eq!(read(r#"{"type":"clearAudio"}"#).0, ServerText::Clear { turn: None });
        assert_eq!(read(r#"{"type":"clearAudio","turn":4}"#).0, ServerText::Clear { turn: Some(4) });
        assert_eq!(read(r#"{"type":"killAudio","x":1}"#).0, ServerText::Kill);
        let mark = read(r#"{"type":"mark","data":{"name":"m1"}}"#).0;
        assert_eq!(mark, ServerText::Mark("m1".to_owned()));
        let order = read(r#"{"type":"tandem","order":"hangup","id":3,"cause":"NORMAL_CLEARING"}"#).0;
        assert_eq!(order, ServerText::Order { id: 3, order: "hangup".to_owned() });
        for other in ["hello", "{}", r#"{"type":"transcript","data":"text"}"#, "[1]", r#"{"type":7}"#] {
            assert_eq!(read(other).0, ServerText::Other, "{other}");
        }
        for (bad, why) in [
            (good.replace("raw", "wav"), "type other"),
            (good.replace("AQID", "AQI"), "base64"),
            (good.replace("8000", "\"8000\""), "malformed"),
            (good.replace("\"sampleRate\":8000,", ""), "sampleRate"),
            (r#"{"type":"streamAudio"}"#.to_owned(), "without data"),
        ] {
            assert!(matches!(read(&bad).0, ServerText::Unplayable(text) if text.contains(why)), "{bad}");
        }
    }
}
