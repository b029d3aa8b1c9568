//! Ids: a call's slot and generation, and the number of a link within its session.
//!
//! Runs in: anywhere: pure. Owns nothing.
//! Invariant: two calls never have equal ids while anything still names the older one: a slot that is used again has
//! a higher generation.

use std::fmt;

/// A call, named by the slot it occupies in every per-thread table and the generation of that slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId {
    /// The index into per-thread tables; below the configured limit of calls.
    pub slot: u32,
    /// How often the slot has been given away, counted from 1.
    pub generation: u32,
}

impl CallId {
    /// The id as one number, for registrations with the poll loop.
    pub const fn to_bits(self) -> u64 {
        ((self.generation as u64) << 32) | self.slot as u64
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

/// The number of a link within its session, counted from 1. What arrives from an older link than the current one is
/// stale.
pub type LinkNumber = u32;
