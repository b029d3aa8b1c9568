//! `POST /api/connect`: Asterisk waits for a connection of this id, and the relay makes it.
//!
//! Runs in: the admin thread. Owns nothing: a call that was admitted goes on with the dial pool.
//! Never waits for the connection: what became of it is in the log, as with a call that came to the door.
//! Invariant: a request reaches the host and the path of `asterisk.media_url` and no other, and leaves a slot taken only
//! while its connection is being made or is a call.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Bytes;
use log::{debug, warn};
use serde_json::json;

use super::Admin;
use super::access::Asker;
use super::api::told;
use super::response::{Body, Response, Wrong};
use crate::agents::Choice;
use crate::base::command::ConnectionId;
use crate::call::LegKind;
use crate::call::leg::CallFields;
use crate::call::refused::is_call;
use crate::config::BaseUrl;
use crate::net::dial::Target;
use crate::telemetry::RefusalReason;
use crate::threads::messages::{ControlInput, DialRequest, LegRequest, RefusedCall};
use crate::threads::telephony::connection::leg_limits;

/// Where Asterisk's chan_websocket waits to be connected to.
pub(crate) struct MediaServer {
    /// The URL, to which the connection's id is added.
    pub url: BaseUrl,
    /// How long connecting may take.
    pub connect_within: Duration,
}

impl MediaServer {
    fn target(&self, id: &ConnectionId) -> Result<Target, Wrong> {
        let url = format!("{}/{id}", self.url);
        Ok(Target {
            host: self.url.host().to_owned(),
            port: self.url.port(),
            tls: self.url.tls(),
            url: url.parse().map_err(|_| Wrong(format!("asterisk.media_url does not make a URL ({url})")))?,
            headers: Vec::new(),
            limits: leg_limits(),
        })
    }
}

/// The answer to a request whose call is refused, which is counted and recorded as at the door.
fn refused(admin: &Admin, fields: CallFields, peer: IpAddr, reason: RefusalReason, why: String) -> Response {
    admin.relay.counters.refuse(reason);
    if let Some(left_out) = admin.relay.limiter.allow(admin.relay.clock.now(), reason.label(), peer) {
        warn!("refused to connect for {peer} ({}): {why}: {fields}{left_out}", reason.label());
    }
    // A route has words of its own.
    let said = if reason == RefusalReason::Route { why.as_str() } else { reason.label() };
    let answer = Response::not_done(503, &format!("no call is taken now: {said}"));
    if is_call(reason) {
        let peer = SocketAddr::new(peer, 0);
        let refused = RefusedCall { fields, peer, kind: LegKind::ChanWebsocket, reason, why };
        admin.ask_control(ControlInput::Refused(Box::new(refused)));
    }
    answer
}

/// Has the leg connected of a call that is admitted here as at the door.
pub(super) async fn connect(Asker { admin, peer }: Asker, body: Bytes) -> Result<Response, Wrong> {
    let connection_id = Body::parse(&body)?.required("connection_id", ConnectionId::new)?;
    let CallFields { uuid, did, caller, agent, again, variables, .. } = told(&body)?;
    let parts = &admin.shared.parts;
    let Some(server) = &parts.media_server else {
        return Ok(Response::not_done(422, "connecting to Asterisk is off: set asterisk.media_url"));
    };
    let target = server.target(&connection_id)?;
    // The dialplan knows this name too, and it is as unique.
    let uuid = uuid.unwrap_or_else(|| connection_id.to_string());
    let fields = CallFields {
        uuid: Some(uuid.clone()),
        did,
        caller,
        agent,
        again,
        variables,
        ..CallFields::default()
    };
    if let Choice::Refuse(reason) = admin.relay.agents.get().choose(&fields) {
        let why = format!("a route refuses this call: {reason}");
        return Ok(refused(&admin, fields, peer, RefusalReason::Route, why));
    }
    let now = admin.relay.clock.now();
    let id = match admin.relay.registry.admit(now, peer) {
        Ok(id) => id,
        Err(reason) => return Ok(refused(&admin, fields, peer, reason, reason.explanation().to_owned())),
    };
    debug!("call {id}: connecting to {}, {fields}", target.url);
    let deadline = now.plus_us(server.connect_within.as_micros() as u64);
    let request = LegRequest { id, fields, target, deadline };
    if let Err(why) = admin.dial.lock().request(DialRequest::Leg(Box::new(request))) {
        admin.relay.counters.leg_unreachable.increment();
        admin.relay.registry.release(now, id);
        return Ok(Response::not_done(503, &why));
    }
    Ok(Response::json(202, &json!({"uuid": uuid})))
}
