//! The machine's part in the tools of the model: which it may call, when they are carried out, and how each is answered.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the calls of tools that are under way.
//! Never carries a tool out itself.
//! Invariant: each call of a tool is answered once, unless the model took it back or the call is over; where its link is
//! gone, the next one is told the result in words, because it does not know the call's id.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Machine;
use super::holds::HoldReason;
use crate::base::command::{Command, CommandKind};
use crate::base::{Instant, LinkNumber};
use crate::call::commands::{CommandError, Requester};
use crate::call::events::Order;
use crate::call::tool::{HttpTool, ToolCaller, ToolFailure, ToolNumber, ToolResult, ToolRun};
use crate::codec::gemini::tools::{self, Asked, Scheduling, ToolAnswer, ToolCall};

/// Tools of one call under way at one time; a model asks for two or three.
const RUNNING_MAX: usize = 8;
/// How much later than it should a tool's result may come before the machine answers in its place.
const GRACE: Duration = Duration::from_secs(1);
/// How long the control thread may take to say what is known of the call.
const CALL_INFO_WITHIN: Duration = Duration::from_secs(5);

/// The calls of tools that are not answered yet.
#[derive(Debug, Default)]
pub(super) struct ToolCalls {
    last: ToolNumber,
    running: Vec<Running>,
    /// Results whose link was gone, for the next one.
    untold: Vec<(ToolCall, Result<Value, String>)>,
}

/// A tool that is being carried out.
#[derive(Debug)]
struct Running {
    number: ToolNumber,
    link: LinkNumber,
    call: Box<ToolCall>,
    /// `None`: one that is built in.
    tool: Option<Arc<HttpTool>>,
    deadline: Instant,
}

impl Machine {
    /// Declarations of the tools that the agent has and that the leg can carry out, as far as is known now. A script that
    /// did not say in the URL that it is there is known only once it has spoken: the next link's setup declares them.
    pub(super) fn functions(&self) -> Vec<Value> {
        let terms = &self.agent.terms;
        let able = |kind| self.way_of(kind).is_ok();
        let mut declared = Vec::new();
        if terms.control.model_may_end && able(CommandKind::HangUp) {
            declared.push(tools::end_call());
        }
        if !terms.control.model_destinations.is_empty() && able(CommandKind::Transfer) {
            declared.push(tools::transfer_call(&terms.control.model_destinations));
        }
        if terms.tools.send_dtmf && able(CommandKind::Dtmf) {
            declared.push(tools::send_dtmf());
        }
        if terms.tools.call_info {
            declared.push(tools::get_call_info());
        }
        if terms.record {
            declared.push(tools::pause_recording());
        }
        let http = terms.tools.http.iter();
        declared.extend(
            http.map(|tool| tools::function(&tool.name, &tool.description, &tool.parameters, tool.behavior)),
        );
        declared
    }

    /// Whether the model waits for a tool, or the switch for the caller to have heard the model's goodbye: a link that can
    /// choose should not be renewed now.
    pub fn awaits_tools(&self) -> bool {
        let tools = &self.tools;
        self.has_wish() || !tools.running.is_empty() || self.commands.any_of_the_model()
    }

    /// The model calls a tool.
    pub(super) fn tool_called(&mut self, now: Instant, link: LinkNumber, call: Box<ToolCall>) {
        if self.session.link() != Some(link) || self.outcome.is_some() {
            return;
        }
        self.events.tools_called += 1;
        self.history.note_of("tool", &call.name);
        let allowed = match &call.asked {
            Err(why) => Err(why.clone()),
            Ok(Asked::Command(command)) => self.is_allowed(command).map_err(|error| error.to_string()),
            Ok(Asked::CallInfo) if !self.agent.terms.tools.call_info => {
                Err(CommandError::NotAllowed.to_string())
            }
            Ok(Asked::CallInfo | Asked::Other(_)) if self.tools.running.len() >= RUNNING_MAX => {
                Err(format!("{RUNNING_MAX} tools are being carried out already"))
            }
            Ok(_) => Ok(()),
        };
        match (allowed, call.asked.clone()) {
            (Err(why), _) | (Ok(()), Err(why)) => {
                self.answer_tool(link, &call, Err(ToolFailure::Failed(why)), None)
            }
            (Ok(()), Ok(Asked::Command(command))) if command.kind().ends_the_call() => {
                self.wish(now, link, call, command);
            }
            (Ok(()), Ok(Asked::Command(command))) => self.command(now, Requester::Model(link, call), command),
            (Ok(()), Ok(Asked::PauseRecording(paused))) => {
                let result = self.pause_recording(paused).map(|()| json!({"paused": paused}));
                let result = result.map_err(|error| ToolFailure::Failed(error.to_string()));
                self.answer_tool(link, &call, result, None);
            }
            (Ok(()), Ok(Asked::CallInfo)) => {
                let known = self.call_info(now);
                self.run(now, link, call, None, ToolRun::CallInfo(known));
            }
            (Ok(()), Ok(Asked::Other(arguments))) => self.http_tool_called(now, link, call, arguments),
        }
    }

