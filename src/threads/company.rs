//! Frames that come together: how long a thread lets what its sockets bring wait for more of it.
//!
//! Runs in: telephony and gemini, whose sockets are the relay's two doors, and dsp, whose deadlines are the third. Owns
//! until when a door stays shut.
//! Never holds up what a neighbour rings for: that came through a door, and has waited there.
//! Invariant: a word waits at one door on its way to the model and at one on its way back.

use std::thread;
use std::time::Duration;

use crate::base::Instant;
use crate::sync::Doorbell;

/// Calls from which frames wait: below it, every frame is worth a wake-up of its own.
const CALLS_MIN: u64 = 16;
/// Nanoseconds of waiting, times the calls, times the calls again. One frame in 20 ms of each call each way makes a batch of
/// one at 50 calls, where there is time enough, and of ten at 100.
const PER_CALL_SQUARED_NS: u64 = 200;
/// The longest wait. From 100 calls on it stays the same, and batches grow with the calls.
const MAX: Duration = Duration::from_millis(2);

/// How long what a thread with so many calls is to do waits for more of it.
pub(super) fn company(calls: usize) -> Duration {
    let calls = calls as u64;
    if calls < CALLS_MIN {
        return Duration::ZERO;
    }
    Duration::from_nanos(calls.saturating_mul(calls).saturating_mul(PER_CALL_SQUARED_NS)).min(MAX)
}

/// The door of a thread that serves sockets.
#[derive(Debug, Default)]
pub(super) struct Door {
    shut_until: Instant,
}

impl Door {
    /// Frames came in, so that the next ones wait for company.
    pub(super) fn shut(&mut self, now: Instant, calls: usize) {
        self.shut_until = now.plus(company(calls));
    }

    /// Waits while the door is shut, `now` being when the last pass began. Returns whether sockets are to be looked at: not
    /// yet if a neighbour rang before that time was over.
    pub(super) fn wait(&mut self, now: Instant, own: &Doorbell) -> bool {
        let wait = std::mem::take(&mut self.shut_until);
        let left = wait.since(now);
        if left.is_zero() {
            return true;
        }
        let is_rung = own.apart(|| thread::park_timeout(left));
        if is_rung {
            self.shut_until = wait;
        }
        !is_rung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_one_among_50_waits_half_a_millisecond_and_among_1000_two() {
        let waits = [1, 15, 25, 50, 100, 1_000, usize::MAX].map(|calls| company(calls).as_micros());
        assert_eq!(waits, [0, 0, 125, 500, 2_000, 2_000, 2_000]);
    }

    #[test]
    fn a_ring_is_heard_at_a_shut_door_and_the_door_stays_shut() {
        let own = Doorbell::for_parked(thread::current());
        let (mut door, now) = (Door::default(), Instant::from_micros(1_000_000));
        assert!(door.wait(now, &own), "it is open");
        door.shut(now, 100);
        own.ring();
        assert!(!door.wait(now.plus_us(500), &own));
        own.answer();
        assert!(!door.shut_until.since(now.plus_us(1_999)).is_zero());
        assert!(door.wait(now.plus_us(2_000), &own), "its time is over");
        door.shut(now, 100);
        assert!(door.wait(now.plus_us(1_900), &own), "nobody rang");
        assert!(door.wait(now, &own), "it is open again");
    }
}
