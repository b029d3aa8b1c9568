//! What a session says: when a turn begins, what of it is due, how it is cut off and how it ends.
//!
//! Runs in: the simulator's thread: pure, as all of [`Session`]. Owns nothing of its own.
//! Invariant: after `interrupted` no audio of the cancelled turn is put into the outbox.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Begin, Session, Speech, Task, World};
use crate::sim::{
    config::Voice,
    event::What,
    fault::Moment,
    model::Family,
    outbox::{Outbox, inline_audio},
    turn::{Manner, Pace, Step, Turn},
    upgrade::Platform,
};

impl Session {
    pub(super) fn answer_prompt(
        &mut self,
        now: Instant,
        characters: usize,
        world: &mut World,
        out: &mut Outbox,
    ) {
        self.memory.prompt_tokens += (characters as u64).div_ceil(4);
        if world.config.voice != Voice::Echo {
            self.answer(now, self.next_answer(world), world, out);
        }
    }

    /// What the simulator was given to say, one after the other.
    pub(super) fn next_answer(&self, world: &World) -> Speech {
        let place = self.turns as usize % world.answers.len();
        world.answers[place].clone()
    }

    /// Has something to say: now, or after the turn under way.
    pub(super) fn answer(&mut self, now: Instant, speech: Speech, world: &mut World, out: &mut Outbox) {
        if self.is_busy() {
            self.queued = Some(speech);
            return;
        }
        self.turns += 1;
        let demands = self.happen(now, Moment::Turn(Some(self.turns)), world, out);
        if demands.silence || out.is_ending() {
            return;
        }
        let speech = self.again.take().unwrap_or(speech);
        let (audio, text) = if demands.empty { (Vec::new().into(), String::new()) } else { speech };
        let begin = Begin {
            number: self.turns,
            audio,
            text,
            manner: demands.manner,
            burst: demands.burst,
            tools: demands.tools,
        };
        let delay = demands.delay + self.aged();
        if delay.is_zero() {
            self.begin(now, begin, world, out);
        } else {
            self.tasks.push((now + delay, Task::Begin(begin)));
        }
    }

    /// How much later a turn comes in a conversation of this age.
    fn aged(&self) -> Duration {
        if self.terms.as_ref().is_some_and(|terms| terms.compressed) {
            return Duration::ZERO;
        }
        self.ageing.mul_f64(self.memory.heard_samples as f64 / (60.0 * 16_000.0))
    }

    fn is_busy(&self) -> bool {
        self.turn.is_some()
            || self.waiting.is_some()
            || self.tasks.iter().any(|(_, task)| matches!(task, Task::Begin(_)))
    }

    pub(super) fn begin(&mut self, now: Instant, mut begin: Begin, world: &mut World, out: &mut Outbox) {
        let tools = std::mem::take(&mut begin.tools);
        if self.call_tools(now, tools, true, world, out) {
            self.waiting = Some(begin);
            return;
        }
        if self.terms.as_ref().is_some_and(|terms| terms.resumable) {
            // In the middle of a turn there is nothing to resume from: every field has its default value.
            out.message(&json!({"sessionResumptionUpdate": {}}));
        }
        let burst = begin.burst.unwrap_or(world.config.burst);
        let pace = Pace { chunk: world.config.chunk_ms.clamp(1, 1_000) as usize * 24, burst };
        self.turn = Some(Turn::new(begin.number, begin.audio, &begin.text, pace, now, begin.manner));
        self.pump(now, world, out);
    }

