//! Who may ask: the token by header or cookie, the host that is asked for, the page that a browser asks from.
//!
//! Runs in: the admin thread, before anything else looks at a request. Owns nothing.
//! Never says which of a wrong and a missing token it was; never logs either.
//! Invariant: without a token only names of this machine are answered to, so that no other name can be pointed at it (DNS
//! rebinding); a request that a browser makes for a page is answered only if the page is the server's own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::IntoResponse;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use log::debug;

use super::Admin;
use super::response::{Response, Wrong};
use super::routes::Routes;
use crate::base::Quoted;
use crate::codec::excerpt::excerpt;
use crate::codec::mod_audio_stream::PresentedToken;

/// Longest body, in bytes: the longest command has a few kilobytes.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(3);
/// The cookie that holds the token.
const COOKIE_NAME: &str = "tandem_token";

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new().post("/api/login", login)
}

/// Lets a request through to what answers it, or answers it here; and sets the headers that every answer has.
pub(super) async fn check(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> axum::response::Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_api = !is_page(&path);
    let mut response = match admitted(&admin, request).await {
        Ok(request) => next.run(request).await,
        Err(refused) => refused.into_response(),
    };
    debug!("admin: {method} {}: {}", Quoted(&excerpt(path.as_bytes(), 120)), response.status().as_u16());
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

/// The page and its files ask for the token, so they need none.
fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/assets/")
}

/// The request with its whole body, if it may be answered.
async fn admitted(admin: &Admin, request: Request) -> Result<Request, Response> {
    let path = request.uri().path();
    let (health, open) = (path == "/healthz", is_page(path) || path == "/api/login");
    let headers = request.headers();
    if !health && !open && !has_token(admin, headers) {
        return Err(Response::error(
            401,
            "the token is missing or wrong (admin.token): send it as Authorization: Bearer TOKEN",
        ));
    }
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if !health && admin.shared.parts.token.is_none() && !host.is_some_and(|host| is_own(admin, host)) {
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
    Ok(Request::from_parts(head, Body::from(whole(body).await?)))
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

/// Whether the request presents the token, if one is needed.
fn has_token(admin: &Admin, headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(AUTHORIZATION).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().as_bytes().to_vec())
    });
    let own_header = || {
        let token = headers.get("X-Tandem-Token")?;
        Some(token.as_bytes().trim_ascii().to_vec())
    };
    is_token(admin, bearer.or_else(own_header).or_else(|| cookie(headers)))
}

/// The token in the cookie of [`login`].
fn cookie(headers: &HeaderMap) -> Option<Vec<u8>> {
    let pairs = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut values = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        (name == COOKIE_NAME).then_some(value)
    });
    BASE64_URL_SAFE_NO_PAD.decode(values.next()?).ok()
}

fn is_token(admin: &Admin, presented: Option<Vec<u8>>) -> bool {
    let Some(expected) = &admin.shared.parts.token else { return true };
    let presented = presented.and_then(|token| PresentedToken::new(&token));
    presented.is_some_and(|token| token.matches(expected.expose().as_bytes()))
}

/// Gives a browser the cookie that lets its page ask, in exchange for the token.
async fn login(State(admin): State<Arc<Admin>>, body: Bytes) -> Result<axum::response::Response, Wrong> {
    let body = super::response::Body::parse(&body)?;
    let token = body.field("token").and_then(|token| token.as_str());
    let Some(token) = token else { return Err(Wrong("token is missing".into())) };
    if !is_token(&admin, Some(token.as_bytes().to_vec())) {
        return Ok(Response::error(401, "this is not admin.token").into_response());
    }
    let secure = if admin.shared.parts.tls.is_some() { "; Secure" } else { "" };
    let value = BASE64_URL_SAFE_NO_PAD.encode(token);
    let cookie = format!("{COOKIE_NAME}={value}; Path=/; HttpOnly; SameSite=Strict{secure}");
    // Base64 fits into a header, so there is no error.
    let mut response = Response::empty().into_response();
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    Ok(response)
}
