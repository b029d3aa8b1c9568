//! Whether a call's recording pauses, and the announcement that it is recorded.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns until when the caller hears the announcement, and the pause.
//! Invariant: a call is recorded from the moment on at which it is decided who answers, the announcement included; and the
//! model hears nothing of the caller before that was heard, so that nothing interrupts it.

use std::sync::Arc;

use super::shared::Shared;
use crate::base::{Instant, Sound};
use crate::call::events::{Order, RecordingOrder};

/// How long after its length the announcement's last sound may be heard.
const HEARD_MS: u64 = 300;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Recording {
    paused: bool,
    announced_at: Option<Instant>,
}

impl Recording {
    /// Begins to record, where the agent does. Returns the announcement, which the caller is to hear now.
    pub(super) fn begin(&mut self, shared: &mut Shared) -> Option<Arc<Sound>> {
        if !shared.terms().record {
            return None;
        }
        shared.order(Order::Recording(RecordingOrder::Begin));
        let sound = shared.terms().consent_sound.clone()?;
        self.announced_at = Some(shared.now.plus(sound.duration()).plus_ms(HEARD_MS));
        Some(sound)
    }

    /// When the announcement will have been heard, while it is.
    pub(super) fn announced_at(&self) -> Option<Instant> {
        self.announced_at
    }

    /// The announcement was heard.
    pub(super) fn announced(&mut self) {
        self.announced_at = None;
    }

    /// Whether it pauses.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Pauses, or goes on; to ask for what is so already is no mistake.
    pub(super) fn pause(&mut self, shared: &mut Shared, paused: bool) {
        if self.paused != paused {
            self.paused = paused;
            shared.note(if paused { "recording_paused" } else { "recording_resumed" });
            shared.order(Order::Recording(RecordingOrder::Pause(paused)));
        }
    }
}
