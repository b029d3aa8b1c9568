//! Which refused calls leave a record: one for each call, however often its switch tries, and so many that a flood fills no
//! database.
//!
//! Runs in: the control thread, and tests in virtual time: pure. Owns what was recorded of late. Never reads a clock.
//! Invariant: whatever is refused, no more records are made than the allowance gives.

use std::collections::VecDeque;

use crate::base::Instant;
use crate::base::call_name::is_same;
use crate::telemetry::RefusalReason;

/// Records at once, and one more each so many milliseconds: at most 45 MB a day.
const BURST: u64 = 60;
const EVERY_MS: u64 = 2_000;
/// How long another attempt counts as the same call's: longer than our script tries.
const SAME_CALL_MS: u64 = 60_000;
/// Calls that are remembered for that: as many as leave a record in that time.
const REMEMBERED_MAX: usize = (BURST + SAME_CALL_MS / EVERY_MS) as usize;

/// Whether a connection that is refused for this reason is a call that an operator would look for: a switch that may come in
/// asked for it in words that were understood.
pub(crate) const fn is_call(reason: RefusalReason) -> bool {
    matches!(
        reason,
        RefusalReason::Token
            | RefusalReason::TooManyCalls
            | RefusalReason::Overloaded
            | RefusalReason::Draining
            | RefusalReason::NotExpected
            | RefusalReason::Route
            | RefusalReason::NoCapacity
            | RefusalReason::Credentials
    )
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct RefusedCalls {
    /// UUIDs with a record, the oldest first.
    recorded: VecDeque<(String, Instant)>,
    /// Milliseconds of the allowance that are used up, at that time.
    used_ms: u64,
    used_at: Instant,
}

/// What becomes of a refused call's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recorded {
    /// It is made.
    Yes,
    /// The call has one already.
    Already,
    /// Too many were refused.
    TooMany,
}

impl RefusedCalls {
    /// A call with this UUID was refused: is it to have a record?
    pub(crate) fn refused(&mut self, now: Instant, uuid: Option<&str>) -> Recorded {
        while self.recorded.front().is_some_and(|(_, at)| now.since_ms(*at) >= SAME_CALL_MS) {
            self.recorded.pop_front();
        }
        if uuid.is_some_and(|uuid| self.recorded.iter().any(|(known, _)| is_same(known, uuid))) {
            return Recorded::Already;
        }
        let used_ms = self.used_ms.saturating_sub(now.since_ms(self.used_at)) + EVERY_MS;
        if used_ms > BURST * EVERY_MS {
            return Recorded::TooMany;
        }
        (self.used_ms, self.used_at) = (used_ms, now);
        if let Some(uuid) = uuid.filter(|_| self.recorded.len() < REMEMBERED_MAX) {
            self.recorded.push_back((uuid.to_owned(), now));
        }
        Recorded::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    #[test]
    fn a_call_that_is_tried_again_has_one_record() {
        let mut calls = RefusedCalls::default();
        assert_eq!(calls.refused(at(0), Some("A")), Recorded::Yes);
        for attempt in 1..10 {
            assert_eq!(calls.refused(at(attempt * 500), Some("a")), Recorded::Already);
        }
        assert_eq!(calls.refused(at(500), None), Recorded::Yes);
        assert_eq!(calls.refused(at(SAME_CALL_MS), Some("a")), Recorded::Yes, "another call by now");
    }

    #[test]
    fn a_flood_leaves_as_many_records_as_the_allowance_gives() {
        let mut calls = RefusedCalls::default();
        let mut flood = |from_ms: u64, ms: u64| {
            let each = (from_ms..from_ms + ms).filter(|ms| {
                let uuid = ms.to_string();
                calls.refused(at(*ms), Some(&uuid)) == Recorded::Yes
            });
            each.count() as u64
        };
        assert_eq!(flood(0, 1_000), BURST);
        assert_eq!(flood(1_000, 60_000), 60_000 / EVERY_MS);
        assert!(calls.recorded.len() <= REMEMBERED_MAX);
        assert_eq!(calls.refused(at(10_000_000), Some("later")), Recorded::Yes);
    }
}
