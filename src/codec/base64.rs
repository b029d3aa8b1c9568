//! Base64 of 16-bit little-endian PCM: from samples to text and from text to samples, in blocks on the stack.
//!
//! Runs in: the gemini thread (both ways) and the telephony thread (`streamAudio`); pure. Owns nothing.
//! Never allocates, but for the room that the caller's `Vec` lacks when encoding.
//! Invariant: decoding gives the same samples whatever alphabet, padding or white space the text uses.

use ::base64::Engine;
use ::base64::engine::DecodePaddingMode;
use ::base64::engine::general_purpose::GeneralPurposeConfig;
use ::base64::engine::simd::Simd;
use std::sync::LazyLock;

/// Samples in one block: 20 ms at 24 kHz, the model's rate, so a 20 ms chunk takes one pass. It is a multiple of 3,
/// so that a block is a whole number of base64 quads and only the last one is padded.
pub const BLOCK_SAMPLES: usize = 480;
const BLOCK_BYTES: usize = BLOCK_SAMPLES * 2;
const BLOCK_CHARS: usize = BLOCK_BYTES / 3 * 4;

/// Standard alphabet, padded when encoding, padding optional when decoding. Detection of the instruction set happens
/// once; afterwards this is a plain read.
static ENGINE: LazyLock<Simd> = LazyLock::new(|| {
    Simd::standard(
        GeneralPurposeConfig::new()
            .with_decode_padding_mode(DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true),
    )
});

/// A character that no base64 alphabet has, or one after the padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("byte 0x{byte:02x} at offset {offset} is not base64 (RFC 4648)")]
pub struct Base64Error {
    /// Byte offset of the character in the text.
    pub offset: usize,
    /// The byte found there.
    pub byte: u8,
}

/// Length in bytes of the base64 text of `samples` 16-bit samples, padding included.
pub const fn encoded_len(samples: usize) -> usize {
    (samples * 2).div_ceil(3) * 4
}

/// Appends the base64 text (RFC 4648 section 4, padded) of `samples` as s16le to `out`; exactly
/// [`encoded_len`] bytes. Allocates only where `out` lacks the capacity.
pub fn encode_samples(out: &mut Vec<u8>, samples: &[i16]) {
    let start = out.len();
    out.resize(start + encoded_len(samples.len()), 0);
    let (_, mut room) = out.split_at_mut(start);
    let mut bytes = [0_u8; BLOCK_BYTES];
    for block in samples.chunks(BLOCK_SAMPLES) {
        for (sample, pair) in block.iter().zip(bytes.as_chunks_mut::<2>().0) {
            *pair = sample.to_le_bytes();
        }
        let (text, rest) = room.split_at_mut(encoded_len(block.len()));
        let written = ENGINE.encode_slice(&bytes[..block.len() * 2], text);
        debug_assert_eq!(written.ok(), Some(text.len()), "the room is exactly that of the text");
        room = rest;
    }
}

/// Decodes the base64 `text` of s16le samples and hands them to `sink` in order, in blocks of at most
/// [`BLOCK_SAMPLES`].
///
/// Accepts the standard and the URL-safe alphabet, missing padding, and white space anywhere. Half a sample at the end is
/// dropped: kept, it would shift every sample that follows by one byte and turn speech into noise. Returns how many
/// samples it handed over.
///
/// Blocks cost about 1.3 times one decoding of the whole text into a `Vec` (with the same engine; a sixth of the scalar
/// one; `benches/codec.rs`). That is half a microsecond in 100 ms of audio, and buys that no memory is ever sized by a
/// peer.
///
/// # Errors
/// [`Base64Error`] at the first other character; the samples before its block have been handed over by then.
pub fn decode_samples(text: &[u8], mut sink: impl FnMut(&[i16])) -> Result<usize, Base64Error> {
    let mut bytes = [0_u8; BLOCK_BYTES];
    let mut samples = [0_i16; BLOCK_SAMPLES];
    let mut decoded = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let (block, after) = rest.split_at(rest.len().min(BLOCK_CHARS));
        match ENGINE.decode_slice(block, &mut bytes) {
            // A block in the middle that is not full holds padding where none may be: for the careful way to judge.
            Ok(length) if length == BLOCK_BYTES || after.is_empty() => {
                let (pairs, _) = bytes.get(..length).unwrap_or_default().as_chunks::<2>();
                for (sample, pair) in samples.iter_mut().zip(pairs) {
                    *sample = i16::from_le_bytes(*pair);
                }
                if !pairs.is_empty() {
                    sink(samples.get(..pairs.len()).unwrap_or_default());
                }
                decoded += pairs.len();
            }
            _ => return decode_leniently(text, text.len() - rest.len(), decoded, &mut sink),
        }
        rest = after;
    }
    Ok(decoded)
}

