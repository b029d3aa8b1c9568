//! The model's calls of tools: which it may make, when they are carried out, and how each is answered.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the requests, how often the model calls, and the results
//! that it was not told.
//! Never carries a tool out itself.
//! Invariant: each call of a tool is answered once, unless the model took it back or the call is over: over the link that made
//! it or, where that is gone and no other call of the same is on the present one, in words, because the next one does not know
//! the call's id.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::ledger::{Again, Answered, Ledger, TakenBack};
use super::shared::Shared;
use crate::base::command::{Command, CommandKind};
use crate::base::{Instant, LinkNumber};
use crate::call::agent::CallTerms;
use crate::call::commands::CommandError;
use crate::call::events::{ModelOrder, Order, ToolOrder};
use crate::call::model::{Asked, Behavior, Function, Scheduling, ToolAnswer, ToolCall};
use crate::call::tool::{HttpTool, ToolCaller, ToolFailure, ToolNumber, ToolResult, ToolRun};

/// Tools of one call under way at one time; a model asks for two or three.
const RUNNING_MAX: usize = 8;
/// How much later than it should a tool's result may come before the machine answers in its place.
const GRACE: Duration = Duration::from_secs(1);
/// Calls of tools in one call; a model that needs more in an hour is lost.
const CALLS_MAX: u64 = 1_000;
/// A model may call so often at once, and then once in each [`CALL_EVERY_MS`].
const CALLS_AT_ONCE: u64 = 20;
/// See [`CALLS_AT_ONCE`].
const CALL_EVERY_MS: u64 = 500;
/// Calls beyond that which are answered with a refusal; a model that goes on is not to be had.
const REFUSED_MAX: u64 = 100;
/// What it is told.
const TOO_OFTEN: &str =
    "tools are called too often: this was not done. Speak with the caller before you call another.";
/// How long the control thread may take to say what is known of the call.
const CALL_INFO_WITHIN: Duration = Duration::from_secs(5);

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Tools {
    last: ToolNumber,
    ledger: Ledger,
    /// Turns that the model had finished when last looked at.
    turns: u64,
    /// When all calls so far are forgotten.
    free_at: Instant,
    /// The last call was refused.
    refuses: bool,
    /// Results whose link was gone, for the next one.
    untold: Vec<(ToolCall, Result<Value, String>)>,
    /// Runs that were taken back and have not ended.
    taken_back: Vec<ToolNumber>,
    /// The result of a tool was given that the model is not to speak of.
    silent: bool,
}

/// What is to be done about a call that the tools do not do themselves.
pub(super) enum Called {
    /// Nothing.
    Nothing,
    /// It repeats one that is under way.
    Again(Box<ToolCall>),
    /// The switch is to be told something.
    Command(Box<ToolCall>, Command),
    /// The recording is to pause, or to go on.
    PauseRecording(Box<ToolCall>, bool),
    /// The model is not to be had.
    GiveUp,
}

/// The tools that the agent has and that the leg is able to carry out, as far as is known now. A script that did not say in
/// the URL that it is there is known only once it has spoken: the next link's setup declares them.
pub(super) fn functions(terms: &CallTerms, able: impl Fn(CommandKind) -> bool) -> Vec<Function> {
    let destinations = &terms.control.model_destinations;
    let built_in = [
        (terms.control.model_may_end && able(CommandKind::HangUp)).then_some(Function::EndCall),
        (!destinations.is_empty() && able(CommandKind::Transfer))
            .then(|| Function::TransferCall(destinations.clone())),
        (terms.tools.send_dtmf && able(CommandKind::Dtmf)).then_some(Function::SendDtmf),
        terms.tools.call_info.then_some(Function::GetCallInfo),
        terms.record.then_some(Function::PauseRecording),
    ];
    let http = terms.tools.http.iter().map(|tool| Function::Other {
        name: tool.name.clone(),
        description: tool.description.clone(),
        parameters: tool.parameters.clone(),
        behavior: tool.behavior,
    });
    built_in.into_iter().flatten().chain(http).collect()
}

/// Whether the agent's model may have this done, whatever the leg is able to.
fn may(terms: &CallTerms, command: &Command) -> Result<(), CommandError> {
    let named = match command {
        Command::HangUp(_) => terms.control.model_may_end,
        Command::Transfer(transfer) => terms.control.model_destinations.contains(&transfer.to),
        Command::Dtmf(_) => terms.tools.send_dtmf,
        // No tool asks for these.
        Command::Break | Command::SetVariable(..) => false,
    };
    if named { Ok(()) } else { Err(CommandError::NotAllowed) }
}

