//! Legs with the UUID of a running call: let back to their call, held until it is clear whether the first one lives, or
//! refused.
//!
//! Runs in: the accept thread. Owns nothing between calls. Never waits: what is held is looked at again and again.
//! Invariant: a leg that lives is never disturbed by a second one, and a request is held for a limited time, well within
//! the second that mod_audio_stream waits for its answer.

use std::time::Duration;

use log::info;

use super::Acceptor;
use super::request::Upgrade;
use crate::admission::known::{LOOK_MS, ask_first, lives};
use crate::admission::{Arrival, LegCredentials, Opening};
use crate::base::{CallId, Instant};
use crate::call::Fact;
use crate::telemetry::RefusalReason;
use crate::threads::messages::{ControlInput, ReturnedLeg};

/// How often held requests are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(LOOK_MS);
/// Far longer than a request is held, should the thread be late.
const HELD_MS_MAX: u64 = 5_000;

/// What a leg shows at the door, and how it is opened.
pub(super) fn shown(upgrade: &Upgrade) -> (LegCredentials, Opening) {
    let facts = &upgrade.facts;
    let credentials = LegCredentials { token: facts.token.clone(), address: upgrade.peer.ip() };
    let fields = facts.url.clone().or(facts.headers.clone());
    (credentials, Opening { kind: upgrade.facts.kind, fields })
}

impl Acceptor {
    /// Looks whether the leg is that of a running call. Returns the request if it is that of a new one.
    pub(super) fn come_back(
        &mut self,
        now: Instant,
        key: usize,
        upgrade: Upgrade,
        held_since: Option<Instant>,
    ) -> Option<Upgrade> {
        let (credentials, opening) = shown(&upgrade);
        let Some(uuid) = &opening.fields.uuid else { return Some(upgrade) };
        match self.relay.registry.known().arrive(uuid, &credentials, &opening) {
            Arrival::New => return Some(upgrade),
            Arrival::Replaces(old) => {
                info!(
                    "call {old}: its UUID came again with another format, number or agent: it ends, and another begins"
                );
                self.parts.control.send(ControlInput::Fact(old, Fact::Replaced));
                return Some(upgrade);
            }
            Arrival::Returns(id) => self.let_back(now, key, upgrade, id, opening),
            Arrival::Stranger => {
                let why = "a call with this UUID is running that was begun with another token, or from another address";
                self.refuse(now, key, upgrade, (RefusalReason::UuidInUse, why));
            }
            Arrival::Second(id, first) => {
                let since = held_since.unwrap_or(now);
                let lives = lives(&first, since, now);
                if lives.is_none() {
                    if ask_first(since, now) {
                        self.parts.control.send(ControlInput::Challenged(id));
                    }
                    if let Some(handshake) = self.handshakes.get_mut(key) {
                        handshake.hold(upgrade, since, since.plus_ms(HELD_MS_MAX));
                        self.held += 1;
                    }
                } else if lives == Some(false)
                    && opening.kind.traits().can_be_asked
                    && self.relay.registry.known().may_take_over(uuid, id, &opening)
                {
                    self.let_back(now, key, upgrade, id, opening);
                } else {
                    self.refuse(now, key, upgrade, RefusalReason::UuidInUse.explained());
                }
            }
        }
        None
    }

    fn let_back(&mut self, now: Instant, key: usize, upgrade: Upgrade, id: CallId, opening: Opening) {
        self.handshakes.remove(key);
        let (peer, kind) = (upgrade.peer, opening.kind);
        match self.connection(now, id, upgrade) {
            connection @ Some(_) => {
                let fields = opening.fields;
                let leg = ReturnedLeg { id, number: 0, peer, connection, fields, kind };
                self.parts.control.send(ControlInput::Returned(Box::new(leg)));
            }
            // It left again; the next one may have the call.
            None => {
                let uuid = opening.fields.uuid.unwrap_or_default();
                self.relay.registry.known().set_lost(&uuid, id, true);
            }
        }
    }

    /// Looks at the held requests.
    pub(super) fn decide_held(&mut self, now: Instant) {
        if self.held == 0 {
            return;
        }
        self.held = 0;
        let held = self.handshakes.iter().filter(|(_, handshake)| handshake.is_held());
        let keys: Vec<_> = held.map(|(key, _)| key).collect();
        for key in keys {
            if let Some((upgrade, since)) = self.handshakes.get_mut(key).and_then(|held| held.take_held()) {
                self.upgrade(now, key, upgrade, Some(since));
            }
        }
    }
}
