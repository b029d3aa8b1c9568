//! Our audio back to the switch: binary messages, `streamAudio` messages, and the messages that empty its queue.
//!
//! Runs in: the telephony thread, for every frame of every call; pure. Owns nothing.
//! Never allocates beyond what `out` lacks; uses neither serde nor formatting.
//! Invariant: each call makes exactly one message; its length is known before it is written.
use crate::base::SampleRate;
use crate::call::leg::LegKind;
use crate::codec::base64;

/// Empties the playback queue of cloudfieldcz's build. The open build passes it on as an event, so a script can act.
pub const CLEAR_AUDIO: &str = r#"{"type":"clearAudio"}"#;

/// Empties the playback queue of mod_audio_fork and breaks what plays.
pub const KILL_AUDIO: &str = r#"{"type":"killAudio"}"#;

const STREAM_AUDIO_START: &[u8] = br#"{"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":"#;
const STREAM_AUDIO_TURN: &[u8] = br#","turn":"#;
const STREAM_AUDIO_CHUNK: &[u8] = br#","chunk":"#;
const STREAM_AUDIO_LAST: &[u8] = br#","last":true"#;
const STREAM_AUDIO_BASE64: &[u8] = br#","audioData":""#;
const STREAM_AUDIO_END: &[u8] = br#""}}"#;

/// The message that empties the switch's playback queue, for the module on the line.
pub const fn clear_message(kind: LegKind) -> &'static str {
    match kind {
        LegKind::AudioFork => KILL_AUDIO,
        _ => CLEAR_AUDIO,
    }
}

/// The message that empties the queue of file playback: our script breaks what plays, and drops what it still gets of
/// turns before `turn`, the new one.
pub fn clear_files(turn: u32) -> String {
    let mut text = br#"{"type":"clearAudio","turn":"#.to_vec();
    push_decimal(&mut text, turn);
    text.push(b'}');
    String::from_utf8(text).unwrap_or_default()
}

/// Length in bytes of the binary message of `samples` samples.
pub const fn binary_len(samples: usize) -> usize {
    samples * 2
}

/// Appends `samples` as raw s16le to `out`, the content of one binary message.
pub fn write_binary(out: &mut Vec<u8>, samples: &[i16]) {
    let start = out.len();
    out.resize(start + binary_len(samples.len()), 0);
    let (_, room) = out.split_at_mut(start);
    for (pair, sample) in room.as_chunks_mut::<2>().0.iter_mut().zip(samples) {
        *pair = sample.to_le_bytes();
    }
}

/// The place of a chunk of file playback, which a script is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Its number, counted from 1 in each turn.
    pub number: u32,
    /// What was to be said ends with it: silence behind it is no hole.
    pub is_last: bool,
}

/// Length in bytes of the text message that [`write_stream_audio`] makes.
pub const fn stream_audio_len(samples: usize, rate: SampleRate, turn: u32, chunk: Option<Chunk>) -> usize {
    let chunk_len = match chunk {
        Some(chunk) => {
            let last_len = if chunk.is_last { STREAM_AUDIO_LAST.len() } else { 0 };
            STREAM_AUDIO_CHUNK.len() + decimal_len(chunk.number) + last_len
        }
        None => 0,
    };
    STREAM_AUDIO_START.len()
        + decimal_len(rate.hz())
        + STREAM_AUDIO_TURN.len()
        + decimal_len(turn)
        + chunk_len
        + STREAM_AUDIO_BASE64.len()
        + base64::encoded_len(samples)
        + STREAM_AUDIO_END.len()
}

/// Appends a `streamAudio` text message with `samples` (mono, at `rate`) to `out`: exactly [`stream_audio_len`] bytes
/// of ASCII.
///
/// `sampleRate` is a number, since the module refuses a string. `turn` and, for file playback, the place of the chunk travel
/// in `data`, whose extra fields the module hands on with its `play` event, so that a script can drop what belongs to a
/// cancelled turn and tell what is missing.
pub fn write_stream_audio(
    out: &mut Vec<u8>,
    samples: &[i16],
    rate: SampleRate,
    turn: u32,
    chunk: Option<Chunk>,
) {
    out.reserve(stream_audio_len(samples.len(), rate, turn, chunk));
    out.extend_from_slice(STREAM_AUDIO_START);
    push_decimal(out, rate.hz());
    out.extend_from_slice(STREAM_AUDIO_TURN);
    push_decimal(out, turn);
    if let Some(chunk) = chunk {
        out.extend_from_slice(STREAM_AUDIO_CHUNK);
        push_decimal(out, chunk.number);
        if chunk.is_last {
            out.extend_from_slice(STREAM_AUDIO_LAST);
        }
    }
    out.extend_from_slice(STREAM_AUDIO_BASE64);
    base64::encode_samples(out, samples);
    out.extend_from_slice(STREAM_AUDIO_END);
}

