//! How a session opens: credential, setup, `setupComplete`, and the handles to open it again by.
//!
//! Runs in: the simulator's thread: pure, as all of [`Session`]. Owns nothing of its own.
//! Invariant: `setupComplete` is sent once, after a setup that was accepted.

use std::time::Instant;

use serde_json::{Map, Value, json};

use super::{Session, Task, World, speaking::merge};
use crate::sim::{
    config::Voice,
    detector::{Detector, Judge},
    event::{AuthKind, What},
    fault::Moment,
    model::{self, Refusal},
    outbox::Outbox,
    registry::Registry,
    upgrade::{Platform, Request},
};

impl Session {
    pub(super) fn set_up(
        &mut self,
        now: Instant,
        setup: &Map<String, Value>,
        world: &mut World,
        out: &mut Outbox,
    ) -> Result<(), Refusal> {
        check_credential(&self.request, world.config.api_key.as_deref())?;
        let terms = model::judge(setup, self.request.platform)?;
        let resumes = match &terms.handle {
            Some(handle) => Some(world.registry.resume(handle, now)?),
            None => None,
        };
        self.conversation = resumes.unwrap_or(self.id);
        if resumes.is_none() {
            world.registry.begin(self.id);
        }
        let judge = if terms.manual_activity {
            Judge::Client
        } else {
            let hangover_ms = terms.silence_ms.unwrap_or(world.config.hangover_ms);
            Judge::Energy { hangover_frames: (hangover_ms as usize / 10).max(1) }
        };
        self.detector = Detector::new(judge, world.config.voice == Voice::Parrot);
        self.terms = Some(terms);
        (world.tell)(What::Opened { setup: Value::Object(setup.clone()), resumes, auth: self.request.auth });
        let demands = self.happen(now, Moment::Setup, world, out);
        if demands.silence {
            out.mute();
        }
        if demands.delay.is_zero() {
            self.complete_setup(now, world, out);
        } else {
            self.tasks.push((now + demands.delay, Task::SetupComplete));
        }
        Ok(())
    }

    pub(super) fn complete_setup(&mut self, now: Instant, world: &mut World, out: &mut Outbox) {
        if out.is_ending() {
            return;
        }
        out.message(&json!({"setupComplete": {"sessionId": format!("sim-{}", self.conversation)}}));
        out.mark(What::SetupComplete);
        for scheduled in &world.config.faults {
            if let Moment::After(after) = scheduled.at
                && scheduled.connection.is_none_or(|connection| connection == self.id)
            {
                self.tasks.push((now + after, Task::Fault(scheduled.fault.clone())));
            }
        }
        self.give_handle(out);
    }

    pub(super) fn give_handle(&mut self, out: &mut Outbox) {
        let Some(terms) = self.terms.as_ref().filter(|terms| terms.resumable) else { return };
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
