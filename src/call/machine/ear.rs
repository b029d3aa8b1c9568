//! What the caller has heard of that which was handed to their switch.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns until when they hear what the switch has, and how far playout
//! was when last told to whom that matters.
//! Invariant: a wait for the caller's ear begins with all that was handed over not heard.

use std::time::Duration;

use crate::base::Instant;

/// How long after its last sound the caller still hears the model, on the way to their ear and back.
const ECHO_MS: u64 = 300;
/// How far ahead it is believed what will have been heard: it may be a pause without an end in sight, and whoever wants to know
/// asks again.
const AHEAD_MS: u64 = 1_000;
/// Nothing was handed to the switch for this long: the caller has heard all. Longer than the lead of any leg, and than
/// the pauses of a model that speaks no faster than real time.
const QUIET: Duration = Duration::from_millis(800);
/// How often that is looked at.
const LOOK_MS: u64 = 100;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Ear {
    heard_at: Instant,
}

impl Ear {
    /// What was handed to the switch will have been heard at this time, as the dsp worker says.
    pub(super) fn hears_until(&mut self, now: Instant, at: Instant) {
        self.heard_at = at.min(now.plus_ms(AHEAD_MS));
    }

    /// When the caller will have heard what was handed to the switch.
    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// When nothing of it is in their ear, or comes back from it.
    pub(super) fn is_free_at(&self) -> Instant {
        self.heard_at.plus_ms(ECHO_MS)
    }
}

/// Playout, watched until the caller has heard all that there is.
#[derive(Debug)]
pub(super) struct Playing {
    samples: u64,
    changed_at: Instant,
    look_at: Instant,
}

impl Playing {
    /// Watched from now on.
    pub(super) fn new(now: Instant) -> Self {
        Self { samples: 0, changed_at: now, look_at: now.plus_ms(LOOK_MS) }
    }

    /// When to look again.
    pub(super) fn look_at(&self) -> Instant {
        self.look_at
    }

    /// Whether more was handed to the switch than when last told.
    pub(super) fn has_more(&self, samples: u64) -> bool {
        samples != self.samples
    }

    /// So many samples have been handed to the switch so far. Returns whether the caller has heard all; not while what
    /// was handed over is `unheard`.
    pub(super) fn is_over(&mut self, now: Instant, samples: u64, unheard: bool) -> bool {
        self.look_at = now.plus_ms(LOOK_MS);
        if samples != self.samples || unheard {
            (self.samples, self.changed_at) = (samples, now);
        }
        now.since(self.changed_at) >= QUIET
    }
}
