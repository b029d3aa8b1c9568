//! Health: whether the process lives, and whether it would take a call.
//!
//! Runs in: the admin thread. Owns nothing: all of it is answered from memory at once.
//! Invariant: what is asked here waits for no other thread.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use serde_json::json;

use super::Admin;
use super::response::Response;
use super::routes::Routes;
use crate::call::Choice;
use crate::codec::mod_audio_stream::CallFields;

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new().get("/healthz", healthz).get("/admit", admit)
}

async fn healthz() -> Response {
    Response { status: 200, content_type: "text/plain", body: "ok\n".to_owned() }
}

/// Whether a call to this number from that caller would be taken now, decided from memory.
async fn admit(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Response {
    let parts = &admin.shared.parts;
    let query = query.unwrap_or_default();
    let asked = |name: &str| {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into_owned())
    };
    let refused =
        |reason: &str, why: &str| Response::json(503, &json!({"admit": false, "reason": reason, "why": why}));
    let [did, caller, agent] = ["did", "caller", "agent"].map(asked);
    if let Choice::Refuse(reason) =
        parts.agents.get().choose(&CallFields { did, caller, agent, ..CallFields::default() })
    {
        return refused("route", &reason);
    }
    match parts.registry.would_admit(parts.clock.now()) {
        Ok(()) => Response::json(200, &json!({"admit": true})),
        Err(reason) => refused(reason.label(), reason.explanation()),
    }
}
