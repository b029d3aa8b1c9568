//! A sound that is played to the caller as it is: a greeting, an announcement.
//!
//! Runs in: anywhere: pure. Made once from a file, shared by the calls that play it. Owns its samples.
//! Invariant: mono, 16 bit, of a rate that playout can convert.

use std::time::Duration;

use super::SampleRate;

/// See the head of this file.
#[derive(Clone, PartialEq, Eq)]
pub struct Sound {
    /// The rate of its samples.
    pub rate: SampleRate,
    /// The samples, mono.
    pub samples: Vec<i16>,
}

impl Sound {
    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        Duration::from_micros(self.samples.len() as u64 * 1_000_000 / u64::from(self.rate.hz()))
    }
}

impl std::fmt::Debug for Sound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sound({} of {:?})", self.rate, self.duration())
    }
}
