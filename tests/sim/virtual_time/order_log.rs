//! What a call's machine was told and ordered: whether the orders make sense, and which outcome they must lead to.
//!
//! Runs in: the simulations: pure. Owns what was seen so far.
//! Invariant: every order comes at a time at which it can be carried out, none comes twice, and none after the last.

use std::time::Duration;

use tandem::base::Instant;
use tandem::call::{Cause, Fact, LegOrder, ModelOrder, Order, Outcome, Part, WorkerOrder};

use super::plan::Plan;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct OrderLog {
    dialled: bool,
    connected_at: Option<Instant>,
    live: bool,
    link_gone: bool,
    leg_gone: bool,
    /// What ended the call first.
    cause: Option<Cause>,
    prompts: u32,
    link_closes: u32,
    leg_closes: u32,
    retired: Vec<Part>,
    finished: bool,
}

impl OrderLog {
    /// The machine is told something.
    pub(super) fn fact(&mut self, now: Instant, fact: &Fact) {
        let cause = match fact {
            Fact::LinkConnected(_) => {
                self.connected_at = Some(now);
                None
            }
            Fact::SetupComplete(_) => {
                self.live = true;
                None
            }
            Fact::LinkGone(_, end) => {
                self.link_gone = true;
                Some(Cause::Link(end.clone()))
            }
            // Nobody waits for the leg of a call without a UUID.
            Fact::LegLost(_, end) => Some(Cause::Leg(end.clone())),
            Fact::LegGone(end) => {
                assert!(!self.leg_gone, "the leg went twice");
                self.leg_gone = true;
                Some(Cause::Leg(end.clone()))
            }
            Fact::SpeechOverflow => Some(Cause::SpeechOverflow),
            Fact::ShutDown => Some(Cause::ShutDown),
            _ => None,
        };
        if self.cause.is_none() {
            self.cause = cause;
        }
    }

    /// The machine is told that its deadline is over.
    pub(super) fn time_is_up(&mut self, now: Instant, plan: &Plan) {
        let after = |from: Instant, limit: Duration| now.since(from) >= limit;
        let cause = match self.connected_at {
            _ if self.cause.is_some() => return,
            None if after(plan.begins, plan.terms.dial_timeout) => Cause::DialTimeout,
            Some(at) if !self.live && after(at, plan.terms.setup_timeout) => Cause::SetupTimeout,
            _ => Cause::MaxCall,
        };
        self.cause = Some(cause);
    }

    /// The machine orders something.
    pub(super) fn order(&mut self, order: &Order) {
        assert!(!self.finished, "{order:?} after the end");
        match order {
            Order::Dial(link) => {
                assert!(!self.dialled && *link == 1, "one link is dialled");
                self.dialled = true;
            }
            Order::Model(ModelOrder::Prompt(..)) => {
                assert!(self.live && self.cause.is_none(), "a prompt that nobody hears");
                self.prompts += 1;
                assert_eq!(self.prompts, 1);
            }
            Order::Model(ModelOrder::CloseLink(_)) => {
                assert!(self.cause.is_some() && !self.link_gone, "a link is closed that is needed or gone");
                self.link_closes += 1;
                // Once while it is being dialled, and again if it comes about all the same.
                assert!(self.link_closes <= 2);
            }
            Order::Leg(LegOrder::Close(_)) => {
                assert!(self.cause.is_some() && !self.leg_gone, "a leg is closed that is needed or gone");
                self.leg_closes += 1;
                assert_eq!(self.leg_closes, 1);
            }
            Order::Dsp(WorkerOrder::Retire) => self.retire(Part::Dsp),
            Order::Model(ModelOrder::Retire) => self.retire(Part::Gemini),
            Order::ChooseAgent { .. }
            | Order::Model(_)
            | Order::Leg(_)
            | Order::Dsp(_)
            | Order::EventSocket(_)
            | Order::Tool(_)
            | Order::Recording(_)
            | Order::Answer(..) => panic!("{order:?}, and nobody asked for a command"),
            Order::Finish(_) => assert!(self.leg_gone && self.retired.len() == 2, "finished too early"),
        }
    }

    fn retire(&mut self, part: Part) {
        assert!(self.leg_gone, "retired while the leg is there");
        assert!(!self.retired.contains(&part), "retired twice");
        self.retired.push(part);
    }

    /// The call is over.
    pub(super) fn finished(&mut self, outcome: &Outcome) {
        self.finished = true;
        let Some(cause) = self.cause.take() else { panic!("over without a cause") };
        assert_eq!(outcome, &Outcome::of(cause));
    }
}
