//! What a server's text means to the switch: `streamAudio`, `clearAudio`, `killAudio`, or something for the script.
//!
//! Runs in: a callgen worker; pure. Owns nothing. Never believes a rate or a type it does not know.
//! Invariant: agrees with protocols of mod_audio_stream main (streamAudio), cloudfieldcz (clearAudio) and jambonz
//! mod_audio_fork (killAudio).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// A text, understood.
#[derive(Debug, PartialEq, Eq)]
pub enum ServerText {
    /// Raw s16le audio at this rate; the bytes were appended to the vector given.
    StreamAudio {
        /// As the message says.
        rate_hz: u32,
    },
    /// `clearAudio` or `killAudio`: the queue is to be emptied.
    Clear,
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
    match &*wire.kind {
        "clearAudio" | "killAudio" => ServerText::Clear,
        "streamAudio" => {
            let Some(wire) = wire.data else { return ServerText::Unplayable("streamAudio without data") };
            if wire.audio_data_type != "raw" {
                return ServerText::Unplayable("streamAudio of a type other than raw");
            }
            let Some(rate_hz) = wire.sample_rate else {
                return ServerText::Unplayable("streamAudio without a sampleRate");
            };
            match STANDARD.decode_vec(wire.audio_data.as_bytes(), audio) {
                Ok(()) => ServerText::StreamAudio { rate_hz },
                Err(_) => ServerText::Unplayable("streamAudio with bad base64"),
            }
        }
        _ => ServerText::Other,
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
        let good = r#"{"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":8000,"audioData":"AQID","turn":3}}"#;
        assert_eq!(read(good), (ServerText::StreamAudio { rate_hz: 8000 }, vec![1, 2, 3]));
        assert_eq!(read(r#"{"type":"clearAudio"}"#).0, ServerText::Clear);
        assert_eq!(read(r#"{"type":"killAudio","x":1}"#).0, ServerText::Clear);
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
