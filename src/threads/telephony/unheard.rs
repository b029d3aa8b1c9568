//! Whether the caller of file playback can be hearing anything: audio that was sent, and reports that it plays.
//!
//! Runs in: the telephony thread, and tests: pure. Owns what was sent and not yet acknowledged.
//! Never reads a clock: time comes with each look, a few times a second.
//! Invariant: says it once a call at most, and never of a script that acknowledges.

use crate::base::{Instant, Turn};

/// How long a turn may go without a report that it plays. A working script reports within 0.1 s.
const UNHEARD_MS: u64 = 4_000;

/// See the head of this file.
#[derive(Default)]
pub(super) struct Unheard {
    /// Audio was sent of which no report has come; since when, as far as anybody looked.
    waiting: Option<Option<Instant>>,
    /// The last turn of which audio was sent.
    turn: Option<Turn>,
    told: bool,
}

impl Unheard {
    /// Audio of `turn` was handed to a script that is there to play it, and reports the first chunk of each turn.
    pub(super) fn sent(&mut self, turn: Turn) {
        if self.turn.replace(turn) != Some(turn) {
            self.waiting.get_or_insert(None);
        }
    }

    /// The script reports that it plays.
    pub(super) fn playing(&mut self) {
        self.waiting = None;
    }

    /// The script has said that nothing is heard, and why.
    pub(super) fn told(&mut self) {
        self.told = true;
    }

    /// The turn was cancelled: a report of what was sent just now may never come. What waits longer, waits on, else a
    /// caller who asks "hello?" again and again would hide that nothing is heard.
    pub(super) fn cancelled(&mut self) {
        if self.waiting == Some(None) {
            self.waiting = None;
        }
    }

    /// Looks at the time. Returns true, once, when the caller cannot be hearing anything.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let Some(waiting) = &mut self.waiting else { return false };
        let since = *waiting.get_or_insert(now);
        let unheard = !self.told && now.since_ms(since) >= UNHEARD_MS;
        self.told |= unheard;
        unheard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn audio_that_nobody_acknowledges_is_said_once() {
        let mut unheard = Unheard::default();
        assert!(!unheard.look(at(60_000)), "nothing was sent");
        unheard.sent(1);
        assert!(!unheard.look(at(60_000)) && !unheard.look(at(63_999)));
        unheard.sent(2);
        assert!(unheard.look(at(64_000)));
        assert!(!unheard.look(at(90_000)), "it was said");
    }

    #[test]
    fn an_acknowledgement_ends_the_wait_and_an_early_cancellation_too() {
        let mut unheard = Unheard::default();
        unheard.sent(1);
        assert!(!unheard.look(at(0)));
        unheard.playing();
        unheard.sent(1);
        assert!(!unheard.look(at(10_000)), "the turn was acknowledged");
        unheard.sent(2);
        unheard.cancelled();
        assert!(!unheard.look(at(20_000)) && !unheard.look(at(30_000)));
    }

    #[test]
    fn what_the_script_has_said_with_its_reason_is_not_said_again() {
        let mut unheard = Unheard::default();
        unheard.sent(1);
        unheard.told();
        assert!(!unheard.look(at(0)) && !unheard.look(at(10_000)));
    }

    #[test]
    fn a_caller_who_interrupts_what_cannot_be_heard_does_not_hide_it() {
        let mut unheard = Unheard::default();
        unheard.sent(1);
        assert!(!unheard.look(at(0)));
        unheard.cancelled();
        unheard.sent(2);
        assert!(unheard.look(at(4_000)));
    }
}
