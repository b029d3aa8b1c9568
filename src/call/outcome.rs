//! How a call ended: who ended it and why. The same outcome stands in the record, the metric and the log.
//!
//! Runs in: anywhere: pure. Owns nothing.
//! Invariant: every call that was admitted ends with exactly one outcome.

use std::fmt;

use crate::base::command::CommandKind;
use crate::base::words;
use crate::call::events::LegEnd;
use crate::call::model::{LinkEnd, LinkEndKind};

words! {
    /// Who ended a call.
    pub enum Party {
        /// The caller, or the switch on the caller's behalf.
        Caller = "caller",
        /// Gemini.
        Model = "model",
        /// This relay, by a limit, a shutdown or an order.
        Us = "us",
        /// Nobody: a connection was lost.
        Network = "network",
    }
}

/// Why a call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// The leg ended first.
    Leg(LegEnd),
    /// The leg turned out to be that of another call, which has it now.
    Moved,
    /// The leg turned out to be a second one with the UUID of another call.
    UuidInUse,
    /// The link ended or never came about.
    Link(LinkEnd),
    /// No link was ready in time.
    DialTimeout,
    /// The model did not accept the setup in time.
    SetupTimeout,
    /// The model answered nothing, whatever was done about it.
    ModelSilent,
    /// The longest call was reached.
    MaxCall,
    /// A route says that nobody answers, for this reason.
    Refused(String),
    /// The model called tools without end.
    ToolLimit,
    /// The agent's limit of tokens was reached.
    TokenLimit,
    /// Nobody said anything for as long as the agent allows.
    CallerSilent,
    /// The model sent more speech than may wait.
    SpeechOverflow,
    /// The relay shut down.
    ShutDown,
    /// The relay died, as another one has found.
    RelayDied,
    /// The call was hung up or transferred by order of this party.
    Ordered(CommandKind, Party),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Who ended it.
    pub by: Party,
    /// Why.
    pub cause: Cause,
}

impl Outcome {
    /// The outcome of a cause: who is to blame follows from it.
    pub fn of(cause: Cause) -> Self {
        let by = match &cause {
            Cause::Leg(LegEnd::HungUp | LegEnd::Closed(_) | LegEnd::Protocol(_)) => Party::Caller,
            Cause::Leg(LegEnd::Dropped(_) | LegEnd::Silent) => Party::Network,
            Cause::Refused(_) | Cause::TokenLimit | Cause::CallerSilent => Party::Us,
            Cause::Leg(LegEnd::ByUs | LegEnd::SentAway)
            | Cause::MaxCall
            | Cause::SpeechOverflow
            | Cause::ShutDown
            | Cause::RelayDied => Party::Us,
            Cause::Moved => Party::Us,
            Cause::UuidInUse => Party::Caller,
            Cause::DialTimeout => Party::Network,
            Cause::SetupTimeout | Cause::ModelSilent | Cause::ToolLimit => Party::Model,
            Cause::Link(end) if end.kind == LinkEndKind::Dropped => Party::Network,
            Cause::Link(end) if end.kind == LinkEndKind::NoCredential => Party::Us,
            Cause::Link(_) => Party::Model,
            Cause::Ordered(_, by) => *by,
        };
        Self { by, cause }
    }

    /// A short constant word for the cause, for metrics.
    pub fn label(&self) -> &'static str {
        match &self.cause {
            Cause::Leg(LegEnd::HungUp | LegEnd::Closed(1000)) => "hangup",
            Cause::Leg(LegEnd::Closed(_)) => "leg_closed",
            Cause::Leg(LegEnd::Dropped(_)) => "leg_dropped",
            Cause::Leg(LegEnd::Silent) => "leg_silent",
            Cause::Leg(LegEnd::Protocol(_)) => "leg_protocol",
            Cause::Leg(LegEnd::ByUs) => "leg_closed_by_us",
            Cause::Leg(LegEnd::SentAway) => "sent_away",
            Cause::Link(end) => end.kind.label(),
            Cause::Moved => "moved",
            Cause::UuidInUse => "uuid_in_use",
            Cause::DialTimeout => "dial_timeout",
            Cause::SetupTimeout => "setup_timeout",
            Cause::ModelSilent => "model_silent",
            Cause::MaxCall => "max_call",
            Cause::Refused(_) => "refused",
            Cause::ToolLimit => "tool_limit",
            Cause::TokenLimit => "token_limit",
            Cause::CallerSilent => "caller_silent",
            Cause::SpeechOverflow => "speech_overflow",
            Cause::ShutDown => "shutdown",
            Cause::RelayDied => "relay_died",
            Cause::Ordered(CommandKind::Transfer, _) => "transferred",
            Cause::Ordered(..) => "ordered_hangup",
        }
    }

    /// Whether an operator should look at it: everything but hang-ups, orders, limits and shutdowns.
    pub fn is_failure(&self) -> bool {
        !matches!(
            self.cause,
            Cause::Leg(LegEnd::HungUp | LegEnd::Closed(_) | LegEnd::ByUs | LegEnd::SentAway)
                | Cause::Moved
                | Cause::MaxCall
                | Cause::Refused(_)
                | Cause::TokenLimit
                | Cause::CallerSilent
                | Cause::ShutDown
                | Cause::Ordered(..)
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Leg(LegEnd::HungUp | LegEnd::Closed(1000)) => write!(f, "the switch hung up"),
            Cause::Leg(LegEnd::Closed(code)) => write!(f, "the switch closed with code {code}"),
            Cause::Leg(LegEnd::Dropped(what)) => write!(f, "the switch's connection was lost: {what}"),
            Cause::Leg(LegEnd::Silent) => write!(f, "the switch went silent and did not answer a ping"),
            Cause::Leg(LegEnd::Protocol(what)) => write!(f, "the switch broke the protocol: {what}"),
            Cause::Leg(LegEnd::ByUs) => write!(f, "closed by the relay"),
            Cause::Leg(LegEnd::SentAway) => {
                write!(f, "its leg was sent to another relay and did not come back to this one")
            }
            Cause::Link(end) => write!(f, "{end}"),
            Cause::Moved => write!(f, "its leg is that of a call that was waiting for it"),
            Cause::UuidInUse => write!(f, "another call has this UUID; each call needs its own"),
            Cause::DialTimeout => write!(
                f,
                "no connection to Gemini within gemini.connect_timeout_ms; check DNS, the route and gemini.base_url"
            ),
            Cause::SetupTimeout => {
                write!(f, "Gemini did not confirm the setup within gemini.setup_timeout_ms")
            }
            Cause::ModelSilent => write!(
                f,
                "the model answered nothing, not even on another link and in another session (agent.answer_within_ms)"
            ),
            Cause::MaxCall => {
                write!(
                    f,
                    "the longest call (leg.max_call_seconds or the agent's max_call_seconds) was reached"
                )
            }
            Cause::Refused(reason) => write!(f, "refused by a route: {reason}"),
            Cause::ToolLimit => write!(f, "the model called tools without end"),
            Cause::TokenLimit => write!(f, "the agent's max_tokens were used"),
            Cause::CallerSilent => write!(f, "nobody said anything for the agent's silence_seconds"),
            Cause::SpeechOverflow => {
                write!(f, "the model sent more speech than limits.model_speech_seconds allows to wait")
            }
            Cause::ShutDown => write!(f, "the relay is shutting down"),
            Cause::RelayDied => write!(f, "the relay died in the middle of the call"),
            Cause::Ordered(CommandKind::Transfer, _) => write!(f, "transferred by order"),
            Cause::Ordered(..) => write!(f, "hung up by order"),
        }
    }
}
