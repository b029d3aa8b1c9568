//! The machine's part in turn taking: how the caller is listened to, and the greeting that they cannot interrupt.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns how far the greeting has come.
//! Invariant: the caller's speech is kept back for the greeting once, from the moment at which the model is asked to greet until
//! the caller has heard it, or the time for it is over; kept, not dropped.

use super::Machine;
use super::holds::HoldReason;
use crate::base::Instant;
use crate::call::events::{Fact, ModelOrder, Order, WorkerOrder};
use crate::dsp::ListenTerms;

/// How long after the last sound of the greeting its end may still be on its way.
const HEARD_MS: u64 = 300;

/// A greeting that is protected.
#[derive(Debug)]
pub(super) struct Greeting {
    until: Instant,
    began_at: Option<Instant>,
    generated_at: Option<Instant>,
    pub(super) look_at: Instant,
}

impl Machine {
    /// Says how the caller is listened to, where that is not as every call begins.
    pub(super) fn begin_turns(&mut self) {
        self.listen();
        if self.shared.agent.terms.turns.relay {
            self.shared.order_model(ModelOrder::TakeTurns);
        }
    }

    /// Says how the caller is listened to from now on, where that has changed.
    pub(super) fn listen(&mut self) {
        let listen = self.shared.agent.terms.turns.listen;
        // A cough must not pause what speech cannot interrupt.
        let local_barge_in = listen.local_barge_in && !self.is_protected();
        let listen = ListenTerms { local_barge_in, ..listen };
        if listen != self.listens {
            self.listens = listen;
            self.shared.order(Order::Dsp(WorkerOrder::Listen(listen)));
        }
    }

    /// What the caller hears, or is about to hear, is not to be interrupted.
    fn is_protected(&self) -> bool {
        let turns = &self.shared.agent.terms.turns;
        let to_come = turns.protect_greeting.is_some() && self.answered_at.is_none();
        to_come || self.holds.has(HoldReason::Greeting) || self.holds.has(HoldReason::Announcement)
    }

    /// A key was pressed: it stops what the agent says, but for what is to be heard to its end.
    pub(super) fn key_interrupts(&mut self) {
        let protected =
            self.greeting.is_some() || self.farewell.is_some() || self.recording.announced_at.is_some();
        if self.shared.agent.terms.control.keys_interrupt && self.outcome.is_none() && !protected {
            self.shared.order_model(ModelOrder::StopSpeech);
        }
    }

    /// The model is asked to greet the caller now.
    pub(super) fn protect_greeting(&mut self, now: Instant) {
        if let Some(limit) = self.shared.agent.terms.turns.protect_greeting {
            let until = now.plus(limit);
            self.greeting = Some(Greeting { until, began_at: None, generated_at: None, look_at: until });
            self.hold(HoldReason::Greeting, true);
        }
    }

    /// Notes how far the greeting has come.
    pub(super) fn watch_greeting(&mut self, now: Instant, fact: &Fact) {
        let Some(greeting) = &mut self.greeting else { return };
        match fact {
            Fact::TurnStarted(_) => _ = greeting.began_at.get_or_insert(now),
            Fact::GenerationComplete(_) | Fact::TurnComplete(_) if greeting.began_at.is_some() => {
                greeting.generated_at.get_or_insert(now);
                greeting.look_at = now.plus_ms(HEARD_MS).min(greeting.until);
            }
            // Whatever interrupted it, it is over.
            Fact::Interrupted(_) | Fact::LegGone(_) => self.greeting_is_over(),
            _ => {}
        }
    }

    /// Looks whether the greeting was heard.
    pub(super) fn tick_greeting(&mut self, now: Instant) {
        let heard_at = self.watchdog.heard_at();
        let Some(greeting) = self.greeting.as_mut() else {
            return;
        };
        // Until the first of it is handed to the switch, the time is that of something else.
        let playing = greeting.began_at.is_some_and(|began_at| heard_at <= began_at);
        let heard = !playing && now >= heard_at.plus_ms(HEARD_MS);
        if now >= greeting.until || greeting.generated_at.is_some() && heard {
            self.greeting_is_over();
        } else {
            greeting.look_at = heard_at.max(now).plus_ms(HEARD_MS).min(greeting.until);
        }
    }

    fn greeting_is_over(&mut self) {
        self.greeting = None;
        self.hold(HoldReason::Greeting, false);
        self.listen();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::base::{LegReport, SampleRate, Sound};
    use crate::call::agent::{Agent, CallTerms};
    use crate::call::leg::CallFields;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    /// Whether a key stops the agent's speech, of either source, at 500 ms and at 40 s.
    fn stops(terms: CallTerms) -> Vec<bool> {
        let mut machine = Machine::new(at(0), Arc::new(Agent::from(terms)), CallFields::default());
        machine.tell(at(0), Fact::LinkConnected(1));
        machine.tell(at(0), Fact::SetupComplete(1));
        let mut stopped = Vec::new();
        for ms in [500, 40_000] {
            while machine.deadline().is_some_and(|due| due <= at(ms)) {
                machine.tick(at(ms));
            }
            for key in [Fact::KeyOnEventSocket('5'), Fact::Reported(LegReport::Dtmf('5'))] {
                while machine.next_order().is_some() {}
                machine.tell(at(ms), key);
                stopped.push(
                    std::iter::from_fn(|| machine.next_order())
                        .any(|order| order == Order::Model(ModelOrder::StopSpeech)),
                );
            }
        }
        stopped
    }

    #[test]
    fn a_key_stops_the_agents_speech_where_it_may_and_not_what_is_to_be_heard_to_its_end() {
        let with = |keys_interrupt| {
            let mut terms = CallTerms::default();
            terms.control.keys_interrupt = keys_interrupt;
            terms
        };
        assert_eq!(stops(with(false)), [false; 4]);
        assert_eq!(stops(with(true)), [true; 4]);
        let mut announced = with(true);
        announced.record = true;
        announced.consent_sound = Some(Arc::new(Sound { rate: SampleRate::Hz8000, samples: vec![1; 8_000] }));
        assert_eq!(stops(announced), [false, false, true, true]);
        let mut greets = with(true);
        greets.greeting = Some("Greet.".into());
        greets.turns.protect_greeting = Some(Duration::from_secs(10));
        assert_eq!(stops(greets), [false, false, true, true]);
    }
}
