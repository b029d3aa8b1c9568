//! Health: whether the process lives, whether it would take a call, and the order to end.
//!
//! Runs in: the admin thread. Owns nothing: all of it is answered from memory at once.
//! Invariant: what is asked here waits for no other thread.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use log::info;
use serde_json::json;

use super::Admin;
use super::calls::asked;
use super::response::{Body, Response, Wrong};
use super::routes::Routes;
use crate::agents::Choice;
use crate::call::leg::CallFields;
use crate::telemetry::RefusalReason;
use crate::threads::messages::AcceptOrder;
use crate::threads::store::StoreState;

/// The longest time that running calls may be given: a day.
const DRAIN_SECONDS_MAX: u64 = 86_400;

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/healthz", healthz)
        .get("/readyz", readyz)
        .get("/admit", admit)
        .post("/api/drain", drain)
}

/// Whether a call would be taken now, with each thing that it needs.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    let registry = &admin.relay.registry;
    let (calls, calls_max) = (registry.live_calls(), registry.max_calls());
    let lease = match registry.credentials() {
        Some(pool) => pool.would_admit(admin.relay.clock.now()),
        None => Ok(()),
    };
    let check = |ok: bool, detail: String| json!({"ok": ok, "detail": detail});
    let works = lease != Err(RefusalReason::Credentials);
    let overloaded = registry.is_overloaded();
    let has_room = calls < calls_max && !overloaded && lease != Err(RefusalReason::NoCapacity);
    let (draining, store) = (registry.is_draining(), admin.relay.store.get());
    let credentials = if works { "a credential works" } else { "no credential works" };
    let drains = if draining { "no new call is taken: the relay is to end" } else { "not draining" };
    let room = match overloaded {
        true => format!("overloaded: {calls} calls are as many as this machine carries"),
        false => {
            format!("{calls} of {calls_max} calls, room for {} more", admin.relay.counters.headroom.get())
        }
    };
    let checks = json!({
        "credentials": check(works, credentials.to_owned()),
        "capacity": check(has_room, room),
        "store": check(store.keeps_records(), store_words(&store)),
        "draining": check(!draining, drains.to_owned()),
    });
    let ready = works && has_room && store.keeps_records() && !draining;
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

/// Has the relay end once its calls have, as SIGTERM does.
async fn drain(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<Response, Wrong> {
    let parts = &admin.shared.parts;
    let seconds = match Body::parse(&body)?.field("seconds") {
        None => parts.drain.as_secs(),
        Some(seconds) => {
            seconds.as_u64().filter(|seconds| *seconds <= DRAIN_SECONDS_MAX).ok_or_else(|| {
                Wrong(format!("seconds is {seconds}: a whole number from 0 to {DRAIN_SECONDS_MAX}"))
            })?
        }
    };
    info!("the API drains the relay: running calls may go on for {seconds} s");
    admin.relay.registry.drain();
    let by = admin.relay.clock.now().plus(Duration::from_secs(seconds));
    if admin.accept.lock().try_send(AcceptOrder::Drain(by)).is_err() {
        return Ok(Response::error(503, "new calls are refused, but the end is not ordered: try again"));
    }
    let calls = admin.relay.registry.live_calls();
    Ok(Response::json(202, &json!({"draining": true, "calls": calls, "seconds": seconds})))
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
