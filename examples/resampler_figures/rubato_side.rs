//! The crate `rubato` set up for the same work as ours: 16-bit mono telephone audio in frames of 20 ms.
//!
//! Runs in: the figures example and the benchmark, which include this file. Owns a converter's buffers. Never allocates
//! while it converts, so that the comparison is fair.
//! Invariant: every variant gets exactly 20 ms of input at a time and gives what it has.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{
    Async, Fft, FixedAsync, FixedSync, SincInterpolationParameters, SincInterpolationType, WindowFunction,
};
use tandem::base::SampleRate;

use super::converter::Converter;

/// A way to set rubato up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Its synchronous resampler as its documentation recommends it, a frame at a time.
    Fft,
    /// The same in blocks of 5 ms, the longest that divide a frame and stay within 3 ms of delay, with the window of the
    /// six that then suits best: Blackman, or Hann where the slower rate is 8 kHz and no other leaves the pass band.
    FftShort,
    /// Its sinc resampler with filters as long as ours, a filter for each phase (no interpolation between them), and the
    /// window and cut-off that suit best: with the cut-off it chooses by itself it misses the pass band or the stop band.
    Sinc,
}

impl Variant {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::Fft, Self::FftShort, Self::Sinc];

    /// What the table calls it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fft => "rubato Fft, default",
            Self::FftShort => "rubato Fft, 5 ms blocks",
            Self::Sinc => "rubato sinc, tuned",
        }
    }
}

/// One of rubato's resamplers behind 16-bit samples.
pub(crate) struct Rubato {
    inner: Box<dyn rubato::Resampler<f32>>,
    input: Vec<f32>,
    output: Vec<f32>,
}

impl Rubato {
    /// Sets up `variant` for one pair of rates.
    pub(crate) fn new(variant: Variant, from: SampleRate, to: SampleRate) -> Self {
        let (from_hz, to_hz) = (from.hz() as usize, to.hz() as usize);
        let slower_hz = from_hz.min(to_hz);
        let frame = from.samples_per_frame();
        let inner: Box<dyn rubato::Resampler<f32>> = match variant {
            Variant::Fft => {
                let default = Fft::new(from_hz, to_hz, frame, 1, FixedSync::Input);
                Box::new(default.expect("rates and frame are valid"))
            }
            Variant::FftShort => {
                let window = if slower_hz == 8000 { WindowFunction::Hann } else { WindowFunction::Blackman };
                let short = Fft::new_custom(from_hz, to_hz, frame, 4, 1, window, FixedSync::Input);
                Box::new(short.expect("rates and frame are valid"))
            }
            Variant::Sinc => {
                let length = 32 * from_hz / slower_hz;
                let parameters = SincInterpolationParameters::new(length, WindowFunction::Blackman)
                    .f_cutoff(0.97)
                    .oversampling_factor(to_hz / 8000)
                    .interpolation(SincInterpolationType::Nearest);
                let ratio = to_hz as f64 / from_hz as f64;
                let sinc = Async::new_sinc(ratio, 1.0, &parameters, frame, 1, FixedAsync::Input);
                Box::new(sinc.expect("rates and frame are valid"))
            }
        };
        assert_eq!(inner.input_frames_next(), frame, "{}: takes other frames", variant.name());
        let output = vec![0.0; inner.output_frames_max()];
        Self { inner, input: vec![0.0; frame], output }
    }
}

impl Converter for Rubato {
    fn frame(&mut self, input: &[i16], output: &mut Vec<i16>) {
        for (kept, &sample) in self.input.iter_mut().zip(input) {
            *kept = f32::from(sample);
        }
        let adapter = InterleavedSlice::new(&self.input, 1, self.input.len()).expect("one channel");
        let room = self.output.len();
        let mut output_adapter = InterleavedSlice::new_mut(&mut self.output, 1, room).expect("one channel");
        let (consumed, produced) =
            self.inner.process_into_buffer(&adapter, &mut output_adapter, None).expect("lengths fit");
        assert_eq!(consumed, input.len());
        // The rounding that ours uses, so that it costs both the same.
        output.extend(self.output[..produced].iter().map(|sample| {
            (sample.clamp(f32::from(i16::MIN), f32::from(i16::MAX)) + 12_582_912.0).to_bits() as i16
        }));
    }
}
