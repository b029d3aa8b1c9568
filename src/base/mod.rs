//! Floor 0: what everything else speaks in. Units, ids, limits with their derivation, and the audio frame.
//!
//! Runs in: anywhere: pure. Imports nothing of this crate.

pub mod units;

pub use units::SampleRate;