const fn decimal_len(number: u32) -> usize {
    match number.checked_ilog10() {
        Some(logarithm) => logarithm as usize + 1,
        None => 1,
    }
}

fn push_decimal(out: &mut Vec<u8>, number: u32) {
    let mut divisor = 10_u32.pow(number.checked_ilog10().unwrap_or(0));
    while divisor > 0 {
        out.push(b'0' + (number / divisor % 10) as u8);
        divisor /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn binary_is_raw_little_endian() {
        let mut out = vec![7];
        write_binary(&mut out, &[1, -2, i16::MIN]);
        assert_eq!(out, [7, 1, 0, 0xFE, 0xFF, 0, 0x80]);
        write_binary(&mut out, &[]);
        assert_eq!(out.len(), 7);
    }

    #[test]
    fn stream_audio_is_what_the_module_reads() {
        let mut out = Vec::new();
        write_stream_audio(&mut out, &[1, 2], SampleRate::Hz16000, 7, None);
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            r#"{"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":16000,"turn":7,"audioData":"AQACAA=="}}"#
        );
        for (is_last, told) in [(false, ""), (true, r#","last":true"#)] {
            out.clear();
            write_stream_audio(&mut out, &[1, 2], SampleRate::Hz8000, 7, Some(Chunk { number: 12, is_last }));
            let start = r#"{"type":"streamAudio","data":{"audioDataType":"raw","sampleRate":8000,"turn":7,"chunk":12"#;
            let expected = format!(r#"{start}{told},"audioData":"AQACAA=="}}}}"#);
            assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        }
    }

    #[test]
    fn each_module_gets_the_clear_message_it_knows() {
        assert_eq!(clear_message(LegKind::AudioFork), r#"{"type":"killAudio"}"#);
        assert_eq!(clear_message(LegKind::ModAudioStream), r#"{"type":"clearAudio"}"#);
        assert_eq!(clear_message(LegKind::Ixwebsocket), r#"{"type":"clearAudio"}"#);
        assert_eq!(clear_files(8), r#"{"type":"clearAudio","turn":8}"#);
    }

    #[test]
    fn a_buffer_with_room_is_not_reallocated() {
        let chunk = Some(Chunk { number: 9, is_last: true });
        let mut out = Vec::with_capacity(stream_audio_len(160, SampleRate::Hz8000, u32::MAX, chunk));
        let before = out.as_ptr();
        write_stream_audio(&mut out, &[1; 160], SampleRate::Hz8000, u32::MAX, chunk);
        assert_eq!((out.as_ptr(), out.len()), (before, out.capacity()));
    }

    proptest! {
        #[test]
        fn stream_audio_is_as_long_as_told_and_comes_back(
            samples in prop::collection::vec(any::<i16>(), 0..1500),
            rate in prop::sample::select(SampleRate::ALL.to_vec()),
            turn in prop_oneof![any::<u32>(), 0_u32..1100],
            chunk in any::<Option<(u32, bool)>>(),
        ) {
            let chunk = chunk.map(|(number, is_last)| Chunk { number, is_last });
            let mut out = Vec::new();
            write_stream_audio(&mut out, &samples, rate, turn, chunk);
            prop_assert_eq!(out.len(), stream_audio_len(samples.len(), rate, turn, chunk));
            let mut value: Value = serde_json::from_slice(&out).expect("JSON");
            let text = value["data"]["audioData"].take();
            let mut decoded = Vec::new();
            base64::decode_samples(text.as_str().unwrap().as_bytes(), |block| decoded.extend_from_slice(block)).unwrap();
            prop_assert_eq!(decoded, samples);
            let mut expected = json!({"type": "streamAudio", "data": {
                "audioDataType": "raw", "sampleRate": rate.hz(), "turn": turn, "audioData": null}});
            if let Some(chunk) = chunk {
                expected["data"]["chunk"] = json!(chunk.number);
                if chunk.is_last {
                    expected["data"]["last"] = json!(true);
                }
            }
            prop_assert_eq!(value, expected);
        }
    }
}
