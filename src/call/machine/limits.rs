//! How much a call may have: tokens, and silence.
//!
//! Runs in: anywhere: pure. Owns plain numbers.
//! Invariant: what is not limited is `None`.

use std::time::Duration;

/// How much a call may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Tokens, all that are billed of each turn added up.
    pub tokens: Option<u64>,
    /// How long neither side says anything.
    pub silence: Option<Duration>,
}
