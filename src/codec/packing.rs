//! Speech that waits in memory at three fifths of its size: without loss, a block at a time.
//!
//! Runs in: the gemini thread; pure. Owns nothing.
//! Never makes of samples what unpacking does not make them again.
//! Invariant: a packed block is never larger than its samples by more than a byte for each group.
//!
//! Speech changes slowly from sample to sample: what is kept of a group of samples is how each differs from the one before, or
//! from the line through the two before, in as many bits as the largest of these differences needs. FLAC calls them fixed
//! predictors (RFC 9639, section 9.2.5); its entropy code would save another twentieth and take several times as long.

/// Samples of a group, which share a predictor and a number of bits.
const GROUP: usize = 32;
/// Bits of a difference at most: of second order, with its sign.
const BITS_MAX: u32 = 19;

/// How samples are predicted from those before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Predictor {
    /// Not at all.
    Zero,
    /// As the one before.
    Last,
    /// On the line through the two before.
    Line,
}

impl Predictor {
    const ALL: [Self; 3] = [Self::Zero, Self::Last, Self::Line];

    fn predict(self, last: i32, before: i32) -> i32 {
        match self {
            Self::Zero => 0,
            Self::Last => last,
            Self::Line => 2 * last - before,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "bytes are cut off what is gathered; a number of bits is below 32"
)]
/// Packs `samples` behind what is in `out`.
pub(crate) fn pack(samples: &[i16], out: &mut Vec<u8>) {
    let (mut last, mut before) = (0, 0);
    for group in samples.chunks(GROUP) {
        let mut differences = [[0_u32; GROUP]; 3];
        let mut widest = [0_u32; 3];
        for (place, sample) in group.iter().enumerate() {
            let sample = i32::from(*sample);
            for (predictor, (row, widest)) in
                Predictor::ALL.iter().zip(differences.iter_mut().zip(&mut widest))
            {
                let difference = folded(sample - predictor.predict(last, before));
                if let Some(kept) = row.get_mut(place) {
                    *kept = difference;
                }
                *widest |= difference;
            }
            (last, before) = (sample, last);
        }
        // Of equals the first: `min_by_key` keeps it.
        let narrowest = (0_u8..).zip(widest).min_by_key(|(_, widest)| u32::BITS - widest.leading_zeros());
        let (order, widest) = narrowest.unwrap_or_default();
        let bits = u32::BITS - widest.leading_zeros();
        out.push(order << 5 | bits as u8);
        let (mut gathered, mut count) = (0_u64, 0);
        for difference in differences.get(usize::from(order)).into_iter().flatten().take(group.len()) {
            gathered |= u64::from(*difference) << count;
            count += bits;
            while count >= u8::BITS {
                out.push(gathered as u8);
                gathered >>= u8::BITS;
                count -= u8::BITS;
            }
        }
        if count > 0 {
            out.push(gathered as u8);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what was packed fits; what a stranger packed only has to end"
)]
/// Fills `samples` from what [`pack`] made of as many.
pub(crate) fn unpack(packed: &[u8], samples: &mut [i16]) {
    let mut bytes = packed.iter().copied();
    let (mut last, mut before) = (0, 0);
    for group in samples.chunks_mut(GROUP) {
        let head = bytes.next().unwrap_or_default();
        let predictor = Predictor::ALL.get(usize::from(head >> 5)).copied().unwrap_or(Predictor::Zero);
        let bits = u32::from(head & 31).min(BITS_MAX);
        let (mut gathered, mut count) = (0_u64, 0);
        for sample in group {
            while count < bits {
                gathered |= u64::from(bytes.next().unwrap_or_default()) << count;
                count += u8::BITS;
            }
            let difference = unfolded((gathered & ((1 << bits) - 1)) as u32);
            gathered >>= bits;
            count -= bits;
            let value = predictor.predict(last, before) + difference;
            *sample = value as i16;
            (last, before) = (i32::from(*sample), last);
        }
    }
}

/// A number whose sign is its lowest bit, so that small ones of either sign need few bits.
fn folded(difference: i32) -> u32 {
    (difference << 1 ^ difference >> 31) as u32
}

fn unfolded(number: u32) -> i32 {
    (number >> 1) as i32 ^ -((number & 1) as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packed(samples: &[i16]) -> Vec<u8> {
        let mut out = Vec::new();
        pack(samples, &mut out);
        let mut again = vec![77; samples.len()];
        unpack(&out, &mut again);
        assert_eq!(again, samples);
        out
    }

    #[test]
    fn silence_is_a_byte_a_group_and_the_worst_is_little_more_than_its_samples() {
        assert_eq!(packed(&[0; 1920]).len(), 60);
        assert_eq!(packed(&[-1234; 1920]).len(), 60 + GROUP * 12 / 8, "one group begins anew");
        let worst: Vec<i16> = (0..1920).map(|n| if n % 2 == 0 { i16::MIN } else { i16::MAX }).collect();
        assert_eq!(packed(&worst).len(), 1920 * 2 + 60);
    }

    #[test]
    fn a_tone_of_speech_takes_less_than_two_thirds() {
        let tone = |n: i32| (9_000.0 * (f64::from(n) * 0.06).sin() + f64::from(n * 7919 % 61)) as i16;
        let samples: Vec<i16> = (0..1920).map(tone).collect();
        assert!(packed(&samples).len() < 1920 * 4 / 3, "{}", packed(&samples).len());
    }

    proptest! {
        #[test]
        fn whatever_is_packed_comes_back(samples in prop::collection::vec(any::<i16>(), 0..200)) {
            packed(&samples);
        }

        #[test]
        fn whatever_is_unpacked_fills_what_was_asked_for(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            unpack(&bytes, &mut [0; 100]);
        }
    }
}
