//! Frames that come together: how long a thread lets what its sockets bring wait for more of it.
//!
//! Runs in: telephony and gemini, whose sockets are the relay's two doors, and dsp, whose deadlines are the third. Owns
//! until when a door stays shut.
//! Never holds up what a neighbour rings for: that came through a door, and has waited there.
//! Invariant: a word waits at one door on its way to the model and at one on its way back.

use std::thread;
use std::time::Duration;

use crate::base::Instant;
use crate::config::{Config, Profile};
use crate::sync::Doorbell;

/// Calls from which frames wait: below it, every frame is worth a wake-up of its own.
const CALLS_MIN: u64 = 16;
/// Nanoseconds of waiting, times the cube of the calls. One frame in 20 ms of each call each way makes a batch of one at 50
/// calls, where there is time enough, and of fifteen at 100.
const PER_CALL_CUBED_NS: u64 = 4;
/// The longest wait. From 91 calls on it stays the same, and batches grow with the calls.
const MAX: Duration = Duration::from_millis(3);
/// What a door waits where few processors are to carry many calls: each call brings a frame in that time.
const DENSE: Duration = Duration::from_millis(20);

/// How frames come together in a relay.
#[derive(Debug, Clone, Copy)]
pub struct Company {
    /// The calls of the others share the processors with a thread's own.
    shards: u64,
    is_dense: bool,
}

impl Company {
    /// As the configuration has it.
    pub fn configured(config: &Config) -> Self {
        let is_dense = config.media.profile == Profile::Density;
        Self { shards: config.threads.shards.max(1) as u64, is_dense }
    }

    /// How long what the sockets bring to a thread with so many calls waits for more of it.
    fn at_door(self, calls: usize) -> Duration {
        if self.is_dense && calls as u64 * self.shards >= CALLS_MIN {
            DENSE
        } else {
            self.at_deadlines(calls)
        }
    }

    /// How long the deadlines of a thread with so many calls wait for each other: less than any lead.
    pub(super) fn at_deadlines(self, calls: usize) -> Duration {
        let calls = calls as u64 * self.shards;
        if calls < CALLS_MIN {
            return Duration::ZERO;
        }
        Duration::from_nanos(calls.saturating_pow(3).saturating_mul(PER_CALL_CUBED_NS)).min(MAX)
    }
}

/// The door of a thread that serves sockets.
#[derive(Debug)]
pub(super) struct Door {
    company: Company,
    shut_until: Instant,
}

impl Door {
    /// An open one.
    pub(super) fn new(company: Company) -> Self {
        Self { company, shut_until: Instant::default() }
    }

    /// Frames came in, so that the next ones wait for company.
    pub(super) fn shut(&mut self, now: Instant, calls: usize) {
        self.shut_until = now.plus(self.company.at_door(calls));
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

    const ALONE: Company = Company { shards: 1, is_dense: false };

    #[test]
    fn a_word_of_one_among_50_waits_half_a_millisecond_and_among_1000_three() {
        let waits = [1, 15, 25, 50, 100, 1_000, 1 << 40].map(|calls| ALONE.at_door(calls).as_micros());
        assert_eq!(waits, [0, 0, 62, 500, 3_000, 3_000, 3_000]);
        let halves = Company { shards: 2, ..ALONE };
        assert_eq!([7, 25].map(|calls| halves.at_door(calls).as_micros()), [0, 500], "of 50 in all");
    }

    #[test]
    fn where_calls_are_dense_a_word_waits_for_a_frame_of_each_and_a_deadline_does_not() {
        let dense = Company { is_dense: true, ..ALONE };
        assert_eq!([15, 16, 1_000].map(|calls| dense.at_door(calls).as_millis()), [0, 20, 20]);
        assert_eq!(dense.at_deadlines(1_000).as_millis(), 3);
    }

    #[test]
    fn a_ring_is_heard_at_a_shut_door_and_the_door_stays_shut() {
        let own = Doorbell::for_parked(thread::current());
        let (mut door, now) = (Door::new(ALONE), Instant::from_micros(1_000_000));
        assert!(door.wait(now, &own), "it is open");
        door.shut(now, 100);
        own.ring();
        assert!(!door.wait(now.plus_us(500), &own));
        own.answer();
        assert!(!door.shut_until.since(now.plus_us(2_999)).is_zero());
        assert!(door.wait(now.plus_us(3_000), &own), "its time is over");
        door.shut(now, 100);
        assert!(door.wait(now.plus_us(2_900), &own), "nobody rang");
        assert!(door.wait(now, &own), "it is open again");
    }
}
