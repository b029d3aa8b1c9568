//! The machine's part in the limits of an agent: tokens, and silence.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns since when nothing was said.
//! Invariant: silence is counted while the model is ready and neither side speaks, and at no other time.

use std::time::Duration;

use super::{Machine, Phase};
use crate::base::Instant;
use crate::call::model::Tokens;
use crate::call::outcome::Cause;

/// How much a call may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Tokens, all that are billed of each turn added up.
    pub tokens: Option<u64>,
    /// How long neither side says anything.
    pub silence: Option<Duration>,
}

/// How much a call has had.
#[derive(Debug, Default)]
pub(super) struct Spent {
    caller_speaks: bool,
    model_speaks: bool,
    /// Since when nobody speaks; `None` while somebody does, and before the model is ready.
    quiet_since: Option<Instant>,
}

impl Machine {
    /// The server counts tokens.
    pub(super) fn tokens_used(&mut self, tokens: Tokens) {
        self.shared.counts.tokens.add(tokens);
        let used = self.shared.counts.tokens.total();
        if self.shared.agent.terms.limits.tokens.is_some_and(|limit| used >= limit) {
            self.close(Cause::TokenLimit);
        }
    }

    /// The caller began or ended a talkspurt, or pressed a key, which is both.
    pub(super) fn caller_is_heard(&mut self, now: Instant, speaks: bool) {
        self.spent.caller_speaks = speaks;
        self.spent.quiet_since = self.spent.quiet_since.map(|_| now);
    }

    /// The model began or ended a turn.
    pub(super) fn model_is_heard(&mut self, now: Instant, speaks: bool) {
        self.spent.model_speaks = speaks;
        self.spent.quiet_since = Some(now);
    }

    /// When the caller has been silent for too long.
    pub(super) fn silence_deadline(&self) -> Option<Instant> {
        let quiet = self.phase == Phase::Live && !self.spent.caller_speaks && !self.spent.model_speaks;
        let since = self.spent.quiet_since.filter(|_| quiet && self.outcome.is_none())?;
        Some(since.plus(self.shared.agent.terms.limits.silence?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::call::agent::{Agent, CallTerms};
    use crate::call::events::{Fact, LegOrder, Order};
    use crate::call::leg::CallFields;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    /// A call whose model is ready at second 0.
    fn live(limits: Limits) -> Machine {
        let terms = CallTerms { limits, ..CallTerms::default() };
        let mut machine = Machine::new(at(0), Arc::new(Agent::from(terms)), CallFields::default());
        machine.tell(at(0), Fact::LinkConnected(1));
        machine.tell(at(0), Fact::SetupComplete(1));
        machine
    }

    /// Why the leg was closed, if it was.
    fn closed(machine: &mut Machine) -> Option<String> {
        let orders = std::iter::from_fn(|| machine.next_order());
        let closes: Vec<String> = orders
            .filter_map(|order| match order {
                Order::Leg(LegOrder::Close(close)) => Some(close.reason().to_owned()),
                _ => None,
            })
            .collect();
        closes.into_iter().next()
    }

    #[test]
    fn a_call_ends_when_its_tokens_are_used() {
        let mut machine = live(Limits { tokens: Some(1_000), silence: None });
        let used = |input_audio, output_audio| {
            Fact::TokensUsed(1, Tokens { input_audio, output_audio, ..Tokens::default() })
        };
        machine.tell(at(1), used(400, 99));
        assert_eq!(closed(&mut machine), None);
        machine.tell(at(2), used(400, 101));
        assert_eq!(closed(&mut machine).as_deref(), Some("token_limit"));
    }

    #[test]
    fn thoughts_and_what_tools_bring_count_as_what_is_said_does() {
        let mut machine = live(Limits { tokens: Some(6_000), silence: None });
        let turn =
            Tokens { input_text: 750, input_audio: 300, output_text: 0, output_audio: 100, thoughts: 900 };
        machine.tell(at(1), Fact::TokensUsed(1, turn));
        machine.tell(at(2), Fact::TokensUsed(1, turn));
        assert_eq!(closed(&mut machine), None, "4,100 of them");
        machine.tell(at(3), Fact::TokensUsed(1, turn));
        assert_eq!(closed(&mut machine).as_deref(), Some("token_limit"));
        assert_eq!((machine.events().tokens.input(), machine.events().tokens.output()), (3_150, 3_000));
    }

    #[test]
    fn a_call_ends_when_nobody_has_said_anything_for_long_enough() {
        let mut machine = live(Limits { tokens: None, silence: Some(Duration::from_secs(10)) });
        assert_eq!(machine.silence_deadline(), Some(at(10)));
        machine.tell(at(5), Fact::CallerSpoke(true));
        assert_eq!(machine.silence_deadline(), None, "the caller speaks");
        machine.tell(at(20), Fact::CallerSpoke(false));
        assert_eq!(machine.silence_deadline(), Some(at(30)));
        machine.tell(at(21), Fact::TurnStarted(1));
        assert_eq!(machine.silence_deadline(), None, "the model speaks");
        machine.tell(at(40), Fact::TurnComplete(1));
        machine.tell(at(45), Fact::KeyOnEventSocket('5'));
        assert_eq!(machine.silence_deadline(), Some(at(55)), "a key is as good as a word");
        machine.tick(at(54));
        assert_eq!(closed(&mut machine), None);
        machine.tick(at(55));
        assert_eq!(closed(&mut machine).as_deref(), Some("caller_silent"));
    }

    #[test]
    fn without_limits_a_call_goes_on() {
        let mut machine = live(Limits::default());
        machine.tell(
            at(1),
            Fact::TokensUsed(1, Tokens { input_text: u64::MAX, thoughts: u64::MAX, ..Tokens::default() }),
        );
        machine.tick(at(1_000));
        assert_eq!((machine.silence_deadline(), closed(&mut machine)), (None, None));
    }
}
