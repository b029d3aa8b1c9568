//! The upgrade request of a connection, and what it is answered.
//!
//! Runs in: the accept thread. A request owns its socket. Never sizes anything by what the peer says.
//! Invariant: whatever the bytes, they make a request or a reason to refuse it, whose answer is constant text.

use std::borrow::Cow;
use std::net::SocketAddr;

use crate::base::limits::UPGRADE_REQUEST_HEADERS;
use crate::call::leg::CallFields;
use crate::codec::mod_audio_stream::RequestFacts;
use crate::net::stream::Stream;
use crate::telemetry::{RefusalReason, Refused};

/// A complete request, to be admitted or refused.
pub(crate) struct Upgrade {
    /// Who asks.
    pub peer: SocketAddr,
    /// What the request says of the call.
    pub facts: RequestFacts,
    /// The answer that upgrades the connection, complete; empty where none is expected.
    pub answer: Vec<u8>,
    /// The socket, to be written the answer to.
    pub stream: Stream,
    /// What came behind the request.
    pub behind: Vec<u8>,
}

impl Upgrade {
    /// What is known of the call when it is admitted.
    pub(crate) fn known(&self, expected: CallFields) -> CallFields {
        self.facts.url.clone().or(self.facts.headers.clone()).or(expected)
    }
}

/// Length of the request's head with the empty line that ends it, if it is complete.
pub(super) fn head_length(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The head with what is not ASCII in its first line escaped: a name that a dialplan puts into the URL as it is.
fn with_ascii_target(head: &[u8]) -> Cow<'_, [u8]> {
    let line = head.iter().position(|byte| *byte == b'\n').unwrap_or(head.len());
    let (line, rest) = head.split_at(line);
    if line.is_ascii() {
        return Cow::Borrowed(head);
    }
    let mut escaped = Vec::with_capacity(head.len() * 2);
    for byte in line {
        match byte {
            0x80.. => escaped.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            byte => escaped.push(*byte),
        }
    }
    escaped.extend_from_slice(rest);
    Cow::Owned(escaped)
}

/// Reads the head and makes the answer that would upgrade the connection.
pub(super) fn parse(head: &[u8]) -> Result<(RequestFacts, Vec<u8>), Refused<'static>> {
    let malformed = (RefusalReason::BadRequest, "the request is not HTTP/1.1");
    let head = with_ascii_target(head);
    let mut headers = [httparse::EMPTY_HEADER; UPGRADE_REQUEST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(&head) {
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err((RefusalReason::BadRequest, "the request has more than 64 headers"));
        }
        _ => return Err(malformed),
    }
    let target = request.path.unwrap_or("/");
    let mut typed = http::Request::builder()
        .method(request.method.unwrap_or_default())
        // The target is read by the codec, which tolerates what `http::Uri` refuses; here it would only be in the way.
        .uri("/")
        .version(if request.version == Some(1) { http::Version::HTTP_11 } else { http::Version::HTTP_10 });
    for header in request.headers.iter() {
        typed = typed.header(header.name, header.value);
    }
    let typed = typed.body(()).map_err(|_| malformed)?;
    let mut response = tungstenite::handshake::server::create_response(&typed)
        .map_err(|_| (RefusalReason::NotWebSocket, "not a WebSocket upgrade (RFC 6455 section 4.2.1)"))?;
    let facts =
        RequestFacts::from_request(target, request.headers.iter().map(|header| (header.name, header.value)));
    if let Some(subprotocol) = facts.subprotocol {
        let value = http::HeaderValue::from_static(subprotocol);
        response.headers_mut().insert("Sec-WebSocket-Protocol", value);
    }
    let mut answer = Vec::with_capacity(256);
    tungstenite::handshake::server::write_response(&mut answer, &response).map_err(|_| malformed)?;
    Ok((facts, answer))
}

/// The complete HTTP answer to a refused request.
pub(super) fn refusal((reason, why): Refused<'_>) -> Vec<u8> {
    let Some((status, phrase)) = reason.http_status() else { return Vec::new() };
    let body = format!("{}: {why}\n", reason.label());
    let more = match status {
        426 => "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
        429 | 503 => "Retry-After: 1\r\n",
        _ => "",
    };
    format!(
        "HTTP/1.1 {status} {phrase}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{more}Connection: \
         close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
