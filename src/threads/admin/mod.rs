//! The admin threads: HTTP for the operator, the dial plan and other programs.
//!
//! Runs in: a fixed number of admin threads, each with one request at a time. Owns the listening socket together.
//! Never touches a call itself: it asks control, and waits for the answer as long as that takes at most.
//! Invariant: requests that wait for a switch never take up all threads, so that `/admit` is answered from memory at once.

mod api;
pub mod connect;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use log::{debug, warn};
use socket2::SockRef;

use crate::call::{CurrentAgents, Expected, Registry};
use crate::config::Secret;
use crate::net::http;
use crate::sync::{Clock, Outbox};
use crate::telemetry::Counters;
use crate::threads::dial::DialPool;
use crate::threads::messages::{ControlInput, EslOrder};
use connect::MediaServer;

/// Threads that serve: two of them are never taken up by requests that wait.
pub const ADMIN_THREADS: usize = 8;
/// Requests that may wait for a switch at one time.
const WAITING_MAX: usize = ADMIN_THREADS - 2;
/// After an error of accepting, usually that no file descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the threads are built from.
pub struct AdminParts {
    /// What a request must present, if anything.
    pub token: Option<Secret>,
    /// Who may call.
    pub registry: Arc<Registry>,
    /// Who answers which number, or nobody.
    pub agents: Arc<CurrentAgents>,
    /// Calls that were announced.
    pub expected: Arc<Expected>,
    /// How long an announced call is waited for.
    pub expect: Duration,
    /// How long an outbound call may ring, if any can be placed.
    pub outbound: Option<Duration>,
    /// Where Asterisk waits to be connected to, if it does.
    pub media_server: Option<MediaServer>,
    /// The process's counters.
    pub counters: Arc<Counters>,
    /// The clock.
    pub clock: Clock,
}

/// What the threads share.
pub struct AdminShared {
    parts: AdminParts,
    /// Blocking.
    listener: TcpListener,
    address: SocketAddr,
    stopped: AtomicBool,
    waiting: AtomicUsize,
}

impl AdminShared {
    /// Listens on `address`; nothing is served yet.
    ///
    /// # Errors
    /// Those of binding it.
    pub fn listen(address: SocketAddr, parts: AdminParts) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let (stopped, waiting) = (AtomicBool::new(false), AtomicUsize::new(0));
        Ok(Self { parts, listener, address, stopped, waiting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends every thread once it has answered the request that it has.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        // A thread that waits in accept() is woken by this with an error (Linux).
        _ = SockRef::from(&self.listener).shutdown(std::net::Shutdown::Both);
    }
}

/// One thread.
pub struct Admin {
    shared: Arc<AdminShared>,
    control: Outbox<ControlInput>,
    esl: Option<Outbox<EslOrder>>,
    dial: DialPool,
}

impl Admin {
    /// A thread that has not begun.
    pub fn new(
        shared: Arc<AdminShared>,
        control: Outbox<ControlInput>,
        esl: Option<Outbox<EslOrder>>,
        dial: DialPool,
    ) -> Self {
        Self { shared, control, esl, dial }
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// None so far: what goes wrong with one connection is that connection's end.
    pub fn run(mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        while !shared.stopped.load(Ordering::Acquire) {
            match shared.listener.accept() {
                Ok((socket, peer)) => self.serve(&socket, peer.ip()),
                Err(_) if shared.stopped.load(Ordering::Acquire) => break,
                Err(problem) => {
                    warn!("the admin server cannot accept a connection: {problem}");
                    std::thread::sleep(ACCEPT_PAUSE);
                }
            }
        }
        Ok(())
    }

    fn serve(&mut self, socket: &TcpStream, peer: IpAddr) {
        let clock = self.shared.parts.clock;
        let response = match http::read_request(socket, &clock) {
            Ok(request) => {
                let response = self.answer(&request, peer);
                debug!("admin: {} {}: {}", request.method, api::shown(&request.path), response.status);
                response
            }
            Err(trouble) => match trouble.status() {
                Some(status) => api::Response::error(status, &trouble.to_string()),
                None => return,
            },
        };
        // A peer that is gone has no more interest.
        _ = http::respond(socket, &clock, response.status, response.content_type, &response.body);
    }
}
