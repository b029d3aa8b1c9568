//! The mark that every 20 ms frame of an echo call carries in its audio: three tones that spell the frame's number
//! modulo 512, under a Hann window that tells where the frame begins.
//!
//! Runs in: anywhere: pure. Owns its tables. Never allocates while it looks at audio.
//!
//! Why this shape. The audio comes back through two or three resamplers, a few milliseconds late, at any offset
//! within the frames received, and narrow band legs pass nothing above 3.4 kHz. So:
//!
//! * **Digits.** The number is written in base 8, one tone of eight for each of three digits: 500 to 1200 Hz, 1400
//!   to 2100 Hz and 2300 to 3000 Hz, 100 Hz apart. A Hann-windowed tone of 20 ms has no energy at multiples of
//!   50 Hz from 100 Hz on, so correlating with the wrong tone gives nothing at all, and a few decibels of droop or a
//!   small misalignment do no harm.
//! * **Place.** The window makes the energy swing once per 20 ms, and no two tones of a frame are closer than 200 Hz,
//!   so the 50 Hz component of the squared signal comes from the window alone: its phase is the offset of the frame.
//!   A cut, a gap or a jump is seen within the frame in which it happens; nothing has to be acquired first.
//! * **Range.** 512 frames are 10.24 s: a round trip or a loss shorter than half of that is attributed exactly.
//!
//! Invariant: `MarkReader::read` of a frame written by `MarkWriter` gives the same number, at every rate.

use std::f64::consts::TAU;

use tandem::base::SampleRate;

/// Frames after which the numbers begin again: 8 to the power of 3.
pub const MARK_NUMBERS: u64 = 512;
/// Tones per digit.
const TONES: usize = 8;
/// Digits per frame.
const DIGITS: usize = 3;
/// The tones of a digit are this far apart; every one is a multiple of it, so half a frame holds whole periods.
const STEP_HZ: f64 = 100.0;
/// Amplitude of one tone; the three together peak at 18,000, 5 dB below full scale.
const AMPLITUDE: f64 = 6000.0;
/// Below this mean square a window counts as silent: an amplitude of 100, 40 dB below a mark.
const SILENT_MEAN_SQUARE: f32 = 100.0 * 100.0;

/// Frequency of the tone that writes `value` in `digit`.
fn tone_hz(digit: usize, value: usize) -> f64 {
    500.0 + 900.0 * digit as f64 + STEP_HZ * value as f64
}

/// The 512 frames, ready to be sent: computed once, shared by every call of a rate.
pub struct MarkWriter {
    frames: Vec<i16>,
    samples_per_frame: usize,
}

impl MarkWriter {
    /// Computes every frame at `rate`; 512 × 20 ms of samples.
    pub fn new(rate: SampleRate) -> Self {
        let samples_per_frame = rate.samples_per_frame();
        let mut frames = Vec::with_capacity(samples_per_frame * MARK_NUMBERS as usize);
        for number in 0..MARK_NUMBERS as usize {
            let hz = [0, 1, 2].map(|digit| tone_hz(digit, digit_of(number, digit)));
            for n in 0..samples_per_frame {
                let t = n as f64 / f64::from(rate.hz());
                let window = (0.5 * TAU * n as f64 / samples_per_frame as f64).sin().powi(2);
                let tones: f64 =
                    hz.iter().enumerate().map(|(d, f)| (TAU * (f * t + d as f64 / 3.0)).cos()).sum();
                frames.push((AMPLITUDE * window * tones).round() as i16);
            }
        }
        Self { frames, samples_per_frame }
    }

    /// The samples of frame `number` (taken modulo [`MARK_NUMBERS`]).
    pub fn frame(&self, number: u64) -> &[i16] {
        let at = (number % MARK_NUMBERS) as usize * self.samples_per_frame;
        self.frames.get(at..at + self.samples_per_frame).unwrap_or(&[])
    }
}

/// The base 8 digit of `number`, the lowest at 0.
fn digit_of(number: usize, digit: usize) -> usize {
    (number >> (3 * digit)) % TONES
}

