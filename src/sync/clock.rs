//! The one clock: monotonic microseconds since the process started, and the wall clock for records.
//!
//! Runs in: anywhere; a media thread reads it once a pass. Never used below `threads/`: machines are told the time.
//! Invariant: this file is the only one that reads a clock, so virtual time in tests covers everything else.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::Instant;

/// The process's clock. Copies agree with each other.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// The machine's, since then.
    Machine(std::time::Instant),
    /// None: it is always this moment.
    Standing(SystemTime),
}

impl Clock {
    /// A clock that starts now, at one second: so a point shortly before the start can be expressed too.
    pub fn new() -> Self {
        Self { source: Source::Machine(std::time::Instant::now() - Duration::from_secs(1)) }
    }

    /// A clock that stands, at one second and at this moment of the wall clock: for who is told the time, in simulations.
    pub fn standing(wall: SystemTime) -> Self {
        Self { source: Source::Standing(wall) }
    }

    /// The present.
    pub fn now(&self) -> Instant {
        match self.source {
            Source::Machine(start) => Instant::from_micros(start.elapsed().as_micros() as u64),
            Source::Standing(_) => Instant::from_micros(1_000_000),
        }
    }

    /// The wall clock, for records and seeds; never for measuring time.
    pub fn wall(&self) -> SystemTime {
        match self.source {
            Source::Machine(_) => SystemTime::now(),
            Source::Standing(wall) => wall,
        }
    }

    /// Milliseconds of the wall clock since 1970; 0 where it shows an earlier time.
    pub fn unix_ms(&self) -> u64 {
        self.wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
    }

    /// Seconds of the wall clock since 1970; 0 where it shows an earlier time.
    pub fn unix_seconds(&self) -> u64 {
        self.wall().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}
