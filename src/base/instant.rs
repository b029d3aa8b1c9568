//! Points of monotonic time, as plain numbers: code that is told the time can be run in virtual time.
//!
//! Runs in: anywhere: pure. Never reads a clock: that is `sync::clock` alone.
//! Invariant: arithmetic saturates instead of wrapping.

use std::time::Duration;

/// A point of monotonic time in whole microseconds since the start of the process's clock. Plain arithmetic, so that tests can make any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(u64);

impl Instant {
    /// The point `us` microseconds after the start of the clock.
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }

    /// Microseconds since the start of the clock.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The point `us` microseconds later.
    pub const fn plus_us(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// The point `us` microseconds earlier; the start of the clock where that would be before it.
    pub const fn minus_us(self, us: u64) -> Self {
        Self(self.0.saturating_sub(us))
    }

    /// The point `ms` milliseconds later.
    pub const fn plus_ms(self, ms: u64) -> Self {
        self.plus_us(ms.saturating_mul(1000))
    }

    /// The point `ms` milliseconds earlier; the beginning of the clock where that is later.
    pub const fn minus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_sub(ms.saturating_mul(1000)))
    }

    /// The point this much later.
    pub const fn plus(self, duration: Duration) -> Self {
        self.plus_us(duration.as_micros() as u64)
    }

    /// Microseconds from `earlier` to here; zero where `earlier` is later.
    pub const fn since_us(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Milliseconds from `earlier` to here, rounded down; zero where `earlier` is later.
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.since_us(earlier) / 1000
    }

    /// The time from `earlier` to here; zero where `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.since_us(earlier))
    }
}
