//! The flag inside a doorbell: whether a ring is waiting to be answered.
//!
//! Runs in: producers raise it, the one consumer lowers it. Owns one atomic. `tests/loom_doorbell.rs` builds this file
//! again with loom's atomics and walks through every interleaving.
//! Invariant: exactly one of the raises between two lowerings is told to wake the consumer, and what a producer wrote
//! before its raise is seen by the consumer after the lowering that takes it.

use super::atomics::{AtomicBool, Ordering};

/// See the head of this file. Not raised by default.
#[derive(Default)]
pub(crate) struct Pending {
    raised: AtomicBool,
}

impl Pending {
    /// Raises the flag. Returns whether the caller is the one who has to wake the consumer.
    pub(crate) fn raise(&self) -> bool {
        !self.raised.swap(true, Ordering::AcqRel)
    }

    /// Lowers the flag; to be called before looking for work. Returns whether it was raised.
    pub(crate) fn lower(&self) -> bool {
        self.raised.swap(false, Ordering::AcqRel)
    }

    /// Whether the flag is raised.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }
}
