//! Whether 10 ms of the caller are voice: the energy above an adaptive noise floor.
//!
//! Runs in: the call's dsp worker. Owns the state of a filter and of the noise floor, some fifty bytes.
//! Never allocates; never looks ahead.
//! Invariant: what it says depends on the samples alone, whatever the lengths of the slices in which they came.

use crate::base::SampleRate;

/// Samples of one decision: 10 ms at 16 kHz.
pub const DECISION_SAMPLES: usize = SampleRate::Hz16000.samples_in_ms(10);
/// Milliseconds of one decision.
pub const DECISION_MS: u32 = 10;

/// What lies below is not voice on any telephone line: 13 dB under quiet speech (ITU-T P.56 active levels are
/// about -26 dBFS, seldom under -40).
const QUIET_ENERGY: f32 = DECISION_SAMPLES as f32 * 73.0 * 73.0;
/// How far above the noise floor voice begins: 7 dB.
const ABOVE: f32 = 5.0;
/// How far above it voice goes on: 4 dB.
const STILL_ABOVE: f32 = 2.5;
/// The noise floor is the least energy of this many stretches of this many decisions: 2 s, longer than anybody speaks
/// without a moment's pause, and short enough that noise which begins loud is found out soon.
const STRETCHES: usize = 8;
const STRETCH_DECISIONS: usize = 25;
/// Energies are smoothed before the least of them is looked for, or the floor would be under the noise by chance.
const SMOOTHING: f32 = 0.25;
/// The pole of the high-pass filter, twice: 3 dB down at 250 Hz, hum of 50 Hz 28 dB down.
const POLE: f32 = 0.937;

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct Voice {
    last_in: [f32; 2],
    last_out: [f32; 2],
    energy: f32,
    summed: usize,
    smoothed: f32,
    /// The least smoothed energy of each stretch, the present one first.
    least: [f32; STRETCHES],
    decisions: usize,
    voiced: bool,
}

impl Voice {
    /// A detector that has heard nothing yet.
    pub const fn new() -> Self {
        Self {
            last_in: [0.0; 2],
            last_out: [0.0; 2],
            energy: 0.0,
            summed: 0,
            smoothed: 0.0,
            least: [f32::MAX; STRETCHES],
            decisions: 0,
            voiced: false,
        }
    }

    /// Hears samples at 16 kHz and tells of each 10 ms that they complete whether it is voice.
    pub fn hear(&mut self, samples: &[i16], mut decided: impl FnMut(bool)) {
        for &sample in samples {
            let mut x = f32::from(sample);
            for stage in 0..2 {
                let y = x - self.last_in[stage] + POLE * self.last_out[stage];
                self.last_in[stage] = x;
                self.last_out[stage] = y;
                x = y;
            }
            self.energy += x * x;
            self.summed += 1;
            if self.summed == DECISION_SAMPLES {
                decided(self.decide());
            }
        }
    }

    fn decide(&mut self) -> bool {
        let energy = std::mem::take(&mut self.energy);
        self.summed = 0;
        self.smoothed += SMOOTHING * (energy - self.smoothed);
        if self.decisions == STRETCH_DECISIONS {
            self.least.rotate_right(1);
            self.least[0] = f32::MAX;
            self.decisions = 0;
        }
        self.decisions += 1;
        self.least[0] = self.least[0].min(self.smoothed);
        let floor = self.least.iter().copied().fold(f32::MAX, f32::min);
        let above = if self.voiced { STILL_ABOVE } else { ABOVE };
        self.voiced = energy > QUIET_ENERGY.max(floor * above);
        self.voiced
    }
}

impl Default for Voice {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_does_not_depend_on_the_slices() {
        let line: Vec<i16> =
            (0..16_000).map(|n| ((n * n) % 7_919 - 3_959) as i16 / (1 + n as i16 / 4_000)).collect();
        let judged = |slice: usize| {
            let (mut voice, mut judged) = (Voice::new(), Vec::new());
            line.chunks(slice).for_each(|samples| voice.hear(samples, |voiced| judged.push(voiced)));
            judged
        };
        assert_eq!(judged(1).len(), 100);
        assert!(judged(320).contains(&true));
        for slice in [1, 7, 161, 320, 16_000] {
            assert_eq!(judged(slice), judged(160), "slices of {slice}");
        }
    }
}
