//! One turn of the model: its audio, its words, and when each piece of it is due.
//!
//! Runs in: the simulator's thread: pure. Owns the turn's samples. Never reads a clock: times come in.
//! Invariant: chunks are due at absolute times that follow from the turn's start; `turnComplete` is due when a
//! listener who plays in real time would have heard everything.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

/// The pace of a turn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Samples at 24 kHz in a chunk.
    pub chunk: usize,
    /// Times real time; 0: at once.
    pub burst: f64,
}

impl Pace {
    /// The time after the start at which the chunk of this number is due.
    fn due_after(self, chunk_number: usize) -> Duration {
        if self.burst <= 0.0 {
            return Duration::ZERO;
        }
        duration_of(self.chunk * chunk_number).div_f64(self.burst)
    }
}

fn duration_of(samples: usize) -> Duration {
    Duration::from_micros(samples as u64 * 1_000_000 / 24_000)
}

/// What is due next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A chunk of audio, and the words spoken up to its end that were not given before.
    Chunk {
        /// Which samples.
        samples: Range<usize>,
        /// Which words.
        words: Range<usize>,
        /// The first chunk of the turn.
        first: bool,
        /// The last one.
        last: bool,
    },
    /// Half of the audio is sent: the moment for faults.
    Middle,
    /// `generationComplete`.
    GenerationComplete,
    /// `turnComplete`.
    TurnComplete,
}

/// What is unusual about a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Manner {
    /// Audio, transcription and the turn's end come in one message at the end.
    pub bundled: bool,
    /// Speech does not cut it off.
    pub uninterruptible: bool,
    /// Once it was interrupted, the next answer is the same turn again.
    pub starts_again: bool,
}

/// A turn under way.
#[derive(Debug)]
pub(super) struct Turn {
    /// From 1, in this connection.
    pub number: u64,
    /// What is unusual about it.
    pub manner: Manner,
    audio: Arc<[i16]>,
    words: Vec<String>,
    pace: Pace,
    start: Instant,
    chunks_sent: usize,
    words_sent: usize,
    middle_passed: bool,
    generation_complete: bool,
    /// When a listener has heard all that was sent.
    played_until: Instant,
}

impl Turn {
    /// A turn that begins at `start`.
    pub(super) fn new(
        number: u64,
        audio: Arc<[i16]>,
        text: &str,
        pace: Pace,
        start: Instant,
        manner: Manner,
    ) -> Self {
        // Deltas are to be joined as they are, so each word but the first brings its own space.
        let words = text.split_inclusive(' ').map(str::to_owned).collect();
        Self {
            number,
            manner,
            audio,
            words,
            pace,
            start,
            chunks_sent: 0,
            words_sent: 0,
            middle_passed: false,
            generation_complete: false,
            played_until: start,
        }
    }

    fn chunks(&self) -> usize {
        self.audio.len().div_ceil(self.pace.chunk)
    }

    fn is_middle(&self) -> bool {
        !self.middle_passed && self.chunks_sent * 2 >= self.chunks()
    }

    /// When [`Turn::advance`] has something to do.
    pub(super) fn due(&self) -> Instant {
        if self.is_middle() {
            self.start
        } else if self.chunks_sent < self.chunks() {
            self.start + self.pace.due_after(self.chunks_sent)
        } else if self.generation_complete {
            self.played_until
        } else {
            self.start
        }
    }

    /// Takes the next step; call it when it is due.
    pub(super) fn advance(&mut self) -> Step {
        if self.is_middle() {
            self.middle_passed = true;
            return Step::Middle;
        }
        let chunks = self.chunks();
        if self.chunks_sent < chunks {
            let due = self.due();
            let from = self.chunks_sent * self.pace.chunk;
            let samples = from..self.audio.len().min(from + self.pace.chunk);
            self.chunks_sent += 1;
            self.played_until = self.played_until.max(due) + duration_of(samples.len());
            let words = self.words_sent..self.words.len() * self.chunks_sent / chunks;
            self.words_sent = words.end;
            let last = self.chunks_sent == chunks;
            if last && self.manner.bundled {
                self.generation_complete = true;
            }
            return Step::Chunk { samples, words, first: from == 0, last };
        }
        if self.generation_complete {
            return Step::TurnComplete;
        }
        self.generation_complete = true;
        Step::GenerationComplete
    }

