//! The machine's part in recording: whether the call is recorded, what the caller is told of it first, and the pause for what
//! must not be kept.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns whether the recording pauses, and until when the caller
//! hears the announcement.
//! Invariant: a call is recorded from the moment on at which it is decided who answers, the announcement included; and the
//! model hears nothing of the caller before that was heard, so that nothing interrupts it.

use super::Machine;
use super::holds::HoldReason;
use crate::base::Instant;
use crate::call::commands::{CommandError, CommandResult};
use crate::call::events::{ModelOrder, Order, RecordingOrder};
use crate::call::record::RECORDING_FAILED;

/// How long after its length the announcement's last sound may be heard.
const HEARD_MS: u64 = 300;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Recording {
    paused: bool,
    pub(super) announced_at: Option<Instant>,
}

impl Machine {
    /// Begins to record, where the agent does.
    pub(super) fn begin_recording(&mut self, now: Instant) {
        if !self.shared.agent.terms.record {
            return;
        }
        self.shared.order(Order::Recording(RecordingOrder::Begin));
        if let Some(sound) = self.shared.agent.terms.consent_sound.clone() {
            self.recording.announced_at = Some(now.plus(sound.duration()).plus_ms(HEARD_MS));
            self.hold(HoldReason::Announcement, true);
            self.shared.order_model(ModelOrder::Play(sound));
        }
    }

    /// Lets the model hear the caller now that they have heard the announcement.
    pub(super) fn announced(&mut self) {
        self.recording.announced_at = None;
        self.hold(HoldReason::Announcement, false);
        self.listen();
    }

    /// Whether the call is recorded, were it not for a disk that is full, and whether that pauses now.
    pub fn is_recorded(&self) -> (bool, bool) {
        let answered = self.phase != super::Phase::Offered;
        (answered && self.shared.agent.terms.record, self.recording.paused)
    }

    /// The recording cannot be written from here on; the call goes on.
    pub fn recording_failed(&mut self, now: Instant, why: &str) {
        self.shared.now = now;
        self.shared.note_of(RECORDING_FAILED, why);
        self.settle();
    }

    /// Pauses the recording, or goes on with it; to ask for what is so already is no mistake.
    ///
    /// # Errors
    /// Where there is none, or none any more.
    pub fn pause_recording(&mut self, paused: bool) -> CommandResult {
        if self.outcome.is_some() {
            return Err(CommandError::Ended);
        }
        if !self.is_recorded().0 {
            return Err(CommandError::NotRecorded);
        }
        if self.recording.paused != paused {
            self.recording.paused = paused;
            self.shared.note(if paused { "recording_paused" } else { "recording_resumed" });
            self.shared.order(Order::Recording(RecordingOrder::Pause(paused)));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::{SampleRate, Sound};
    use crate::call::agent::{Agent, CallTerms};
    use crate::call::leg::CallFields;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn machine(record: bool) -> Machine {
        let sound = |samples| Some(Arc::new(Sound { rate: SampleRate::Hz8000, samples: vec![1; samples] }));
        let terms = CallTerms {
            record,
            consent_sound: sound(8_000),
            greeting_sound: sound(800),
            ..CallTerms::default()
        };
        Machine::new(at(0), Arc::new(Agent::from(terms)), CallFields::default())
    }

    fn orders(machine: &mut Machine) -> Vec<Order> {
        std::iter::from_fn(|| machine.next_order()).collect()
    }

    #[test]
    fn a_recorded_call_begins_with_its_announcement_and_the_model_hears_nobody_until_it_is_over() {
        let mut machine = machine(true);
        let begun = orders(&mut machine);
        assert!(
            matches!(&begun[..3], [Order::Recording(RecordingOrder::Begin), Order::Model(ModelOrder::HoldUplink(true)), Order::Model(ModelOrder::Play(consent))] if consent.samples.len() == 8_000)
        );
        assert!(
            matches!(&begun[3], Order::Model(ModelOrder::Play(greeting)) if greeting.samples.len() == 800)
        );
        machine.tick(at(1_299));
        assert!(!orders(&mut machine).contains(&Order::Model(ModelOrder::HoldUplink(false))));
        assert!(machine.deadline() <= Some(at(1_300)));
        machine.tick(at(1_300));
        machine.tick(at(1_400));
        let let_go = orders(&mut machine)
            .into_iter()
            .filter(|order| *order == Order::Model(ModelOrder::HoldUplink(false)))
            .count();
        assert_eq!(let_go, 1);
    }

    #[test]
    fn a_pause_is_ordered_once_and_noted_and_what_is_not_recorded_cannot_pause() {
        let mut recorded = machine(true);
        orders(&mut recorded);
        assert_eq!((recorded.pause_recording(true), recorded.pause_recording(true)), (Ok(()), Ok(())));
        assert_eq!(orders(&mut recorded), [Order::Recording(RecordingOrder::Pause(true))]);
        assert_eq!(recorded.is_recorded(), (true, true));
        assert_eq!(recorded.pause_recording(false), Ok(()));
        let kinds: Vec<_> = recorded.history().into_iter().map(|event| event.kind).collect();
        assert!(
            kinds.ends_with(&["recording_paused".to_owned(), "recording_resumed".to_owned()]),
            "{kinds:?}"
        );
        let mut other = machine(false);
        assert!(!orders(&mut other).iter().any(|order| matches!(
            order,
            Order::Recording(RecordingOrder::Begin) | Order::Model(ModelOrder::HoldUplink(_))
        )));
        assert_eq!(other.pause_recording(true), Err(CommandError::NotRecorded));
    }
}
