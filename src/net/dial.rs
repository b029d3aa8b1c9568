//! Connecting to a WebSocket server: DNS, TCP, TLS and the upgrade under one deadline.
//!
//! Runs in: the dial threads, which it may block until the deadline. Owns the addresses of a few hosts. Never logs the request: its headers carry the key.
//! Invariant: what it returns is upgraded, non-blocking and has the relay's socket options.

use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use http::{HeaderName, HeaderValue, Uri};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use native_tls::{TlsConnector, TlsStream};
use tungstenite::Error;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::WebSocketConfig;

use thiserror::Error;

use crate::base::Instant;
use crate::net::resolve::{ResolveError, Resolver, StartThread};
use crate::net::socket::Socket;
use crate::net::stream::Stream;
use crate::net::texts::Texts;
use crate::net::websocket::Connection;
use crate::net::{options, race};
use crate::sync::Clock;

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
    /// How much is read and kept at most.
    pub limits: WebSocketConfig,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum DialError {
    /// The name has no addresses.
    #[error("DNS: {0}")]
    Resolve(String),
    /// The deadline passed; the step that was under way.
    #[error("timed out during {0}")]
    Timeout(&'static str),
    /// TCP did not connect.
    #[error("TCP: {0}")]
    Connect(String),
    /// TLS failed: an untrusted certificate, most often.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server answered the upgrade with this status and body.
    #[error("HTTP status {0} instead of 101")]
    Refused(u16, Vec<u8>),
    /// The server's answer was no upgrade.
    #[error("WebSocket upgrade: {0}")]
    Upgrade(String),
}

/// Connects; shared by all dial threads.
pub(crate) struct Dialer {
    clock: Clock,
    connector: TlsConnector,
    resolver: Resolver,
}

impl Dialer {
    /// A dialer that knows no addresses yet.
    pub(crate) fn new(clock: Clock, connector: TlsConnector) -> Self {
        Self { clock, connector, resolver: Resolver::new(clock) }
    }

    /// From now on names are looked up on threads of their own, so that the deadline holds for them too.
    pub(crate) fn resolve_with(&mut self, start: StartThread) {
        self.resolver.start_threads_with(start);
    }

    /// Connects before `deadline`.
    ///
    /// # Errors
    /// The step that failed and why.
    pub(crate) fn connect(&self, target: &Target, deadline: Instant) -> Result<Connection, DialError> {
        let socket = self.connect_tcp(target, deadline)?;
        let prepare = |socket: &TcpStream| {
            options::apply(socket)?;
            // A read that blocks has a time-out of its own, which a peer that drips bytes renews with each of them.
            socket.set_nonblocking(true)?;
            Readiness::of(socket, self.clock, deadline)
        };
        let mut ready = prepare(&socket).map_err(|error| DialError::Connect(error.to_string()))?;
        let stream = if target.tls {
            Stream::tls(self.tls(target, socket, &mut ready)?)
        } else {
            Stream::plain(socket)
        };
        self.upgrade(target, stream, &mut ready)
    }

    fn connect_tcp(&self, target: &Target, deadline: Instant) -> Result<TcpStream, DialError> {
        let (host, port) = (target.host.as_str(), target.port);
        let addresses = self.resolver.resolve(host, port, deadline).map_err(|error| match error {
            ResolveError::Late => DialError::Timeout("DNS"),
            ResolveError::Failed(what) => DialError::Resolve(what),
        })?;
        match race::connect(&addresses, self.clock, deadline) {
            Ok((socket, address)) => {
                self.resolver.prefer(host, port, address);
                Ok(socket)
            }
            Err(error) => {
                self.resolver.forget(host, port);
                Err(error)
            }
        }
    }

    fn tls(
        &self,
        target: &Target,
        socket: TcpStream,
        ready: &mut Readiness,
    ) -> Result<TlsStream<Socket>, DialError> {
        use native_tls::HandshakeError;
        let mut result = self.connector.connect(&target.host, Socket::new(socket));
        loop {
            match result {
                Ok(stream) => return Ok(stream),
                Err(HandshakeError::WouldBlock(middle)) => {
                    ready.wait("TLS")?;
                    result = middle.handshake();
                }
                Err(HandshakeError::Failure(error)) => return Err(DialError::Tls(error.to_string())),
            }
        }
    }

    fn upgrade(
        &self,
        target: &Target,
        mut stream: Stream,
        ready: &mut Readiness,
    ) -> Result<Connection, DialError> {
        use tungstenite::HandshakeError;
        stream.tell_texts_with(Texts::behind_upgrade());
        let request = target.url.clone().into_client_request();
        let mut request = request.map_err(|error| DialError::Upgrade(error.to_string()))?;
        for (name, value) in &target.headers {
            request.headers_mut().insert(name, value.clone());
        }
        let mut result = tungstenite::client::client_with_config(request, stream, Some(target.limits));
        loop {
            match result {
                Ok((socket, _)) => return Ok(Connection::upgraded(socket)),
                Err(HandshakeError::Interrupted(middle)) => {
                    ready.wait("the upgrade")?;
                    result = middle.handshake();
                }
                Err(HandshakeError::Failure(Error::Http(response))) => {
                    let status = response.status().as_u16();
                    return Err(DialError::Refused(status, response.into_body().unwrap_or_default()));
                }
                Err(HandshakeError::Failure(error)) => return Err(DialError::Upgrade(error.to_string())),
            }
        }
    }
}

/// Waits for a socket that does not block, up to the deadline.
struct Readiness {
    poll: Poll,
    events: Events,
    clock: Clock,
    deadline: Instant,
}

impl Readiness {
    fn of(socket: &TcpStream, clock: Clock, deadline: Instant) -> io::Result<Self> {
        let poll = Poll::new()?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(0), interest)?;
        Ok(Self { poll, events: Events::with_capacity(1), clock, deadline })
    }

    /// Returns when the socket may have become readable or writable.
    fn wait(&mut self, step: &'static str) -> Result<(), DialError> {
        let left = self.deadline.since(self.clock.now());
        if left.is_zero() {
            return Err(DialError::Timeout(step));
        }
        match self.poll.poll(&mut self.events, Some(left)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                Err(DialError::Connect(error.to_string()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// Connects to a server that answers the upgrade in these pieces, with this pause before each.
    fn dial(pause: Duration, piece_bytes: usize) -> (Result<(), DialError>, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("the dialler comes");
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).expect("a request");
                request.push(byte[0]);
            }
            let request = String::from_utf8(request).expect("ASCII");
            let key =
                request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
            let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            for piece in answer.as_bytes().chunks(piece_bytes) {
                thread::sleep(pause);
                if socket.write_all(piece).is_err() {
                    return;
                }
            }
        });
        let clock = Clock::new();
        let connector = TlsConnector::new().expect("the system's TLS");
        let dialer = Dialer::new(clock, connector);
        let target = Target {
            host: "127.0.0.1".into(),
            port: address.port(),
            tls: false,
            url: format!("ws://{address}/").parse().expect("a URL"),
            headers: Vec::new(),
            limits: WebSocketConfig::default(),
        };
        let begun = clock.now();
        let result = dialer.connect(&target, begun.plus_ms(1_000)).map(drop);
        (result, clock.now().since_ms(begun))
    }

    #[test]
    fn an_answer_in_pieces_is_put_together() {
        let (result, _) = dial(Duration::from_millis(20), 60);
        assert!(result.is_ok(), "{result:?}");
    }

    #[test]
    fn an_answer_that_drips_does_not_outlive_the_deadline() {
        let (result, took_ms) = dial(Duration::from_millis(150), 5);
        assert!(matches!(result, Err(DialError::Timeout("the upgrade"))), "{result:?}");
        assert!((1_000..2_000).contains(&took_ms), "{took_ms} ms");
    }
}
