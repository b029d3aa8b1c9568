//! The admin server: HTTP for the operator, the dial plan, the page and other programs.
//!
//! Runs in: one admin thread. Owns the listening socket.
//! Never touches a call itself: it asks control by message, and waits for the answer as long as that takes at most.
//! Invariant: nothing here blocks the thread, so that `/admit` is answered from memory at once, whoever else waits.

mod access;
mod api;
mod calls;
pub(crate) mod connect;
mod connections;
pub(crate) mod haproxy;
mod health;
mod history;
mod live;
mod metrics;
mod openapi;
mod page;
mod places;
mod recordings;
mod response;
mod routes;
mod serve;
mod sessions;
mod telephone;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::config::Secret;
use crate::net::listener::listening;
use crate::net::tls::Identity;
use crate::sync::Outbox;
use crate::threads::dial::DialPool;
use crate::threads::messages::{AcceptOrder, ControlInput, EslOrder};
use crate::threads::recorder::listeners::LISTENERS_MAX;
use crate::threads::relay::Relay;
use crate::threads::store::Reader;
use connect::MediaServer;
use live::Board;
use metrics::RelayState;
use places::Places;
use response::Response;
use routes::Routes;

/// Requests that may wait for a switch at one time; half of them, as of all that follows, may be of one address.
const WAITING_MAX: usize = 64;
/// Outbound calls at one time that somebody waits to be answered.
const RINGING_MAX: usize = 64;
/// Questions to the database at one time, some of which wait for each other.
const READING_MAX: usize = 16;
/// Those of them that are being answered.
const READERS_MAX: usize = 4;
/// Searches in texts at one time, and those that are being answered: they read all that there is, if need be.
const SEARCHES_MAX: usize = 8;
const SEARCHERS_MAX: usize = 2;
/// Those who listen in.
const LISTENING_MAX: usize = LISTENERS_MAX;
/// Metrics that are being written.
const METRICS_MAX: usize = 4;

/// The port of the legs, as a browser finds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MediaPort {
    /// Its number.
    pub port: u16,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// What the server is built from.
pub(crate) struct AdminParts {
    /// What a request must present, if anything.
    pub token: Option<Secret>,
    /// What accepts TLS; plain HTTP if `None`.
    pub tls: Option<Arc<Identity>>,
    /// How long an announced call is waited for.
    pub expect: Duration,
    /// How long an outbound call may ring, if any can be placed.
    pub outbound: Option<Duration>,
    /// Where Asterisk waits to be connected to, if it does.
    pub media_server: Option<MediaServer>,
    /// How long running calls may go on when the API ends the relay without saying how long.
    pub drain: Duration,
    /// Whether a drain leaves the sockets of the legs to whoever is given them next.
    pub leaves_sockets: bool,
    /// Where HAProxy asks what share of new calls the relay should get.
    pub haproxy_agent: Option<TcpListener>,
    /// The records of calls that ended.
    pub reader: Arc<Reader>,
    /// Where the telephone in the browser connects to.
    pub telephone: MediaPort,
    /// Where recordings are.
    pub recordings: PathBuf,
}

/// A server that listens.
pub(crate) struct AdminShared {
    relay: Relay,
    parts: AdminParts,
    listener: TcpListener,
    address: SocketAddr,
    /// In seconds since 1970.
    began_s: f64,
    stopped: watch::Sender<bool>,
}