/// What a 20 ms window of received audio holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Window {
    /// Nothing audible.
    Silent,
    /// A frame begins `offset` samples after the window's start (negative: before it), too far off to be read here.
    Elsewhere {
        /// From −half a frame to +half a frame, in samples.
        offset: i32,
    },
    /// The window holds frame `number`, which begins `offset` samples after the window's start.
    Frame {
        /// 0 to 511.
        number: u16,
        /// At most a tenth of a frame either way, in samples.
        offset: i32,
    },
    /// Audible, in place, but no mark: a frame cut short, or foreign audio.
    Garbled,
}

/// A quarter of a frame and one sample, at most 241 at 48 kHz, rounded up to whole blocks of eight.
type Quarter = [f32; 248];

/// The correlation tables of a rate: computed once, shared by every call.
pub struct MarkReader {
    samples_per_frame: usize,
    /// For each tone, cosine then sine over a quarter of a frame, zeros behind.
    tones: Vec<Quarter>,
    /// One period of 50 Hz.
    envelope_cos: Vec<f32>,
    envelope_sin: Vec<f32>,
}

impl MarkReader {
    /// Computes the tables for audio at `rate`.
    pub fn new(rate: SampleRate) -> Self {
        let samples_per_frame = rate.samples_per_frame();
        let wave = |hz: f64, samples: usize, f: fn(f64) -> f64| -> Vec<f32> {
            (0..samples).map(|n| f(TAU * hz * n as f64 / f64::from(rate.hz())) as f32).collect()
        };
        let quarter = |hz: f64, f: fn(f64) -> f64| -> Quarter {
            let mut table = [0.0; 248];
            table.iter_mut().zip(wave(hz, samples_per_frame / 4 + 1, f)).for_each(|(to, from)| *to = from);
            table
        };
        let mut tones = Vec::with_capacity(2 * DIGITS * TONES);
        for digit in 0..DIGITS {
            for value in 0..TONES {
                tones.push(quarter(tone_hz(digit, value), f64::cos));
                tones.push(quarter(tone_hz(digit, value), f64::sin));
            }
        }
        Self {
            samples_per_frame,
            tones,
            envelope_cos: wave(50.0, samples_per_frame, f64::cos),
            envelope_sin: wave(50.0, samples_per_frame, f64::sin),
        }
    }

    /// Samples of a window: 20 ms.
    pub fn samples_per_frame(&self) -> usize {
        self.samples_per_frame
    }

    /// Looks at one window of exactly [`Self::samples_per_frame`] samples.
    pub fn read(&self, window: &[i16]) -> Window {
        let length = self.samples_per_frame as f32;
        let mut samples = [0f32; 960];
        let Some(samples) = samples.get_mut(..window.len()) else { return Window::Garbled };
        samples.iter_mut().zip(window).for_each(|(to, from)| *to = f32::from(*from));

        let mut squares = [0f32; 960];
        let Some(squares) = squares.get_mut(..samples.len()) else { return Window::Garbled };
        squares.iter_mut().zip(samples.iter()).for_each(|(square, sample)| *square = sample * sample);
        let energy = sum(squares);
        if energy < SILENT_MEAN_SQUARE * length {
            return Window::Silent;
        }
        // The window sin² has the energy sin⁴ = 3/8 − 1/2 cos + 1/8 cos 2: against 50 Hz that leaves −1/4 at the
        // frame's beginning, hence the sign.
        let (re, im) = (-dot(squares, &self.envelope_cos), -dot(squares, &self.envelope_sin));
        let offset = (f64::from(im).atan2(f64::from(re)) / TAU * f64::from(length)).round() as i32;
        if offset.unsigned_abs() as usize * 10 > self.samples_per_frame {
            return Window::Elsewhere { offset };
        }
        match self.digits(samples, energy) {
            Some(number) => Window::Frame { number, offset },
            None => Window::Garbled,
        }
    }

