//! How often, or how much, something may be: so much a second, and some at once after a quiet time (a token bucket).
//!
//! Runs in: anywhere: pure. Owns a number and the time when it was reckoned. Never reads a clock.
//! Invariant: there is never more in it than may come at once.

use super::Instant;

/// How fast it is filled, and how far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// So much a second on average.
    pub per_second: u32,
    /// So much at once.
    pub burst: u32,
}

impl Rate {
    /// So many times as often.
    pub(crate) fn times(self, factor: u32) -> Self {
        Self { per_second: self.per_second.saturating_mul(factor), burst: self.burst.saturating_mul(factor) }
    }

    const fn full_millionths(self) -> u64 {
        self.burst as u64 * ONE
    }
}

/// In millionths, so that a microsecond adds the rate as it is.
const ONE: u64 = 1_000_000;

/// See the head of this file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    rate: Rate,
    millionths: u64,
    at: Instant,
}

impl Bucket {
    /// A full one.
    pub(crate) const fn new(now: Instant, rate: Rate) -> Self {
        Self { rate, millionths: rate.full_millionths(), at: now }
    }

    /// Lets time add to it.
    pub(crate) fn refill(&mut self, now: Instant) {
        let more = now.since_us(self.at).saturating_mul(self.rate.per_second.into());
        self.millionths = self.millionths.saturating_add(more).min(self.rate.full_millionths());
        self.at = now;
    }

    /// Whether so much may be taken, as it was last refilled.
    pub(crate) const fn has(&self, amount: u64) -> bool {
        self.millionths >= amount * ONE
    }

    /// Whether it is as full as it can be.
    pub(crate) const fn is_full(&self) -> bool {
        self.millionths >= self.rate.full_millionths()
    }

    /// Takes so much, or what there is.
    pub(crate) const fn take(&mut self, amount: u64) {
        self.millionths = self.millionths.saturating_sub(amount * ONE);
    }

    /// Takes one, if there is one now.
    pub(crate) fn take_one(&mut self, now: Instant) -> bool {
        self.refill(now);
        let has_one = self.has(1);
        self.take(has_one.into());
        has_one
    }
}