impl AdminShared {
    /// Listens on `address`, or takes a socket that does; nothing is served yet.
    ///
    /// # Errors
    /// Those of binding it.
    pub(crate) fn listen(
        address: SocketAddr,
        passed: Option<TcpListener>,
        relay: Relay,
        parts: AdminParts,
    ) -> io::Result<Self> {
        let listener = passed.map_or_else(|| listening(address, None), Ok)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let began_s = relay.clock.unix_ms() as f64 / 1000.0;
        Ok(Self { relay, parts, listener, address, began_s, stopped: watch::Sender::new(false) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it speaks TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.parts.tls.is_some()
    }

    /// Ends the server; what it is answering it may still answer, for a second.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
    }
}

/// What every request may use.
pub(crate) struct Admin {
    relay: Relay,
    shared: Arc<AdminShared>,
    /// Only this thread uses these, so no lock is ever waited for: `axum` asks for them.
    control: Mutex<Outbox<ControlInput>>,
    accept: Mutex<Outbox<AcceptOrder>>,
    esl: Option<Mutex<Outbox<EslOrder>>>,
    dial: Mutex<DialPool>,
    /// Places for requests that wait for a switch.
    waiting: Arc<Places>,
    /// Places for requests that wait for outbound calls to be answered.
    ringing: Arc<Places>,
    /// Places for questions to the database, and for those that are being answered.
    reading: Arc<Places>,
    readers: Arc<Places>,
    /// The same of searches.
    searching: Arc<Places>,
    searchers: Arc<Places>,
    listening: Arc<Places>,
    streams: Arc<Places>,
    metrics: Arc<Places>,
    board: Board,
    door: access::Door,
}

impl Admin {
    /// A server that has not begun.
    pub(crate) fn new(
        shared: Arc<AdminShared>,
        control: Outbox<ControlInput>,
        accept: Outbox<AcceptOrder>,
        esl: Option<Outbox<EslOrder>>,
        dial: DialPool,
    ) -> Self {
        Self {
            relay: shared.relay.clone(),
            shared,
            control: Mutex::new(control),
            accept: Mutex::new(accept),
            esl: esl.map(Mutex::new),
            dial: Mutex::new(dial),
            waiting: Places::new(WAITING_MAX),
            ringing: Places::new(RINGING_MAX),
            reading: Places::new(READING_MAX),
            readers: Places::new(READERS_MAX),
            searching: Places::new(SEARCHES_MAX),
            searchers: Places::new(SEARCHERS_MAX),
            listening: Places::new(LISTENING_MAX),
            streams: Places::new(live::STREAMS_MAX),
            metrics: Places::new(METRICS_MAX),
            board: Board::new(),
            door: access::Door::default(),
        }
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// Those of starting; what goes wrong with one connection is that connection's end.
    pub(crate) fn run(self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        serve::run(&shared, move || {
            let admin = Arc::new(self);
            let keeper = Arc::clone(&admin);
            tokio::spawn(async move { keeper.keep_board().await });
            router(admin)
        })
    }

    /// How the relay stands now.
    fn state(&self) -> RelayState {
        let Relay { registry, clock, store, .. } = &self.relay;
        RelayState {
            calls_max: registry.max_calls(),
            draining: registry.is_draining(),
            began_s: self.shared.began_s,
            credentials: registry.credentials().map_or(Vec::new(), |pool| pool.states(clock.now())),
            store: store.get(),
            streams: self.board.listeners(),
        }
    }

    /// Sends control a message, if it takes one now.
    fn ask_control(&self, message: ControlInput) -> bool {
        self.control.lock().try_send(message).is_ok()
    }
}

/// All paths. A new area is one line here.
fn all_routes() -> Routes {
    Routes::new()
        .merge(access::routes())
        .merge(api::routes())
        .merge(calls::routes())
        .merge(health::routes())
        .merge(live::routes())
        .merge(metrics::routes())
        .merge(openapi::routes())
        .merge(page::routes())
        .merge(recordings::routes())
        .merge(telephone::routes())
}

fn router(admin: Arc<Admin>) -> Router {
    let (router, _) = all_routes().into_parts();
    router
        .method_not_allowed_fallback(|| async {
            Response::error(405, "this path does not take this method: see the header Allow")
        })
        .fallback(|| async { Response::error(404, "there is nothing at this path") })
        .layer(middleware::from_fn_with_state(Arc::clone(&admin), access::check))
        .with_state(admin)
}
