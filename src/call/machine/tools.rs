//! The machine's part in the tools of the model: which it may call, when they are carried out, and how each is answered.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns how often the model calls, and the results that it was
//! not told.
//! Never carries a tool out itself.
//! Invariant: each call of a tool is answered once, unless the model took it back or the call is over; where its link is
//! gone, the next one is told the result in words, because it does not know the call's id.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Machine;
use super::ledger::{Again, Ledger};
use crate::base::command::{Command, CommandKind};
use crate::base::{Instant, LinkNumber};
use crate::call::commands::{CommandError, Requester};
use crate::call::events::{Order, ToolOrder};
use crate::call::model::{Asked, Function, ToolCall};
use crate::call::tool::{HttpTool, ToolCaller, ToolFailure, ToolNumber, ToolRun};

/// Tools of one call under way at one time; a model asks for two or three.
pub(super) const RUNNING_MAX: usize = 8;
/// How much later than it should a tool's result may come before the machine answers in its place.
const GRACE: Duration = Duration::from_secs(1);
/// Calls of tools in one call; a model that needs more in an hour is lost.
pub(super) const CALLS_MAX: u64 = 1_000;
/// A model may call so often at once, and then once in each [`CALL_EVERY_MS`].
const CALLS_AT_ONCE: u64 = 20;
/// See [`CALLS_AT_ONCE`].
const CALL_EVERY_MS: u64 = 500;
/// Calls beyond that which are answered with a refusal; a model that goes on is not to be had.
pub(super) const REFUSED_MAX: u64 = 100;
/// What it is told.
pub(super) const TOO_OFTEN: &str =
    "tools are called too often: this was not done. Speak with the caller before you call another.";
/// How long the control thread may take to say what is known of the call.
const CALL_INFO_WITHIN: Duration = Duration::from_secs(5);

/// The calls of tools that are not answered yet, and what is remembered of those that are.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    last: ToolNumber,
    pub(super) ledger: Ledger,
    /// Turns that the model had finished when last looked at.
    pub(super) turns: u64,
    pub(super) pace: Pace,
    /// Results whose link was gone, for the next one.
    pub(super) untold: Vec<(ToolCall, Result<Value, String>)>,
    /// Runs that were taken back and have not ended.
    pub(super) taken_back: Vec<ToolNumber>,
}

/// How often the model calls.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When all is forgotten.
    free_at: Instant,
    /// The last call was refused.
    pub(super) refuses: bool,
}

impl Pace {
    /// Whether there is room for another call now.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let free_at = self.free_at.max(now).plus_ms(CALL_EVERY_MS);
        let fits = free_at.since_ms(now) <= CALLS_AT_ONCE * CALL_EVERY_MS;
        if fits {
            self.free_at = free_at;
        }
        fits
    }
}

impl ToolCalls {
    /// Whether this link waits for a tool that asks for the caller's speech to be kept back.
    pub(super) fn holds(&self, present: Option<LinkNumber>) -> bool {
        self.ledger.running().any(|(_, _, request)| {
            request.tool.as_ref().is_some_and(|tool| tool.hold_uplink)
                && request.waiting.iter().any(|(link, _)| present == Some(*link))
        })
    }
}

impl Machine {
    /// The tools that the agent has and that the leg can carry out, as far as is known now. A script that
    /// did not say in the URL that it is there is known only once it has spoken: the next link's setup declares them.
    pub(super) fn functions(&self) -> Vec<Function> {
        let terms = self.shared.terms();
        let able = |kind| self.way_of(kind).is_ok();
        let mut declared = Vec::new();
        if terms.control.model_may_end && able(CommandKind::HangUp) {
            declared.push(Function::EndCall);
        }
        if !terms.control.model_destinations.is_empty() && able(CommandKind::Transfer) {
            declared.push(Function::TransferCall(terms.control.model_destinations.clone()));
        }
        if terms.tools.send_dtmf && able(CommandKind::Dtmf) {
            declared.push(Function::SendDtmf);
        }
        if terms.tools.call_info {
            declared.push(Function::GetCallInfo);
        }
        if terms.record {
            declared.push(Function::PauseRecording);
        }
        let http = terms.tools.http.iter();
        declared.extend(http.map(|tool| Function::Other {
            name: tool.name.clone(),
            description: tool.description.clone(),
            parameters: tool.parameters.clone(),
            behavior: tool.behavior,
        }));
        declared
    }

