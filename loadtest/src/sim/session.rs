//! One session as a machine without I/O: client messages and times go in, server messages come out.
//!
//! Runs in: the simulator's thread: pure, every time is an argument. Owns the state of one connection's protocol.
//! Never touches a socket or a clock.
//! Invariant: at most one turn at a time; after `interrupted` no audio of the cancelled turn is put into the outbox.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{
    config::SimConfig,
    detector::{Detector, Heard, Judge, Talkspurt},
    event::What,
    fault::Fault,
    message::{self, Audio, ClientMessage},
    model::{Family, Refusal, Terms},
    outbox::{End, Outbox},
    registry::{Memory, Registry},
    resample::{Linear, Upsampler},
    turn::{Manner, Turn},
    upgrade::{Platform, Request},
};

mod demands;
mod hearing;
mod opening;
mod speaking;
mod tools;

pub(super) use opening::QUOTA;

use opening::Opening;
use tools::{Pending, ToolTerms};

/// What a session is told about the simulator it lives in, and where it tells what happened.
pub(super) struct World<'a> {
    /// The simulator's configuration.
    pub config: &'a SimConfig,
    /// What is said in turns, unless it repeats the caller: samples at 24 kHz and the words.
    pub answers: &'a [Speech],
    /// Who may resume what.
    pub registry: &'a mut Registry,
    /// Takes what happened now.
    pub tell: &'a mut dyn FnMut(What),
}

/// Something to do at a later time.
#[derive(Debug)]
enum Task {
    SetupComplete(Opening),
    Begin(Begin),
    Fault(Fault),
    Close(Refusal),
    Pong(Vec<u8>),
}

/// A turn that is about to begin.
#[derive(Debug)]
struct Begin {
    number: u64,
    audio: Arc<[i16]>,
    text: String,
    manner: Manner,
    /// Times real time, where the script says.
    burst: Option<f64>,
    tools: Vec<(String, Value)>,
}

/// What a turn is to say.
pub(super) type Speech = (Arc<[i16]>, String);

/// One connection's protocol state.
#[derive(Debug)]
pub(super) struct Session {
    id: u64,
    request: Request,
    /// What the setup agreed; `None` before it.
    terms: Option<Terms>,
    conversation: u64,
    /// The setup came with a handle.
    resumed: bool,
    /// What was remembered of the conversation when this connection began, and the transcriptions since.
    memory: Memory,
    handles_given: u64,
    no_handles: bool,
    messages_consumed: u64,
    history_seeded: bool,
    detector: Detector,
    to_16k: Linear,
    to_24k: Upsampler,
    talkspurts: u64,
    /// Talkspurts shorter than this get no answer.
    swallow: Option<Duration>,
    /// A swallowed talkspurt: its turn is still open.
    open: Option<Talkspurt>,
    turns: u64,
    turn: Option<Turn>,
    /// What to say after the turn under way, where speech does not interrupt.
    queued: Option<Speech>,
    /// What the next answer repeats, whatever it should have been.
    again: Option<Speech>,
    /// Tool calls without a response, and the turn that waits for them.
    calls: Vec<Pending>,
    calls_made: u64,
    /// Messages with tool calls.
    tool_rounds: u64,
    tool_terms: ToolTerms,
    waiting: Option<Begin>,
    tasks: Vec<(Instant, Task)>,
    pong_delay: Duration,
    /// Each turn comes later by this for every minute heard.
    ageing: Duration,
    /// Audio may be this far ahead of real time since `setupComplete`.
    replay_limit: Option<Duration>,
    /// When `setupComplete` was sent, and the audio since, in samples at 16 kHz.
    live: Option<(Instant, u64)>,
}

impl Session {
    /// A session after its upgrade.
    pub(super) fn new(id: u64, request: Request) -> Self {
        Self {
            id,
            request,
            terms: None,
            conversation: id,
            resumed: false,
            memory: Memory::default(),
            handles_given: 0,
            no_handles: false,
            messages_consumed: 0,
            history_seeded: false,
            detector: Detector::new(Judge::Client, false),
            to_16k: Linear::default(),
            to_24k: Upsampler::default(),
            talkspurts: 0,
            swallow: None,
            open: None,
            turns: 0,
            turn: None,
            queued: None,
            again: None,
            calls: Vec::new(),
            calls_made: 0,
            tool_rounds: 0,
            tool_terms: ToolTerms::default(),
            waiting: None,
            tasks: Vec::new(),
            pong_delay: Duration::ZERO,
            ageing: Duration::ZERO,
            replay_limit: None,
            live: None,
        }
    }

    /// `setupComplete` was sent.
    pub(super) fn is_open(&self) -> bool {
        self.live.is_some()
    }

    /// The connection is over: another one may resume the conversation.
    pub(super) fn let_go(&mut self, now: Instant, registry: &mut Registry) {
        if self.terms.is_some() {
            let mut memory = std::mem::take(&mut self.memory);
            memory.unfinished = self.turn.as_ref().and_then(Turn::rest);
            registry.let_go(self.conversation, Some(memory), now);
            registry.leave(&self.request.credential);
        }
    }