fn http_tool<'a>(terms: &'a CallTerms, name: &str) -> Option<&'a Arc<HttpTool>> {
    terms.tools.http.iter().find(|tool| tool.name == name)
}

fn http_run(shared: &Shared, tool: &Arc<HttpTool>, arguments: Map<String, Value>) -> ToolRun {
    let caller = ToolCaller {
        uuid: shared.fields.uuid_shown(),
        caller: shared.fields.caller.clone(),
        did: shared.fields.did.clone(),
        agent: shared.agent.name.clone(),
    };
    ToolRun::Http { tool: Arc::clone(tool), arguments, caller }
}

fn call_info(shared: &Shared) -> Map<String, Value> {
    let fields = &shared.fields;
    let named = [("caller", &fields.caller), ("called_number", &fields.did), ("uuid", &fields.uuid)];
    let mut known: Map<String, Value> = named
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.as_deref()?.into())))
        .collect();
    let began_at = shared.answered_at.unwrap_or(shared.offered_at);
    known.insert("seconds".to_owned(), (shared.now.since_ms(began_at) / 1000).into());
    known
}

impl Tools {
    /// The model calls a tool on the present link. `able` says whether the leg can do what is asked of the switch, if that is
    /// asked.
    pub(super) fn called(
        &mut self,
        shared: &mut Shared,
        link: LinkNumber,
        call: Box<ToolCall>,
        able: Result<(), CommandError>,
    ) -> Called {
        shared.counts.tools_called += 1;
        if !self.keeps_pace(shared, &call) {
            shared.counts.tools_refused += 1;
            if shared.counts.tools_refused >= REFUSED_MAX {
                return Called::GiveUp;
            }
            self.give(shared, link, call, Err(TOO_OFTEN.to_owned()), None);
            return Called::Nothing;
        }
        let again = self.ledger.again(shared.now, link, &call);
        if again == Again::No {
            shared.note_of("tool", &call.name);
        } else {
            shared.counts.tools_repeated += 1;
            shared.note_of("tool_repeated", &call.name);
        }
        match again {
            Again::No => {}
            Again::UnderWay => return Called::Again(call),
            Again::Known(result) => {
                self.untold.retain(|(told, _)| !told.asks_the_same(&call));
                let scheduling = http_tool(shared.terms(), &call.name).and_then(|tool| tool.scheduling);
                let result = result.map_err(|failure| failure.to_string());
                self.give(shared, link, call, result, scheduling);
                return Called::Nothing;
            }
            Again::TooOften => {
                self.refuse(shared, link, call, TOO_OFTEN.to_owned());
                return Called::Nothing;
            }
        }
        let room = match self.ledger.running().count() < RUNNING_MAX {
            true => Ok(()),
            false => Err(format!("{RUNNING_MAX} tools are being carried out already")),
        };
        let done = match call.asked.clone() {
            Err(why) => Err(why),
            Ok(Asked::Command(command)) => match may(shared.terms(), &command).and(able) {
                Ok(()) => return Called::Command(call, command),
                Err(error) => Err(error.to_string()),
            },
            Ok(Asked::PauseRecording(paused)) => return Called::PauseRecording(call, paused),
            Ok(Asked::CallInfo) if !shared.terms().tools.call_info => {
                Err(CommandError::NotAllowed.to_string())
            }
            Ok(Asked::CallInfo) => room.map(|()| (None, ToolRun::CallInfo(call_info(shared)))),
            Ok(Asked::Other(arguments)) => {
                let tool = http_tool(shared.terms(), &call.name).cloned();
                let tool = tool.ok_or_else(|| "there is no such tool".to_owned());
                room.and(tool).and_then(|tool| {
                    tool.parameters.check(&arguments)?;
                    let run = http_run(shared, &tool, arguments);
                    Ok((Some(tool), run))
                })
            }
        };
        match done {
            Err(why) => self.refuse(shared, link, call, why),
            Ok((tool, run)) => {
                let (number, deadline) = self.next_run(shared.now, tool.as_deref());
                self.ledger.begin(link, call, tool, Some((number, deadline)));
                shared.order(Order::Tool(ToolOrder::Run(number, Box::new(run))));
            }
        }
        Called::Nothing
    }

    /// Whether the model may call a tool now.
    fn keeps_pace(&mut self, shared: &mut Shared, call: &ToolCall) -> bool {
        let free_at = self.free_at.max(shared.now).plus_ms(CALL_EVERY_MS);
        let fits = shared.counts.tools_called <= CALLS_MAX
            && free_at.since_ms(shared.now) <= CALLS_AT_ONCE * CALL_EVERY_MS;
        if fits {
            self.free_at = free_at;
        } else if !self.refuses {
            shared.note_of("tool_refused", &call.name);
        }
        self.refuses = !fits;
        fits
    }