    fn http_tool_called(
        &mut self,
        now: Instant,
        link: LinkNumber,
        call: Box<ToolCall>,
        arguments: Map<String, Value>,
    ) {
        let tool = self.agent.terms.tools.http.iter().find(|tool| tool.name == call.name).cloned();
        let Some(tool) = tool else {
            return self.answer_tool(
                link,
                &call,
                Err(ToolFailure::Failed("there is no such tool".into())),
                None,
            );
        };
        if let Err(why) = tool.parameters.check(&arguments) {
            return self.answer_tool(link, &call, Err(ToolFailure::Failed(why)), None);
        }
        // A session that was resumed from before the call asks again for what is under way.
        let asked_before = |asked: &ToolCall| asked.name == call.name && asked.asked == call.asked;
        let again = |running: &&mut Running| running.link != link && asked_before(&running.call);
        if let Some(running) = self.tools.running.iter_mut().find(again) {
            (running.link, running.call) = (link, call);
            return;
        }
        if let Some(at) = self.tools.untold.iter().position(|(asked, _)| asked_before(asked)) {
            let (_, result) = self.tools.untold.remove(at);
            let answer = ToolAnswer { result, scheduling: tool.scheduling };
            return self.orders.push_back(Order::AnswerTool(link, call, answer));
        }
        let caller = ToolCaller {
            uuid: self.fields.uuid.clone(),
            caller: self.fields.caller.clone(),
            did: self.fields.did.clone(),
            agent: self.agent.name.clone(),
        };
        let run = ToolRun::Http { tool: Arc::clone(&tool), arguments, caller };
        self.run(now, link, call, Some(tool), run);
    }

    fn run(
        &mut self,
        now: Instant,
        link: LinkNumber,
        call: Box<ToolCall>,
        tool: Option<Arc<HttpTool>>,
        run: ToolRun,
    ) {
        self.tools.last = self.tools.last.wrapping_add(1);
        let number = self.tools.last;
        let within = tool.as_ref().map_or(CALL_INFO_WITHIN, |tool| tool.timeout + GRACE);
        let deadline = now.plus(within);
        self.tools.running.push(Running { number, link, call, tool, deadline });
        self.orders.push_back(Order::RunTool(number, Box::new(run)));
        self.hold_uplink();
    }

    fn call_info(&self, now: Instant) -> Map<String, Value> {
        let fields = &self.fields;
        let mut known = Map::new();
        for (name, value) in
            [("caller", &fields.caller), ("called_number", &fields.did), ("uuid", &fields.uuid)]
        {
            if let Some(value) = value {
                known.insert(name.to_owned(), value.as_str().into());
            }
        }
        let began_at = self.answered_at.unwrap_or(self.offered_at);
        known.insert("seconds".to_owned(), (now.since_ms(began_at) / 1000).into());
        known
    }

    fn is_allowed(&self, command: &Command) -> Result<(), CommandError> {
        let control = &self.agent.terms.control;
        let named = match command {
            Command::HangUp(_) => control.model_may_end,
            Command::Transfer(transfer) => control.model_destinations.contains(&transfer.to),
            Command::Dtmf(_) => self.agent.terms.tools.send_dtmf,
            // No tool asks for these.
            Command::Break | Command::SetVariable(..) => false,
        };
        if !named {
            return Err(CommandError::NotAllowed);
        }
        self.way_of(command.kind()).map(|_| ())
    }

    /// A tool was carried out, or was not.
    pub(super) fn tool_done(&mut self, number: ToolNumber, result: ToolResult) {
        let at = self.tools.running.iter().position(|running| running.number == number);
        if let Some(at) = at
            && self.outcome.is_none()
        {
            let Running { link, call, tool, .. } = self.tools.running.remove(at);
            self.answer_tool(link, &call, result, tool.as_deref());
            self.hold_uplink();
        }
    }