    /// Sends what is due of the turn under way.
    pub(super) fn pump(&mut self, now: Instant, world: &mut World, out: &mut Outbox) {
        let transcribed = self.terms.as_ref().is_some_and(|terms| terms.output_transcription);
        while let Some(turn) = self.turn.as_mut().filter(|turn| turn.due() <= now) {
            if out.is_ending() {
                return;
            }
            let number = turn.number;
            match turn.advance() {
                Step::Chunk { samples, words, first, last } => {
                    let text = turn.text(words);
                    let transcription = (transcribed && !text.is_empty())
                        .then(|| json!({"outputTranscription": {"text": text}}));
                    self.memory.transcripts.extend(transcription.clone());
                    if last && turn.manner.bundled {
                        let audio = inline_audio(turn.samples(samples));
                        let mut content = json!({
                            "modelTurn": {"role": "model", "parts": [audio]},
                            "generationComplete": true,
                        });
                        merge(&mut content, transcription);
                        self.complete_turn(now, content, world, out);
                        continue;
                    }
                    out.audio(turn.samples(samples));
                    if first {
                        out.mark(What::TurnStarted { turn: number });
                    }
                    if let Some(transcription) = transcription {
                        out.message(&json!({"serverContent": transcription}));
                    }
                }
                Step::Middle => {
                    let demands = self.happen(now, Moment::MidTurn(Some(number)), world, out);
                    if demands.silence {
                        out.mute();
                    }
                    self.call_tools(now, demands.tools, false, world, out);
                    if demands.interrupt {
                        self.interrupt(now, world, out);
                    } else if let Some(turn) = &mut self.turn {
                        turn.pause(demands.delay);
                    }
                }
                Step::GenerationComplete => {
                    out.message(&json!({"serverContent": {"generationComplete": true}}));
                }
                Step::TurnComplete => self.complete_turn(now, json!({}), world, out),
            }
        }
        if self.turn.is_none()
            && !self.is_busy()
            && let Some(speech) = self.queued.take()
        {
            self.answer(now, speech, world, out);
        }
    }

    /// The caller, or new content, cuts off what the model says or is about to say.
    pub(super) fn interrupt(&mut self, now: Instant, world: &mut World, out: &mut Outbox) {
        if self.turn.as_ref().is_some_and(|turn| turn.manner.uninterruptible) {
            return;
        }
        self.queued = None;
        // A turn that has not begun to be sent is dropped without a word.
        self.tasks.retain(|(_, task)| !matches!(task, Task::Begin(_)));
        self.cancel_awaited(out);
        self.again = self.turn.as_ref().filter(|turn| turn.manner.starts_again).map(Turn::speech);
        let number = match (&self.turn, self.waiting.take()) {
            (Some(turn), _) => turn.number,
            (None, Some(begin)) => begin.number,
            (None, None) => return,
        };
        out.message(&json!({"serverContent": {"interrupted": true}}));
        out.mark(What::Interrupted { turn: number });
        self.turn.get_or_insert_with(|| {
            let pace = Pace { chunk: 960, burst: 0.0 };
            Turn::new(number, Vec::new().into(), "", pace, now, Manner::default())
        });
        self.complete_turn(now, json!({}), world, out);
    }

    /// Sends `turnComplete` with the usage, and a handle.
    fn complete_turn(&mut self, now: Instant, mut content: Value, world: &mut World, out: &mut Outbox) {
        let (Some(turn), Some(terms)) = (self.turn.take(), &self.terms) else { return };
        merge(&mut content, Some(json!({"turnComplete": true})));
        if terms.family == Family::Live38Thinking {
            merge(&mut content, Some(json!({"interactionStatus": "IDLE"})));
        }
        let usage = self.usage(&turn);
        out.message(&json!({"serverContent": content, "usageMetadata": usage}));
        out.mark(What::TurnComplete { turn: turn.number });
        self.give_handle(out);
        let demands = self.happen(now, Moment::TurnEnd(Some(turn.number)), world, out);
        if demands.silence {
            out.mute();
        }
        self.call_tools(now, demands.tools, false, world, out);
    }

    /// Tokens as Google counts audio: 32 a second heard, 25 a second spoken.
    fn usage(&self, turn: &Turn) -> Value {
        let heard = self.memory.heard_samples * 32 / 16_000;
        let spoken = turn.samples_sent() as u64 * 25 / 24_000;
        let prompt = heard + self.memory.prompt_tokens;
        let details = |count: u64| json!([{"modality": "AUDIO", "tokenCount": count}]);
        let (response, total) = (spoken, prompt + spoken);
        match self.request.platform {
            Platform::Developer(_) => json!({
                "promptTokenCount": prompt, "responseTokenCount": response, "totalTokenCount": total,
                "promptTokensDetails": details(heard), "responseTokensDetails": details(response),
            }),
            Platform::Vertex => json!({
                "promptTokenCount": prompt, "candidatesTokenCount": response, "totalTokenCount": total,
                "promptTokensDetails": details(heard), "candidatesTokensDetails": details(response),
                "trafficType": "ON_DEMAND",
            }),
        }
    }
}

/// Adds the fields of an object to another.
pub(super) fn merge(into: &mut Value, from: Option<Value>) {
    if let (Some(into), Some(Value::Object(from))) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}
