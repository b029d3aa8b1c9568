//! The simulator's changes of sample rate: 16 kHz to the model's 24 kHz, and whatever a client sends to 16 kHz.
//!
//! Runs in: the simulator's thread: pure. Owns the state that makes a stream of chunks sound like one piece.
//! Invariant: the output is the same whatever the chunking.

use std::fmt;

use tandem::{base::SampleRate, dsp::resample::Resampler};

/// 16 kHz to 24 kHz, for one stream.
pub(super) struct Upsampler(Resampler);

impl Default for Upsampler {
    fn default() -> Self {
        Self(Resampler::new(SampleRate::Hz16000, SampleRate::Hz24000))
    }
}

impl fmt::Debug for Upsampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upsampler")
    }
}

impl Upsampler {
    /// Appends what `samples` become: three for every two.
    pub(super) fn push(&mut self, samples: &[i16], out: &mut Vec<i16>) {
        let at = out.len();
        out.resize(at + (samples.len() * 3).div_ceil(2), 0);
        let progress = self.0.process(samples, out.get_mut(at..).unwrap_or_default());
        out.truncate(at + progress.produced);
    }
}

/// A whole piece of speech, 16 kHz to 24 kHz.
pub fn upsampled(samples: &[i16]) -> Vec<i16> {
    let mut out = Vec::with_capacity(samples.len() * 3 / 2 + 2);
    Upsampler::default().push(samples, &mut out);
    out
}

/// Any rate to any other by straight lines between samples: crude, good enough for a detector of speech.
#[derive(Debug, Default)]
pub(super) struct Linear {
    /// Time of the next output sample after `previous`, in units of 1 / (from x to) seconds.
    position: u64,
    previous: i16,
}

impl Linear {
    /// Appends what `samples` become; both rates in hertz, above 0.
    pub(super) fn push(&mut self, from_hz: u32, to_hz: u32, samples: &[i16], out: &mut Vec<i16>) {
        // Between two input samples lie `to` units, between two output samples `from`.
        let (from, to) = (u64::from(from_hz), u64::from(to_hz));
        for &sample in samples {
            while self.position < to {
                let (a, b) = (i64::from(self.previous), i64::from(sample));
                let between = a + (b - a) * self.position as i64 / to as i64;
                out.push(between as i16);
                self.position += from;
            }
            self.position -= to;
            self.previous = sample;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_any_size_give_the_same_stream() {
        let speech = crate::speech::question();
        let whole = upsampled(&speech);
        assert_eq!(whole.len(), speech.len() * 3 / 2);
        for chunk in [1, 7, 320, 321] {
            let (mut stream, mut out) = (Upsampler::default(), Vec::new());
            for piece in speech.chunks(chunk) {
                stream.push(piece, &mut out);
            }
            assert_eq!(out, whole, "chunks of {chunk}");
        }
    }

    #[test]
    fn every_twenty_milliseconds_come_out_as_twenty_milliseconds() {
        let mut stream = Upsampler::default();
        for _ in 0..10 {
            let mut out = Vec::new();
            stream.push(&[0; 320], &mut out);
            assert_eq!(out.len(), 480);
        }
    }

    #[test]
    fn a_slope_stays_a_slope() {
        let slope: Vec<i16> = (0..100).map(|n| n * 300).collect();
        let mut out = Vec::new();
        Linear::default().push(8_000, 16_000, &slope, &mut out);
        assert!(out.windows(2).skip(2).all(|pair| pair[1] - pair[0] == 150), "{out:?}");
    }
}
