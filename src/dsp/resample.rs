//! The resampler: turns a stream of samples at one rate into the same sound at another, by a polyphase FIR filter.
//!
//! Runs in: dsp threads, and anywhere else: pure. Owns the last few milliseconds of its input. Never allocates, locks or
//! panics, whatever the lengths of the slices (the tables must be warm: [`super::fir::warm_tables`]).
//! Invariant: the output is a function of the samples put in since the start or the last reset, bit for bit; how they
//! were cut into slices, and how much room the output had each time, changes nothing.

use super::fir::{self, LANES, Polyphase, TAPS_MAX};
use crate::base::SampleRate;

/// Samples kept: the longest window and enough beyond it that moving it back to the front is rare.
const HISTORY_SAMPLES: usize = TAPS_MAX + 64;

/// Output samples worked on together: their lanes lie in memory before they are added up, which is what makes the
/// compiler keep the lanes in whole vector registers: a third less time.
const BLOCK_SAMPLES: usize = 16;

/// How far one call of [`Resampler::process`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Samples taken from the front of the input.
    pub consumed: usize,
    /// Samples written to the front of the output.
    pub produced: usize,
}

/// A converter of one stream from one [`SampleRate`] to another.
///
/// After every whole number of input samples it has given every output sample that they determine: 20 ms put in always
/// give exactly 20 ms out. The delay of the filter ([`Self::delay_us`]) shows as a late signal, never as samples held
/// back. Figures: `docs/resampler.md`.
pub struct Resampler {
    from: SampleRate,
    to: SampleRate,
    /// `None` where both rates are the same: samples are copied.
    filter: Option<&'static Polyphase>,
    /// Past input in units of the 16-bit scale; only what lies before `end` counts.
    history: [f32; HISTORY_SAMPLES],
    /// Where the window of the next output sample begins in `history`.
    start: usize,
    /// Where the next input sample goes in `history`.
    end: usize,
    /// The phase of the next output sample.
    phase: usize,
}

impl Resampler {
    /// A resampler that has heard nothing but silence. Does not allocate once [`super::fir::warm_tables`] has run.
    pub fn new(from: SampleRate, to: SampleRate) -> Self {
        let mut resampler = Self {
            from,
            to,
            filter: fir::polyphase(from, to),
            history: [0.0; HISTORY_SAMPLES],
            start: 0,
            end: 0,
            phase: 0,
        };
        resampler.reset();
        resampler
    }

    /// Forgets all input, as if new.
    pub fn reset(&mut self) {
        self.history.fill(0.0);
        self.start = 0;
        // All of the first window but its newest sample is silence before the stream.
        self.end = self.filter.map_or(0, |filter| filter.taps() - 1);
        self.phase = 0;
    }

    /// The rate of the input.
    pub fn from(&self) -> SampleRate {
        self.from
    }

    /// The rate of the output.
    pub fn to(&self) -> SampleRate {
        self.to
    }

    /// How much later a sound comes out than it went in, in microseconds: the same at every frequency, 0 where both
    /// rates are the same, at most about 2 ms.
    pub fn delay_us(&self) -> u32 {
        self.filter.map_or(0, |filter| {
            let prototype_hz = f64::from(self.from.hz()) * filter.phases() as f64;
            (filter.delay_prototype_samples() / prototype_hz * 1e6).round() as u32
        })
    }

    /// Converts as much of `input` (mono, at [`Self::from`]) as `output` (mono, at [`Self::to`]) has room for. Samples
    /// are rounded to the nearest and saturate at the ends of the 16-bit scale.
    ///
    /// Stops when the input is used up and everything it determines is written, or when the output is full and the
    /// next input sample would yield another. Room for `input.len() * to / from` samples, rounded up, always suffices
    /// to use all of it. Call again with the rest; either slice may be of any length, also empty.
    pub fn process(&mut self, input: &[i16], output: &mut [i16]) -> Progress {
        let Some(filter) = self.filter else {
            let copied = input.len().min(output.len());
            output[..copied].copy_from_slice(&input[..copied]);
            return Progress { consumed: copied, produced: copied };
        };
        let mut progress = Progress::default();
        loop {
            progress.produced += self.produce(filter, &mut output[progress.produced..]);
            let room = output.len() - progress.produced;
            let stored = self.store(filter, &input[progress.consumed..], room);
            if stored == 0 {
                return progress;
            }
            progress.consumed += stored;
        }
    }

