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
        self.begin_recording(now);
        if let Some(sound) = self.shared.agent.terms.greeting_sound.clone() {
            self.shared.order_model(ModelOrder::Play(sound));
        }
        self.begin_turns();
        self.dial(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::agent::CallTerms;
    use crate::call::events::{Fact, LegEnd, LegOrder};

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1_000)
    }

    fn agent(name: &str) -> Arc<Agent> {
        let mut agent = Agent::from(CallTerms::default());
        agent.name = name.into();
        Arc::new(agent)
    }

    fn waiting() -> Machine {
        Machine::offered(at(0), agent("default"), CallFields::default(), at(500))
    }

    fn orders(machine: &mut Machine) -> Vec<Order> {
        std::iter::from_fn(|| machine.next_order()).collect()
    }

    #[test]
    fn a_call_that_waits_dials_nothing_until_it_is_chosen_who_answers() {
        let mut machine = waiting();
        assert_eq!((orders(&mut machine), machine.deadline()), (Vec::new(), Some(at(500))));
        let fields = CallFields { did: Some("220".into()), ..CallFields::default() };
        machine.tell(at(100), Fact::Identified(Box::new(fields)));
        assert_eq!(orders(&mut machine), [Order::ChooseAgent { last: false }]);
        machine.answer_with(at(100), agent("shop"));
        assert!(orders(&mut machine).contains(&Order::Dial(1)));
        assert_eq!((machine.agent().name.as_str(), machine.phase()), ("shop", Phase::Dialing));
        machine.answer_with(at(200), agent("night"));
        assert_eq!(machine.agent().name, "shop", "who answers is chosen once");
    }

    #[test]
    fn when_the_time_is_over_the_choice_is_asked_for_in_any_case_and_once() {
        let mut machine = waiting();
        machine.tick(at(499));
        assert_eq!(orders(&mut machine), []);
        machine.tick(at(500));
        machine.tick(at(600));
        assert_eq!(orders(&mut machine), [Order::ChooseAgent { last: true }]);
    }

    #[test]
    fn a_refusal_closes_the_leg_with_1008_and_the_reason() {
        let mut machine = waiting();
        machine.refuse("closed today");
        let orders = orders(&mut machine);
        let [Order::Leg(LegOrder::Close(close))] = orders.as_slice() else { panic!("{orders:?}") };
        assert_eq!((close.code().code(), close.reason()), (1008, "closed today"));
    }

    #[test]
    fn a_caller_may_hang_up_while_the_call_waits() {
        let mut machine = waiting();
        machine.tell(at(100), Fact::LegGone(LegEnd::Closed(1000)));
        machine.tick(at(500));
        let orders = orders(&mut machine);
        assert!(!orders.iter().any(|order| matches!(order, Order::ChooseAgent { .. } | Order::Dial(_))));
        machine.answer_with(at(600), agent("shop"));
        assert_eq!(machine.next_order(), None);
    }
}