    /// What this call asks for is done by the switch, or will be.
    pub(super) fn begin_command(&mut self, link: LinkNumber, call: Box<ToolCall>) {
        self.ledger.begin(link, call, None, None);
    }

    /// The number of the next run, and when its result is overdue.
    fn next_run(&mut self, now: Instant, tool: Option<&HttpTool>) -> (ToolNumber, Instant) {
        self.last = self.last.wrapping_add(1);
        let within = tool.map_or(CALL_INFO_WITHIN, |tool| tool.timeout + GRACE);
        (self.last, now.plus(within))
    }

    /// A tool was carried out, or was not.
    pub(super) fn done(&mut self, shared: &mut Shared, number: ToolNumber, result: ToolResult) {
        if !self.asks_after_all(shared, number, &result)
            && let Some(answered) = self.ledger.done(number, &result)
        {
            self.answer_all(shared, answered, result);
        }
    }

    /// Has a tool asked that was taken back before anybody was, and that was called again since.
    fn asks_after_all(&mut self, shared: &mut Shared, number: ToolNumber, result: &ToolResult) -> bool {
        let taken_back = self.taken_back.extract_if(.., |taken| *taken == number).next().is_some();
        let wanted = self.ledger.numbered(number).filter(|request| !request.waiting.is_empty());
        let (true, Err(ToolFailure::NotAsked(_)), Some(request)) = (taken_back, result, wanted) else {
            return false;
        };
        let (Some(tool), Ok(Asked::Other(arguments))) = (request.tool.clone(), request.asked()) else {
            return false;
        };
        let run = http_run(shared, &tool, arguments);
        let (new, deadline) = self.next_run(shared.now, Some(&tool));
        self.ledger.renumber(number, new, deadline);
        shared.order(Order::Tool(ToolOrder::Run(new, Box::new(run))));
        true
    }

    /// The model takes calls of tools back; these are not answered. Returns those for which the switch was to do something.
    pub(super) fn cancelled(
        &mut self,
        shared: &mut Shared,
        link: LinkNumber,
        ids: &[String],
    ) -> Vec<ToolCall> {
        let mut commands = Vec::new();
        for id in ids.iter().filter(|id| !id.is_empty()) {
            let Some((name, taken)) = self.ledger.take_back(link, id) else { continue };
            shared.counts.tools_cancelled += 1;
            shared.note_of("tool_cancelled", &name);
            match taken {
                TakenBack::Running(number) => {
                    self.taken_back.push(number);
                    shared.order(Order::Tool(ToolOrder::Cancel(number)));
                }
                TakenBack::BuiltIn(call) => commands.push(*call),
                TakenBack::One => {}
            }
        }
        commands
    }

    /// Takes the answer to what a call asked for to the model.
    pub(super) fn answer(
        &mut self,
        shared: &mut Shared,
        link: LinkNumber,
        call: &ToolCall,
        result: ToolResult,
    ) {
        match self.ledger.done_by(call, &result) {
            Some(answered) => self.answer_all(shared, answered, result),
            None => self.answer_call(shared, link, Box::new(call.clone()), result),
        }
    }

