//! The caller's talkspurts that were sent and that the model has not begun to answer: what is sent again on the next link.
//!
//! Runs in: the gemini thread. Owns copies of them, in blocks of the shard's pool. Never reads a clock: the caller's stream
//! itself tells the time.
//! Invariant: what is given back stands before what was not sent yet, in the order in which it was said, and begins and
//! ends with the marks of its talkspurts.

use std::collections::VecDeque;

use super::speech::{SpeechPool, SpeechQueue, Taken};
use crate::base::{FrameKind, SampleRate};

/// Silence behind a talkspurt that is sent again with it, so that the model's own detection hears that it is over.
const SILENCE_BEHIND_MS: u64 = 1_000;
/// What the model has not begun to answer when so much more of the caller's stream was sent needs no answer.
const ANSWERED_WITHIN_MS: u64 = 15_000;
/// What is sent again of the stream before a talkspurt's mark, which stands behind its onset.
const ONSET_MS: u32 = 200;
/// Times that the same talkspurt is sent again.
const REPLAYS_MAX: u32 = 3;
const RATE: SampleRate = SampleRate::Hz16000;

/// See the head of this file.
pub(super) struct Unanswered {
    queue: SpeechQueue,
    /// The oldest talkspurt has lost its beginning, so that no mark tells of it.
    begins_within: bool,
    in_spurt: bool,
    /// A talkspurt before the one that goes on waits to be answered.
    ended: bool,
    /// The model began to answer within the talkspurt that goes on, with no other to answer, and was not interrupted: most
    /// likely only its hangover goes on, for the model waits a shorter one.
    answered_within: bool,
    /// The model says that it is at work: an answer may take long.
    worked_on: bool,
    /// The newest of the stream that the queue does not have.
    before: VecDeque<i16>,
    /// Of the caller's stream behind the last talkspurt.
    silence_samples: usize,
    replays: u32,
}

impl Unanswered {
    /// Of at most `ms` milliseconds.
    pub(super) fn new(ms: u64) -> Self {
        Self {
            queue: SpeechQueue::new(ms),
            begins_within: false,
            in_spurt: false,
            ended: false,
            answered_within: false,
            worked_on: false,
            before: VecDeque::with_capacity(RATE.samples_in_ms(ONSET_MS)),
            silence_samples: 0,
            replays: 0,
        }
    }

    /// These samples are sent.
    pub(super) fn sent(&mut self, pool: &mut SpeechPool, samples: &[i16]) {
        if !self.in_spurt {
            self.silence_samples = self.silence_samples.saturating_add(samples.len());
            let silence_ms = (self.silence_samples / RATE.samples_in_ms(1)) as u64;
            if silence_ms >= ANSWERED_WITHIN_MS && !self.worked_on {
                self.clear(pool);
            }
            if silence_ms > SILENCE_BEHIND_MS || self.queue.is_empty() {
                return self.remember(samples);
            }
        }
        self.before.clear();
        self.keep(pool, samples);
    }

    /// Keeps the newest samples in mind, of which nobody knows yet whether a talkspurt has begun in them.
    fn remember(&mut self, samples: &[i16]) {
        let room = RATE.samples_in_ms(ONSET_MS);
        let newest = &samples[samples.len().saturating_sub(room)..];
        let too_many = (self.before.len() + newest.len()).saturating_sub(room);
        self.before.drain(..too_many);
        self.before.extend(newest);
    }

    fn keep(&mut self, pool: &mut SpeechPool, samples: &[i16]) {
        while self.queue.push(pool, RATE, samples).is_err() {
            match self.queue.take(pool, &mut [0; RATE.samples_per_frame()]) {
                Taken::Nothing => return,
                Taken::Samples(..) => {}
                Taken::Mark(mark) => self.begins_within = mark == FrameKind::SpurtStart,
            }
        }
    }

    /// This mark is passed.
    pub(super) fn passed(&mut self, pool: &mut SpeechPool, mark: FrameKind) {
        match mark {
            FrameKind::SpurtStart => self.in_spurt = true,
            FrameKind::SpurtEnd => {
                (self.in_spurt, self.silence_samples) = (false, 0);
                if std::mem::take(&mut self.answered_within) {
                    return self.clear(pool);
                }
                self.ended = true;
            }
            _ if self.queue.is_empty() => return,
            _ => {}
        }
        self.queue.push_mark(pool, RATE, mark);
        if mark == FrameKind::SpurtStart {
            let before = std::mem::take(&mut self.before);
            let (first, second) = before.as_slices();
            self.keep(pool, first);
            self.keep(pool, second);
            self.before = before;
            self.before.clear();
        }
    }

