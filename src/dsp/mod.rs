//! Floor 2: signal processing of one call's audio, slices in and slices out.
//!
//! Runs in: dsp threads, and anywhere else: pure. Owns nothing. Never allocates while audio flows, never locks, never
//! logs, never reads a clock. Invariant: what a stage gives depends on the samples it was given and on nothing else,
//! so the same audio yields the same bits alone and beside any number of other calls.

pub(crate) mod answers;
pub mod fir;
pub(crate) mod gain;
pub(crate) mod lanes;
pub(crate) mod level;
pub(crate) mod local_barge_in;
pub(crate) mod playout;
pub mod resample;
pub(crate) mod spurts;
pub mod talkspurt;
pub mod tap;
pub(crate) mod uplink;
pub mod voice;

pub use answers::Answers;
pub use local_barge_in::LocalBargeIn;
pub use playout::Playout;
pub use resample::{Progress, Resampler};
pub use spurts::{ListenTerms, Spurts};
pub use tap::Tap;
pub use uplink::Uplink;