    /// The number written in `samples`, whose energy is `energy`; `None` when a digit is not clear.
    fn digits(&self, samples: &[f32], energy: f32) -> Option<u16> {
        // Every tone has whole periods in half a frame, so that the second half can be added to the first. Within
        // the half a cosine is even and a sine odd about the middle: fold once more, and a quarter is left.
        let half = self.samples_per_frame / 2;
        let blocks = (half / 2 + 1).next_multiple_of(8);
        let at =
            |n: usize| samples.get(n).copied().unwrap_or(0.0) + samples.get(half + n).copied().unwrap_or(0.0);
        let (mut even, mut odd) = ([0f32; 248], [0f32; 248]);
        for (n, (even, odd)) in even.iter_mut().zip(odd.iter_mut()).enumerate().take(half / 2 + 1) {
            // The first sample and the middle one have no partner.
            let partner = if n == 0 || 2 * n == half { 0.0 } else { at(half - n) };
            (*even, *odd) = (at(n) + partner, at(n) - partner);
        }
        let (even, odd) = (even.get(..blocks)?, odd.get(..blocks)?);
        let mut number = 0u16;
        let mut found = 0f32;
        for (digit, tables) in self.tones.chunks(2 * TONES).enumerate() {
            let (mut best, mut second_best, mut value) = (0f32, 0f32, 0u16);
            for (tone, pair) in tables.chunks(2).enumerate() {
                let [cos, sin] = pair else { return None };
                let power = dot(even, cos).powi(2) + dot(odd, sin).powi(2);
                if power > best {
                    (second_best, best, value) = (best, power, tone as u16);
                } else if power > second_best {
                    second_best = power;
                }
            }
            // Clear against the other tones, and no less than a quarter of its share of the frame.
            if best < 4.0 * second_best || 36.0 * best < energy * self.samples_per_frame as f32 {
                return None;
            }
            found += best;
            number |= value << (3 * digit);
        }
        // A clean frame has a third of energy × length in its tones; half of that is enough to be sure.
        (6.0 * found > energy * self.samples_per_frame as f32).then_some(number)
    }
}

/// The inner product over the length of `a`, eight sums side by side so that the compiler can use wide registers.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum()
}

/// The sum, in the same manner.
fn sum(a: &[f32]) -> f32 {
    let mut sums = [0f32; 8];
    for x in a.as_chunks::<8>().0 {
        for lane in 0..8 {
            sums[lane] += x[lane];
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_read_back_at_every_rate() {
        for rate in SampleRate::ALL {
            let (writer, reader) = (MarkWriter::new(rate), MarkReader::new(rate));
            for number in 0..MARK_NUMBERS {
                let got = reader.read(writer.frame(number));
                assert_eq!(got, Window::Frame { number: number as u16, offset: 0 }, "{rate}");
            }
        }
    }

    #[test]
    fn a_frame_is_placed_within_a_millisecond_wherever_it_begins() {
        let rate = SampleRate::Hz16000;
        let (writer, reader) = (MarkWriter::new(rate), MarkReader::new(rate));
        for first in [0u64, 7, 8, 63, 73, 300, 448, 510] {
            let stream: Vec<i16> = (first..first + 3).flat_map(|n| writer.frame(n)).copied().collect();
            for start in 320 - 159..320 + 160 {
                let expected = 320 - start as i32;
                let offset = match reader.read(&stream[start..start + 320]) {
                    Window::Frame { number, offset } => {
                        assert_eq!(u64::from(number), (first + 1) % MARK_NUMBERS);
                        offset
                    }
                    Window::Elsewhere { offset } => offset,
                    other => panic!("{other:?} at {expected}"),
                };
                // Near half a frame the two neighbours are equally near.
                let error = (offset - expected).rem_euclid(320);
                assert!(error.min(320 - error) <= 16, "{expected}: {offset}");
            }
        }
    }

    #[test]
    fn silence_a_lone_tone_and_noise_are_no_frames() {
        let reader = MarkReader::new(SampleRate::Hz8000);
        assert_eq!(reader.read(&[0; 160]), Window::Silent);
        let tone: Vec<i16> =
            (0..160).map(|n| (9000.0 * (TAU * 500.0 * n as f64 / 8000.0).sin()) as i16).collect();
        assert!(!matches!(reader.read(&tone), Window::Frame { .. }));
        let mut state = 1u32;
        for _ in 0..2000 {
            let noise: Vec<i16> = (0..160)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 16) as i16 / 4
                })
                .collect();
            assert!(!matches!(reader.read(&noise), Window::Frame { .. }));
        }
    }
}
