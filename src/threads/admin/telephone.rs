//! Tickets of the telephone in the browser.
//!
//! Runs in: the admin thread. Owns nothing: tickets wait in a table of their own, beside that of the announced calls.
//! Invariant: a ticket is for one call, to the agent for which it was made.

use axum::body::Bytes;
use http::HeaderMap;
use http::header::HOST;
use serde_json::json;

use super::access::Asker;
use super::response::{Body, Response, Wrong};
use super::routes::Routes;
use crate::admission::expected::TICKET_MS;
use crate::base::command::AgentName;
use crate::base::{PlaybackFormat, SampleRate};
use crate::call::leg::{CallFields, LegKind};
use crate::call::record::rfc3339;
use crate::threads::esl::new_channel;

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new().post("/api/telephone", ticket)
}

/// Where the page connects to, and with which subprotocols.
async fn ticket(Asker { admin, peer }: Asker, headers: HeaderMap, body: Bytes) -> Result<Response, Wrong> {
    let agent = Body::parse(&body)?.optional("agent", AgentName::new)?.map(|agent| agent.to_string());
    let parts = &admin.shared.parts;
    if let Err(reason) = admin.relay.registry.would_admit(admin.relay.clock.now()) {
        return Ok(Response::error(503, &format!("no call is taken now: {}", reason.explanation())));
    }
    let call = new_channel().to_string();
    let fields = CallFields {
        uuid: Some(call.clone()),
        caller: Some("browser".to_owned()),
        agent,
        rate: Some(SampleRate::Hz16000),
        playback: Some(PlaybackFormat::Binary),
        ..CallFields::default()
    };
    if let Some(unknown) = admin.relay.agents.get().unknown_agent(&fields) {
        return Ok(Response::error(
            404,
            &format!("there is no agent {unknown:?}: GET /api/agents names them"),
        ));
    }
    let ticket = admin.relay.expected.issue_ticket(admin.relay.clock.now(), peer, fields);
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let scheme = if parts.telephone.tls { "wss" } else { "ws" };
    let url = format!("{scheme}://{}:{}/", without_port(host), parts.telephone.port);
    let expires_at = rfc3339(admin.relay.clock.unix_ms() + TICKET_MS);
    let own = LegKind::Telephone.traits().subprotocols.iter().map(|name| (*name).to_owned());
    let protocols: Vec<String> = own.chain([format!("ticket.{ticket}")]).collect();
    Ok(Response::json(
        200,
        &json!({"url": url, "protocols": protocols, "uuid": call, "expires_at": expires_at}),
    ))
}

/// The host of a `Host` header, IPv6 addresses in brackets (RFC 3986 section 3.2.2).
fn without_port(host: &str) -> &str {
    let end = if host.starts_with('[') { host.find(']').map(|at| at + 1) } else { host.find(':') };
    end.and_then(|end| host.get(..end)).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::without_port;

    #[test]
    fn a_host_is_told_from_its_port() {
        for (host, expected) in [
            ("a.example:9095", "a.example"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]:9095", "[::1]"),
            ("[::1]", "[::1]"),
        ] {
            assert_eq!(without_port(host), expected);
        }
    }
}