    /// Whether the model waits for a tool, or the switch for the caller to have heard the model's goodbye: a link that can
    /// choose should not be renewed now.
    pub fn awaits_tools(&self) -> bool {
        let tools = &self.tools;
        self.has_wish() || tools.ledger.any_waits() || self.commands.any_of_the_model()
    }

    /// The model calls a tool.
    pub(super) fn tool_called(&mut self, now: Instant, link: LinkNumber, call: Box<ToolCall>) {
        if self.session.link() != Some(link) || self.outcome.is_some() {
            return;
        }
        self.shared.counts.tools_called += 1;
        if !self.keeps_pace(now, &call) {
            return self.refuse_call(now, link, call);
        }
        match self.tools.ledger.again(now, link, &call) {
            Again::No => self.shared.note_of("tool", &call.name),
            Again::UnderWay => {
                self.repeated(&call);
                return self.wish_stays(now, &call);
            }
            Again::Known(result) => {
                self.repeated(&call);
                self.tools.untold.retain(|(told, _)| !told.asks_the_same(&call));
                let scheduling = self.http_tool(&call.name).and_then(|tool| tool.scheduling);
                return self.give(link, call, result.map_err(|failure| failure.to_string()), scheduling);
            }
            Again::TooOften => {
                self.repeated(&call);
                return self.answer_call(link, call, Err(ToolFailure::NotAsked(TOO_OFTEN.to_owned())));
            }
        }
        let running = self.tools.ledger.running().count();
        let allowed = match &call.asked {
            Err(why) => Err(why.clone()),
            Ok(Asked::Command(command)) => self.is_allowed(command).map_err(|error| error.to_string()),
            Ok(Asked::CallInfo) if !self.shared.agent.terms.tools.call_info => {
                Err(CommandError::NotAllowed.to_string())
            }
            Ok(Asked::CallInfo | Asked::Other(_)) if running >= RUNNING_MAX => {
                Err(format!("{RUNNING_MAX} tools are being carried out already"))
            }
            Ok(_) => Ok(()),
        };
        match (allowed, call.asked.clone()) {
            (Err(why), _) | (Ok(()), Err(why)) => {
                self.answer_call(link, call, Err(ToolFailure::NotAsked(why)));
            }
            (Ok(()), Ok(Asked::Command(command))) if command.kind().ends_the_call() => {
                self.wish(now, link, call, command);
            }
            (Ok(()), Ok(Asked::Command(command))) => {
                self.tools.ledger.begin(link, call.clone(), None, None);
                self.command(now, Requester::Model(link, call), command);
            }
            (Ok(()), Ok(Asked::PauseRecording(paused))) => {
                let result = self.pause_recording(paused).map(|()| json!({"paused": paused}));
                let result = result.map_err(|error| ToolFailure::Failed(error.to_string()));
                self.answer_call(link, call, result);
            }
            (Ok(()), Ok(Asked::CallInfo)) => {
                let known = self.call_info(now);
                self.run(now, link, call, None, ToolRun::CallInfo(known));
            }
            (Ok(()), Ok(Asked::Other(arguments))) => self.http_tool_called(now, link, call, arguments),
        }
    }

    fn http_tool(&self, name: &str) -> Option<&Arc<HttpTool>> {
        self.shared.agent.terms.tools.http.iter().find(|tool| tool.name == name)
    }

