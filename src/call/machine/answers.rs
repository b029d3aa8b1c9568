//! The machine's part in the answers of tools: each call of the model is answered with what came of its request.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns nothing: what waits for an answer is in the ledger.
//! Invariant: a call is answered over the link that made it, or where that is gone, and no other call of the same is on the
//! present one, in words.

use serde_json::Value;

use super::Machine;
use super::ledger::{Answered, TakenBack};
use super::tools::{CALLS_MAX, REFUSED_MAX, RUNNING_MAX, TOO_OFTEN};
use crate::base::{Instant, LinkNumber};
use crate::call::events::{ModelOrder, Order, ToolOrder};
use crate::call::model::{Asked, Scheduling, ToolAnswer, ToolCall};
use crate::call::outcome::Cause;
use crate::call::tool::{ToolFailure, ToolNumber, ToolResult};

impl Machine {
    /// A tool was carried out, or was not.
    pub(super) fn tool_done(&mut self, now: Instant, number: ToolNumber, result: ToolResult) {
        if self.outcome.is_none() && !self.asks_after_all(now, number, &result) {
            if let Some(answered) = self.tools.ledger.done(number, &result) {
                self.answer_all(answered, result);
            }
        }
    }

    /// Has a tool asked that was taken back before anybody was, and that was called again since.
    fn asks_after_all(&mut self, now: Instant, number: ToolNumber, result: &ToolResult) -> bool {
        let taken_back = self.tools.taken_back.extract_if(.., |taken| *taken == number).next().is_some();
        let wanted = self.tools.ledger.numbered(number).filter(|request| !request.waiting.is_empty());
        let (true, Err(ToolFailure::NotAsked(_)), Some(request)) = (taken_back, result, wanted) else {
            return false;
        };
        let (Some(tool), Ok(Asked::Other(arguments))) = (request.tool.clone(), request.asked()) else {
            return false;
        };
        let run = self.http_run(&tool, arguments);
        let (new, deadline) = self.next_run(now, Some(&tool));
        self.tools.ledger.renumber(number, new, deadline);
        self.shared.order(Order::Tool(ToolOrder::Run(new, Box::new(run))));
        true
    }

    /// The model takes calls of tools back; these are not answered.
    pub(super) fn tools_cancelled(&mut self, link: LinkNumber, ids: &[String]) {
        for id in ids.iter().filter(|id| !id.is_empty()) {
            let Some((name, taken)) = self.tools.ledger.take_back(link, id) else { continue };
            self.shared.counts.tools_cancelled += 1;
            self.shared.note_of("tool_cancelled", &name);
            match taken {
                TakenBack::Running(number) => {
                    self.tools.taken_back.push(number);
                    self.shared.order(Order::Tool(ToolOrder::Cancel(number)));
                }
                TakenBack::BuiltIn(call) => {
                    self.wish_cancelled(&call);
                    self.commands.take_back(|_, asked| asked.asks_the_same(&call));
                }
                TakenBack::One => {}
            }
        }
    }

    /// Takes the answer to what a call asked for to the model.
    pub(super) fn answer_tool(&mut self, link: LinkNumber, call: &ToolCall, result: ToolResult) {
        match self.tools.ledger.done_by(call, &result) {
            Some(answered) => self.answer_all(answered, result),
            None => self.answer_call(link, Box::new(call.clone()), result),
        }
    }