    /// The model begins to answer: only a talkspurt that goes on is still to be answered.
    pub(super) fn answered(&mut self, pool: &mut SpeechPool) {
        self.replays = 0;
        if self.in_spurt {
            self.answered_within = !std::mem::take(&mut self.ended);
            let found = self.queue.forget_before_last(pool, FrameKind::SpurtStart);
            self.begins_within &= !found;
        } else {
            self.clear(pool);
        }
    }

    /// The model says that it is at work, or not any more.
    pub(super) fn is_worked_on(&mut self, worked_on: bool) {
        self.worked_on = worked_on;
    }

    /// The caller interrupted the model: what is being said is no hangover.
    pub(super) fn interrupted(&mut self) {
        self.answered_within = false;
    }

    /// The link is gone: puts everything before what was not sent yet, unless that was done too often or the model is
    /// `suspected` of not bearing it. Returns how many frames it was, and whether what comes first is within a talkspurt.
    pub(super) fn give_back(
        &mut self,
        pool: &mut SpeechPool,
        kept: &mut SpeechQueue,
        suspected: bool,
    ) -> GivenBack {
        if std::mem::take(&mut self.answered_within) {
            self.clear(pool);
        }
        let frames = self.queue.queued_ms().div_ceil(20);
        let within = if self.queue.is_empty() { self.in_spurt } else { self.begins_within };
        let replays_max = if suspected { 1 } else { REPLAYS_MAX };
        if self.replays >= replays_max && frames > 0 {
            self.clear(pool);
            return GivenBack { replayed: 0, given_up: frames, in_spurt: self.in_spurt };
        }
        self.replays += u32::from(frames > 0);
        kept.prepend(&mut self.queue);
        (self.begins_within, self.ended, self.in_spurt) = (false, false, within);
        self.worked_on = false;
        GivenBack { replayed: frames, given_up: 0, in_spurt: within }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self, pool: &mut SpeechPool) {
        self.queue.clear(pool);
        (self.begins_within, self.ended) = (false, false);
    }
}

/// What [`Unanswered::give_back`] did, in frames of 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GivenBack {
    /// To be sent again.
    pub(super) replayed: u64,
    /// Not to be sent again.
    pub(super) given_up: u64,
    /// What is sent next is within a talkspurt whose beginning is not sent again.
    pub(super) in_spurt: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = RATE.samples_per_frame();

    /// What is given back when the link goes, as samples without marks.
    fn given_back(unanswered: &mut Unanswered, pool: &mut SpeechPool) -> Vec<i16> {
        let mut kept = SpeechQueue::new(60_000);
        unanswered.give_back(pool, &mut kept, false);
        let (mut samples, mut piece) = (Vec::new(), [0; FRAME]);
        loop {
            match kept.take(pool, &mut piece) {
                Taken::Samples(n, _) => samples.extend_from_slice(&piece[..n]),
                Taken::Mark(_) => {}
                Taken::Nothing => return samples,
            }
        }
    }

    #[test]
    fn a_talkspurt_is_sent_again_from_before_its_mark_which_stands_behind_the_onset() {
        let mut pool = SpeechPool::new(1 << 20);
        let mut unanswered = Unanswered::new(60_000);
        for level in 0..20 {
            unanswered.sent(&mut pool, &[level; FRAME]);
        }
        unanswered.passed(&mut pool, FrameKind::SpurtStart);
        unanswered.sent(&mut pool, &[20; FRAME]);
        let wanted: Vec<i16> = (10..=20).flat_map(|level| [level; FRAME]).collect();
        assert_eq!(given_back(&mut unanswered, &mut pool), wanted);
    }

    #[test]
    fn an_answer_that_comes_within_the_hangover_leaves_nothing_to_be_sent_again() {
        let mut pool = SpeechPool::new(1 << 20);
        for ends in [true, false] {
            let mut unanswered = Unanswered::new(60_000);
            unanswered.passed(&mut pool, FrameKind::SpurtStart);
            unanswered.sent(&mut pool, &[1; FRAME]);
            unanswered.answered(&mut pool);
            unanswered.sent(&mut pool, &[2; FRAME]);
            if ends {
                unanswered.passed(&mut pool, FrameKind::SpurtEnd);
            }
            assert!(given_back(&mut unanswered, &mut pool).is_empty(), "ended: {ends}");
        }
    }

    #[test]
    fn what_the_caller_interrupts_with_is_sent_again() {
        let mut pool = SpeechPool::new(1 << 20);
        let mut unanswered = Unanswered::new(60_000);
        unanswered.passed(&mut pool, FrameKind::SpurtStart);
        unanswered.sent(&mut pool, &[1; FRAME]);
        unanswered.answered(&mut pool);
        unanswered.interrupted();
        unanswered.passed(&mut pool, FrameKind::SpurtEnd);
        assert_eq!(given_back(&mut unanswered, &mut pool), [1; FRAME]);
    }
}
