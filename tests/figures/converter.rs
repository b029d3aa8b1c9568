//! What ours and other resamplers have in common, so that one measurement serves all.
//!
//! Runs in: tests, examples and benchmarks, which include this file. Owns nothing. Never sees inside a resampler.
//! Invariant: the input is 16-bit mono in frames of 20 ms, as a call has it.

use tandem::dsp::Resampler;

/// Something that converts a stream in frames.
pub(crate) trait Converter {
    /// Takes 20 ms of input and appends to `output` whatever it gives for them.
    fn frame(&mut self, input: &[i16], output: &mut Vec<i16>);
}

impl Converter for Resampler {
    fn frame(&mut self, input: &[i16], output: &mut Vec<i16>) {
        let written = output.len();
        output.resize(written + self.to().samples_per_frame(), 0);
        let progress = self.process(input, &mut output[written..]);
        assert_eq!(progress.consumed, input.len(), "20 ms of room must take 20 ms of input");
        output.truncate(written + progress.produced);
    }
}
