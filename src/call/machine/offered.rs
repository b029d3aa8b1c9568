//! The machine's part before a call is answered: it waits for what decides who answers.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns until when is waited.
//! Never chooses an agent: it asks for the choice, because routes are configured anew while calls run.
//! Invariant: a call is answered or refused by its time at the latest.

use std::sync::Arc;

use super::{Machine, Phase};
use crate::base::Instant;
use crate::call::agent::Agent;
use crate::call::events::{ModelOrder, Order};
use crate::call::leg::CallFields;
use crate::call::outcome::Cause;

impl Machine {
    /// A call that was admitted at `now`, of which it is not known enough to say who answers. Until `until` more is waited
    /// for; then, and whenever more is known, it orders [`Order::ChooseAgent`]. `agent` has it meanwhile.
    pub fn offered(now: Instant, agent: Arc<Agent>, fields: CallFields, until: Instant) -> Self {
        let mut machine = Self::unanswered(now, agent, fields);
        machine.phase = Phase::Offered;
        machine.offered_until = Some(until);
        machine.settle();
        machine
    }

    /// More is known of who is calling.
    pub(super) fn identified(&mut self, fields: CallFields) {
        self.shared.fields = fields;
        self.keep_variables();
        if self.phase == Phase::Offered {
            self.shared.order(Order::ChooseAgent { last: false });
        }
    }

    /// This agent answers.
    pub fn answer_with(&mut self, now: Instant, agent: Arc<Agent>) {
        if self.phase == Phase::Offered {
            (self.shared.agent, self.shared.now) = (agent, now);
            self.begin(now);
            self.settle();
        }
    }

    /// Nobody answers, for this reason.
    pub fn refuse(&mut self, reason: &str) {
        if self.phase == Phase::Offered {
            self.offered_until = None;
            self.close(Cause::Refused(reason.to_owned()));
            self.settle();
        }
    }

    /// Asks for the choice when there is no more time.
    pub(super) fn choose_at_last(&mut self) {
        self.offered_until = None;
        self.shared.order(Order::ChooseAgent { last: true });
    }

    /// Forgets what the switch says that the agent who answers does not ask for.
    fn keep_variables(&mut self) {
        if self.phase != Phase::Offered {
            self.shared
                .fields
                .variables
                .keep(self.shared.agent.terms.variables.iter().map(|variable| variable.name.as_str()));
        }
    }

    /// The caller hears the greeting, and a link is asked for.
    pub(super) fn begin(&mut self, now: Instant) {
        self.phase = Phase::Dialing;
        self.offered_until = None;
        self.keep_variables();
        let announcement = self.recording.begin(&mut self.shared);
        self.derive();
        for sound in announcement.into_iter().chain(self.shared.terms().greeting_sound.clone()) {
            self.shared.order_model(ModelOrder::Play(sound));
        }
        if self.shared.terms().turns.relay {
            self.shared.order_model(ModelOrder::TakeTurns);
        }
        self.dial(now);
    }
}