/// The careful way, a character at a time from `offset` (a whole number of quads), after `samples_before` samples.
fn decode_leniently(
    text: &[u8],
    offset: usize,
    samples_before: usize,
    sink: &mut impl FnMut(&[i16]),
) -> Result<usize, Base64Error> {
    let mut samples = [0_i16; BLOCK_SAMPLES];
    let mut filled = 0;
    let mut decoded = samples_before;
    let mut bits = 0_u32;
    let mut bit_count = 0_u32;
    let mut low_byte: Option<u8> = None;
    let mut padded = false;
    for (position, &byte) in text.iter().enumerate().skip(offset) {
        let Some(value) = symbol_value(byte) else {
            match byte {
                b'=' => padded = true,
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => return Err(Base64Error { offset: position, byte }),
            }
            continue;
        };
        if padded {
            return Err(Base64Error { offset: position, byte });
        }
        bits = (bits << 6) | u32::from(value);
        bit_count += 6;
        if bit_count < 8 {
            continue;
        }
        bit_count -= 8;
        let [whole, ..] = (bits >> bit_count).to_le_bytes();
        bits &= (1 << bit_count) - 1;
        let Some(low) = low_byte.take() else {
            low_byte = Some(whole);
            continue;
        };
        if let Some(slot) = samples.get_mut(filled) {
            *slot = i16::from_le_bytes([low, whole]);
            filled += 1;
        }
        if filled == BLOCK_SAMPLES {
            sink(&samples);
            decoded += filled;
            filled = 0;
        }
    }
    if filled > 0 {
        sink(samples.get(..filled).unwrap_or_default());
        decoded += filled;
    }
    Ok(decoded)
}

const fn symbol_value(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn decode(text: &[u8]) -> Result<Vec<i16>, Base64Error> {
        let mut samples = Vec::new();
        let decoded = decode_samples(text, |block| {
            assert!(!block.is_empty() && block.len() <= BLOCK_SAMPLES);
            samples.extend_from_slice(block);
        })?;
        assert_eq!(decoded, samples.len());
        Ok(samples)
    }

    fn bytes_of(samples: &[i16]) -> Vec<u8> {
        samples.iter().flat_map(|sample| sample.to_le_bytes()).collect()
    }

    #[test]
    fn an_odd_byte_at_the_end_is_dropped() {
        assert_eq!(decode(b"AQACAA=="), Ok(vec![1, 2]));
        assert_eq!(decode(b"AQACAAM="), Ok(vec![1, 2]));
        assert_eq!(decode(b"AQ=="), Ok(vec![]));
        assert_eq!(decode(b"A"), Ok(vec![]));
        assert_eq!(decode(b""), Ok(vec![]));
        assert_eq!(decode(b"===="), Ok(vec![]));
    }

    #[test]
    fn text_after_the_padding_is_refused_with_its_place() {
        assert_eq!(decode(b"AQA=AQA="), Err(Base64Error { offset: 4, byte: b'A' }));
        let error = decode(b"AQ.A").unwrap_err();
        assert_eq!(error, Base64Error { offset: 2, byte: b'.' });
        assert_eq!(error.to_string(), "byte 0x2e at offset 2 is not base64 (RFC 4648)");
    }

    #[test]
    fn padding_at_the_end_of_an_inner_block_is_refused_too() {
        let mut text = vec![b'A'; BLOCK_CHARS];
        text[BLOCK_CHARS - 1] = b'=';
        text.extend_from_slice(b"AAAA");
        assert_eq!(decode(&text), Err(Base64Error { offset: BLOCK_CHARS, byte: b'A' }));
    }

    proptest! {
        #[test]
        fn encoding_agrees_with_the_plain_codec_and_comes_back(samples in prop::collection::vec(any::<i16>(), 0..2000)) {
            let mut out = b"before".to_vec();
            encode_samples(&mut out, &samples);
            prop_assert_eq!(out.len(), 6 + encoded_len(samples.len()));
            let expected = STANDARD.encode(bytes_of(&samples));
            prop_assert_eq!(&out[6..], expected.as_bytes());
            prop_assert_eq!(decode(&out[6..]), Ok(samples));
        }

        #[test]
        fn every_spelling_decodes_to_the_same_samples(
            bytes in prop::collection::vec(any::<u8>(), 0..4000),
            breaks in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let expected = decode(STANDARD.encode(&bytes).as_bytes());
            prop_assert_eq!(expected.as_ref().map(Vec::len), Ok(bytes.len() / 2));
            prop_assert_eq!(&decode(STANDARD_NO_PAD.encode(&bytes).as_bytes()), &expected);
            let mut url_safe = URL_SAFE_NO_PAD.encode(&bytes).into_bytes();
            prop_assert_eq!(&decode(&url_safe), &expected);
            for place in breaks {
                url_safe.insert(place.index(url_safe.len() + 1), b"\r\n \t"[place.index(4)]);
            }
            prop_assert_eq!(&decode(&url_safe), &expected);
        }

        #[test]
        fn any_bytes_decode_or_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            if let Err(error) = decode(&bytes) {
                prop_assert_eq!(bytes.get(error.offset), Some(&error.byte));
            }
        }
    }
}
