//! What happened in a call and when, for its record.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the events, up to a limit.
//! Never holds what somebody said, nor a key that was pressed: it may be part of a secret.
//! Invariant: events stand in their order; those beyond the limit are counted.

use crate::call::record::{CallEvent, EVENT_DETAIL_CHARACTERS_MAX, EVENTS_MAX};

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct History {
    events: Vec<CallEvent>,
    beyond: u64,
}

impl History {
    /// Something happened so many milliseconds after the offer, of which there may be more to say.
    pub(super) fn add(&mut self, at_ms: u64, kind: &'static str, detail: Option<&str>) {
        if self.events.len() >= EVENTS_MAX {
            self.beyond += 1;
            return;
        }
        let fit = |detail: &str| detail.chars().take(EVENT_DETAIL_CHARACTERS_MAX).collect();
        self.events.push(CallEvent { at_ms, kind: kind.to_owned(), detail: detail.map(fit) });
    }

    /// All of it, with one event more where there were too many.
    pub(super) fn events(&self, now_ms: u64) -> Vec<CallEvent> {
        let mut events = self.events.clone();
        if self.beyond > 0 {
            let detail = Some(format!("{} more", self.beyond));
            events.push(CallEvent { at_ms: now_ms, kind: "events_left_out".to_owned(), detail });
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_beyond_the_limit_are_counted_and_details_are_short() {
        let mut history = History::default();
        for at_ms in 0..EVENTS_MAX as u64 + 7 {
            history.add(at_ms, "barge_in", Some(&"ä".repeat(1_000)));
        }
        let events = history.events(1_000);
        assert_eq!(events.len(), EVENTS_MAX + 1);
        assert_eq!(events[1].at_ms, 1);
        assert_eq!(events[0].detail.as_ref().map(|detail| detail.chars().count()), Some(200));
        assert_eq!(events[EVENTS_MAX].detail.as_deref(), Some("7 more"));
    }
}