    /// Writes the output samples whose windows are complete, as far as there is room; returns how many.
    fn produce(&mut self, filter: &Polyphase, output: &mut [i16]) -> usize {
        // The lengths in use, each by a copy of the code in which the compiler knows it and unrolls the loop over the
        // taps: a tenth to a quarter less time.
        match filter.taps() {
            32 => self.produce_windows(filter, 32, output),
            48 => self.produce_windows(filter, 48, output),
            64 => self.produce_windows(filter, 64, output),
            96 => self.produce_windows(filter, 96, output),
            taps => self.produce_windows(filter, taps, output),
        }
    }

    #[inline(always)]
    fn produce_windows(&mut self, filter: &Polyphase, taps: usize, output: &mut [i16]) -> usize {
        let known = &self.history[..self.end];
        let (mut start, mut phase) = (self.start, self.phase);
        let mut sums = [[0.0; LANES]; BLOCK_SAMPLES];
        let mut produced = 0;
        for block in output.chunks_mut(BLOCK_SAMPLES) {
            let mut ready = 0;
            for sum in sums.iter_mut().take(block.len()) {
                let (Some(window), Some(coefficients)) =
                    (known.get(start..start + taps), filter.phase(phase).get(..taps))
                else {
                    break;
                };
                *sum = lane_sums(window, coefficients);
                let (inputs, next_phase) = filter.next(phase);
                start += inputs;
                phase = next_phase;
                ready += 1;
            }
            for (sample, sum) in block.iter_mut().zip(&sums[..ready]) {
                *sample = round_to_i16(sum.iter().sum());
            }
            produced += ready;
            if ready < block.len() {
                break;
            }
        }
        self.start = start;
        self.phase = phase;
        produced
    }

    /// Takes input into the history, no more than the output has room for; returns how many samples.
    fn store(&mut self, filter: &Polyphase, input: &[i16], room: usize) -> usize {
        let wanted = input.len().min(self.inputs_before_overflow(filter, room));
        if wanted > 0 && self.end == HISTORY_SAMPLES {
            self.history.copy_within(self.start.., 0);
            self.end -= self.start;
            self.start = 0;
        }
        let stored = wanted.min(HISTORY_SAMPLES - self.end);
        for (kept, &sample) in self.history[self.end..].iter_mut().zip(&input[..stored]) {
            *kept = f32::from(sample);
        }
        self.end += stored;
        stored
    }

    /// How many more input samples can be taken before one determines output beyond the `room` there is. An input
    /// sample that determines several output samples is taken as soon as the first of them has room.
    fn inputs_before_overflow(&self, filter: &Polyphase, room: usize) -> usize {
        // More room than a full history can fill makes no difference, and the bound keeps the arithmetic small.
        let room = room.min(HISTORY_SAMPLES * filter.phases());
        let inputs_for = |outputs_before: usize| {
            let window_end = self.start + filter.taps() + filter.inputs_until(self.phase, outputs_before);
            window_end.saturating_sub(self.end)
        };
        let short_of_one_too_many = inputs_for(room).saturating_sub(1);
        if room == 0 { short_of_one_too_many } else { short_of_one_too_many.max(inputs_for(room - 1)) }
    }
}

/// The sums of products, every [`LANES`]th in one sum. The order of additions is fixed, here and where the lanes are added
/// up, so that the compiler can use vector instructions of any width and the result is still the same, bit for bit.
#[inline]
fn lane_sums(window: &[f32], coefficients: &[f32]) -> [f32; LANES] {
    let mut sums = [0.0; LANES];
    for (samples, factors) in window.chunks_exact(LANES).zip(coefficients.chunks_exact(LANES)) {
        for ((sum, sample), factor) in sums.iter_mut().zip(samples).zip(factors) {
            *sum += sample * factor;
        }
    }
    sums
}

