//! Energy envelopes: whether what was heard is what should have been said.
//!
//! Runs in: anywhere: pure. Owns one number per 20 ms. Never compares samples: between the two stand resamplers,
//! delays and offsets, which an envelope does not mind. Invariant: an envelope compared with itself matches fully.

/// A sample of at least this magnitude can be heard: 40 dB below full scale.
pub const AUDIBLE_PEAK: u16 = 328;
/// A block of 20 ms with at least this root mean square can be heard.
const AUDIBLE_RMS: f32 = 150.0;
/// How far two envelopes may be shifted against each other before they are compared, in blocks.
const SHIFT_MAX: usize = 15;

/// The root mean square of each 20 ms block.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Envelope {
    blocks: Vec<f32>,
    sum: f64,
    count: usize,
}

/// How well an answer fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// Pearson's correlation of the audible parts, at the best shift: 1 is the same.
    pub correlation: f32,
    /// Audible length heard minus audible length expected, in ms.
    pub length_error_ms: i64,
    /// Audible length expected, in ms.
    pub expected_ms: i64,
}

impl Fit {
    /// The same audio: correlated by 0.8 or more and as long within 10 % or 200 ms, whichever is more.
    pub fn is_good(&self) -> bool {
        self.correlation >= 0.8 && self.length_error_ms.abs() <= (self.expected_ms / 10).max(200)
    }
}

impl Envelope {
    /// The envelope of `samples` with blocks of `block` samples; an unfinished block at the end does not count.
    pub fn of(samples: &[i16], block: usize) -> Self {
        let mut envelope = Self::default();
        envelope.push(samples, block);
        envelope
    }

    /// Goes on with `samples`.
    pub fn push(&mut self, mut samples: &[i16], block: usize) {
        while !samples.is_empty() {
            let (now, rest) = samples.split_at(samples.len().min(block - self.count));
            self.sum += now.iter().map(|s| f64::from(*s) * f64::from(*s)).sum::<f64>();
            self.count += now.len();
            samples = rest;
            if self.count == block {
                self.blocks.push((self.sum / block as f64).sqrt() as f32);
                (self.sum, self.count) = (0.0, 0);
            }
        }
    }

    /// Begins again, keeping the memory.
    pub fn clear(&mut self) {
        self.blocks.clear();
        (self.sum, self.count) = (0.0, 0);
    }

    /// No block is finished.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Blocks finished.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// First and last audible block.
    pub fn audible_span(&self) -> Option<(usize, usize)> {
        let first = self.blocks.iter().position(|rms| *rms >= AUDIBLE_RMS)?;
        let last = self.blocks.iter().rposition(|rms| *rms >= AUDIBLE_RMS)?;
        Some((first, last))
    }

    /// The blocks from the first to the last audible one.
    fn audible(&self) -> &[f32] {
        self.audible_span().and_then(|(first, last)| self.blocks.get(first..=last)).unwrap_or(&[])
    }

    /// How well `heard` fits what was expected, this envelope.
    pub fn compare(&self, heard: &Self) -> Fit {
        let (expected, heard) = (self.audible(), heard.audible());
        let mut correlation = 0f32;
        for shift in 0..=SHIFT_MAX {
            correlation = correlation
                .max(pearson(expected, heard.get(shift..).unwrap_or(&[])))
                .max(pearson(expected.get(shift..).unwrap_or(&[]), heard));
        }
        let ms = |blocks: &[f32]| blocks.len() as i64 * 20;
        Fit { correlation, length_error_ms: ms(heard) - ms(expected), expected_ms: ms(expected) }
    }
}

/// Pearson's correlation over the length of the longer one, the shorter continued with silence.
fn pearson(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().max(b.len()) as f64;
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let sum = |x: &[f32]| x.iter().map(|v| f64::from(*v)).sum::<f64>();
    let squares = |x: &[f32]| x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
    let products: f64 = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
    let covariance = products - sum(a) * sum(b) / n;
    let variances = (squares(a) - sum(a).powi(2) / n) * (squares(b) - sum(b).powi(2) / n);
    if variances <= 0.0 { 0.0 } else { (covariance / variances.sqrt()) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wobble(seed: u32, blocks: usize) -> Vec<i16> {
        let mut state = seed;
        let mut level = 3000i32;
        (0..blocks)
            .flat_map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                level = (level + (state >> 20) as i32 - 2048).clamp(500, 9000);
                let level = level as i16;
                (0..160).map(move |n| if n % 2 == 0 { level } else { -level })
            })
            .collect()
    }

    #[test]
    fn the_same_audio_later_and_off_the_grid_fits_and_other_audio_does_not() {
        let said = wobble(1, 150);
        let expected = Envelope::of(&said, 160);
        let mut heard = vec![0; 777];
        heard.extend_from_slice(&said);
        let fit = expected.compare(&Envelope::of(&heard, 160));
        assert!(fit.is_good(), "{fit:?}");
        assert!(!expected.compare(&Envelope::of(&wobble(2, 150), 160)).is_good());
    }

    #[test]
    fn a_missing_end_a_repeat_and_silence_do_not_fit() {
        let said = wobble(1, 150);
        let expected = Envelope::of(&said, 160);
        assert!(!expected.compare(&Envelope::of(&said[..100 * 160], 160)).is_good());
        let twice = [said.clone(), said.clone()].concat();
        assert!(!expected.compare(&Envelope::of(&twice, 160)).is_good());
        assert!(!expected.compare(&Envelope::default()).is_good());
    }
}