    /// Lets everything that is still to be sent come later.
    pub(super) fn pause(&mut self, pause: Duration) {
        self.start += pause;
    }

    /// These samples of the turn.
    pub(super) fn samples(&self, range: Range<usize>) -> &[i16] {
        self.audio.get(range).unwrap_or_default()
    }

    /// These words of the turn, as one text.
    pub(super) fn text(&self, range: Range<usize>) -> String {
        self.words.get(range).unwrap_or_default().concat()
    }

    /// All of it, as it was given.
    pub(super) fn speech(&self) -> (Arc<[i16]>, String) {
        (Arc::clone(&self.audio), self.words.concat())
    }

    /// What was not sent yet, if anything: samples and words.
    pub(super) fn rest(&self) -> Option<(Arc<[i16]>, String)> {
        let rest = self.audio.get(self.samples_sent()..).filter(|rest| !rest.is_empty())?;
        Some((rest.into(), self.text(self.words_sent..self.words.len())))
    }

    /// Samples sent so far.
    pub(super) fn samples_sent(&self) -> usize {
        self.audio.len().min(self.chunks_sent * self.pace.chunk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(turn: &mut Turn, start: Instant) -> Vec<(u64, Step)> {
        let mut steps = Vec::new();
        loop {
            let due = turn.due().saturating_duration_since(start).as_millis() as u64;
            let step = turn.advance();
            let over = step == Step::TurnComplete;
            steps.push((due, step));
            if over {
                return steps;
            }
        }
    }

    fn second(burst: f64) -> (Turn, Instant) {
        let start = Instant::now();
        let pace = Pace { chunk: 2_400, burst };
        (Turn::new(1, vec![7; 23_000].into(), "one two three", pace, start, Manner::default()), start)
    }

    #[test]
    fn a_burst_is_sent_early_and_completed_when_it_would_have_been_heard() {
        let (mut turn, start) = second(4.0);
        let steps = run(&mut turn, start);
        let chunks: Vec<u64> = steps
            .iter()
            .filter(|(_, step)| matches!(step, Step::Chunk { .. }))
            .map(|(due, _)| *due)
            .collect();
        assert_eq!(chunks, [0, 25, 50, 75, 100, 125, 150, 175, 200, 225]);
        assert_eq!(steps.last(), Some(&(958, Step::TurnComplete)));
        assert_eq!(turn.samples_sent(), 23_000);
        let words: Vec<Range<usize>> = steps
            .iter()
            .filter_map(
                |(_, step)| if let Step::Chunk { words, .. } = step { Some(words.clone()) } else { None },
            )
            .collect();
        assert_eq!((words[0].clone(), words[3].clone(), words[9].clone()), (0..0, 0..1, 2..3));
        assert_eq!(words.into_iter().map(|range| turn.text(range)).collect::<String>(), "one two three");
    }

    #[test]
    fn burst_nought_sends_all_at_once_and_below_one_is_slower_than_real_time() {
        let (mut turn, start) = second(0.0);
        let steps = run(&mut turn, start);
        assert!(steps.iter().rev().skip(1).all(|(due, _)| *due == 0));
        assert_eq!(steps.last(), Some(&(958, Step::TurnComplete)));
        let (mut turn, start) = second(0.5);
        assert_eq!(run(&mut turn, start).last(), Some(&(1_858, Step::TurnComplete)));
    }

    #[test]
    fn a_pause_in_the_middle_delays_the_second_half_only() {
        let (mut turn, start) = second(1.0);
        let mut dues = Vec::new();
        loop {
            let due = turn.due().saturating_duration_since(start).as_millis() as u64;
            match turn.advance() {
                Step::Chunk { .. } => dues.push(due),
                Step::Middle => turn.pause(Duration::from_millis(500)),
                Step::GenerationComplete => {}
                Step::TurnComplete => break assert_eq!(due, 1_458),
            }
        }
        assert_eq!(dues, [0, 100, 200, 300, 400, 1000, 1100, 1200, 1300, 1400]);
    }

    #[test]
    fn a_turn_without_audio_ends_at_once() {
        let start = Instant::now();
        let pace = Pace { chunk: 960, burst: 4.0 };
        let mut turn = Turn::new(1, Vec::new().into(), "", pace, start, Manner::default());
        let steps = run(&mut turn, start);
        assert_eq!(steps, [(0, Step::Middle), (0, Step::GenerationComplete), (0, Step::TurnComplete)]);
    }
}
