//! Finds the marks in a stream of audio, wherever its frames begin.
//!
//! Runs in: anywhere: pure. Owns the last few frames of the stream. Never allocates once it has run for a few frames.
//! Invariant: no two marks that it finds overlap by more than half a frame.

use std::sync::Arc;

use super::mark::{MarkReader, Window};

/// Times that a window is moved in vain before the place is given up: behind a frame that was cut off it takes a few.
const MISSES_MAX: u32 = 4;

/// Scans one stream.
pub struct Scanner {
    reader: Arc<MarkReader>,
    /// Samples from `audio_at` on.
    audio: Vec<i16>,
    /// Index, in the whole stream, of the first sample of `audio`.
    audio_at: u64,
    /// Index of the next window to look at.
    window_at: u64,
    /// No frame may begin before this index: the last one found begins half a frame earlier.
    earliest: u64,
    /// A window was already moved to where a frame seemed to begin.
    moved: bool,
    /// Times that there was none since the last frame.
    misses: u32,
}

impl Scanner {
    /// A scanner at the beginning of a stream.
    pub fn new(reader: Arc<MarkReader>) -> Self {
        let room = 16 * reader.samples_per_frame();
        Self {
            reader,
            audio: Vec::with_capacity(room),
            audio_at: 0,
            window_at: 0,
            earliest: 0,
            moved: false,
            misses: 0,
        }
    }

    /// Samples of one mark.
    pub fn samples_per_frame(&self) -> usize {
        self.reader.samples_per_frame()
    }

    /// Index, in the whole stream, of the sample that comes next.
    pub fn end(&self) -> u64 {
        self.audio_at + self.audio.len() as u64
    }

    /// The stream goes on; `found` gets the index of the first sample of each mark, and its number.
    pub fn push(&mut self, samples: &[i16], mut found: impl FnMut(u64, u16)) {
        let length = self.reader.samples_per_frame() as u64;
        self.audio.extend_from_slice(samples);
        let end = self.end();
        while self.window_at + length <= end {
            let at = (self.window_at - self.audio_at) as usize;
            let Some(window) = self.audio.get(at..at + length as usize) else { break };
            match self.reader.read(window) {
                Window::Frame { number, offset } => {
                    let start = self.window_at.saturating_add_signed(i64::from(offset));
                    found(start, number);
                    self.earliest = start + length / 2;
                    self.window_at = start + length;
                    (self.moved, self.misses) = (false, 0);
                }
                Window::Elsewhere { offset } if !self.moved => {
                    let mut target = self.window_at.saturating_add_signed(i64::from(offset));
                    if target < self.earliest.max(self.audio_at) {
                        target += length;
                    }
                    self.window_at = target;
                    self.moved = true;
                }
                Window::Silent | Window::Garbled | Window::Elsewhere { .. } => {
                    self.misses += u32::from(self.moved);
                    if self.misses > MISSES_MAX {
                        // Nothing begins here after all: speech, say. Coming back to it would never end.
                        self.earliest = self.earliest.max(self.window_at + length / 10);
                        self.misses = 0;
                    }
                    self.window_at += length / 4;
                    self.moved = false;
                }
            }
        }
        self.forget(length);
    }

    /// Index, in the whole stream, of the first sample that a mark found from now on may begin at.
    pub fn kept_from(&self) -> u64 {
        self.audio_at
    }

    /// Drops what no window can need again, once enough has gathered to be worth moving the rest.
    fn forget(&mut self, length: u64) {
        let keep_from = self.window_at.saturating_sub(length).max(self.earliest.min(self.window_at));
        let done = keep_from.saturating_sub(self.audio_at).min(self.audio.len() as u64);
        if done >= 4 * length {
            self.audio.drain(..done as usize);
            self.audio_at += done;
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem::base::SampleRate;

    use super::*;
    use crate::callgen::mark::MarkWriter;

    #[test]
    fn marks_are_found_between_silence_and_whatever_the_chunking() {
        let rate = SampleRate::Hz16000;
        let writer = MarkWriter::new(rate);
        let mut stream = vec![0; 777];
        (100..130).for_each(|number| stream.extend_from_slice(writer.frame(number)));
        stream.extend([0; 5_000]);
        (7..12).for_each(|number| stream.extend_from_slice(writer.frame(number)));
        stream.extend([0; 640]);
        // What is no mark is passed over.
        stream.extend(crate::speech::answer());
        for chunk in [160, 320, 333, stream.len()] {
            let mut scanner = Scanner::new(Arc::new(MarkReader::new(rate)));
            let mut numbers = Vec::new();
            for samples in stream.chunks(chunk) {
                scanner.push(samples, |_, number| numbers.push(number));
            }
            assert_eq!(numbers, (100..130).chain(7..12).collect::<Vec<u16>>(), "chunks of {chunk}");
        }
    }
}