    /// Answers every call that waited for a result: over the link that asked or, where they all are gone, in words over the
    /// next.
    pub(super) fn answer_all(&mut self, answered: Answered, result: ToolResult) {
        let Answered { tool, calls } = answered;
        let Some((_, first)) = calls.first() else { return };
        self.note_result(&first.name, &result);
        let result = result.map_err(|failure| failure.to_string());
        let scheduling = tool.and_then(|tool| tool.scheduling);
        let (present, gone): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|(link, _)| self.session.link() == Some(*link));
        if present.is_empty()
            && let Some((_, call)) = gone.into_iter().next()
        {
            if self.tools.untold.len() >= RUNNING_MAX {
                _ = self.tools.untold.remove(0);
            }
            return self.tools.untold.push((*call, result));
        }
        for (link, call) in present {
            self.tools.ledger.given(link, &call);
            self.give(link, call, result.clone(), scheduling);
        }
    }

    /// Answers a call that nothing was done for.
    pub(super) fn answer_call(&mut self, link: LinkNumber, call: Box<ToolCall>, result: ToolResult) {
        self.note_result(&call.name, &result);
        if self.session.link() == Some(link) {
            self.give(link, call, result.map_err(|failure| failure.to_string()), None);
        }
    }

    fn note_result(&mut self, name: &str, result: &ToolResult) {
        let became = match result {
            Ok(_) => "tool_done",
            Err(ToolFailure::TimedOut) => {
                self.shared.counts.tools_timed_out += 1;
                "tool_timed_out"
            }
            Err(ToolFailure::Failed(_) | ToolFailure::NotAsked(_)) => {
                self.shared.counts.tools_failed += 1;
                "tool_failed"
            }
        };
        self.shared.note_of(became, name);
    }

    /// Answers a call over the present link.
    pub(super) fn give(
        &mut self,
        link: LinkNumber,
        call: Box<ToolCall>,
        result: Result<Value, String>,
        scheduling: Option<Scheduling>,
    ) {
        if scheduling == Some(Scheduling::Silent) {
            self.watchdog.answers_silently();
        }
        self.shared.order_model(ModelOrder::AnswerTool(link, call, ToolAnswer { result, scheduling }));
    }

    /// The model may have finished a turn.
    pub(super) fn note_turns_for_tools(&mut self, now: Instant) {
        let turns = self.shared.floor.turns();
        if std::mem::replace(&mut self.tools.turns, turns) != turns {
            self.turn_over_for_tools(now);
        }
    }

    /// The model has finished a turn, or was interrupted in it.
    pub(super) fn turn_over_for_tools(&mut self, now: Instant) {
        if let Some(link) = self.session.live() {
            self.tools.ledger.turn_over(now, link, self.shared.floor.turns());
        }
    }

    /// The conversation goes on from where so many turns were complete.
    pub(super) fn resumed_for_tools(&mut self, now: Instant, turns: u64) {
        self.tools.ledger.resumed(now, turns);
    }

    pub(super) fn repeated(&mut self, call: &ToolCall) {
        self.shared.counts.tools_repeated += 1;
        self.shared.note_of("tool_repeated", &call.name);
    }

    /// Whether the model may call a tool now.
    pub(super) fn keeps_pace(&mut self, now: Instant, call: &ToolCall) -> bool {
        let goes = self.shared.counts.tools_called <= CALLS_MAX && self.tools.pace.take(now);
        if !goes && !std::mem::replace(&mut self.tools.pace.refuses, true) {
            self.shared.note_of("tool_refused", &call.name);
        }
        self.tools.pace.refuses = !goes;
        goes
    }

    /// Tells the model that it calls too often, and gives a call up in which it does not stop.
    pub(super) fn refuse_call(&mut self, now: Instant, link: LinkNumber, call: Box<ToolCall>) {
        self.shared.counts.tools_refused += 1;
        if self.shared.counts.tools_refused >= REFUSED_MAX {
            return self.give_up(now, Cause::ToolLimit);
        }
        self.give(link, call, Err(TOO_OFTEN.to_owned()), None);
    }

    /// Tells a link that is ready what an older one was to be answered.
    pub(super) fn tell_untold(&mut self, now: Instant) {
        if let Some(link) = self.session.live() {
            for (call, result) in std::mem::take(&mut self.tools.untold) {
                self.prompt(now, call.told_late(&result));
                self.tools.ledger.given(link, &call);
            }
        }
    }
}
