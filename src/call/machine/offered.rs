//! The machine's part before a call is answered: it waits for what decides who answers.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns until when is waited.
//! Never chooses an agent: it asks for the choice, because routes are configured anew while calls run.
//! Invariant: a call is answered or refused by its time at the latest.

use std::sync::Arc;

use super::{Machine, Phase};
use crate::base::Instant;
use crate::call::agent::Agent;
use crate::call::events::Order;
use crate::call::outcome::Cause;
use crate::codec::mod_audio_stream::CallFields;

impl Machine {
    /// A call that was admitted at `now`, of which it is not known enough to say who answers. Until `until` more is waited
    /// for; then, and whenever more is known, it orders [`Order::ChooseAgent`]. `agent` has it meanwhile.
    pub fn offered(now: Instant, agent: Arc<Agent>, fields: CallFields, until: Instant) -> Self {
        let mut machine = Self::unanswered(now, agent, fields);
        machine.phase = Phase::Offered;
        machine.offered_until = Some(until);
        machine
    }

    /// More is known of who is calling.
    pub(super) fn identified(&mut self, fields: CallFields) {
        self.fields = fields;
        if self.phase == Phase::Offered {
            self.orders.push_back(Order::ChooseAgent { last: false });
        }
    }

    /// This agent answers.
    pub fn answer_with(&mut self, now: Instant, agent: Arc<Agent>) {
        if self.phase == Phase::Offered {
            self.agent = agent;
            self.begin(now);
        }
    }

    /// Nobody answers, for this reason.
    pub fn refuse(&mut self, reason: &str) {
        if self.phase == Phase::Offered {
            self.offered_until = None;
            self.close(Cause::Refused(reason.to_owned()));
        }
    }

    /// Asks for the choice when there is no more time.
    pub(super) fn tick_offered(&mut self, now: Instant) {
        if self.phase == Phase::Offered && self.offered_until.is_some_and(|until| now >= until) {
            self.offered_until = None;
            self.orders.push_back(Order::ChooseAgent { last: true });
        }
    }

    /// The caller hears the greeting, and a link is asked for.
    pub(super) fn begin(&mut self, now: Instant) {
        self.phase = Phase::Dialing;
        self.offered_until = None;
        if let Some(sound) = self.agent.terms.greeting_sound.clone() {
            self.orders.push_back(Order::Play(sound));
        }
        self.begin_turns();
        self.dial(now);
    }
}