    /// Answers every call that waited for a result: over the link that asked or, where they all are gone, in words over the
    /// next.
    fn answer_all(&mut self, shared: &mut Shared, answered: Answered, result: ToolResult) {
        let Answered { tool, calls } = answered;
        let Some((_, first)) = calls.first() else { return };
        note_result(shared, &first.name, &result);
        let result = result.map_err(|failure| failure.to_string());
        let scheduling = tool.and_then(|tool| tool.scheduling);
        let (present, gone): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|(link, _)| shared.session.link() == Some(*link));
        if present.is_empty()
            && let Some((_, call)) = gone.into_iter().next()
        {
            if self.untold.len() >= RUNNING_MAX {
                _ = self.untold.remove(0);
            }
            return self.untold.push((*call, result));
        }
        for (link, call) in present {
            self.ledger.given(link, &call);
            self.give(shared, link, call, result.clone(), scheduling);
        }
    }

    /// Answers a call that nothing was done for.
    pub(super) fn refuse(&mut self, shared: &mut Shared, link: LinkNumber, call: Box<ToolCall>, why: String) {
        self.answer_call(shared, link, call, Err(ToolFailure::NotAsked(why)));
    }

    /// Answers this call alone.
    pub(super) fn answer_call(
        &mut self,
        shared: &mut Shared,
        link: LinkNumber,
        call: Box<ToolCall>,
        result: ToolResult,
    ) {
        note_result(shared, &call.name, &result);
        if shared.session.link() == Some(link) {
            self.give(shared, link, call, result.map_err(|failure| failure.to_string()), None);
        }
    }

    /// Answers a call over the present link.
    fn give(
        &mut self,
        shared: &mut Shared,
        link: LinkNumber,
        call: Box<ToolCall>,
        result: Result<Value, String>,
        scheduling: Option<Scheduling>,
    ) {
        self.silent |= scheduling == Some(Scheduling::Silent);
        shared.order_model(ModelOrder::AnswerTool(link, call, ToolAnswer { result, scheduling }));
    }

    /// Whether one of the answers since this was last asked is one that the model is not to speak of.
    pub(super) fn take_silence(&mut self) -> bool {
        std::mem::take(&mut self.silent)
    }

    /// The model may have finished a turn, or was interrupted in one.
    pub(super) fn look_at_turns(&mut self, shared: &Shared, interrupted: bool) {
        let turns = shared.floor.turns();
        if (std::mem::replace(&mut self.turns, turns) != turns || interrupted)
            && let Some(link) = shared.session.live()
        {
            self.ledger.turn_over(shared.now, link, turns);
        }
    }

    /// The conversation goes on from where so many turns were complete.
    pub(super) fn resumed(&mut self, now: Instant, turns: u64) {
        self.ledger.resumed(now, turns);
    }

    /// Answers in the place of tools whose result is overdue, and tells a link that is ready what an older one was to be
    /// answered.
    pub(super) fn tick(&mut self, shared: &mut Shared) {
        while let Some(number) = self.ledger.overdue(shared.now) {
            shared.order(Order::Tool(ToolOrder::Cancel(number)));
            let result = Err(ToolFailure::TimedOut);
            if let Some(answered) = self.ledger.done(number, &result) {
                self.answer_all(shared, answered, result);
            }
        }
        if let Some(link) = shared.session.live() {
            for (call, result) in std::mem::take(&mut self.untold) {
                shared.prompt(call.told_late(&result));
                self.ledger.given(link, &call);
            }
        }
    }

    /// When to look at what is overdue, or at what can be told now.
    pub(super) fn deadline(&self, shared: &Shared) -> Option<Instant> {
        let tellable = !self.untold.is_empty() && shared.session.live().is_some();
        let running = self.ledger.running().map(|(_, deadline, _)| shared.excused(deadline));
        running.chain(tellable.then(Instant::default)).min()
    }

    /// Whether the present link waits for a tool that asks for the caller's speech to be kept back.
    pub(super) fn holds(&self, present: Option<LinkNumber>) -> bool {
        self.awaited(present).any(|tool| tool.hold_uplink)
    }

    /// Whether the model says nothing over this link because it waits for a tool.
    pub(super) fn keep_waiting(&self, present: Option<LinkNumber>) -> bool {
        self.awaited(present).any(|tool| tool.behavior != Some(Behavior::NonBlocking))
    }

    /// The tools of other servers whose results this link is to be given.
    fn awaited(&self, present: Option<LinkNumber>) -> impl Iterator<Item = &HttpTool> {
        let requests = self.ledger.running().map(|(_, _, request)| request);
        let of_link =
            requests.filter(move |request| request.waiting.iter().any(|(link, _)| present == Some(*link)));
        of_link.filter_map(|request| request.tool.as_deref())
    }

    /// Whether any call waits for a result.
    pub(super) fn any_waits(&self) -> bool {
        self.ledger.any_waits()
    }

    /// Nobody is left to be answered.
    pub(super) fn drop_all(&mut self, shared: &mut Shared) {
        for (number, ..) in self.ledger.running() {
            shared.order(Order::Tool(ToolOrder::Cancel(number)));
        }
        *self = Self { last: self.last, ..Self::default() };
    }
}

fn note_result(shared: &mut Shared, name: &str, result: &ToolResult) {
    let became = match result {
        Ok(_) => "tool_done",
        Err(ToolFailure::TimedOut) => {
            shared.counts.tools_timed_out += 1;
            "tool_timed_out"
        }
        Err(ToolFailure::Failed(_) | ToolFailure::NotAsked(_)) => {
            shared.counts.tools_failed += 1;
            "tool_failed"
        }
    };
    shared.note_of(became, name);
}
