//! The doorbell: wakes a thread once for a batch of work.
//!
//! Runs in: any producer thread (rings) and the one thread it belongs to (answers).
//! Owns a flag and the way to wake the thread: unparking it, or waking its mio poll.
//! Invariant: a ring after the last answer always leads to one more pass of the thread; rings before that answer cost
//! one atomic swap and no system call.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;

use super::pending::Pending;

enum Wake {
    Unpark(Thread),
    Poll(mio::Waker),
}

struct Bell {
    pending: Pending,
    wake: Wake,
    /// Written by the thread that answers alone.
    answers: AtomicU64,
}

impl Bell {
    fn new(wake: Wake) -> Arc<Self> {
        Arc::new(Self { pending: Pending::default(), wake, answers: AtomicU64::new(0) })
    }
}

/// A handle to ring the bell of one thread. Clones ring the same bell.
#[derive(Clone)]
pub struct Doorbell {
    bell: Arc<Bell>,
}

impl Doorbell {
    /// The bell of a thread that parks.
    pub fn for_parked(thread: Thread) -> Self {
        Self { bell: Bell::new(Wake::Unpark(thread)) }
    }

    /// The bell of a thread that waits in a mio poll; the waker must belong to that poll.
    pub fn for_poll(waker: mio::Waker) -> Self {
        Self { bell: Bell::new(Wake::Poll(waker)) }
    }

    /// Says that there is work. Wakes the thread only when no earlier ring is still unanswered.
    pub fn ring(&self) {
        if self.bell.pending.raise() {
            match &self.bell.wake {
                Wake::Unpark(thread) => thread.unpark(),
                // The only failure is a poll that is gone, and with it the thread.
                Wake::Poll(waker) => _ = waker.wake(),
            }
        }
    }

    /// Takes the ring; to be called by the thread before it looks for work. Returns whether the bell had been rung.
    pub fn answer(&self) -> bool {
        // One thread answers, so a load and a store are enough.
        self.bell.answers.store(self.bell.answers.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.bell.pending.lower()
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
    fn a_second_ring_before_the_answer_is_absorbed() {
        let bell = Doorbell::for_parked(std::thread::current());
        assert!(!bell.answer());
        bell.ring();
        bell.ring();
        assert!(bell.is_rung());
        assert!(bell.answer());
        assert!(!bell.answer());
        // The ring left exactly one unpark token, so this returns at once instead of hanging the test.
        std::thread::park();
    }
}
