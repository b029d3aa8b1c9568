//! Tool calls: which are sent, whom the turn waits for, what a response does.
//!
//! Runs in: the simulator's thread: pure, as all of [`Session`]. Owns nothing of its own.
//! Invariant: a turn waits for the calls that block, and for no others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Begin, Session, Task, World};
use crate::sim::{
    config::Voice,
    event::What,
    fault::Moment,
    message::{Scheduling, ToolResult},
    model::{Family, Refusal},
    outbox::Outbox,
};

/// Audio that was on its way when a tool call was sent is forgiven for so long.
const AUDIO_UNDER_WAY: Duration = Duration::from_millis(300);

/// A call without a response.
#[derive(Debug)]
pub(super) struct Pending {
    id: String,
    /// What the declaration says.
    blocking: Option<bool>,
    /// The turn waits for it.
    awaited: bool,
}

/// What is allowed while a call is pending.
#[derive(Debug, Default)]
pub(super) struct ToolTerms {
    refusal: Option<Refusal>,
    called: Option<Instant>,
}

impl ToolTerms {
    /// Audio while a call is pending is refused.
    pub(super) fn refusing(refusal: Refusal) -> Self {
        Self { refusal: Some(refusal), called: None }
    }

    /// Why audio is refused now, if it is.
    pub(super) fn refusal(&self, now: Instant, pending: bool) -> Option<Refusal> {
        let called = self.called.filter(|_| pending)?;
        self.refusal.clone().filter(|_| now.saturating_duration_since(called) > AUDIO_UNDER_WAY)
    }
}

impl Session {
    /// Sends the calls. Gives back whether the turn has to wait for one of them.
    pub(super) fn call_tools(
        &mut self,
        now: Instant,
        tools: Vec<(String, Value)>,
        may_wait: bool,
        world: &mut World,
        out: &mut Outbox,
    ) -> bool {
        let declared = self.terms.as_ref().map_or(&[][..], |terms| &terms.functions);
        let (mut calls, mut marks, mut waits) = (Vec::new(), Vec::new(), false);
        for (name, args) in tools {
            let Some(function) = declared.iter().find(|function| function.name == name) else { continue };
            self.calls_made += 1;
            let id = format!("function-call-{}-{}", self.id, self.calls_made);
            calls.push(json!({"id": id, "name": name, "args": args}));
            let awaited = may_wait && function.blocking != Some(false);
            waits |= awaited;
            self.calls.push(Pending { id: id.clone(), blocking: function.blocking, awaited });
            marks.push(What::ToolCall { id, name });
        }
        if calls.is_empty() {
            return false;
        }
        out.message(&json!({"toolCall": {"functionCalls": calls}}));
        for mark in marks {
            out.mark(mark);
        }
        self.tool_terms.called = Some(now);
        self.tool_rounds += 1;
        let demands = self.happen(now, Moment::ToolCall(Some(self.tool_rounds)), world, out);
        if demands.silence {
            out.mute();
        }
        if demands.cancel_tools {
            // The turn is not waiting yet: it never will be.
            self.tasks.push((now, Task::Fault(crate::sim::fault::Fault::CancelTools)));
        }
        waits
    }

    pub(super) fn take_results(
        &mut self,
        now: Instant,
        results: &[ToolResult],
        world: &mut World,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        (world.tell)(What::ToolResponse { ids: results.iter().map(|result| result.id.clone()).collect() });
        let refuses = self.terms.as_ref().is_some_and(|terms| terms.family == Family::Live38Thinking);
        if refuses && results.iter().any(|result| result.scheduling.is_some()) {
            return Err(Refusal::invalid("Function response scheduling is not supported for this model"));
        }
        for result in results {
            let Some(place) = self.calls.iter().position(|call| call.id == result.id) else { continue };
            let call = &self.calls[place];
            if call.blocking == Some(true) && (result.scheduling.is_some() || result.will_continue) {
                return Err(Refusal::invalid(
                    "tool_response.function_responses: scheduling and will_continue are for NON_BLOCKING functions.",
                ));
            }
            // A call amid a turn of which the declaration does not say that it does not block gets no answer of its own:
            // the turn says what there is to say.
            let is_spoken_of = !call.awaited && call.blocking == Some(false);
            if !result.will_continue {
                self.calls.remove(place);
            }
            if !is_spoken_of {
                continue;
            }
            match result.scheduling.unwrap_or(Scheduling::WhenIdle) {
                Scheduling::Silent => continue,
                Scheduling::Interrupt => self.interrupt(now, world, out),
                Scheduling::WhenIdle => {}
            }
            if !result.will_continue && world.config.voice != Voice::Echo {
                self.answer(now, self.next_answer(world), world, out);
            }
        }
        if !self.calls.iter().any(|call| call.awaited)
            && let Some(begin) = self.waiting.take()
        {
            self.go_on(now, begin, world, out);
        }
        Ok(())
    }

    /// Every call is answered: the turn begins, as far as the script lets it.
    fn go_on(&mut self, now: Instant, mut begin: Begin, world: &mut World, out: &mut Outbox) {
        let demands = self.happen(now, Moment::ToolResponse(Some(self.tool_rounds)), world, out);
        if demands.silence || out.is_ending() {
            return;
        }
        if demands.empty {
            (begin.audio, begin.text) = (Vec::new().into(), String::new());
        }
        if demands.delay.is_zero() {
            self.begin(now, begin, world, out);
        } else {
            self.tasks.push((now + demands.delay, Task::Begin(begin)));
        }
    }

    /// Cancels the calls for which a turn waits, and ends that turn.
    pub(super) fn cancel_tools(&mut self, now: Instant, world: &mut World, out: &mut Outbox) {
        self.cancel_awaited(out);
        if let Some(mut begin) = self.waiting.take() {
            (begin.audio, begin.text) = (Vec::new().into(), String::new());
            self.begin(now, begin, world, out);
        }
    }

    /// `toolCallCancellation` for the calls that block: the others go on whatever the caller says.
    pub(super) fn cancel_awaited(&mut self, out: &mut Outbox) {
        let ids: Vec<String> =
            self.calls.iter().filter(|call| call.awaited).map(|call| call.id.clone()).collect();
        self.calls.retain(|call| !call.awaited);
        if !ids.is_empty() {
            out.message(&json!({"toolCallCancellation": {"ids": ids}}));
            out.mark(What::ToolCallCancelled { ids });
        }
    }
}
