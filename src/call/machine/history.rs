//! What happened in a call and when, for its record.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the events, up to a limit.
//! Never holds what somebody said, nor a key that was pressed: it may be part of a secret.
//! Invariant: events stand in their order; those beyond the limit are counted.

use super::Machine;
use crate::base::Instant;
use crate::call::record::{CallEvent, EVENT_DETAIL_CHARACTERS_MAX, EVENTS_MAX};

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct History {
    now_ms: u64,
    events: Vec<CallEvent>,
    beyond: u64,
}

impl History {
    /// What happens from here on happens so many milliseconds after the offer.
    pub(super) fn set_time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Something happened.
    pub(super) fn note(&mut self, kind: &'static str) {
        self.add(kind, None);
    }

    /// Something happened of which there is more to say.
    pub(super) fn note_of(&mut self, kind: &'static str, detail: &str) {
        self.add(kind, Some(detail));
    }

    fn add(&mut self, kind: &'static str, detail: Option<&str>) {
        if self.events.len() >= EVENTS_MAX {
            self.beyond += 1;
            return;
        }
        let fit = |detail: &str| detail.chars().take(EVENT_DETAIL_CHARACTERS_MAX).collect();
        self.events.push(CallEvent { at_ms: self.now_ms, kind: kind.to_owned(), detail: detail.map(fit) });
    }

    /// All of it, with one event more where there were too many.
    pub(super) fn events(&self) -> Vec<CallEvent> {
        let mut events = self.events.clone();
        if self.beyond > 0 {
            let detail = Some(format!("{} more", self.beyond));
            events.push(CallEvent { at_ms: self.now_ms, kind: "events_left_out".to_owned(), detail });
        }
        events
    }
}

impl Machine {
    /// What happened, in its order.
    pub fn history(&self) -> Vec<CallEvent> {
        self.history.events()
    }

    /// When the model first spoke, if it ever did.
    pub fn first_audio_at(&self) -> Option<Instant> {
        self.first_audio_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_beyond_the_limit_are_counted_and_details_are_short() {
        let mut history = History::default();
        for at_ms in 0..EVENTS_MAX as u64 + 7 {
            history.set_time(at_ms);
            history.note_of("barge_in", &"ä".repeat(1_000));
        }
        let events = history.events();
        assert_eq!(events.len(), EVENTS_MAX + 1);
        assert_eq!(events[1].at_ms, 1);
        assert_eq!(events[0].detail.as_ref().map(|detail| detail.chars().count()), Some(200));
        assert_eq!(events[EVENTS_MAX].detail.as_deref(), Some("7 more"));
    }
}
