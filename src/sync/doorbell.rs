//! The doorbell: wakes a thread once for a batch of work.
//!
//! Runs in: any producer thread (rings) and the one thread it belongs to (answers).
//! Owns a flag and the way to wake the thread: unparking it, or waking its mio poll. A thread that waits in a poll can also
//! wait apart from it, for a ring alone, and is unparked there.
//! Invariant: a ring after the last answer always leads to one more pass of the thread; rings before that answer cost
//! one atomic swap and no system call.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};

use super::pending::{Pending, Waits};
use crate::base::Instant;

struct Bell {
    pending: Pending,
    /// The thread, known at the latest when it waits where it has to be unparked.
    thread: OnceLock<Thread>,
    /// Of its poll, if it waits in one.
    poll: Option<mio::Waker>,
    /// Written by the thread that answers alone.
    answers: AtomicU64,
    /// When the thread was rung at to see how late it is, until it has answered; 0: it was not, or has.
    probed_at_us: AtomicU64,
    /// How late it was.
    late_us: AtomicU64,
}

/// A handle to ring the bell of one thread. Clones ring the same bell.
#[derive(Clone)]
pub struct Doorbell {
    bell: Arc<Bell>,
}

impl Doorbell {
    /// The bell of a thread that parks.
    pub fn for_parked(thread: Thread) -> Self {
        Self::new(OnceLock::from(thread), None)
    }

    /// The bell of a thread that waits in a mio poll; the waker must belong to that poll.
    pub fn for_poll(waker: mio::Waker) -> Self {
        Self::new(OnceLock::new(), Some(waker))
    }

    fn new(thread: OnceLock<Thread>, poll: Option<mio::Waker>) -> Self {
        let (answers, probed_at_us, late_us) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let bell = Bell { pending: Pending::default(), thread, poll, answers, probed_at_us, late_us };
        Self { bell: Arc::new(bell) }
    }

    /// Says that there is work. Wakes the thread only when no earlier ring is still unanswered.
    pub fn ring(&self) {
        let Some(waits) = self.bell.pending.raise() else { return };
        match (waits, &self.bell.poll) {
            // The only failure is a poll that is gone, and with it the thread.
            (Waits::Home, Some(waker)) => _ = waker.wake(),
            _ => self.bell.thread.get().into_iter().for_each(Thread::unpark),
        }
    }

    /// Has the thread `wait` where a ring unparks it, and nothing but a ring reaches it; not at all where there is one.
    /// Returns whether a ring is waiting to be answered.
    pub fn apart(&self, wait: impl FnOnce()) -> bool {
        self.bell.thread.get_or_init(thread::current);
        if !self.bell.pending.go_apart() {
            wait();
        }
        self.bell.pending.come_home()
    }

    /// Takes the ring; to be called by the thread before it looks for work. Returns whether the bell had been rung.
    pub fn answer(&self) -> bool {
        // One thread answers, so a load and a store are enough.
        self.bell.answers.store(self.bell.answers.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.bell.pending.lower()
    }

    /// Rings to see how late the thread answers. Returns how late it did the last time, or is by now. One thread may ask.
    pub fn probe(&self, now: Instant) -> u64 {
        let probed_at_us = self.bell.probed_at_us.load(Ordering::Acquire);
        if probed_at_us != 0 {
            return now.as_micros().saturating_sub(probed_at_us);
        }
        let late_us = self.bell.late_us.load(Ordering::Relaxed);
        self.bell.probed_at_us.store(now.as_micros().max(1), Ordering::Release);
        self.ring();
        late_us
    }

    /// Says when the thread answers, for whoever asks how late it is; to be called by the thread.
    pub fn answered(&self, now: Instant) {
        let probed_at_us = self.bell.probed_at_us.load(Ordering::Acquire);
        if probed_at_us != 0 {
            self.bell.late_us.store(now.as_micros().saturating_sub(probed_at_us), Ordering::Relaxed);
            self.bell.probed_at_us.store(0, Ordering::Release);
        }
    }

    /// How often the thread has answered, rung or not: a number that stands still after a ring is a thread that hangs.
    pub fn answers(&self) -> u64 {
        self.bell.answers.load(Ordering::Relaxed)
    }

    /// Whether a ring is waiting to be answered.
    pub fn is_rung(&self) -> bool {
        self.bell.pending.is_raised()
    }
}

/// A doorbell on a poll's waker.
///
/// # Errors
/// Those of making an eventfd: usually that no file descriptor is left.
pub(crate) fn poll_doorbell(poll: &mio::Poll, token: mio::Token) -> io::Result<Doorbell> {
    Ok(Doorbell::for_poll(mio::Waker::new(poll.registry(), token)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_late_a_thread_answers_is_told_with_the_next_question() {
        let bell = Doorbell::for_parked(thread::current());
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        assert_eq!(bell.probe(at(1)), 0);
        assert_eq!(bell.probe(at(31)), 30_000, "it has not answered yet");
        bell.answered(at(41));
        bell.answered(at(99));
        assert_eq!(bell.probe(at(1_000)), 40_000);
        thread::park();
    }

    #[test]
    fn a_second_ring_before_the_answer_is_absorbed() {
        let bell = Doorbell::for_parked(thread::current());
        assert!(!bell.answer());
        bell.ring();
        bell.ring();
        assert!(bell.is_rung());
        assert!(bell.answer());
        assert!(!bell.answer());
        // The ring left exactly one unpark token, so this returns at once instead of hanging the test.
        thread::park();
    }
}
