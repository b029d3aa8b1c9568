//! The HTTP client: one request at a time for a thread that may block, with a limit on everything.
//!
//! Runs in: the tool threads, the keeper, and the main thread of `tandem call`. Owns the connections that are kept for the next request.
//! Never follows a redirect, never logs a request or an answer.
//! Invariant: a request ends at its time-out at the latest, however slowly its server speaks, and an answer in hand is no
//! longer than [`ANSWER_BYTES_MAX`].

use std::io;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, header};
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{ConnectProxyConnector, Connector, TcpConnector};
use ureq::{Agent, Error};

use thiserror::Error;

use super::http_tls::Tls;
use super::tls::Client;

/// Longest answer that is taken, in bytes: some ten thousand words, more than a model should be told at once.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// How long an idle connection is kept. Servers close theirs after 5 s or more.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// See the head of this file.
pub(crate) struct HttpClient {
    agent: Agent,
}

/// A request.
pub(crate) struct HttpRequest {
    /// `GET` or `POST`.
    pub method: Method,
    /// Where, the query included.
    pub url: String,
    /// Headers beside those that every request has.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// A JSON text.
    pub body: Option<String>,
    /// From now until the answer is complete.
    pub timeout: Duration,
}

/// An answer of any status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct HttpAnswer {
    /// The status, 100 to 999.
    pub status: u16,
    /// Its `Content-Type` says JSON.
    pub is_json: bool,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum HttpError {
    /// There was no connection: the server has seen nothing of the request.
    #[error("no connection: {0}")]
    NotConnected(String),
    /// The time was over.
    #[error("no answer in time")]
    TimedOut,
    /// The answer was longer than [`ANSWER_BYTES_MAX`].
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// The connection was lost on the way, or what came is not HTTP.
    #[error("the connection was lost: {0}")]
    Broken(String),
}

impl HttpClient {
    /// A client that speaks TLS by `tls`, or none. A proxy is used for `https://` where `HTTPS_PROXY` names one, but not
    /// on the way to a server of ours.
    pub(crate) fn new(tls: Option<Client>) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_response_header_size(HEAD_BYTES_MAX)
            .max_idle_age(IDLE_MAX)
            .user_agent("tandem");
        if tls.as_ref().is_some_and(Client::is_of_own_server) {
            config = config.proxy(None);
        }
        let connectors =
            ().chain(ConnectProxyConnector::default()).chain(TcpConnector::default()).chain(Tls(tls));
        Self { agent: Agent::with_parts(config.build(), connectors, DefaultResolver::default()) }
    }

    /// Sends a request and waits for the answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn ask(&self, request: HttpRequest) -> Result<HttpAnswer, HttpError> {
        let HttpRequest { method, url, headers, body, timeout } = request;
        // Unencrypted requests go to addresses near by, where no proxy leads.
        let is_near = url.starts_with("http://");
        let mut builder = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            builder = builder.header(name, value);
        }
        if body.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        let answer = match body {
            Some(body) => self.run(builder.body(body), timeout, is_near),
            None => self.run(builder.body(()), timeout, is_near),
        };
        let answer = answer.map_err(HttpError::from)?;
        let status = answer.status().as_u16();
        let kind = answer.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        let is_json = kind.to_ascii_lowercase().windows(4).any(|word| word == b"json");
        let body = answer.into_body().into_with_config().limit(ANSWER_BYTES_MAX as u64).read_to_vec();
        Ok(HttpAnswer { status, is_json, body: body.map_err(HttpError::from)? })
    }

    /// Breaks off what is under way, in whatever thread, and refuses what is asked later.
    pub(crate) fn stop(&self) {
        self.agent.clone().shutdown();
    }

    fn run<S: ureq::AsSendBody>(
        &self,
        request: http::Result<Request<S>>,
        timeout: Duration,
        is_near: bool,
    ) -> Result<http::Response<ureq::Body>, Error> {
        let mut request = self.agent.configure_request(request?).timeout_global(Some(timeout));
        if is_near {
            request = request.proxy(None);
        }
        self.agent.run(request.build())
    }
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        match error {
            Error::Timeout(_) => Self::TimedOut,
            Error::BodyExceedsLimit(_) => Self::TooLong,
            Error::Io(error) if is_of_connecting(error.kind()) => Self::NotConnected(error.to_string()),
            Error::HostNotFound => Self::NotConnected("there is no host of this name".into()),
            Error::ConnectionFailed | Error::ConnectProxyFailed(_) | Error::Tls(_) | Error::Other(_) => {
                Self::NotConnected(error.to_string())
            }
            // A URL that the check at the start let through.
            Error::BadUri(_) | Error::Http(_) => Self::NotConnected("the URL cannot be used".into()),
            error => Self::Broken(error.to_string()),
        }
    }
}

fn is_of_connecting(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(kind, AddrNotAvailable | ConnectionRefused | HostUnreachable | NetworkUnreachable)
}
