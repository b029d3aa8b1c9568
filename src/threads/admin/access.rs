//! Who may ask: the token by header, or the session of a browser; the host that is asked for, the page that a browser asks
//! from. And who did what, in the log.
//!
//! Runs in: the admin thread, before anything else looks at a request. Owns the sessions and the addresses that guess.
//! Never says which of a wrong and a missing token it was; never logs either.
//! Invariant: without a token only names of this machine are answered to, so that no other name can be pointed at it (DNS
//! rebinding); a request that a browser makes for a page is answered only if the page is the server's own; and nothing that
//! changes something, or plays what was said, is done without a line in the log.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::ExtensionRejection;
use axum::extract::{Extension, FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use futures_util::StreamExt;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use log::{debug, info, warn};
use parking_lot::Mutex;

use super::Admin;
use super::response::{Response, Wrong};
use super::routes::Routes;
use super::sessions::{AGE_MS_MAX, Sessions};
use crate::admission::guesses::Guesses;
use crate::base::Quoted;
use crate::base::excerpt::excerpt;
use crate::call::leg::PresentedToken;
use crate::config::{Secret, is_near_address};

/// Longest body, in bytes: the longest command has a few kilobytes.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(3);

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// What most handlers are given: all that there is to ask, and where the request comes from.
pub(super) struct Asker {
    pub(super) admin: Arc<Admin>,
    pub(super) peer: IpAddr,
}

impl FromRequestParts<Arc<Admin>> for Asker {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, ExtensionRejection> {
        let Extension(Peer(peer)) = Extension::from_request_parts(parts, admin).await?;
        Ok(Self { admin: Arc::clone(admin), peer })
    }
}

/// By what a request was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    /// Nothing was asked for: this path needs nothing, or no token is configured.
    Nothing,
    /// The token.
    Token,
    /// The session with this number, which this cookie names.
    Session(u64, String),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("without a token"),
            Self::Token => f.write_str("with the token"),
            Self::Session(number, _) => write!(f, "in session {number}"),
        }
    }
}

/// What the door remembers. Only the admin thread uses it, so no lock is ever waited for.
#[derive(Default)]
pub(super) struct Door {
    guesses: Mutex<Guesses>,
    sessions: Mutex<Sessions>,
}

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new().post("/api/login", login).post("/api/logout", logout)
}

/// Lets a request through to what answers it, or answers it here; and sets the headers that every answer has.
pub(super) async fn check(
    Asker { admin, peer }: Asker,
    request: Request,
    next: Next,
) -> axum::response::Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_api = !is_page(&path);
    let mut response = match admitted(&admin, peer, request).await {
        Ok((request, by)) => {
            let response = next.run(request).await;
            note(&method, &path, peer, &by, response.status().as_u16());
            while_signed_in(admin, by, response)
        }
        Err(refused) => refused.into_response(),
    };
    debug!("admin: {method} {}: {}", shown(&path), response.status().as_u16());
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    };
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    set(REFERRER_POLICY, "no-referrer");
    set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    // The page has its own.
    set(CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'");
    if is_api {
        set(CACHE_CONTROL, "no-store");
    }
    response
}

fn shown(path: &str) -> String {
    Quoted(&excerpt(path.as_bytes(), 120)).to_string()
}

/// The page and its files ask for the token, so they need none.
fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/assets/")
}

/// Says in the log who did what: whatever changes something, and whatever plays what callers said. Signing in says so itself.
fn note(method: &Method, path: &str, peer: IpAddr, by: &By, status: u16) {
    let plays = path.ends_with("/recording") || path.ends_with("/listen");
    let reads = [Method::GET, Method::HEAD].contains(method) && !plays;
    if !reads && path != "/api/login" {
        info!("admin: {method} {} from {peer} {by}: status {status}", shown(path));
    }
}

/// An answer that goes on (events, listening in) ends with the session in which it was asked for.
fn while_signed_in(
    admin: Arc<Admin>,
    by: By,
    response: axum::response::Response,
) -> axum::response::Response {
    match by {
        By::Session(_, id) if response.body().size_hint().exact().is_none() => response.map(|body| {
            let lives = move || {
                let now = admin.relay.clock.now();
                admin.door.sessions.lock().number(now, &id).is_some()
            };
            Body::from_stream(body.into_data_stream().take_while(move |_| std::future::ready(lives())))
        }),
        _ => response,
    }
}

/// The request with its whole body, if it may be answered, and by what.
async fn admitted(admin: &Admin, peer: IpAddr, request: Request) -> Result<(Request, By), Response> {
    let parts = &admin.shared.parts;
    let path = request.uri().path();
    let (health, open) = (path == "/healthz", is_page(path) || path == "/api/login");
    if !health && parts.tls.is_none() && !is_near_address(peer) {
        return Err(Response::error(
            403,
            "beyond this machine and private networks this server is asked over TLS only, since the token would be read on \
             the way: set admin.tls_certificate and admin.tls_key, or come through a tunnel",
        ));
    }
    let headers = request.headers();
    let by = if health || open { By::Nothing } else { let_in_by(admin, peer, headers).await? };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if !health && parts.token.is_none() && !host.is_some_and(|host| is_own(admin, host)) {
        return Err(Response::error(
            403,
            &format!(
                "without admin.token this server answers as localhost, 127.0.0.1, [::1] and {} only: the Host header \
                 names another; use one of these or set admin.token",
                admin.shared.address.ip()
            ),
        ));
    }
    if let Some(origin) = headers.get(ORIGIN) {
        let authority = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")));
        let own = authority.zip(host).is_some_and(|(page, host)| page.eq_ignore_ascii_case(host));
        if !own {
            return Err(Response::error(403, "requests of other web pages are not answered"));
        }
    }
    let (head, body) = request.into_parts();
    Ok((Request::from_parts(head, Body::from(whole(body).await?)), by))
}

