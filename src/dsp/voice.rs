//! Whether 10 ms of the caller are voice: the energy above an adaptive noise floor.
//!
//! Runs in: the call's dsp worker. Owns the state of a filter and of the noise floor, and less than 10 ms of samples.
//! Never allocates; never looks ahead.
//! Invariant: what it says depends on the samples alone, whatever the lengths of the slices in which they came; and in
//! silence everything that it keeps becomes zero, not almost zero: numbers too small to be normal cost a processor a
//! hundred times as much.

use crate::base::SampleRate;
use crate::dsp::lanes::{Work, widest};

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
/// A smoothed energy below this is silence: a single step of the 16-bit scale in 10 ms.
const LEAST_ENERGY: f32 = 1.0;

/// See the head of this file.
#[derive(Debug, Clone)]
pub struct Voice {
    /// Samples of a decision that is not complete.
    staged: [i16; DECISION_SAMPLES],
    staged_len: usize,
    filter: HighPass,
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
            staged: [0; DECISION_SAMPLES],
            staged_len: 0,
            filter: HighPass::new(),
            smoothed: 0.0,
            least: [f32::MAX; STRETCHES],
            decisions: 0,
            voiced: false,
        }
    }

    /// Hears samples at 16 kHz and tells of each 10 ms that they complete whether it is voice.
    pub fn hear(&mut self, samples: &[i16], mut decided: impl FnMut(bool)) {
        let mut rest = samples;
        while self.staged_len + rest.len() >= DECISION_SAMPLES {
            let (now, later) = rest.split_at(DECISION_SAMPLES - self.staged_len);
            let energy = if let Ok(block) = now.try_into() {
                self.filter.energy(block)
            } else {
                self.staged[self.staged_len..].copy_from_slice(now);
                self.staged_len = 0;
                self.filter.energy(&self.staged)
            };
            decided(self.decide(energy));
            rest = later;
        }
        self.staged[self.staged_len..][..rest.len()].copy_from_slice(rest);
        self.staged_len += rest.len();
    }

    fn decide(&mut self, energy: f32) -> bool {
        self.smoothed += SMOOTHING * (energy - self.smoothed);
        if self.smoothed < LEAST_ENERGY {
            self.smoothed = 0.0;
        }
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

/// Samples that are filtered side by side.
const LANES: usize = 8;
/// The pole of the high-pass filter, twice: 3 dB down at 250 Hz, hum of 50 Hz 28 dB down.
const POLE: f32 = 0.937;
const POLE_2: f32 = POLE * POLE;
const POLE_4: f32 = POLE_2 * POLE_2;
const POLE_8: f32 = POLE_4 * POLE_4;
/// Samples before a decision on which its filtered samples depend directly: two for the zeros, and twice 1, 2 and 4.
const PAST: usize = 16;
const LINE: usize = PAST + DECISION_SAMPLES;
/// What is left of a sound below a thousandth of a step of the 16-bit scale is nothing. From one decision to the next it
/// falls by 90 dB at most, which is far from what a normal number can express.
const NOTHING: f32 = 1.0 / 1024.0;

/// `((1 - 1/z) / (1 - POLE/z))^2`, in the form in which a sample depends on results of [`LANES`] samples ago instead of the
/// last ones: `1 / (1 - p/z)` is `(1 + p/z) (1 + p^2/z^2) (1 + p^4/z^4) / (1 - p^8/z^8)`.
#[derive(Debug, Clone)]
struct HighPass {
    /// The samples before these.
    past: [i16; PAST],
    /// The last results with one pole, and with both.
    one: [f32; LANES],
    both: [f32; LANES],
}

impl HighPass {
    const fn new() -> Self {
        Self { past: [0; PAST], one: [0.0; LANES], both: [0.0; LANES] }
    }

    /// The energy of the next samples when they are filtered, in squared steps of the 16-bit scale.
    fn energy(&mut self, block: &[i16; DECISION_SAMPLES]) -> f32 {
        widest(Filtering { filter: self, block })
    }
}

struct Filtering<'a> {
    filter: &'a mut HighPass,
    block: &'a [i16; DECISION_SAMPLES],
}

impl Work for Filtering<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let Self { filter, block } = self;
        let mut samples = [0; LINE];
        samples[..PAST].copy_from_slice(&filter.past);
        samples[PAST..].copy_from_slice(block);
        filter.past.copy_from_slice(&block[DECISION_SAMPLES - PAST..]);

        // Differences of whole numbers: a constant gives nothing at all.
        let mut line = [0.0; LINE];
        for (difference, window) in line[2..].iter_mut().zip(samples.windows(3)) {
            let [before, last, now] = [window[0], window[1], window[2]].map(i32::from);
            *difference = (now - 2 * last + before) as f32;
        }
        let line = twice_delayed::<1>(&line, POLE);
        let line = twice_delayed::<2>(&line, POLE_2);
        let line = twice_delayed::<4>(&line, POLE_4);

        let (mut one, mut both, mut energies) = (filter.one, filter.both, [0.0; LANES]);
        for lanes in line[PAST..].as_chunks::<LANES>().0 {
            for (((sample, one), both), energy) in
                lanes.iter().zip(&mut one).zip(&mut both).zip(&mut energies)
            {
                *one = sample + POLE_8 * *one;
                *both = *one + POLE_8 * *both;
                *energy += *both * *both;
            }
        }
        for state in one.iter_mut().chain(&mut both) {
            *state = if state.abs() < NOTHING { 0.0 } else { *state };
        }
        (filter.one, filter.both) = (one, both);
        energies.iter().sum()
    }
}

