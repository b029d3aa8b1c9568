//! One session as a machine without I/O: client messages and times go in, server messages come out.
//!
//! Runs in: the simulator's thread: pure, every time is an argument. Owns the state of one connection's protocol.
//! Never touches a socket or a clock.
//! Invariant: at most one turn at a time; after `interrupted` no audio of the cancelled turn is put into the outbox.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    config::{SimConfig, Voice},
    detector::{Detector, Heard, Judge, Talkspurt},
    event::What,
    fault::{Fault, Moment},
    message::{self, Audio, ClientMessage},
    model::{Family, Refusal, Terms},
    outbox::{End, Outbox},
    registry::Registry,
    resample::{Linear, Upsampler, upsampled},
    turn::Turn,
    upgrade::{Platform, Request},
};

mod opening;
mod speaking;

/// What a session is told about the simulator it lives in, and where it tells what happened.
pub struct World<'a> {
    /// The simulator's configuration.
    pub config: &'a SimConfig,
    /// What `Voice::Answer` says: samples at 24 kHz and the words.
    pub answer: &'a (Arc<[i16]>, String),
    /// Who may resume what.
    pub registry: &'a mut Registry,
    /// Takes what happened now.
    pub tell: &'a mut dyn FnMut(What),
}

/// Something to do at a later time.
#[derive(Debug)]
enum Task {
    SetupComplete,
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
    bundled: bool,
    tools: Vec<(String, Value)>,
}

/// What a turn is to say.
type Speech = (Arc<[i16]>, String);

/// What the script demands at a moment, as far as the session itself has to act on it.
#[derive(Debug, Default)]
struct Demands {
    delay: Duration,
    silence: bool,
    bundled: bool,
    empty: bool,
    interrupt: bool,
    tools: Vec<(String, Value)>,
}

/// One connection's protocol state.
#[derive(Debug)]
pub struct Session {
    id: u64,
    request: Request,
    /// What the setup agreed; `None` before it.
    terms: Option<Terms>,
    conversation: u64,
    handles_given: u64,
    messages_consumed: u64,
    history_seeded: bool,
    detector: Detector,
    to_16k: Linear,
    to_24k: Upsampler,
    turns: u64,
    turn: Option<Turn>,
    /// What to say after the turn under way, where speech does not interrupt.
    queued: Option<Speech>,
    /// Ids of tool calls without a response, and the turn that waits for them.
    calls: Vec<String>,
    calls_made: u64,
    waiting: Option<Begin>,
    tasks: Vec<(Instant, Task)>,
    pong_delay: Duration,
    prompt_tokens: u64,
    heard_samples: u64,
}

impl Session {
    /// A session after its upgrade.
    pub fn new(id: u64, request: Request) -> Self {
        Self {
            id,
            request,
            terms: None,
            conversation: id,
            handles_given: 0,
            messages_consumed: 0,
            history_seeded: false,
            detector: Detector::new(Judge::Client, false),
            to_16k: Linear::default(),
            to_24k: Upsampler::default(),
            turns: 0,
            turn: None,
            queued: None,
            calls: Vec::new(),
            calls_made: 0,
            waiting: None,
            tasks: Vec::new(),
            pong_delay: Duration::ZERO,
            prompt_tokens: 0,
            heard_samples: 0,
        }
    }

    /// The conversation this connection holds, once its setup was accepted.
    pub fn conversation(&self) -> Option<u64> {
        self.terms.as_ref().map(|_| self.conversation)
    }

