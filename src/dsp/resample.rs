//! The resampler: turns a stream of samples at one rate into the same sound at another, by a polyphase FIR filter.
//!
//! Runs in: dsp threads, and anywhere else: pure. Owns the last few milliseconds of its input. Never allocates, locks or
//! panics, whatever the lengths of the slices (the tables must be warm: [`super::fir::warm_tables`]).
//! Invariant: the output is a function of the samples put in since the start or the last reset, bit for bit; how they
//! were cut into slices, and how much room the output had each time, changes nothing.

use super::fir::{self, Polyphase, STEP_MAX, TAPS_MAX};
use super::lanes::{Work, widest};
use crate::base::SampleRate;

/// Input samples that are worked on together at most: a frame of the rings.
const TOGETHER: usize = crate::base::Frame::CAPACITY;

/// Output samples of one phase that are summed side by side.
const LANES: usize = 16;

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
    /// Past input, from where the window of the next output sample begins.
    history: [i16; TAPS_MAX],
    /// How much of it counts.
    kept: usize,
    /// The phase of the next output sample.
    phase: usize,
}

impl Resampler {
    /// A resampler that has heard nothing but silence. Does not allocate once [`super::fir::warm_tables`] has run.
    pub fn new(from: SampleRate, to: SampleRate) -> Self {
        let mut resampler =
            Self { from, to, filter: fir::polyphase(from, to), history: [0; TAPS_MAX], kept: 0, phase: 0 };
        resampler.reset();
        resampler
    }

    /// Forgets all input, as if new.
    pub fn reset(&mut self) {
        self.history.fill(0);
        // All of the first window but its newest sample is silence before the stream.
        self.kept = self.filter.map_or(0, |filter| filter.taps() - 1);
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
            let (input, output) = (&input[progress.consumed..], &mut output[progress.produced..]);
            let taken = input.len().min(self.inputs_before_overflow(filter, output.len())).min(TOGETHER);
            let ready = self.outputs_of(filter, self.kept + taken).min(output.len());
            if ready > 0 {
                let (phase, history) = (self.phase, &self.history[..self.kept]);
                widest(Filtering {
                    filter,
                    phase,
                    history,
                    input: &input[..taken],
                    output: &mut output[..ready],
                });
            }
            self.go_on(filter, &input[..taken], ready);
            if taken == 0 && ready == 0 {
                return progress;
            }
            progress.consumed += taken;
            progress.produced += ready;
        }
    }

    /// How many output samples so many input samples determine, from the beginning of the next one's window on.
    fn outputs_of(&self, filter: &Polyphase, inputs: usize) -> usize {
        // The n-th window ends with the sample at `taps - 1 + (phase + n * step) / phases`.
        match (inputs + 1).checked_sub(filter.taps()) {
            Some(windows) => (windows * filter.phases()).saturating_sub(self.phase).div_ceil(filter.step()),
            None => 0,
        }
    }

    /// Takes input into the history, and leaves what lies before the window of the next output sample behind.
    fn go_on(&mut self, filter: &Polyphase, input: &[i16], outputs: usize) {
        let (past, phase) = filter.after(self.phase, outputs);
        self.phase = phase;
        if let Some(left) = self.kept.checked_sub(past) {
            self.history.copy_within(past..self.kept, 0);
            self.history[left..left + input.len()].copy_from_slice(input);
            self.kept = left + input.len();
        } else {
            let input = &input[past - self.kept..];
            self.history[..input.len()].copy_from_slice(input);
            self.kept = input.len();
        }
    }

    /// How many more input samples can be taken before one determines output beyond the `room` there is. An input
    /// sample that determines several output samples is taken as soon as the first of them has room.
    fn inputs_before_overflow(&self, filter: &Polyphase, room: usize) -> usize {
        // More room than what is worked on together can fill makes no difference, and the bound keeps the arithmetic small.
        let room = room.min((TAPS_MAX + TOGETHER) * filter.phases());
        let inputs_for = |outputs_before: usize| {
            let window_end = filter.taps() + filter.after(self.phase, outputs_before).0;
            window_end.saturating_sub(self.kept)
        };
        let short_of_one_too_many = inputs_for(room).saturating_sub(1);
        if room == 0 { short_of_one_too_many } else { short_of_one_too_many.max(inputs_for(room - 1)) }
    }
}

/// Output samples to be made: those whose windows lie within history and input.
struct Filtering<'a> {
    filter: &'a Polyphase,
    /// The phase of the first.
    phase: usize,
    history: &'a [i16],
    input: &'a [i16],
    output: &'a mut [i16],
}

impl Work for Filtering<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        // Each by a copy of the code in which the compiler knows how far apart samples are taken.
        match self.filter.step() {
            1 => self.run_by::<1>(),
            2 => self.run_by::<2>(),
            3 => self.run_by::<3>(),
            4 => self.run_by::<4>(),
            _ => self.run_by::<STEP_MAX>(),
        }
    }
}

impl Filtering<'_> {
    /// Output samples of the same phase lie [`Polyphase::phases`] apart, their windows `STEP` input samples. With every
    /// `STEP`th input sample side by side, as many of them as there are lanes are summed at once, each in its own lane.
    ///
    /// The order of additions is fixed, so that the compiler can use vector instructions of any width and the result is still
    /// the same, bit for bit.
    #[inline(always)]
    fn run_by<const STEP: usize>(self) {
        let Self { filter, phase, history, input, output } = self;
        debug_assert_eq!(filter.step(), STEP);
        let mut line = [0; TAPS_MAX + TOGETHER + STEP_MAX];
        let known = history.len() + input.len();
        line[..history.len()].copy_from_slice(history);
        line[history.len()..known].copy_from_slice(input);

        // The lanes beyond the last output sample read behind the last input sample.
        let mut spread = [0.0; TAPS_MAX + TOGETHER + STEP_MAX * (LANES + 1)];
        let length = known.div_ceil(STEP) + LANES;
        for (first, every) in spread.chunks_exact_mut(length).take(STEP).enumerate() {
            let samples = line[first..known.next_multiple_of(STEP)].iter().step_by(STEP);
            every.iter_mut().zip(samples).for_each(|(to, sample)| *to = f32::from(*sample));
        }
        let every = |place: usize| &spread[place % STEP * length + place / STEP..][..length - place / STEP];

        let phases = filter.phases();
        let mut sums = [0.0; TOGETHER + LANES];
        for n in 0..phases.min(output.len()) {
            let (offset, phase) = filter.after(phase, n);
            let samples = output[n..].iter_mut().step_by(phases);
            for (block, sums) in sums.chunks_exact_mut(LANES).take(samples.len().div_ceil(LANES)).enumerate()
            {
                let mut sum = [0.0; LANES];
                for first in 0..STEP {
                    let factors = filter.every(phase, first);
                    let windows = every(offset + first)[block * LANES..].windows(LANES);
                    let mut part = [0.0; LANES];
                    for (factor, window) in factors.iter().zip(windows) {
                        part.iter_mut().zip(window).for_each(|(sum, sample)| *sum += factor * sample);
                    }
                    sum.iter_mut().zip(&part).for_each(|(sum, part)| *sum += part);
                }
                sums.copy_from_slice(&sum);
            }
            samples.zip(&sums).for_each(|(to, sum)| *to = round_to_i16(*sum));
        }
    }
}

/// Rounds to the nearest integer, ties to even, and saturates.
#[inline(always)]
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
        assert!(size_of::<Resampler>() <= 512, "{} bytes", size_of::<Resampler>());
    }
}
