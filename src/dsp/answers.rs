//! How long the caller waits for an answer: from the last word that they say to the first that they hear.
//!
//! Runs in: the call's dsp worker. Owns two times. Never allocates.
//! Invariant: each wait is measured once, and what begins while the caller still speaks is no answer.

use crate::base::Instant;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Answers {
    /// Since when the caller has been waiting, if they are.
    asked_at: Option<Instant>,
    /// When the model was last heard to begin.
    began_at: Option<Instant>,
}

impl Answers {
    /// The caller has begun to speak: what they may have been waiting for belongs to what they say now.
    pub fn caller_began(&mut self) {
        *self = Self::default();
    }

    /// The caller has stopped, at `stopped_at`, which a talkspurt's hangover has let become known only now. Returns the
    /// microseconds that they waited, if the model has begun to answer meanwhile: its own hangover may be shorter.
    pub fn caller_stopped(&mut self, stopped_at: Instant) -> Option<u64> {
        let answered_us =
            self.began_at.take().filter(|at| *at >= stopped_at).map(|at| at.since_us(stopped_at));
        self.asked_at = answered_us.is_none().then_some(stopped_at);
        answered_us
    }

    /// The caller begins to hear the model. Returns the microseconds that they waited for it, if they did.
    pub fn model_began(&mut self, now: Instant) -> Option<u64> {
        let waited_us = self.asked_at.take().map(|asked_at| now.since_us(asked_at));
        self.began_at = waited_us.is_none().then_some(now);
        waited_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn a_wait_lasts_from_the_last_word_to_the_first_and_is_measured_once() {
        let mut answers = Answers::default();
        assert_eq!(answers.model_began(ms(500)), None, "a greeting answers nothing");
        answers.caller_began();
        assert_eq!(answers.caller_stopped(ms(2_000)), None);
        assert_eq!(answers.model_began(ms(2_900)), Some(900_000));
        assert_eq!(answers.model_began(ms(5_000)), None, "it goes on after a pause");
    }

    #[test]
    fn an_answer_that_begins_within_the_hangover_counts_from_the_last_word() {
        let mut answers = Answers::default();
        answers.caller_began();
        assert_eq!(answers.model_began(ms(2_400)), None);
        assert_eq!(answers.caller_stopped(ms(2_000)), Some(400_000));
        assert_eq!(answers.model_began(ms(9_000)), None);
    }

    #[test]
    fn what_the_caller_speaks_over_is_no_answer_and_who_goes_on_speaking_does_not_wait() {
        let mut answers = Answers::default();
        answers.caller_began();
        assert_eq!(answers.model_began(ms(1_000)), None);
        assert_eq!(answers.caller_stopped(ms(3_000)), None, "it began before the last word");
        answers.caller_began();
        assert_eq!(answers.caller_stopped(ms(6_000)), None);
        assert_eq!(answers.model_began(ms(6_700)), Some(700_000), "of the last words only");
    }
}
