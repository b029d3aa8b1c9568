//! What control was told of a call and ordered for it: whether the orders make sense, and which record they must lead to.
//!
//! Runs in: the simulations: pure. Owns what was seen so far.
//! Invariant: no order comes twice, none comes without a reason, and the first cause is the outcome.

use std::time::Duration;

use tandem::base::{Instant, LinkNumber};
use tandem::call::{CallRecord, Cause, Fact, Outcome, Part};

use super::plan::Plan;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct OrderLog {
    offered_at: Option<Instant>,
    dialled: bool,
    connected_at: Option<Instant>,
    live: bool,
    leg_gone: bool,
    /// What ended the call first.
    cause: Option<Cause>,
    prompts: u32,
    link_closes: u32,
    leg_closes: u32,
    retired: Vec<Part>,
}

impl OrderLog {
    /// Control is told something.
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
            Fact::LinkGone(_, end) => Some(Cause::Link(end.clone())),
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

    /// Control is stepped, once it was told everything so far.
    pub(super) fn time_passes(&mut self, now: Instant, plan: &Plan) {
        let offered_at = *self.offered_at.get_or_insert(now);
        let after = |from: Instant, limit: Duration| now.since(from) >= limit;
        let cause = match self.connected_at {
            _ if after(offered_at, plan.terms.max_call) => Cause::MaxCall,
            None if after(offered_at, plan.terms.dial_timeout) => Cause::DialTimeout,
            Some(at) if !self.live && after(at, plan.terms.setup_timeout) => Cause::SetupTimeout,
            _ => return,
        };
        self.cause.get_or_insert(cause);
    }

    /// A link is dialled.
    pub(super) fn dials(&mut self, link: LinkNumber) {
        assert!(!self.dialled && link == 1, "one link is dialled");
        self.dialled = true;
    }

    /// The model is told something.
    pub(super) fn prompts(&mut self) {
        assert!(self.live, "a prompt that nobody hears");
        self.prompts += 1;
        assert_eq!(self.prompts, 1);
    }

    /// A link is closed.
    pub(super) fn closes_link(&mut self) {
        assert!(self.cause.is_some(), "a link is closed that is needed");
        self.link_closes += 1;
        assert_eq!(self.link_closes, 1);
    }

    /// The leg is closed.
    pub(super) fn closes_leg(&mut self) {
        assert!(self.cause.is_some(), "a leg is closed that is needed");
        self.leg_closes += 1;
        assert_eq!(self.leg_closes, 1);
    }

    /// A part of the call is let go.
    pub(super) fn retires(&mut self, part: Part) {
        assert!(self.leg_gone, "retired while the leg is there");
        assert!(!self.retired.contains(&part), "retired twice");
        self.retired.push(part);
    }

    /// The call is over.
    pub(super) fn finished(&mut self, record: &CallRecord) {
        assert!(self.leg_gone && self.retired == [Part::Gemini], "finished too early");
        let Some(cause) = self.cause.take() else { panic!("over without a cause") };
        let outcome = Outcome::of(cause);
        assert_eq!((record.outcome.as_str(), &record.reason), (outcome.label(), &outcome.to_string()));
        assert_eq!(record.ended_by, outcome.by.label());
    }
}
