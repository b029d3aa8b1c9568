//! The state of a doorbell: whether a ring is waiting to be answered, and where the thread waits for it.
//!
//! Runs in: producers raise it, the one consumer does the rest. Owns one atomic. `tests/loom_doorbell.rs` builds this file
//! again with loom's atomics and walks through every interleaving.
//! Invariant: exactly one of the raises between two lowerings is told to wake the consumer, and where it waits; and what a
//! producer wrote before its raise is seen by the consumer after the lowering that takes it.

use super::atomics::{AtomicU8, Ordering};

const RAISED: u8 = 1;
const APART: u8 = 2;

/// Where a consumer waits that has to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Where it waits for everything.
    Home,
    /// Where it waits for a ring and nothing else.
    Apart,
}

/// See the head of this file. Not raised by default.
#[derive(Default)]
pub(crate) struct Pending {
    state: AtomicU8,
}

impl Pending {
    /// Raises the flag. Returns where the consumer has to be woken, if the caller is the one who has to.
    pub(crate) fn raise(&self) -> Option<Waits> {
        match self.state.fetch_or(RAISED, Ordering::AcqRel) {
            0 => Some(Waits::Home),
            APART => Some(Waits::Apart),
            _ => None,
        }
    }

    /// Lowers the flag; to be called before looking for work. Returns whether it was raised.
    pub(crate) fn lower(&self) -> bool {
        self.state.fetch_and(!RAISED, Ordering::AcqRel) & RAISED != 0
    }

    /// Whether the flag is raised.
    pub(crate) fn is_raised(&self) -> bool {
        self.state.load(Ordering::Acquire) & RAISED != 0
    }

    /// The consumer is about to wait apart. Returns whether the flag is raised, so that there is nothing to wait for.
    pub(crate) fn go_apart(&self) -> bool {
        self.state.fetch_or(APART, Ordering::AcqRel) & RAISED != 0
    }

    /// The consumer is back. Returns whether the flag is raised: whoever did it may have woken it where it is no more.
    pub(crate) fn come_home(&self) -> bool {
        self.state.fetch_and(!APART, Ordering::AcqRel) & RAISED != 0
    }
}
