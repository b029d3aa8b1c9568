//! What the tap of a call carries: both sides' audio with its place on the call's clock, for recording and listening in.
//!
//! Runs in: anywhere: pure. Owns 320 samples by value. Never allocates.
//! Invariant: places are counted in ticks from one moment of the call on, so that a frame that is lost leaves a gap of its own
//! length and moves nothing.

use crate::base::{Frame, Instant};

/// Ticks a second: the smallest rate of which every rate's frames begin and end on a whole tick.
pub const TICKS_PER_SECOND: u64 = 48_000;

/// The tick of `now` on the clock of a call that began at `began_at`; 0 for what was before.
pub const fn tick_at(began_at: Instant, now: Instant) -> u64 {
    ticks_in_us(now.since_us(began_at))
}

/// Ticks in so many microseconds, rounded down.
pub const fn ticks_in_us(us: u64) -> u64 {
    us.saturating_mul(TICKS_PER_SECOND / 1000) / 1000
}

/// What a [`TapFrame`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapKind {
    /// The caller's audio, at 16 kHz, as the model gets it.
    Caller,
    /// What the caller's ear gets, at the leg's rate.
    Agent,
    /// No audio: what was to be heard from this place on is heard from `to` on.
    AgentLater {
        /// The new place.
        to: u64,
    },
    /// No audio: what was to be heard from this place on is never heard.
    AgentCut,
}

/// A frame with its place.
#[derive(Clone, Copy)]
pub struct TapFrame {
    /// Its place: ticks of [`TICKS_PER_SECOND`] since the call began.
    pub at: u64,
    /// What it says.
    pub kind: TapKind,
    /// Its audio.
    pub frame: Frame,
}

/// Where tapped frames go to: the writing end of a tap's ring, or a list in a test.
pub trait TapSink {
    /// Puts a frame behind the others. Returns false where there is no room; it is lost then.
    fn put(&mut self, frame: TapFrame) -> bool;
}