/// Rounds to the nearest integer, ties to even, and saturates.
#[inline]
fn round_to_i16(sample: f32) -> i16 {
    // Adding 1.5 * 2^23 leaves no bits for a fraction, so that the addition itself rounds, and the low bits of the sum are
    // the integer in two's complement. `round_ties_even` is a call into the C library where the processor's baseline
    // (SSE2) has no instruction for it, and the conversion by `as` checks the range a second time.
    const NO_FRACTION: f32 = 12_582_912.0;
    let clamped = sample.clamp(f32::from(i16::MIN), f32::from(i16::MAX));
    (clamped + NO_FRACTION).to_bits() as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_pair() -> impl Iterator<Item = (SampleRate, SampleRate)> {
        SampleRate::ALL.into_iter().flat_map(|from| SampleRate::ALL.into_iter().map(move |to| (from, to)))
    }

    /// Noise of the full 16-bit scale, the same every time.
    fn noise(samples: usize) -> Vec<i16> {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        (0..samples)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 48) as i16
            })
            .collect()
    }

    #[test]
    fn twenty_milliseconds_in_give_twenty_milliseconds_out_every_time() {
        for (from, to) in every_pair() {
            let mut resampler = Resampler::new(from, to);
            let input = noise(from.samples_per_frame());
            for frame in 0..50 {
                let mut output = vec![0; to.samples_per_frame()];
                let expected =
                    Progress { consumed: from.samples_per_frame(), produced: to.samples_per_frame() };
                assert_eq!(resampler.process(&input, &mut output), expected, "{from} to {to}, frame {frame}");
            }
        }
    }

    #[test]
    fn output_is_the_convolution_that_defines_it() {
        for (from, to) in every_pair().filter(|(from, to)| from != to) {
            let filter = fir::polyphase(from, to).expect("different rates have a filter");
            let input = noise(from.samples_per_frame() * 3);
            let mut output = vec![0; to.samples_per_frame() * 3];
            Resampler::new(from, to).process(&input, &mut output);
            let (step, phases) = (from.hz() as usize, to.hz() as usize);
            for (n, &sample) in output.iter().enumerate() {
                let newest = n * step / phases;
                let phase = (n * step % phases) * filter.phases() / phases;
                let exact: f64 = (filter.phase(phase).iter().rev().enumerate())
                    .filter_map(|(age, &factor)| {
                        let sample = input[newest.checked_sub(age)?];
                        Some(f64::from(sample) * f64::from(factor))
                    })
                    .sum();
                let clamped = exact.clamp(-32768.0, 32767.0);
                // Half a step of rounding, and what single precision adds to it.
                let off = (f64::from(sample) - clamped).abs();
                assert!(off < 0.52, "{from} to {to}, sample {n}: {sample}, exactly {exact}");
            }
        }
    }

    #[test]
    fn the_same_rate_passes_through_bit_for_bit() {
        for rate in SampleRate::ALL {
            let input = noise(rate.samples_per_frame());
            let mut output = vec![0; input.len()];
            let mut resampler = Resampler::new(rate, rate);
            let progress = resampler.process(&input, &mut output);
            assert_eq!(progress, Progress { consumed: input.len(), produced: input.len() });
            assert_eq!(input, output);
            assert_eq!(resampler.delay_us(), 0);
        }
    }

    #[test]
    fn a_full_output_leaves_the_input_that_would_yield_more() {
        let mut resampler = Resampler::new(SampleRate::Hz24000, SampleRate::Hz8000);
        // Sample 0 yields the first output, samples 1 and 2 none, sample 3 the second.
        assert_eq!(resampler.process(&[1; 9], &mut []), Progress { consumed: 0, produced: 0 });
        assert_eq!(resampler.process(&[1; 9], &mut [0; 1]), Progress { consumed: 3, produced: 1 });
        assert_eq!(resampler.process(&[], &mut [0; 9]), Progress { consumed: 0, produced: 0 });

        let mut resampler = Resampler::new(SampleRate::Hz8000, SampleRate::Hz48000);
        // One sample yields six: the rest of them comes with the next room, and before it no input is taken.
        assert_eq!(resampler.process(&[1; 9], &mut [0; 1]), Progress { consumed: 1, produced: 1 });
        assert_eq!(resampler.process(&[1; 9], &mut []), Progress { consumed: 0, produced: 0 });
        assert_eq!(resampler.process(&[1; 9], &mut [0; 5]), Progress { consumed: 0, produced: 5 });
    }

    #[test]
    fn a_reset_resampler_is_as_new() {
        for (from, to) in every_pair() {
            let input = noise(from.samples_per_frame() + 7);
            let mut fresh = vec![0; 2 * to.samples_per_frame()];
            let mut again = fresh.clone();
            let mut resampler = Resampler::new(from, to);
            let progress = resampler.process(&input, &mut fresh);
            resampler.reset();
            assert_eq!(resampler.process(&input, &mut again), progress);
            assert_eq!(fresh, again, "{from} to {to}");
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_saturates() {
        for (sample, expected) in [
            (0.49, 0),
            (0.51, 1),
            (-0.51, -1),
            (1.5, 2),
            (2.5, 2),
            (32766.6, 32767),
            (40000.0, 32767),
            (-32768.4, -32768),
            (-1e9, -32768),
        ] {
            assert_eq!(round_to_i16(sample), expected, "{sample}");
        }
    }

    #[test]
    fn an_instance_is_small() {
        assert!(size_of::<Resampler>() <= 1536, "{} bytes", size_of::<Resampler>());
    }
}
