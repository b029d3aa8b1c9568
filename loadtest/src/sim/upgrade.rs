//! The HTTP request that opens a connection: which endpoint it asks for, how it proves who it is, what to answer.
//!
//! Runs in: the simulator's thread: pure. Owns nothing. Never touches a socket.
//! Invariant: a request is answered with 101 only for a documented path and a complete WebSocket handshake; offers of
//! permessage-deflate are ignored, which declines them.

use tungstenite::handshake::derive_accept_key;

use super::event::AuthKind;

/// The longest request head that is read.
pub(super) const HEAD_BYTES_MAX: usize = 16 << 10;

const DEVELOPER: &str = "google.ai.generativelanguage.";
const VERTEX: &str = "google.cloud.aiplatform.";

/// Which of Google's two services a client believes to talk to: they differ in what they accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Platform {
    /// The Gemini Developer API, with the version of its path: `v1`, `v1alpha` or `v1beta`.
    Developer(&'static str),
    /// Vertex AI.
    Vertex,
}

/// What a client asked for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// From the path.
    pub platform: Platform,
    /// How the client proved who it is.
    pub auth: AuthKind,
    /// The key or token itself.
    pub credential: String,
    /// Path and query with the credential replaced.
    pub shown_path: String,
    /// The answer's `Sec-WebSocket-Accept`.
    accept: String,
}

/// An HTTP answer other than 101.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// What Google's error body calls it.
    pub message: String,
}

impl Refusal {
    /// A refusal with this status.
    pub(super) fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The bytes of the answer.
    pub(super) fn response(&self) -> Vec<u8> {
        let status =
            http::StatusCode::from_u16(self.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::json!({"error": {"code": self.status, "message": self.message}}).to_string();
        format!(
            "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.status,
            status.canonical_reason().unwrap_or("Refused"),
            body.len(),
        )
        .into_bytes()
    }
}

impl Request {
    /// Reads the request at the start of `bytes`. `None` until its head is complete; then the request, or why it is
    /// refused, and how many bytes the head had.
    pub(super) fn read(bytes: &[u8]) -> Option<(Result<Self, Refusal>, usize)> {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(head_bytes)) => Some((understand(&request), head_bytes)),
            Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => None,
            Ok(httparse::Status::Partial) => {
                Some((Err(Refusal::new(431, "The request head is too long.")), bytes.len()))
            }
            Err(error) => {
                Some((Err(Refusal::new(400, format!("The request is not HTTP: {error}."))), bytes.len()))
            }
        }
    }

    /// The bytes of the answer 101.
    pub(super) fn response(&self) -> Vec<u8> {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            self.accept
        )
        .into_bytes()
    }
}

fn header<'a>(request: &'a httparse::Request<'_, '_>, name: &str) -> Option<&'a str> {
    let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok().map(str::trim)
}

fn understand(request: &httparse::Request<'_, '_>) -> Result<Request, Refusal> {
    let target = request.path.unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let Some((platform, constrained)) = endpoint(path) else {
        return Err(Refusal::new(404, format!("The requested URL {path} was not found on this server.")));
    };
    if request.method != Some("GET") {
        return Err(Refusal::new(405, "A WebSocket is opened with GET."));
    }
    let has_token = |name: &str, token: &str| {
        header(request, name)
            .is_some_and(|value| value.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    };
    if !has_token("upgrade", "websocket") || !has_token("connection", "upgrade") {
        return Err(Refusal::new(426, "This endpoint speaks WebSocket only."));
    }
    if header(request, "sec-websocket-version") != Some("13") {
        return Err(Refusal::new(426, "Sec-WebSocket-Version must be 13."));
    }
    let Some(key) = header(request, "sec-websocket-key").filter(|key| key.len() == 24) else {
        return Err(Refusal::new(400, "Sec-WebSocket-Key is missing or malformed."));
    };
    let (auth, credential) = authentication(request, query);
    if constrained && !matches!(auth, AuthKind::TokenHeader | AuthKind::TokenQuery) {
        return Err(Refusal::new(401, "BidiGenerateContentConstrained takes an ephemeral token."));
    }
    if platform == Platform::Vertex && auth == AuthKind::Missing {
        return Err(Refusal::new(401, "Request is missing required authentication credential."));
    }
    let accept = derive_accept_key(key.as_bytes());
    Ok(Request { platform, auth, shown_path: without_credentials(path, query), credential, accept })
}

/// The documented paths. JavaScript's SDK sends a double slash when it is given a base URL.
fn endpoint(path: &str) -> Option<(Platform, bool)> {
    let service = path.trim_start_matches('/').strip_prefix("ws/")?;
    if !path.starts_with('/') {
        return None;
    }
    if let Some(rest) = service.strip_prefix(DEVELOPER) {
        let (version, method) = rest.split_once(".GenerativeService.")?;
        let version = ["v1", "v1alpha", "v1beta"].into_iter().find(|known| *known == version)?;
        return match method {
            "BidiGenerateContent" => Some((Platform::Developer(version), false)),
            "BidiGenerateContentConstrained" => Some((Platform::Developer(version), true)),
            _ => None,
        };
    }
    let version = service.strip_prefix(VERTEX)?.strip_suffix(".LlmBidiService/BidiGenerateContent")?;
    matches!(version, "v1" | "v1beta1").then_some((Platform::Vertex, false))
}

/// With an ephemeral token Python's SDK sends it in both headers; `Authorization` says what it is.
fn authentication(request: &httparse::Request<'_, '_>, query: &str) -> (AuthKind, String) {
    if let Some(authorization) = header(request, "authorization") {
        if let Some(token) = authorization.strip_prefix("Bearer ") {
            return (AuthKind::Bearer, token.to_owned());
        }
        if let Some(token) = authorization.strip_prefix("Token ") {
            return (AuthKind::TokenHeader, token.to_owned());
        }
    }
    if let Some(key) = header(request, "x-goog-api-key") {
        return (AuthKind::KeyHeader, key.to_owned());
    }
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "key" => return (AuthKind::KeyQuery, value.into_owned()),
            "access_token" => return (AuthKind::TokenQuery, value.into_owned()),
            _ => {}
        }
    }
    (AuthKind::Missing, String::new())
}

