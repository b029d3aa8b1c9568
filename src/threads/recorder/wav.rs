//! A WAV file of 16-bit stereo that can be read at any moment, also after a crash.
//!
//! Runs in: the thread that writes recordings. Owns the file.
//! Invariant: the sizes in the header are those of a moment within the last five seconds of audio, so that a reader takes what
//! is behind them for nothing, or for audio, and never fails.

use std::fs::File;
use std::io::{self, BufWriter};

use hound::{SampleFormat, WavSpec, WavWriter};

use super::timeline::{Pair, RATE};

/// Bytes of the header (RIFF, fmt of 16 bytes, data).
pub(super) const HEADER_BYTES: u64 = 44;
pub(super) const PAIR_BYTES: u64 = 4;
/// Sizes are written again after so many pairs: five seconds.
const SIZES_EVERY: u64 = 5 * RATE.hz() as u64;
const SPEC: WavSpec =
    WavSpec { channels: 2, sample_rate: RATE.hz(), bits_per_sample: 16, sample_format: SampleFormat::Int };

/// See the head of this file.
pub(crate) struct WavFile {
    file: WavWriter<BufWriter<File>>,
    pairs: u64,
    sized: u64,
}

impl WavFile {
    /// Writes the header.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        Ok(Self { file: WavWriter::new(BufWriter::new(file), SPEC).map_err(of_io)?, pairs: 0, sized: 0 })
    }

    /// Writes what follows.
    ///
    /// # Errors
    /// Those of writing; a file of 4 GiB, which is as long as a WAV file can be.
    pub(crate) fn write(&mut self, pairs: &[Pair]) -> io::Result<()> {
        let all = self.pairs + pairs.len() as u64;
        if all * PAIR_BYTES + HEADER_BYTES > u32::MAX.into() {
            return Err(io::Error::other("a WAV file cannot be longer than 4 GiB"));
        }
        for sample in pairs.iter().flatten() {
            self.file.write_sample(*sample).map_err(of_io)?;
        }
        // The first sizes are nought, which not every reader takes.
        if self.sized == 0 || all - self.sized >= SIZES_EVERY {
            // Audio first: sizes that promise what is not there would be wrong after a crash.
            self.file.flush().map_err(of_io)?;
            self.sized = all;
        }
        self.pairs = all;
        Ok(())
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn end(self) -> io::Result<()> {
        self.file.finalize().map_err(of_io)
    }
}

fn of_io(error: hound::Error) -> io::Error {
    match error {
        hound::Error::IoError(error) => error,
        other => io::Error::other(other),
    }
}