    /// The model takes calls of tools back; these are not answered.
    pub(super) fn tools_cancelled(&mut self, link: LinkNumber, ids: &[String]) {
        let named = |call: &ToolCall| !call.id.is_empty() && ids.contains(&call.id);
        if self.wish_cancelled(link, named) {
            self.events.tools_cancelled += 1;
            self.history.note("tool_cancelled");
        }
        for taken in self.tools.running.extract_if(.., |running| running.link == link && named(&running.call))
        {
            self.orders.push_back(Order::CancelTool(taken.number));
            self.events.tools_cancelled += 1;
            self.history.note_of("tool_cancelled", &taken.call.name);
        }
        self.events.tools_cancelled += self.commands.take_back(|asked, call| asked == link && named(call));
        self.hold_uplink();
    }

    /// Takes an answer to the model, over the link that asked or, where that is gone, in words over the next.
    pub(super) fn answer_tool(
        &mut self,
        link: LinkNumber,
        call: &ToolCall,
        result: ToolResult,
        tool: Option<&HttpTool>,
    ) {
        let became = match &result {
            Ok(_) => "tool_done",
            Err(ToolFailure::TimedOut) => {
                self.events.tools_timed_out += 1;
                "tool_timed_out"
            }
            Err(ToolFailure::Failed(_)) => {
                self.events.tools_failed += 1;
                "tool_failed"
            }
        };
        self.history.note_of(became, &call.name);
        let result = result.map_err(|failure| failure.to_string());
        if tool.is_some_and(|tool| tool.scheduling == Some(Scheduling::Silent)) {
            self.answers_silently();
        }
        if self.session.link() == Some(link) {
            let answer = ToolAnswer { result, scheduling: tool.and_then(|tool| tool.scheduling) };
            self.orders.push_back(Order::AnswerTool(link, Box::new(call.clone()), answer));
        } else if self.outcome.is_none() {
            if self.tools.untold.len() >= RUNNING_MAX {
                _ = self.tools.untold.remove(0);
            }
            self.tools.untold.push((call.clone(), result));
        }
    }

    /// Tells a link that is ready what an older one was to be answered.
    fn tell_untold(&mut self, now: Instant) {
        if self.session.live().is_some() {
            for (call, result) in std::mem::take(&mut self.tools.untold) {
                self.prompt(now, tools::told_late(&call, &result));
            }
        }
    }

    /// Answers in the place of tools whose result is overdue, and tells what could not be answered.
    pub(super) fn tick_tools(&mut self, now: Instant) {
        while let Some(at) = self.tools.running.iter().position(|running| now >= running.deadline) {
            let Running { number, link, call, tool, .. } = self.tools.running.remove(at);
            self.orders.push_back(Order::CancelTool(number));
            self.answer_tool(link, &call, Err(ToolFailure::TimedOut), tool.as_deref());
        }
        self.tell_untold(now);
        self.hold_uplink();
    }

    /// When to look at what is overdue, or at what can be told now.
    pub(super) fn tools_deadline(&self) -> Option<Instant> {
        let tools = &self.tools;
        let tellable = !tools.untold.is_empty() && self.session.live().is_some();
        let at_once =
            (tellable || self.holds.has(HoldReason::Tool) != self.is_to_hold()).then(Instant::default);
        let running = tools.running.iter().map(|running| running.deadline);
        running.chain(at_once).min()
    }

    /// Keeps the caller's audio back as long as the present link waits for a tool that asks for it.
    fn hold_uplink(&mut self) {
        self.hold(HoldReason::Tool, self.is_to_hold());
    }

    fn is_to_hold(&self) -> bool {
        let holds = |tool: &Arc<HttpTool>| tool.hold_uplink;
        let waits = |running: &Running| self.session.link() == Some(running.link);
        self.tools.running.iter().any(|running| waits(running) && running.tool.as_ref().is_some_and(holds))
    }

    /// The call is over: nobody is left to be answered.
    pub(super) fn drop_tools(&mut self) {
        self.wish = None;
        let tools = std::mem::take(&mut self.tools);
        self.tools.last = tools.last;
        self.orders.extend(tools.running.iter().map(|running| Order::CancelTool(running.number)));
        self.hold_uplink();
    }
}