/// The line and its echoes: `(1 + factor/z^DELAY)^2`.
#[inline(always)]
fn twice_delayed<const DELAY: usize>(line: &[f32; LINE], factor: f32) -> [f32; LINE] {
    let mut echoed = [0.0; LINE];
    for (sample, window) in echoed[2 * DELAY..].iter_mut().zip(line.windows(2 * DELAY + 1)) {
        *sample = window[2 * DELAY] + 2.0 * factor * window[DELAY] + factor * factor * window[0];
    }
    echoed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(samples: usize, amplitude: i32) -> Vec<i16> {
        let mut state = 7_u32;
        let mut dice = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as i32 % (2 * amplitude + 1) - amplitude
        };
        (0..samples).map(|_| dice() as i16).collect()
    }

    /// Everything that the detector computes with, from one decision to the next.
    fn kept(voice: &Voice) -> impl Iterator<Item = f32> {
        let least = voice.least.iter().copied().filter(|least| *least < f32::MAX);
        let HighPass { one, both, .. } = voice.filter.clone();
        one.into_iter().chain(both).chain([voice.smoothed]).chain(least)
    }

    #[test]
    fn what_is_said_does_not_depend_on_the_slices() {
        let line: Vec<i16> =
            (0..16_000).map(|n| ((n * n) % 7_919 - 3_959) as i16 / (1 + n as i16 / 4_000)).collect();
        let judged = |slice: usize| {
            let (mut voice, mut judged) = (Voice::new(), Vec::new());
            line.chunks(slice).for_each(|samples| voice.hear(samples, |voiced| judged.push(voiced)));
            let kept: Vec<u32> = kept(&voice).map(f32::to_bits).collect();
            (judged, kept)
        };
        assert_eq!(judged(1).0.len(), 100);
        assert!(judged(320).0.contains(&true));
        for slice in [1, 7, 159, 161, 320, 16_000] {
            assert_eq!(judged(slice), judged(160), "slices of {slice}");
        }
    }

    #[test]
    fn the_filter_is_the_one_with_two_poles_whatever_the_lanes() {
        let (mut filter, line) = (HighPass::new(), noise(16_000, 20_000));
        let (mut last_in, mut last_out) = ([0.0; 2], [0.0; 2]);
        for block in line.as_chunks::<DECISION_SAMPLES>().0 {
            let mut energy = 0.0;
            for &sample in block {
                let mut x = f64::from(sample);
                for stage in 0..2 {
                    let y = x - last_in[stage] + f64::from(POLE) * last_out[stage];
                    (last_in[stage], last_out[stage]) = (x, y);
                    x = y;
                }
                energy += x * x;
            }
            let found = f64::from(filter.energy(block));
            assert!((found / energy - 1.0).abs() < 1e-4, "{found}, exactly {energy}");
        }
    }

    #[test]
    fn silence_ends_in_zero_and_nothing_is_ever_too_small_to_be_normal() {
        let before = [
            noise(32_000, 1),
            noise(32_000, 3),
            noise(16_000, 32_767),
            vec![i16::MIN; 16_000],
            (0..16_000).map(|n| if n % 160 < 80 { i16::MIN } else { i16::MAX }).collect(),
            (0..16_000).map(|n| ((n as f32 * 0.27).sin() * 3_000.0) as i16).collect(),
        ];
        for (case, line) in before.iter().enumerate() {
            // Whatever is left of it, a muted line, or one that stands still anywhere.
            for still in [0, 1, -32_768] {
                let mut voice = Voice::new();
                voice.hear(line, |_| {});
                let (mut filter_zero_ms, mut zero_ms) = (None, None);
                for decision in 1..=1_000 {
                    voice.hear(&[still; DECISION_SAMPLES], |_| {});
                    assert!(kept(&voice).all(|state| !state.is_subnormal()), "case {case}");
                    let filter_is_zero =
                        voice.filter.one == [0.0; LANES] && voice.filter.both == [0.0; LANES];
                    filter_zero_ms = filter_zero_ms.or(filter_is_zero.then_some(decision * DECISION_MS));
                    zero_ms = zero_ms.or((voice.smoothed == 0.0).then_some(decision * DECISION_MS));
                }
                assert!(filter_zero_ms.is_some_and(|ms| ms <= 60), "case {case}: {filter_zero_ms:?} ms");
                assert!(zero_ms.is_some_and(|ms| ms <= 1_500), "case {case}: {zero_ms:?} ms");
                assert!(
                    kept(&voice).all(|state| state == 0.0),
                    "case {case}: {:?}",
                    kept(&voice).collect::<Vec<_>>()
                );
            }
        }
    }
}
