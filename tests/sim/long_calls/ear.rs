//! The caller's ear: which answer each frame that is handed to the switch belongs to.
//!
//! Runs in: the simulation: pure. Owns what was heard of each answer.
//! Invariant: answers are heard in their order, and none for longer than the model spoke it.

use tungstenite::Message;

/// Answers are steady tones of 0 Hz, so that they can be told apart behind a resampler.
const LEVEL: i16 = 2_000;
const STEP: i16 = 10;
const ANSWERS_ALIKE: usize = 1_000;

/// The samples of an answer.
pub(super) fn level(answer: usize) -> i16 {
    LEVEL + STEP * (answer % ANSWERS_ALIKE) as i16
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Ear {
    /// Milliseconds heard of each answer.
    pub heard_ms: Vec<u64>,
    last: usize,
}

impl Ear {
    /// The switch is handed a message at 16 kHz.
    pub(super) fn hear(&mut self, message: &Message) {
        let Message::Binary(bytes) = message else { return };
        let samples: Vec<i16> =
            bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect();
        for frame in samples.chunks(320) {
            let (first, middle, last) = (frame[0], frame[frame.len() / 2], frame[frame.len() - 1]);
            // The edges of an answer ring.
            if first.abs_diff(middle) > 2 || last.abs_diff(middle) > 2 || middle < LEVEL - 2 {
                continue;
            }
            let answer = ((middle - LEVEL + STEP / 2) / STEP) as usize;
            assert!(answer >= self.last, "answer {answer} is heard behind {}", self.last);
            self.last = answer;
            if self.heard_ms.len() <= answer {
                self.heard_ms.resize(answer + 1, 0);
            }
            self.heard_ms[answer] += 20;
        }
    }
}
