//! Health: whether the process lives, whether it would take a call, and the order to end.
//!
//! Runs in: the admin thread. Owns nothing: all of it is answered from memory at once.
//! Invariant: what is asked here waits for no other thread.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use log::info;
use serde_json::{Value, json};

use super::Admin;
use super::calls::asked;
use super::response::{Body, Response, Wrong};
use super::routes::Routes;
use crate::agents::Choice;
use crate::call::leg::CallFields;
use crate::telemetry::RefusalReason;
use crate::threads::messages::{AcceptOrder, Drain};
use crate::threads::relay::Relay;
use crate::threads::store::StoreState;

/// The longest time that running calls may be given: a day.
const DRAIN_SECONDS_MAX: u64 = 86_400;

/// How long somebody may wait to be told how far a drain is, and how often that is looked at.
const NEWS_WITHIN: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(100);

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/healthz", healthz)
        .get("/readyz", readyz)
        .get("/admit", admit)
        .get("/api/drain", drained)
        .post("/api/drain", drain)
}

/// Whether a call would be taken now, and why not.
pub(super) struct Readiness {
    /// Calls that have a slot.
    pub calls: usize,
    /// More that are carried.
    pub free: usize,
    /// A credential works.
    works: bool,
    has_room: bool,
    overloaded: bool,
    draining: bool,
    /// Calls are sent to other relays.
    pub moving: bool,
    store: StoreState,
}

impl Readiness {
    /// As things stand.
    pub(super) fn of(relay: &Relay) -> Self {
        let Relay { registry, counters, .. } = relay;
        let (calls, calls_max) = (registry.live_calls(), registry.max_calls());
        let lease = match registry.credentials() {
            Some(pool) => pool.would_admit(relay.clock.now()),
            None => Ok(()),
        };
        let overloaded = registry.is_overloaded();
        Self {
            calls,
            free: (calls_max - calls).min(counters.headroom.get() as usize),
            works: lease != Err(RefusalReason::Credentials),
            has_room: calls < calls_max && !overloaded && lease != Err(RefusalReason::NoCapacity),
            overloaded,
            draining: registry.is_draining(),
            moving: registry.is_moving(),
            store: relay.store.get(),
        }
    }

    /// What speaks against a new call, in one word; nothing where it would be taken.
    pub(super) fn hindrance(&self) -> Option<&'static str> {
        let hindrances = [
            (self.moving, "moving"),
            (self.draining, "draining"),
            (!self.works, "credentials"),
            (self.overloaded, "overloaded"),
            (!self.has_room, "full"),
            (!self.store.keeps_records(), "store"),
        ];
        hindrances.into_iter().find(|(hinders, _)| *hinders).map(|(_, word)| word)
    }
}

/// Whether a call would be taken now, with each thing that it needs.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let state = Readiness::of(&admin.relay);
    let (calls, calls_max) = (state.calls, admin.relay.registry.max_calls());
    let check = |ok: bool, detail: String| json!({"ok": ok, "detail": detail});
    let credentials = if state.works { "a credential works" } else { "no credential works" };
    let drains = if state.draining { "no new call is taken: the relay is to end" } else { "not draining" };
    let room = match state.overloaded {
        true => format!("overloaded: {calls} calls are as many as this machine carries"),
        false => {
            format!("{calls} of {calls_max} calls, room for {} more", admin.relay.counters.headroom.get())
        }
    };
    let checks = json!({
        "credentials": check(state.works, credentials.to_owned()),
        "capacity": check(state.has_room, room),
        "store": check(state.store.keeps_records(), store_words(&state.store)),
        "draining": check(!state.draining, drains.to_owned()),
    });
    let ready = state.hindrance().is_none();
    Response::json(if ready { 200 } else { 503 }, &json!({"ready": ready, "checks": checks}))
}

