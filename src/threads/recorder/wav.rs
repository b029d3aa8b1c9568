//! A WAV file of 16-bit stereo that can be read at any moment, also after a crash.
//!
//! Runs in: the thread that writes recordings. Owns the file.
//! Invariant: the sizes in the header are those of a moment within the last five seconds of audio, so that a reader takes what
//! is behind them for nothing, or for audio, and never fails.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use super::timeline::{Pair, RATE};

/// Bytes of the header (RIFF, fmt of 16 bytes, data).
const HEADER_BYTES: u64 = 44;
const PAIR_BYTES: u32 = 4;
/// Sizes are written again after so many bytes: five seconds.
const SIZES_EVERY: u32 = 5 * RATE.hz() * PAIR_BYTES;

/// See the head of this file.
pub(crate) struct WavFile {
    file: BufWriter<File>,
    bytes: u32,
    sized: u32,
}

impl WavFile {
    /// Writes the header.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let mut wav = Self { file: BufWriter::new(file), bytes: 0, sized: 0 };
        wav.file.write_all(&header(0))?;
        Ok(wav)
    }

    /// Writes what follows.
    ///
    /// # Errors
    /// Those of writing; a file of 4 GiB, which is as long as a WAV file can be.
    pub(crate) fn write(&mut self, pairs: &[Pair]) -> io::Result<()> {
        let more = pairs.len() as u64 * u64::from(PAIR_BYTES);
        let bytes = u32::try_from(u64::from(self.bytes) + more + HEADER_BYTES);
        let bytes = bytes.map_err(|_| io::Error::other("a WAV file cannot be longer than 4 GiB"))?;
        for sample in pairs.iter().flatten() {
            self.file.write_all(&sample.to_le_bytes())?;
        }
        self.bytes = bytes - HEADER_BYTES as u32;
        if self.bytes - self.sized >= SIZES_EVERY {
            self.write_sizes()?;
        }
        Ok(())
    }

    /// Writes what is left. Returns the file's size.
    ///
    /// # Errors
    /// Those of writing.
    pub(crate) fn end(mut self) -> io::Result<u64> {
        self.write_sizes()?;
        Ok(HEADER_BYTES + u64::from(self.bytes))
    }

    fn write_sizes(&mut self) -> io::Result<()> {
        // Audio first: sizes that promise what is not there would be wrong after a crash.
        self.file.flush()?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header(self.bytes))?;
        self.file.seek(SeekFrom::End(0))?;
        self.sized = self.bytes;
        Ok(())
    }
}

/// The header of a file with so many bytes of audio.
fn header(bytes: u32) -> [u8; HEADER_BYTES as usize] {
    let mut header = [0; HEADER_BYTES as usize];
    let bytes_per_second = RATE.hz() * PAIR_BYTES;
    let parts: [&[u8]; 13] = [
        b"RIFF",
        &(bytes + HEADER_BYTES as u32 - 8).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(),
        &1_u16.to_le_bytes(),
        &2_u16.to_le_bytes(),
        &RATE.hz().to_le_bytes(),
        &bytes_per_second.to_le_bytes(),
        &(PAIR_BYTES as u16).to_le_bytes(),
        &16_u16.to_le_bytes(),
        b"data",
        &bytes.to_le_bytes(),
    ];
    let mut room = header.as_mut_slice();
    for part in parts {
        // All of it fits: the parts are those of the header.
        _ = room.write_all(part);
    }
    header
}