    /// When [`Session::on_time`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let task = self.tasks.iter().map(|(at, _)| *at).min();
        let turn = self.turn.as_ref().map(Turn::due);
        task.into_iter().chain(turn).min()
    }

    /// Takes a client message. Gives the audio in it back, for whoever keeps it.
    pub fn on_message(
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
    pub fn on_ping(&mut self, now: Instant, payload: Vec<u8>, out: &mut Outbox) {
        if self.pong_delay.is_zero() {
            out.pong(&payload);
        } else {
            self.tasks.push((now + self.pong_delay, Task::Pong(payload)));
        }
    }

    /// Does what is due.
    pub fn on_time(&mut self, now: Instant, world: &mut World, out: &mut Outbox) {
        while let Some(next) =
            (0..self.tasks.len()).filter(|&n| self.tasks[n].0 <= now).min_by_key(|&n| self.tasks[n].0)
        {
            if out.is_ending() {
                return;
            }
            let (due, task) = self.tasks.remove(next);
            match task {
                Task::SetupComplete => self.complete_setup(due, world, out),
                Task::Begin(begin) => self.begin(due, begin, world, out),
                Task::Fault(fault) => {
                    let mut demands = Demands::default();
                    self.apply(due, fault, &mut demands, out);
                    if demands.silence {
                        out.mute();
                    }
                }
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
                self.answer_prompt(now, text.len(), world, out);
            }
            ClientMessage::AudioStreamEnd => {
                if terms.manual_activity {
                    return Err(Refusal::invalid("audio_stream_end needs automatic activity detection."));
                }
                (world.tell)(What::AudioStreamEnd);
                let heard = self.detector.stop();
                self.react(now, heard, world, out);
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
            ClientMessage::ToolResponse(ids) => {
                (world.tell)(What::ToolResponse { ids: ids.clone() });
                self.calls.retain(|call| !ids.contains(call));
                if self.calls.is_empty()
                    && let Some(begin) = self.waiting.take()
                {
                    self.begin(now, begin, world, out);
                }
            }
            ClientMessage::ContextUpdate => {
                if !matches!(terms.family, Family::Live38 | Family::Live38Thinking) {
                    return Err(Refusal::invalid("context_update is not supported by this model."));
                }
                (world.tell)(What::ContextUpdate);
            }
        }
        Ok(())
    }

    /// Acts on everything in the script for this moment.
    fn happen(&mut self, now: Instant, moment: Moment, world: &World, out: &mut Outbox) -> Demands {
        let mut demands = Demands::default();
        for scheduled in &world.config.faults {
            if scheduled.at.is(moment) && scheduled.connection.is_none_or(|connection| connection == self.id)
            {
                self.apply(now, scheduled.fault.clone(), &mut demands, out);
            }
        }
        demands
    }

    fn apply(&mut self, now: Instant, fault: Fault, demands: &mut Demands, out: &mut Outbox) {
        match fault {
            Fault::Delay(delay) => demands.delay += delay,
            Fault::Silence => demands.silence = true,
            Fault::Bundle => demands.bundled = true,
            Fault::EmptyTurn => demands.empty = true,
            Fault::Interrupt => demands.interrupt = true,
            Fault::ToolCall { name, args } => demands.tools.push((name, args)),
            Fault::Drop => out.end(End::Drop),
            Fault::Reset => out.end(End::Reset),
            Fault::Close { code, reason } => out.end(End::Close { code, reason }),
            Fault::LatePongs(delay) => self.pong_delay = delay,
            Fault::GoAway(left) => {
                out.message(&json!({"goAway": {"timeLeft": duration_json(left)}}));
                out.mark(What::GoAway);
                let reason = "Connection aborted because the client failed to close the connection after receiving a \
                              GoAway signal within the deadline.";
                let refusal = Refusal { code: 1008, reason: reason.to_owned() };
                self.tasks.push((now + left, Task::Close(refusal)));
            }
            frame => out.faulty(&frame),
        }
    }

    fn hear(&mut self, now: Instant, audio: &Audio, world: &mut World, out: &mut Outbox) {
        (world.tell)(What::Audio { samples: audio.samples().len(), rate_hz: audio.rate_hz });
        let mut samples: Vec<i16> = audio.samples().collect();
        if audio.rate_hz != 16_000 {
            let mut resampled = Vec::new();
            self.to_16k.push(audio.rate_hz, 16_000, &samples, &mut resampled);
            samples = resampled;
        }
        self.heard_samples += samples.len() as u64;
        if world.config.voice == Voice::Echo {
            let mut echo = Vec::with_capacity(samples.len() * 3 / 2 + 2);
            self.to_24k.push(&samples, &mut echo);
            if !echo.is_empty() {
                out.audio(&echo);
            }
        }
        for heard in self.detector.hear(&samples) {
            self.react(now, Some(heard), world, out);
        }
    }

    fn react(&mut self, now: Instant, heard: Option<Heard>, world: &mut World, out: &mut Outbox) {
        let Some(terms) = &self.terms else { return };
        match heard {
            None => {}
            Some(Heard::Start) => {
                let interrupts = !terms.never_interrupted;
                (world.tell)(What::SpeechStarted);
                if interrupts {
                    self.interrupt(now, world, out);
                }
            }
            Some(Heard::End(Talkspurt { length, samples })) => {
                (world.tell)(What::SpeechEnded { samples: length });
                let seconds = length as f64 / 16_000.0;
                if terms.input_transcription {
                    for text in ["The caller spoke ".to_owned(), format!("for {seconds:.2} seconds.")] {
                        out.message(&json!({"serverContent": {"inputTranscription": {"text": text}}}));
                    }
                }
                match world.config.voice {
                    Voice::Echo => {}
                    Voice::Answer => self.answer(now, world.answer.clone(), world, out),
                    Voice::Parrot => {
                        let text = format!("You spoke for {seconds:.2} seconds.");
                        self.answer(now, (upsampled(&samples).into(), text), world, out);
                    }
                }
            }
        }
    }
}

fn refuse(refusal: Refusal, out: &mut Outbox) {
    out.end(End::Close { code: refusal.code, reason: refusal.reason });
}

/// `"9.5s"`, as proto3 JSON writes durations.
fn duration_json(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests;
