//! How much a leg may send: the caller's audio against real time, texts and pings against a flood.
//!
//! Runs in: the telephony thread, and tests: pure. Owns two numbers and the time when each was reckoned.
//! Never reads a clock. Invariant: neither allowance grows beyond what may come at once.

use crate::base::Instant;
use crate::base::limits::{CALLER_AHEAD_MS_MAX, CALLER_SPEED_MAX, LEG_TEXT_BURST, LEG_TEXTS_PER_SECOND};

/// Microseconds of audio that may be taken now.
pub(super) struct AudioAllowance {
    us: u64,
    at: Instant,
}

impl AudioAllowance {
    /// The full allowance.
    pub(super) const fn new(now: Instant) -> Self {
        Self { us: CALLER_AHEAD_MS_MAX * 1000, at: now }
    }

    /// Lets time add to it, [`CALLER_SPEED_MAX`] times as fast as it passes.
    pub(super) fn refill(&mut self, now: Instant) {
        let refill_us = now.since_us(self.at).saturating_mul(CALLER_SPEED_MAX);
        self.us = (self.us + refill_us).min(CALLER_AHEAD_MS_MAX * 1000);
        self.at = now;
    }

    /// Whether `us` may be taken.
    pub(super) const fn has(&self, us: u64) -> bool {
        self.us >= us
    }

    /// Takes `us`, or what there is.
    pub(super) const fn take(&mut self, us: u64) {
        self.us = self.us.saturating_sub(us);
    }
}

/// Thousandths of a text or ping that may come now.
pub(super) struct TextAllowance {
    milli: u64,
    at: Instant,
}

impl TextAllowance {
    /// The full allowance.
    pub(super) const fn new(now: Instant) -> Self {
        Self { milli: LEG_TEXT_BURST as u64 * 1000, at: now }
    }

    /// Counts one text or ping. Returns whether it was allowed.
    pub(super) fn take_one(&mut self, now: Instant) -> bool {
        let refill = now.since_us(self.at).saturating_mul(u64::from(LEG_TEXTS_PER_SECOND)) / 1000;
        self.milli = (self.milli + refill).min(u64::from(LEG_TEXT_BURST) * 1000);
        self.at = now;
        let allowed = self.milli >= 1000;
        self.milli -= if allowed { 1000 } else { 0 };
        allowed
    }
}