/// A body, within its limits of size and time.
async fn whole(body: Body) -> Result<Bytes, Response> {
    match tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => Err(Response::error(
            413,
            &format!("the body broke off, or is longer than {BODY_BYTES_MAX} bytes"),
        )),
        Err(_) => Err(Response::error(408, "the body did not arrive within 3 s")),
    }
}

/// Whether a value of the Host header names this machine.
fn is_own(admin: &Admin, host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let own = admin.shared.address.ip();
    name.eq_ignore_ascii_case("localhost")
        || name.parse().is_ok_and(|address: IpAddr| {
            address == own || ["127.0.0.1", "::1"].iter().any(|own| own.parse() == Ok(address))
        })
}

/// By what the request is let in: a session, or the token, if one is asked for.
async fn let_in_by(admin: &Admin, peer: IpAddr, headers: &HeaderMap) -> Result<By, Response> {
    let parts = &admin.shared.parts;
    let Some(expected) = &parts.token else { return Ok(By::Nothing) };
    if let Some(id) = cookie(admin, headers) {
        let number = admin.door.sessions.lock().number(admin.relay.clock.now(), &id);
        if let Some(number) = number {
            return Ok(By::Session(number, id));
        }
    }
    match presented(headers) {
        Some(token) => judge(admin, peer, expected, &token).await.map(|()| By::Token),
        None => Err(no_token()),
    }
}

fn no_token() -> Response {
    Response::error(
        401,
        "the token is missing or wrong (admin.token): send it as Authorization: Bearer TOKEN; a browser signs in at /",
    )
}

/// Whether a token is the right one. A wrong one is counted, told, and answered the later the more of them came from there;
/// where too many come, none is looked at for a moment.
async fn judge(admin: &Admin, peer: IpAddr, expected: &Secret, token: &[u8]) -> Result<(), Response> {
    let wait_ms = admin.door.guesses.lock().may_try(admin.relay.clock.now(), peer).err();
    if let Some(wait_ms) = wait_ms {
        admin.relay.counters.admin_tokens_unread.increment();
        let wait_s = wait_ms.div_ceil(1000);
        return Err(Response::error(
            429,
            &format!("too many wrong tokens from this address: try again in {wait_s} s"),
        ));
    }
    if PresentedToken::new(token).is_some_and(|token| token.matches(expected.expose().as_bytes())) {
        return Ok(());
    }
    let penance = admin.door.guesses.lock().wrong(admin.relay.clock.now(), peer);
    admin.relay.counters.admin_tokens_wrong.increment();
    if let Some(count) = penance.told {
        warn!(
            "admin: {count} wrong token(s) from {peer}: told again in a minute; who is it? admin.listen on 127.0.0.1 or a \
             firewall keeps strangers out"
        );
    }
    tokio::time::sleep(Duration::from_millis(penance.delay_ms)).await;
    Err(no_token())
}

/// The token that a request presents.
fn presented(headers: &HeaderMap) -> Option<Vec<u8>> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().as_bytes().to_vec())
    });
    let own_header = || Some(headers.get("X-Tandem-Token")?.as_bytes().trim_ascii().to_vec());
    bearer.or_else(own_header)
}

/// The cookie's name. Browsers send a cookie to every port of a host, so another server there must not have the same; and with
/// TLS the prefix keeps others from setting it (RFC 6265bis, section 4.1.3).
fn cookie_name(admin: &Admin) -> String {
    let prefix = if admin.shared.has_tls() { "__Host-" } else { "" };
    format!("{prefix}tandem_session_{}", admin.shared.address.port())
}

/// The session's id in the cookie of [`login`].
fn cookie(admin: &Admin, headers: &HeaderMap) -> Option<String> {
    let name = cookie_name(admin);
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| {
        let (known, value) = pair.trim().split_once('=')?;
        (known == name).then_some(value.to_owned())
    });
    values.next()
}

fn with_cookie(admin: &Admin, value: &str, life_s: u64) -> axum::response::Response {
    let secure = if admin.shared.has_tls() { "; Secure" } else { "" };
    let name = cookie_name(admin);
    let cookie = format!("{name}={value}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Strict{secure}");
    let mut response = Response::empty().into_response();
    // Hexadecimal digits fit into a header, so there is no error.
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// Gives a browser a session in exchange for the token.
async fn login(Asker { admin, peer }: Asker, body: Bytes) -> Result<axum::response::Response, Wrong> {
    let body = super::response::Body::parse(&body)?;
    let token = body.field("token").and_then(|token| token.as_str());
    let Some(token) = token else { return Err(Wrong("token is missing".into())) };
    let Some(expected) = &admin.shared.parts.token else { return Ok(Response::empty().into_response()) };
    if let Err(refused) = judge(&admin, peer, expected, token.as_bytes()).await {
        return Ok(refused.into_response());
    }
    let (id, number) = admin.door.sessions.lock().begin(admin.relay.clock.now(), peer);
    info!("admin: session {number} begins: signed in from {peer}");
    Ok(with_cookie(&admin, &id, AGE_MS_MAX / 1000))
}

/// Ends the session in which it is asked for.
async fn logout(State(admin): State<Arc<Admin>>, headers: HeaderMap) -> axum::response::Response {
    if let Some(id) = cookie(&admin, &headers) {
        admin.door.sessions.lock().end(&id);
    }
    with_cookie(&admin, "", 0)
}
