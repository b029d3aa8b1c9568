//! The machine's part in the model's own wishes: what the agent allows, and when what it said has been heard.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the one wish that waits for the caller to have heard
//! what the model said before it.
//! Invariant: each call of a tool is answered once, unless the model took it back or its link is gone.

use std::time::Duration;

use super::Machine;
use crate::base::command::Command;
use crate::base::{Instant, LinkNumber};
use crate::call::commands::{CommandError, Requester};
use crate::call::events::Order;
use crate::codec::gemini::tools::ToolCall;

/// Nothing was handed to the switch for this long: the caller has heard all. Longer than the lead of any leg, and than
/// the pauses of a model that speaks no faster than real time.
const QUIET: Duration = Duration::from_millis(800);
/// How often that is looked at.
const LOOK_MS: u64 = 100;
/// A model that speaks on for this long is not waited for.
const QUIET_WITHIN: Duration = Duration::from_secs(30);

/// A wish that waits until the caller has heard what was said before it.
#[derive(Debug)]
pub(super) struct Wish {
    link: LinkNumber,
    call: ToolCall,
    command: Command,
    since: Instant,
    played: u64,
    played_at: Instant,
    look_at: Instant,
}

impl Machine {
    /// The model calls a tool.
    pub(super) fn tool_called(&mut self, now: Instant, link: LinkNumber, call: ToolCall) {
        if self.session.link() != Some(link) || self.outcome.is_some() {
            return;
        }
        let allowed = match &call.command {
            Err(why) => Err(why.clone()),
            Ok(command) => {
                self.is_allowed(command).map(|()| command.clone()).map_err(|error| error.to_string())
            }
        };
        match allowed {
            Ok(_) if self.wish.is_some() => {
                self.answer_tool(link, call, Err("another tool call is being carried out".to_owned()));
            }
            Ok(command) => {
                let look_at = now.plus_ms(LOOK_MS);
                let (since, played_at) = (now, now);
                self.wish = Some(Wish { link, call, command, since, played: 0, played_at, look_at });
            }
            Err(why) => self.answer_tool(link, call, Err(why)),
        }
    }

    fn is_allowed(&self, command: &Command) -> Result<(), CommandError> {
        let control = &self.agent.terms.control;
        let named = match command {
            Command::HangUp(_) => control.model_may_end,
            Command::Transfer(transfer) => control.model_destinations.contains(&transfer.to),
            // No tool asks for these.
            Command::Dtmf(_) | Command::Break | Command::SetVariable(..) => false,
        };
        if !named {
            return Err(CommandError::NotAllowed);
        }
        self.way_of(command.kind()).map(|_| ())
    }

    /// The model takes calls of tools back; these are not answered.
    pub(super) fn tools_cancelled(&mut self, ids: &[String]) {
        if self.wish.as_ref().is_some_and(|wish| ids.contains(&wish.call.id)) {
            self.wish = None;
        }
    }

    /// Whether [`Machine::played`] is wanted in the next pass.
    pub fn wants_played(&self, now: Instant) -> bool {
        self.wish.as_ref().is_some_and(|wish| now >= wish.look_at)
            || self.farewell_deadline().is_some_and(|at| now >= at)
    }

    /// So many samples have been handed to the switch so far.
    pub fn played(&mut self, now: Instant, samples: u64) {
        self.farewell_played(now, samples);
        let Some(wish) = &mut self.wish else { return };
        wish.look_at = now.plus_ms(LOOK_MS);
        if samples != wish.played {
            (wish.played, wish.played_at) = (samples, now);
        }
        let heard = now.since(wish.played_at) >= QUIET || now.since(wish.since) >= QUIET_WITHIN;
        if heard && let Some(wish) = self.wish.take() {
            let requester = Requester::Model(wish.link, Box::new(wish.call));
            self.command(now, requester, wish.command);
        }
    }

    /// When to look at what was played.
    pub(super) fn wish_deadline(&self) -> Option<Instant> {
        self.wish.as_ref().map(|wish| wish.look_at)
    }

    fn answer_tool(&mut self, link: LinkNumber, call: ToolCall, result: Result<(), String>) {
        self.events.commands_failed += 1;
        self.orders.push_back(Order::AnswerTool(link, Box::new(call), result));
    }
}