    /// When [`Session::on_time`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let task = self.tasks.iter().map(|(at, _)| *at).min();
        let turn = self.turn.as_ref().map(Turn::due);
        task.into_iter().chain(turn).min()
    }

    /// Takes a client message. Gives the audio in it back, for whoever keeps it.
    pub(super) fn on_message(
        &mut self,
        now: Instant,
        payload: &[u8],
        world: &mut World,
        out: &mut Outbox,
    ) -> Vec<Audio> {
        self.messages_consumed += 1;
        let mut audio = Vec::new();
        match message::read(payload) {
            Err(refusal) => refuse(refusal, out),
            Ok(messages) => {
                for message in messages {
                    if out.is_ending() {
                        break;
                    }
                    if let Err(refusal) = self.take(now, &message, world, out) {
                        refuse(refusal, out);
                    }
                    if let ClientMessage::Audio(heard) = message {
                        audio.push(heard);
                    }
                }
            }
        }
        audio
    }

    /// Answers a ping, late if the script says so.
    pub(super) fn on_ping(&mut self, now: Instant, payload: Vec<u8>, out: &mut Outbox) {
        if self.pong_delay.is_zero() {
            out.pong(&payload);
        } else {
            self.tasks.push((now + self.pong_delay, Task::Pong(payload)));
        }
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self, now: Instant, world: &mut World, out: &mut Outbox) {
        while let Some(next) =
            (0..self.tasks.len()).filter(|&n| self.tasks[n].0 <= now).min_by_key(|&n| self.tasks[n].0)
        {
            if out.is_ending() {
                return;
            }
            let (due, task) = self.tasks.remove(next);
            match task {
                Task::SetupComplete(opening) => self.complete_setup(due, opening, world, out),
                Task::Begin(begin) => self.begin(due, begin, world, out),
                Task::Fault(fault) => self.suffer(due, fault, world, out),
                Task::Close(refusal) => refuse(refusal, out),
                Task::Pong(payload) => out.pong(&payload),
            }
        }
        self.pump(now, world, out);
    }

    fn take(
        &mut self,
        now: Instant,
        message: &ClientMessage,
        world: &mut World,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        let Some(terms) = &self.terms else {
            return match message {
                ClientMessage::Setup(setup) => self.set_up(now, setup, world, out),
                _ => Err(Refusal::invalid("setup must be the first message and only the first")),
            };
        };
        match message {
            ClientMessage::Setup(_) => {
                return Err(Refusal::invalid("setup must be the first message and only the first"));
            }
            ClientMessage::Audio(audio) => self.hear(now, audio, world, out),
            ClientMessage::Video => (world.tell)(What::Video),
            ClientMessage::Text(text) => {
                if self.request.platform == Platform::Vertex {
                    return Err(Refusal::invalid("realtime_input.text is not supported."));
                }
                let interrupts = !terms.never_interrupted;
                (world.tell)(What::Text(text.clone()));
                if interrupts {
                    self.interrupt(now, world, out);
                }
                self.memory.transcripts.clear();
                self.answer_prompt(now, text.len(), world, out);
            }
            ClientMessage::AudioStreamEnd => {
                if terms.manual_activity {
                    return Err(Refusal::invalid("audio_stream_end needs automatic activity detection."));
                }
                (world.tell)(What::AudioStreamEnd);
                // Whatever the detection thinks of it, what was said is committed now.
                let heard = match (self.detector.stop(), self.open.take()) {
                    (None, Some(open)) => Some(Heard::End(open)),
                    (heard, _) => heard,
                };
                let swallow = self.swallow.take();
                self.react(now, heard, world, out);
                self.swallow = swallow;
            }
            ClientMessage::ActivityStart | ClientMessage::ActivityEnd => {
                if !terms.manual_activity {
                    return Err(Refusal::invalid(
                        "Explicit activity control is not supported when automatic activity detection is enabled.",
                    ));
                }
                let start = *message == ClientMessage::ActivityStart;
                (world.tell)(if start { What::ActivityStart } else { What::ActivityEnd });
                let heard = if start { self.detector.start() } else { self.detector.stop() };
                self.react(now, heard, world, out);
            }
            ClientMessage::Content { turns, turn_complete } => {
                let (family, seeded) = (terms.family, terms.seeded);
                (world.tell)(What::ClientContent { turns: *turns, turn_complete: *turn_complete });
                if seeded && !self.history_seeded {
                    self.history_seeded = *turn_complete;
                    return Ok(());
                }
                if family == Family::Live31 {
                    return Err(Refusal::invalid("Request contains an invalid argument."));
                }
                self.interrupt(now, world, out);
                if *turn_complete {
                    self.answer_prompt(now, 40 * turns, world, out);
                }
            }
            ClientMessage::ToolResponse(results) => self.take_results(now, results, world, out)?,
            ClientMessage::ContextUpdate => {
                if !matches!(terms.family, Family::Live38 | Family::Live38Thinking) {
                    return Err(Refusal::invalid("context_update is not supported by this model."));
                }
                (world.tell)(What::ContextUpdate);
            }
        }
        Ok(())
    }
}

fn refuse(refusal: Refusal, out: &mut Outbox) {
    out.end(End::Close { code: refusal.code, reason: refusal.reason });
}

#[cfg(test)]
mod tests;
