//! Connecting to a WebSocket server: DNS, TCP, TLS and the upgrade under one deadline.
//!
//! Runs in: the dial threads, which it may block until the deadline. Owns a small cache of addresses.
//! Never logs the request: its headers carry the key.
//! Invariant: what it returns is upgraded, non-blocking and has the relay's socket options.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Request, Uri};
use native_tls::TlsConnector;
use parking_lot::Mutex;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, HandshakeError};

use crate::base::Instant;
use crate::net::options;
use crate::net::stream::Stream;
use crate::net::websocket::Connection;
use crate::sync::Clock;

/// How long a host's addresses are used before they are asked for again.
const ADDRESSES_VALID_MS: u64 = 60_000;
/// Hosts whose addresses are kept; one relay talks to a handful.
const HOSTS_MAX: usize = 64;

/// Where to connect and what to ask for.
#[derive(Clone)]
pub struct Target {
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether to speak TLS.
    pub tls: bool,
    /// The WebSocket's URL, `ws://` or `wss://`, without secrets.
    pub url: Uri,
    /// Headers beyond those of the upgrade; may be secret.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum DialError {
    /// The name has no addresses.
    Resolve(String),
    /// The deadline passed; the step that was under way.
    Timeout(&'static str),
    /// TCP did not connect.
    Connect(String),
    /// TLS failed: an untrusted certificate, most often.
    Tls(String),
    /// The server answered the upgrade with this status and body.
    Refused(u16, Vec<u8>),
    /// The server's answer was no upgrade.
    Upgrade(String),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(what) => write!(f, "DNS: {what}"),
            Self::Timeout(step) => write!(f, "timed out during {step}"),
            Self::Connect(what) => write!(f, "TCP: {what}"),
            Self::Tls(what) => write!(f, "TLS: {what}"),
            Self::Refused(status, _) => write!(f, "HTTP status {status} instead of 101"),
            Self::Upgrade(what) => write!(f, "WebSocket upgrade: {what}"),
        }
    }
}

type HostPort = (String, u16);

/// Connects; shared by all dial threads.
pub struct Dialer {
    clock: Clock,
    connector: TlsConnector,
    config: WebSocketConfig,
    addresses: Mutex<HashMap<HostPort, (Vec<SocketAddr>, Instant)>>,
}

impl Dialer {
    /// A dialer with an empty cache of addresses.
    pub fn new(clock: Clock, connector: TlsConnector, config: WebSocketConfig) -> Self {
        Self { clock, connector, config, addresses: Mutex::new(HashMap::new()) }
    }

    /// Connects before `deadline`.
    ///
    /// # Errors
    /// The step that failed and why.
    pub fn connect(&self, target: &Target, deadline: Instant) -> Result<Connection, DialError> {
        let socket = self.connect_tcp(target, deadline)?;
        let configure =
            |socket: &TcpStream| options::apply(socket).and_then(|()| self.limit(socket, deadline));
        configure(&socket).map_err(|error| timeout_or(error, "TCP", DialError::Connect))?;
        let stream = if target.tls {
            let stream = self.connector.connect(&target.host, socket).map_err(|error| match error {
                native_tls::HandshakeError::WouldBlock(_) => DialError::Timeout("TLS"),
                native_tls::HandshakeError::Failure(error) => DialError::Tls(error.to_string()),
            })?;
            Stream::tls(stream)
        } else {
            Stream::plain(socket)
        };
        self.limit(stream.socket(), deadline)
            .map_err(|error| timeout_or(error, "the upgrade", DialError::Upgrade))?;
        self.upgrade(target, stream)
    }

    fn connect_tcp(&self, target: &Target, deadline: Instant) -> Result<TcpStream, DialError> {
        let mut last = DialError::Resolve(format!("{} has no address", target.host));
        for address in self.resolve(target)? {
            let left = deadline.since(self.clock.now());
            if left.is_zero() {
                return Err(DialError::Timeout("TCP"));
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(socket) => return Ok(socket),
                Err(error) => {
                    last = timeout_or(error, "TCP", |what| DialError::Connect(format!("{address}: {what}")));
                }
            }
        }
        // Perhaps the addresses have changed.
        self.addresses.lock().remove(&(target.host.clone(), target.port));
        Err(last)
    }

    fn resolve(&self, target: &Target) -> Result<Vec<SocketAddr>, DialError> {
        let host = (target.host.clone(), target.port);
        let now = self.clock.now();
        if let Some((addresses, at)) = self.addresses.lock().get(&host)
            && now.since_ms(*at) < ADDRESSES_VALID_MS
        {
            return Ok(addresses.clone());
        }
        let addresses: Vec<_> = (target.host.as_str(), target.port)
            .to_socket_addrs()
            .map_err(|error| DialError::Resolve(format!("{}: {error}", target.host)))?
            .collect();
        let mut cache = self.addresses.lock();
        if cache.len() >= HOSTS_MAX {
            cache.clear();
        }
        cache.insert(host, (addresses.clone(), now));
        Ok(addresses)
    }

    /// Lets the socket's blocking reads and writes end with the deadline.
    fn limit(&self, socket: &TcpStream, deadline: Instant) -> io::Result<()> {
        let left = deadline.since(self.clock.now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        socket.set_write_timeout(Some(left))
    }

    fn upgrade(&self, target: &Target, stream: Stream) -> Result<Connection, DialError> {
        let authority = target.url.authority().map_or(target.host.as_str(), |a| a.as_str());
        let mut request = Request::get(target.url.clone())
            .header("Host", authority)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", tungstenite::handshake::client::generate_key())
            .body(())
            .map_err(|error| DialError::Upgrade(error.to_string()))?;
        for (name, value) in &target.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let (socket, _) = tungstenite::client::client_with_config(request, stream, Some(self.config))
            .map_err(|error| match error {
                HandshakeError::Interrupted(_) => DialError::Timeout("the upgrade"),
                HandshakeError::Failure(Error::Http(response)) => {
                    let status = response.status().as_u16();
                    DialError::Refused(status, response.into_body().unwrap_or_default())
                }
                HandshakeError::Failure(Error::Io(error)) => {
                    timeout_or(error, "the upgrade", DialError::Upgrade)
                }
                HandshakeError::Failure(error) => DialError::Upgrade(error.to_string()),
            })?;
        let nonblocking = |stream: &Stream| {
            stream.socket().set_read_timeout(None::<Duration>)?;
            stream.socket().set_write_timeout(None::<Duration>)?;
            stream.set_nonblocking()
        };
        nonblocking(socket.get_ref()).map_err(|error| DialError::Upgrade(error.to_string()))?;
        Ok(Connection::upgraded(socket))
    }
}

fn timeout_or(error: io::Error, step: &'static str, other: impl FnOnce(String) -> DialError) -> DialError {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => DialError::Timeout(step),
        _ => other(error.to_string()),
    }
}