/// How the store fares, in words.
fn store_words(state: &StoreState) -> String {
    match state {
        StoreState::Off => "no records are kept (store.url)".to_owned(),
        StoreState::Ok => "records are written".to_owned(),
        StoreState::Spooling { records, why, .. } => {
            format!("{records} records wait on disk, because the database does not take them: {why}")
        }
        StoreState::Failing { why, .. } => {
            format!(
                "records are lost, neither the database nor the disk takes them: {why}; make room on the disk"
            )
        }
    }
}

/// How far a drain is; where so many calls run as the asker knows, once that has changed, or a few seconds later.
async fn drained(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    let known = asked(&query.unwrap_or_default(), "calls").and_then(|calls| calls.parse().ok());
    let until = admin.relay.clock.now().plus(NEWS_WITHIN);
    let registry = &admin.relay.registry;
    while known == Some(registry.live_calls()) && registry.is_draining() && admin.relay.clock.now() < until {
        tokio::time::sleep(LOOK).await;
    }
    Response::json(200, &drain_state(&admin))
}

fn drain_state(admin: &Admin) -> Value {
    let registry = &admin.relay.registry;
    let (draining, moves) = (registry.is_draining(), registry.is_moving());
    json!({"draining": draining, "moving": moves, "calls": registry.live_calls()})
}

/// Has the relay end once its calls have, as SIGTERM does; or takes that back.
async fn drain(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Wrong> {
    let parts = &admin.shared.parts;
    let body = Body::parse(&body)?;
    if body.flag("cancel")? {
        return Ok(take_back(&admin));
    }
    let moves = body.flag("move")?;
    let seconds = match body.field("seconds") {
        None => parts.drain.as_secs(),
        Some(seconds) => {
            seconds.as_u64().filter(|seconds| *seconds <= DRAIN_SECONDS_MAX).ok_or_else(|| {
                Wrong(format!("seconds is {seconds}: a whole number from 0 to {DRAIN_SECONDS_MAX}"))
            })?
        }
    };
    info!("the API drains the relay: running calls may go on for {seconds} s");
    admin.relay.registry.drain(moves);
    let by = admin.relay.clock.now().plus(Duration::from_secs(seconds));
    if admin.accept.lock().try_send(AcceptOrder::Drain(Some(Drain { by, moves }))).is_err() {
        return Ok(Response::error(503, "new calls are refused, but the end is not ordered: try again"));
    }
    let mut answer = drain_state(&admin);
    answer["seconds"] = seconds.into();
    Ok(Response::json(202, &answer))
}

/// Has the relay take new calls again.
fn take_back(admin: &Admin) -> Response {
    if admin.shared.parts.leaves_sockets && admin.relay.registry.is_draining() {
        let why =
            "the sockets, which were passed to this relay, are left to the next one: start another beside it";
        return Response::error(409, why);
    }
    if admin.accept.lock().try_send(AcceptOrder::Drain(None)).is_err() {
        return Response::error(503, "nothing was taken back: try again");
    }
    if !admin.relay.registry.resume() {
        return Response::error(409, "the last call is over, and the relay ends");
    }
    info!("the API has the relay take new calls again");
    Response::json(200, &drain_state(admin))
}

async fn healthz() -> Response {
    Response { status: 200, content_type: "text/plain", body: "ok\n".to_owned() }
}

/// Whether a call to this number from that caller would be taken now, decided from memory.
async fn admit(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let refused =
        |reason: &str, why: &str| Response::json(503, &json!({"admit": false, "reason": reason, "why": why}));
    let [did, caller, agent] = ["did", "caller", "agent"].map(|name| asked(&query, name));
    if let Choice::Refuse(reason) =
        admin.relay.agents.get().choose(&CallFields { did, caller, agent, ..CallFields::default() })
    {
        return refused("route", &reason);
    }
    match admin.relay.registry.would_admit(admin.relay.clock.now()) {
        Ok(()) => Response::json(200, &json!({"admit": true})),
        Err(reason) => refused(reason.label(), reason.explanation()),
    }
}
