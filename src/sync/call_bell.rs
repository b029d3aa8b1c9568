//! A thread's doorbell together with the calls for which it is rung.
//!
//! Runs in: any neighbour of the thread. Owns clones of what the thread looks at and is woken by.
//! Invariant: a call is marked before the thread is rung at, so that the pass which the ring leads to finds it.

use std::sync::Arc;

use super::{Doorbell, DueSet};

/// See the head of this file.
#[derive(Clone)]
pub struct CallBell {
    bell: Doorbell,
    due: Arc<DueSet>,
}

impl CallBell {
    /// The bell of a thread that looks at the calls whose slots are marked in `due`.
    pub fn new(bell: Doorbell, due: Arc<DueSet>) -> Self {
        Self { bell, due }
    }

    /// Something happened to the call with this slot, of which a ring will tell.
    pub fn mark(&self, slot: usize) {
        self.due.mark(slot);
    }

    /// See [`Doorbell::ring`].
    pub fn ring(&self) {
        self.bell.ring();
    }
}
