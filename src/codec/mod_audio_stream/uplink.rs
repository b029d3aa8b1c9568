//! The caller's audio: bytes of binary messages to samples of one channel.
//!
//! Runs in: the telephony thread, for every message of every call; pure. Owns at most three bytes between messages.
//! Never allocates, never looks at a message's length: any is right.
//! Invariant: the samples depend on the bytes alone, not on where messages or calls of `decode` divide them.

use crate::base::Mix;

/// Turns the binary messages of one call into mono samples. A sample (stereo: a pair) that a message cuts in two is
/// put together with the next message.
#[derive(Debug, Clone, Default)]
pub struct UplinkDecoder {
    mix: Mix,
    /// The first bytes of a sample or pair whose rest has not come.
    partial: [u8; 4],
    partial_len: usize,
}

/// What one call of [`UplinkDecoder::decode`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the input.
    pub consumed: usize,
    /// Samples written to the output.
    pub produced: usize,
}

impl UplinkDecoder {
    /// A decoder for s16le with the channels of `mix`.
    pub const fn new(mix: Mix) -> Self {
        Self { mix, partial: [0; 4], partial_len: 0 }
    }

    /// Bytes of one sample of every channel: 2 or 4.
    const fn step(&self) -> usize {
        self.mix.channels() * 2
    }

    /// Bytes kept since the last message, because their sample is not complete: 0 to 3. A call that ends with some
    /// lost half a sample; a switch that does so after every message sends something else than s16le.
    pub const fn pending_bytes(&self) -> usize {
        self.partial_len
    }

    /// Reads samples from `bytes` into `out` until one of them is used up; stereo gives the left channel, which is
    /// the caller. Call again with the rest of `bytes` until all are consumed: that is the case exactly when
    /// `consumed` is their number.
    pub fn decode(&mut self, bytes: &[u8], out: &mut [i16]) -> Progress {
        let step = self.step();
        let mut consumed = 0;
        let mut produced = 0;
        if self.partial_len > 0 && !out.is_empty() {
            let missing = step.saturating_sub(self.partial_len).min(bytes.len());
            let end = self.partial_len + missing;
            if let (Some(kept), Some(taken)) =
                (self.partial.get_mut(self.partial_len..end), bytes.get(..missing))
            {
                kept.copy_from_slice(taken);
            }
            consumed = missing;
            self.partial_len = end;
            if self.partial_len == step {
                self.partial_len = 0;
                if let Some(first) = out.first_mut() {
                    *first = i16::from_le_bytes([self.partial[0], self.partial[1]]);
                    produced = 1;
                }
            }
        }
        if self.partial_len > 0 {
            return Progress { consumed, produced };
        }
        let rest = bytes.get(consumed..).unwrap_or_default();
        let room = out.get_mut(produced..).unwrap_or_default();
        let count = room.len().min(rest.len() / step);
        match self.mix {
            Mix::Mono | Mix::Mixed => {
                for (sample, pair) in room.iter_mut().zip(rest.as_chunks::<2>().0) {
                    *sample = i16::from_le_bytes(*pair);
                }
            }
            Mix::Stereo => {
                for (sample, [low, high, _, _]) in room.iter_mut().zip(rest.as_chunks::<4>().0) {
                    *sample = i16::from_le_bytes([*low, *high]);
                }
            }
        }
        consumed += count * step;
        produced += count;
        // What is left is less than a step, unless `out` is full: then it stays with the caller.
        let left = bytes.get(consumed..).unwrap_or_default();
        if left.len() < step
            && let Some(kept) = self.partial.get_mut(..left.len())
        {
            kept.copy_from_slice(left);
            self.partial_len = left.len();
            consumed = bytes.len();
        }
        Progress { consumed, produced }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_all(mix: Mix, messages: &[&[u8]], room: usize) -> (Vec<i16>, usize) {
        let mut decoder = UplinkDecoder::new(mix);
        let mut samples = Vec::new();
        for message in messages {
            let mut rest = *message;
            while !rest.is_empty() {
                let mut out = vec![0; room];
                let progress = decoder.decode(rest, &mut out);
                assert!(progress.consumed + progress.produced > 0, "no progress");
                samples.extend_from_slice(&out[..progress.produced]);
                rest = &rest[progress.consumed..];
            }
        }
        (samples, decoder.pending_bytes())
    }

    #[test]
    fn mono_and_mixed_are_taken_as_they_are() {
        for mix in [Mix::Mono, Mix::Mixed] {
            assert_eq!(decode_all(mix, &[&[1, 0, 0xFE, 0xFF, 0, 0x80]], 10), (vec![1, -2, i16::MIN], 0));
        }
    }

    #[test]
    fn the_left_of_stereo_is_the_caller() {
        assert_eq!(decode_all(Mix::Stereo, &[&[1, 0, 9, 9, 2, 0, 9, 9]], 10), (vec![1, 2], 0));
    }

    #[test]
    fn a_sample_cut_by_a_message_is_put_together() {
        assert_eq!(decode_all(Mix::Mono, &[&[1], &[0, 2], &[0], &[3]], 10), (vec![1, 2], 1));
        assert_eq!(
            decode_all(Mix::Stereo, &[&[1, 0, 9], &[], &[9, 2], &[0, 9, 9, 3, 0, 9]], 10),
            (vec![1, 2], 3)
        );
    }

    #[test]
    fn a_full_output_leaves_the_rest_with_the_caller() {
        let mut decoder = UplinkDecoder::new(Mix::Mono);
        let mut out = [0; 2];
        assert_eq!(decoder.decode(&[1, 0, 2, 0, 3, 0, 4], &mut out), Progress { consumed: 4, produced: 2 });
        assert_eq!(decoder.decode(&[3, 0, 4], &mut []), Progress { consumed: 0, produced: 0 });
        assert_eq!(decoder.decode(&[3, 0, 4], &mut out), Progress { consumed: 3, produced: 1 });
        assert_eq!(decoder.decode(&[0], &mut []), Progress { consumed: 0, produced: 0 });
        assert_eq!(decoder.decode(&[0], &mut out), Progress { consumed: 1, produced: 1 });
        assert_eq!(out[0], 4);
    }

    proptest! {
        #[test]
        fn chunking_never_changes_the_samples(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
            room in 1_usize..50,
            mix in prop::sample::select(vec![Mix::Mono, Mix::Mixed, Mix::Stereo]),
        ) {
            let step = mix.channels() * 2;
            let expected: Vec<i16> =
                bytes.chunks_exact(step).map(|frame| i16::from_le_bytes([frame[0], frame[1]])).collect();
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.push(0);
            places.push(bytes.len());
            places.sort_unstable();
            let messages: Vec<&[u8]> = places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
            prop_assert_eq!(decode_all(mix, &messages, room), (expected, bytes.len() % step));
        }
    }
}
