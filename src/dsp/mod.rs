//! Floor 1: slices of samples in, slices of samples out. Resampling, levels, the uplink without holes, and playout.
//!
//! Runs in: the dsp worker threads. Never allocates, locks, logs, makes a system call or reads a clock.

pub mod fir;
pub mod level;
pub mod playout;
pub mod resample;
pub mod uplink;