    fn http_tool_called(
        &mut self,
        now: Instant,
        link: LinkNumber,
        call: Box<ToolCall>,
        arguments: Map<String, Value>,
    ) {
        let fits = match self.http_tool(&call.name).cloned() {
            None => Err("there is no such tool".to_owned()),
            Some(tool) => tool.parameters.check(&arguments).map(|()| tool),
        };
        match fits {
            Err(why) => self.answer_call(link, call, Err(ToolFailure::NotAsked(why))),
            Ok(tool) => {
                let run = self.http_run(&tool, arguments);
                self.run(now, link, call, Some(tool), run);
            }
        }
    }

    pub(super) fn http_run(&self, tool: &Arc<HttpTool>, arguments: Map<String, Value>) -> ToolRun {
        let caller = ToolCaller {
            uuid: self.shared.fields.uuid_shown(),
            caller: self.shared.fields.caller.clone(),
            did: self.shared.fields.did.clone(),
            agent: self.shared.agent.name.clone(),
        };
        ToolRun::Http { tool: Arc::clone(tool), arguments, caller }
    }

    fn run(
        &mut self,
        now: Instant,
        link: LinkNumber,
        call: Box<ToolCall>,
        tool: Option<Arc<HttpTool>>,
        run: ToolRun,
    ) {
        let (number, deadline) = self.next_run(now, tool.as_deref());
        self.tools.ledger.begin(link, call, tool, Some((number, deadline)));
        self.shared.order(Order::Tool(ToolOrder::Run(number, Box::new(run))));
    }

    /// The number of the next run, and when its result is overdue.
    pub(super) fn next_run(&mut self, now: Instant, tool: Option<&HttpTool>) -> (ToolNumber, Instant) {
        self.tools.last = self.tools.last.wrapping_add(1);
        let within = tool.map_or(CALL_INFO_WITHIN, |tool| tool.timeout + GRACE);
        (self.tools.last, now.plus(within))
    }

    fn call_info(&self, now: Instant) -> Map<String, Value> {
        let fields = &self.shared.fields;
        let mut known = Map::new();
        for (name, value) in
            [("caller", &fields.caller), ("called_number", &fields.did), ("uuid", &fields.uuid)]
        {
            if let Some(value) = value {
                known.insert(name.to_owned(), value.as_str().into());
            }
        }
        let began_at = self.answered_at.unwrap_or(self.shared.offered_at);
        known.insert("seconds".to_owned(), (now.since_ms(began_at) / 1000).into());
        known
    }

    fn is_allowed(&self, command: &Command) -> Result<(), CommandError> {
        let control = &self.shared.agent.terms.control;
        let named = match command {
            Command::HangUp(_) => control.model_may_end,
            Command::Transfer(transfer) => control.model_destinations.contains(&transfer.to),
            Command::Dtmf(_) => self.shared.agent.terms.tools.send_dtmf,
            // No tool asks for these.
            Command::Break | Command::SetVariable(..) => false,
        };
        if !named {
            return Err(CommandError::NotAllowed);
        }
        self.way_of(command.kind()).map(|_| ())
    }

    /// Answers in the place of tools whose result is overdue, and tells what could not be answered.
    pub(super) fn tick_tools(&mut self, now: Instant) {
        while let Some(number) = self.tools.ledger.overdue(now) {
            self.shared.order(Order::Tool(ToolOrder::Cancel(number)));
            let result = Err(ToolFailure::TimedOut);
            if let Some(answered) = self.tools.ledger.done(number, &result) {
                self.answer_all(answered, result);
            }
        }
        self.tell_untold(now);
    }

    /// When to look at what is overdue, or at what can be told now.
    pub(super) fn tools_deadline(&self) -> Option<Instant> {
        let tools = &self.tools;
        let at_once = (!tools.untold.is_empty() && self.session.live().is_some()).then(Instant::default);
        let running = tools.ledger.running().map(|(_, deadline, _)| deadline);
        running.chain(at_once).min()
    }

    /// The call is over: nobody is left to be answered.
    pub(super) fn drop_tools(&mut self) {
        self.wish = None;
        let tools = std::mem::take(&mut self.tools);
        self.tools.last = tools.last;
        for (number, ..) in tools.ledger.running() {
            self.shared.order(Order::Tool(ToolOrder::Cancel(number)));
        }
    }
}
