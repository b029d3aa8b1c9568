//! What Tandem says to the model after setup: audio, pauses, activity marks, text.
//!
//! Runs in: the gemini thread; the audio encoder once per chunk, the rest rarely; pure. Owns nothing.
//! The audio encoder never allocates beyond what `out` lacks, and uses neither serde nor formatting.
//! Invariant: each call makes exactly one client message, to be sent as one text frame.

use crate::codec::base64;
use serde::Serialize;

const AUDIO_PREFIX: &[u8] = br#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=16000","data":""#;
const AUDIO_SUFFIX: &[u8] = br#""}}}"#;

/// The stream of audio pauses (automatic activity detection only); it is reopened by sending audio.
pub const AUDIO_STREAM_END: &str = r#"{"realtimeInput":{"audioStreamEnd":true}}"#;

/// The caller starts to speak (only where automatic activity detection is disabled).
pub const ACTIVITY_START: &str = r#"{"realtimeInput":{"activityStart":{}}}"#;

/// The caller has stopped speaking (only where automatic activity detection is disabled).
pub const ACTIVITY_END: &str = r#"{"realtimeInput":{"activityEnd":{}}}"#;

/// Length in bytes of the message that [`write_realtime_audio`] makes of `samples` samples.
pub const fn realtime_audio_len(samples: usize) -> usize {
    AUDIO_PREFIX.len() + base64::encoded_len(samples) + AUDIO_SUFFIX.len()
}

/// Appends a `realtimeInput.audio` message with `samples` (mono, 16 kHz) to `out`: exactly [`realtime_audio_len`]
/// bytes of ASCII, base64 standard and padded.
pub fn write_realtime_audio(out: &mut Vec<u8>, samples: &[i16]) {
    out.reserve(realtime_audio_len(samples.len()));
    out.extend_from_slice(AUDIO_PREFIX);
    base64::encode_samples(out, samples);
    out.extend_from_slice(AUDIO_SUFFIX);
}

/// A `realtimeInput.text` message: text that arrives as if the caller had said it. The way to make models 3.1 and
/// 3.8 greet.
pub fn realtime_text(text: &str) -> String {
    to_json(&RealtimeTextMessage { realtime_input: RealtimeText { text } })
}

fn to_json(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("strings, booleans and lists always serialise")
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RealtimeTextMessage<'a> {
    realtime_input: RealtimeText<'a>,
}

#[derive(Serialize)]
struct RealtimeText<'a> {
    text: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn an_audio_message_is_exactly_as_long_as_told_and_is_json() {
        for count in [0, 1, 2, 3, 160, 320, 321, 1600] {
            let samples: Vec<i16> = (0..count).map(|n| (n * 77 - 5) as i16).collect();
            let mut out = b"kept".to_vec();
            write_realtime_audio(&mut out, &samples);
            assert_eq!(out.len(), 4 + realtime_audio_len(samples.len()));
            let value: Value = serde_json::from_slice(&out[4..]).expect("JSON");
            let audio = &value["realtimeInput"]["audio"];
            assert_eq!(audio["mimeType"], "audio/pcm;rate=16000");
            let mut decoded = Vec::new();
            let text = audio["data"].as_str().expect("text");
            base64::decode_samples(text.as_bytes(), |block| decoded.extend_from_slice(block))
                .expect("base64");
            assert_eq!(decoded, samples);
        }
    }

    #[test]
    fn a_buffer_with_room_is_not_reallocated() {
        let mut out = Vec::with_capacity(realtime_audio_len(320));
        let before = out.as_ptr();
        write_realtime_audio(&mut out, &[1; 320]);
        assert_eq!(out.as_ptr(), before);
        assert_eq!(out.len(), out.capacity());
    }

    #[test]
    fn constant_messages_are_what_the_api_knows() {
        let parsed = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        assert_eq!(parsed(AUDIO_STREAM_END), json!({"realtimeInput": {"audioStreamEnd": true}}));
        assert_eq!(parsed(ACTIVITY_START), json!({"realtimeInput": {"activityStart": {}}}));
        assert_eq!(parsed(ACTIVITY_END), json!({"realtimeInput": {"activityEnd": {}}}));
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(realtime_text("a \"b\"\n"), r#"{"realtimeInput":{"text":"a \"b\"\n"}}"#);
    }
}
