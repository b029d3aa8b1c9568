//! What kind of calls a simulation makes: ranges and shares, from which a seed draws one call.
//!
//! Runs in: the simulations: pure. Owns plain numbers.
//! Invariant: says nothing about how the relay works, only what its peers do.

use std::ops::RangeInclusive;

use tandem::base::SampleRate;

/// The kind of a call.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    /// Rates of the leg.
    pub rates: &'static [SampleRate],
    /// Lead and chunk of playback, in milliseconds.
    pub playback_ms: &'static [(u16, u16)],
    /// Answers that the model gives.
    pub answers: RangeInclusive<usize>,
    /// How long one lasts.
    pub answer_ms: RangeInclusive<u64>,
    /// How fast the model sends it, in percent of real time.
    pub pace_percent: RangeInclusive<u64>,
    /// Of 100 answers, how many the caller interrupts.
    pub interrupted_percent: u32,
    /// Of 100 calls, in how many the switch stops taking audio for a while, several times.
    pub stalled_percent: u32,
    /// Of 100 calls, in how many something goes badly wrong, on either side or in time.
    pub fault_percent: u32,
    /// Compare every sample that the model hears with what was said (it costs as much as all the rest), or only count.
    pub hears_uplink: bool,
    /// The longest that a thread of the relay takes to answer its bell, in microseconds; at 0 everything runs at once.
    pub thread_delay_us_max: u64,
}