fn without_credentials(path: &str, query: &str) -> String {
    if query.is_empty() {
        return path.to_owned();
    }
    let parts: Vec<String> = query
        .split('&')
        .map(|part| match part.split_once('=') {
            Some((name @ ("key" | "access_token"), _)) => format!("{name}=***"),
            _ => part.to_owned(),
        })
        .collect();
    format!("{path}?{}", parts.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &str = "Host: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn ask(target: &str, more: &str) -> Result<Request, Refusal> {
        let head = format!("GET {target} HTTP/1.1\r\n{HEADERS}{more}\r\n");
        for end in 0..head.len() {
            assert!(Request::read(&head.as_bytes()[..end]).is_none(), "complete at {end} bytes");
        }
        let (request, length) = Request::read(head.as_bytes()).unwrap();
        assert_eq!(length, head.len());
        request
    }

    #[test]
    fn documented_paths_are_found_and_others_are_404() {
        const LIVE: &str = "GenerativeService.BidiGenerateContent";
        let developer = |version| format!("/ws/google.ai.generativelanguage.{version}.{LIVE}?key=k");
        for version in ["v1", "v1alpha", "v1beta"] {
            assert_eq!(ask(&developer(version), "").unwrap().platform, Platform::Developer(version));
        }
        let double = format!("/{}", developer("v1beta"));
        assert_eq!(ask(&double, "").unwrap().platform, Platform::Developer("v1beta"));
        let vertex = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent";
        assert_eq!(ask(vertex, "Authorization: Bearer t\r\n").unwrap().platform, Platform::Vertex);
        assert_eq!(ask(vertex, "").unwrap_err().status, 401);
        for wrong in ["/", "/ws", &developer("v2"), &developer("v1beta").replace("Bidi", "Uni"), "/ws/x"] {
            assert_eq!(ask(wrong, "").unwrap_err().status, 404, "{wrong}");
        }
    }

    #[test]
    fn every_way_to_prove_who_one_is_is_told_apart_and_never_shown() {
        let path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
        let constrained = format!("{path}Constrained");
        for (target, header, auth, credential) in [
            (format!("{path}?key=SECRET"), "", AuthKind::KeyQuery, "SECRET"),
            (path.to_owned(), "X-Goog-Api-Key: SECRET\r\n", AuthKind::KeyHeader, "SECRET"),
            (path.to_owned(), "", AuthKind::Missing, ""),
            (
                format!("{constrained}?access_token=auth_tokens%2FSECRET"),
                "",
                AuthKind::TokenQuery,
                "auth_tokens/SECRET",
            ),
            (
                constrained.clone(),
                "Authorization: Token auth_tokens/SECRET\r\n",
                AuthKind::TokenHeader,
                "auth_tokens/SECRET",
            ),
        ] {
            let request = ask(&target, header).unwrap();
            assert_eq!((request.auth, &*request.credential), (auth, credential), "{target}");
            assert!(!request.shown_path.contains("SECRET"), "{}", request.shown_path);
        }
        assert_eq!(ask(&format!("{constrained}?key=k"), "").unwrap_err().status, 401);
    }

    #[test]
    fn the_answer_accepts_the_key_and_declines_compression() {
        let path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=k";
        let request = ask(path, "Sec-WebSocket-Extensions: permessage-deflate\r\n").unwrap();
        let response = String::from_utf8(request.response()).unwrap();
        assert!(response.starts_with("HTTP/1.1 101 ") && response.ends_with("\r\n\r\n"));
        assert!(response.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
        assert!(!response.to_lowercase().contains("deflate"));
    }

    #[test]
    fn what_is_no_websocket_handshake_is_refused() {
        let (request, _) = Request::read(b"nonsense\r\n\r\n").unwrap();
        assert_eq!(request.unwrap_err().status, 400);
        let (request, _) = Request::read(&[b'G'; HEAD_BYTES_MAX + 1]).unwrap();
        assert_eq!(request.unwrap_err().status, 431);
        let plain = b"GET /ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent HTTP/1.1\r\n\r\n";
        assert_eq!(Request::read(plain).unwrap().0.unwrap_err().status, 426);
    }
}
