//! How a session opens: credential, setup, `setupComplete`, and the handles to open it again by.
//!
//! Runs in: the simulator's thread: pure, as all of [`Session`]. Owns nothing of its own.
//! Invariant: `setupComplete` is sent once, after a setup that was accepted.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::{Memory, Session, Speech, Task, World, demands::Demands, speaking::merge};
use crate::sim::{
    config::Voice,
    detector::{Detector, Judge},
    event::{AuthKind, What},
    fault::{Fault, Moment},
    model::{self, Refusal},
    outbox::Outbox,
    registry::Registry,
    upgrade::{Platform, Request},
};

/// What a key hears that has used up its quota.
pub(crate) const QUOTA: &str = "You exceeded your current quota, please check your plan and billing details.";

/// What follows `setupComplete` at once.
#[derive(Debug, Default)]
pub(super) struct Opening {
    /// The transcriptions of the last turn, once more.
    replays: bool,
    /// What was not sent of the last turn.
    unfinished: Option<Speech>,
}

impl Session {
    pub(super) fn set_up(
        &mut self,
        now: Instant,
        setup: &Map<String, Value>,
        world: &mut World,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        check_credential(&self.request, world.config.api_key.as_deref())?;
        let key = self.request.credential.clone();
        if let Some(Fault::Close { code, reason }) = world.registry.failure(&key) {
            return Err(Refusal { code, reason });
        }
        let terms = model::judge(setup, self.request.platform)?;
        if world.config.sessions_per_key.is_some_and(|limit| world.registry.sessions(&key) >= limit) {
            return Err(Refusal { code: 1011, reason: QUOTA.to_owned() });
        }
        let resumes = match &terms.handle {
            Some(handle) => {
                let (conversation, memory) = world.registry.resume(handle, now)?;
                self.memory = memory;
                Some(conversation)
            }
            None => None,
        };
        self.resumed = resumes.is_some();
        self.conversation = resumes.unwrap_or(self.id);
        if resumes.is_none() {
            world.registry.begin(self.id);
        }
        world.registry.enter(&key);
        let judge = if terms.manual_activity {
            Judge::Client
        } else {
            let hangover_ms = terms.silence_ms.unwrap_or(world.config.hangover_ms);
            Judge::Energy { hangover_frames: (hangover_ms as usize / 10).max(1) }
        };
        self.detector = Detector::new(judge, world.config.voice == Voice::Parrot);
        self.terms = Some(terms);
        (world.tell)(What::Opened { setup: Value::Object(setup.clone()), resumes, auth: self.request.auth });
        let mut demands = Demands::default();
        if self.resumed {
            let resume = Moment::Resume(Some(self.memory.resumes));
            self.happen_too(now, resume, &mut demands, world, out);
        }
        self.happen_too(now, Moment::Setup, &mut demands, world, out);
        let mut unfinished = self.memory.unfinished.take().filter(|_| demands.carry_on);
        if demands.forget {
            world.registry.let_go(self.conversation, None, now);
            self.conversation = self.id;
            self.memory = Memory::default();
            world.registry.begin(self.id);
            unfinished = None;
        }
        if demands.silence {
            out.mute();
        }
        let opening = Opening { replays: demands.replay_transcripts, unfinished };
        if demands.delay.is_zero() {
            self.complete_setup(now, opening, world, out);
        } else {
            self.tasks.push((now + demands.delay, Task::SetupComplete(opening)));
        }
        Ok(())
    }

    pub(super) fn complete_setup(
        &mut self,
        now: Instant,
        opening: Opening,
        world: &mut World,
        out: &mut Outbox,
    ) {
        if out.is_ending() {
            return;
        }
        out.message(&json!({"setupComplete": {"sessionId": format!("sim-{}", self.conversation)}}));
        out.mark(What::SetupComplete);
        self.live = Some((now, 0));
        self.schedule(now, world);
        self.give_handle(out);
        if opening.replays {
            for content in &self.memory.transcripts {
                out.message(&json!({"serverContent": content}));
            }
        }
        if let Some(speech) = opening.unfinished {
            self.answer(now, speech, world, out);
        }
    }

    pub(super) fn give_handle(&mut self, out: &mut Outbox) {
        let Some(terms) = self.terms.as_ref().filter(|terms| terms.resumable) else { return };
        if self.no_handles {
            return out.message(&json!({"sessionResumptionUpdate": {}}));
        }
        self.handles_given += 1;
        // Serials of one connection must not repeat those of another that resumed the same conversation.
        let serial = (self.id << 32) | self.handles_given;
        let mut update = json!({"newHandle": Registry::handle(self.conversation, serial), "resumable": true});
        if terms.transparent {
            // Counted from 0, which is the setup; a 64 bit integer is a string in proto3 JSON.
            let index = self.messages_consumed.saturating_sub(1).to_string();
            merge(&mut update, Some(json!({"lastConsumedClientMessageIndex": index})));
        }
        out.message(&json!({"sessionResumptionUpdate": update}));
    }
}

fn check_credential(request: &Request, api_key: Option<&str>) -> Result<(), Refusal> {
    match request.auth {
        AuthKind::Missing => Err(Refusal {
            code: 1008,
            reason: "Method doesn't allow unregistered callers (callers without established identity). Please use API \
                     Key."
                .to_owned(),
        }),
        AuthKind::KeyHeader | AuthKind::KeyQuery if api_key.is_some_and(|key| key != request.credential) => {
            Err(Refusal::invalid("API key not valid. Please pass a valid API key."))
        }
        AuthKind::TokenHeader | AuthKind::TokenQuery
            if request.platform != Platform::Vertex && !request.credential.starts_with("auth_tokens/") =>
        {
            Err(Refusal::invalid("The ephemeral token is not valid."))
        }
        _ => Ok(()),
    }
}
