//! The simulator's only thread: one mio loop over the listener and every connection, timers by absolute time.
//!
//! Runs in: its own thread, started by [`Simulator::start`](super::Simulator::start). Owns every connection.
//! Never blocks but in poll.
//! Invariant: a connection's earliest deadline has a timer; a socket that may hold unread bytes is remembered, since
//! mio tells of each arrival once.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpListener};
use native_tls::TlsAcceptor;

use super::{
    config::SimConfig,
    connection::Connection,
    event::{ClosedBy, SimEvent, What},
    fault::Fault,
    registry::Registry,
    session::Speech,
    socket::Socket,
};

const LISTENER: Token = Token(0);
pub(super) const WAKER: Token = Token(1);
/// Tokens from here on are places in `places`.
const FIRST_PLACE: usize = 2;

/// Samples received, by session: written here, read by tests.
pub(super) type KeptAudio = Arc<Mutex<HashMap<u64, Vec<i16>>>>;

/// Faults that happen to every open session as soon as the loop wakes up.
pub(super) type Sudden = Arc<Mutex<Vec<Fault>>>;

/// Where events go.
#[derive(Debug)]
pub(super) struct EventSink(pub(super) Option<Sender<SimEvent>>);

impl EventSink {
    /// Tells what happened.
    pub(super) fn tell(&mut self, at: Instant, session: u64, what: What) {
        if let Some(sender) = &self.0
            && sender.send(SimEvent { at, session, what }).is_err()
        {
            // Nobody listens any more.
            self.0 = None;
        }
    }
}

/// The file of client messages.
#[derive(Debug)]
pub(super) struct Record(BufWriter<File>);

impl Record {
    /// Opens a file for appending.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        File::options().create(true).append(true).open(path).map(|file| Self(BufWriter::new(file)))
    }

    /// Writes one message as it was received; what is not JSON is written as a string.
    pub(super) fn write(&mut self, session: u64, payload: &[u8]) {
        let text = String::from_utf8_lossy(payload);
        let one_line = !text.contains(['\n', '\r']);
        let message = match serde_json::from_str::<serde::de::IgnoredAny>(&text) {
            Ok(_) if one_line => text.into_owned(),
            Ok(_) => text.replace(['\n', '\r'], " "),
            Err(_) => serde_json::Value::String(text.into_owned()).to_string(),
        };
        if let Err(error) = writeln!(self.0, "{{\"session\":{session},\"message\":{message}}}") {
            log::error!("cannot write the record of client messages: {error}");
        }
    }

    fn flush(&mut self) {
        if let Err(error) = self.0.flush() {
            log::error!("cannot write the record of client messages: {error}");
        }
    }
}

/// What every connection uses.
#[derive(Debug)]
pub(super) struct Shared {
    /// The configuration.
    pub config: SimConfig,
    /// What is said in turns, at least one piece.
    pub answers: Vec<Speech>,
    /// Who may resume what.
    pub registry: Registry,
    /// Where events go.
    pub events: EventSink,
    /// Where client messages are recorded.
    pub record: Option<Record>,
    /// Space for one read.
    pub space: Vec<u8>,
    pub(super) kept_audio: KeptAudio,
    pub(super) sudden: Sudden,
}

impl Shared {
    /// Keeps samples of a session.
    pub(super) fn keep_audio(&mut self, session: u64, samples: impl Iterator<Item = i16>) {
        let mut kept = self.kept_audio.lock().unwrap_or_else(PoisonError::into_inner);
        kept.entry(session).or_default().extend(samples);
    }
}

/// The loop's state.
pub(super) struct EventLoop {
    poll: Poll,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    places: Vec<Option<Connection>>,
    free: Vec<usize>,
    timers: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    /// Places whose sockets may hold unread bytes.
    unread: Vec<usize>,
    accepted: u64,
    shared: Shared,
}

impl EventLoop {
    pub(super) fn new(
        poll: Poll,
        mut listener: TcpListener,
        tls: Option<TlsAcceptor>,
        shared: Shared,
    ) -> io::Result<Self> {
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            tls,
            places: Vec::new(),
            free: Vec::new(),
            timers: BinaryHeap::new(),
            unread: Vec::new(),
            accepted: 0,
            shared,
        })
    }

    /// Runs until `stop` is set and the waker rings.
    pub(super) fn run(mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(1024);
        while !stop.load(Ordering::Acquire) {
            let timeout = if self.unread.is_empty() { self.next_timeout() } else { Some(Duration::ZERO) };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    log::error!("the simulator's poll failed: {error}");
                    break;
                }
                _ => {}
            }
            for place in std::mem::take(&mut self.unread) {
                self.ready(place);
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKER => self.suffer(),
                    Token(token) => self.ready(token - FIRST_PLACE),
                }
            }
            self.run_timers();
            if let Some(record) = &mut self.shared.record {
                record.flush();
            }
        }
        let now = Instant::now();
        for connection in self.places.iter_mut().flatten() {
            connection.finish(ClosedBy::Simulator, 1006, "the simulator stops", now, &mut self.shared);
        }
    }

    fn next_timeout(&self) -> Option<Duration> {
        self.timers.peek().map(|Reverse((at, _, _))| at.saturating_duration_since(Instant::now()))
    }

    fn accept(&mut self) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // Out of descriptors, mostly. The next arrival tries again.
                    log::error!(
                        "cannot accept a connection: {error}; raise the limit of open files (ulimit -n)"
                    );
                    return;
                }
            };
            let place = self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            });
            self.accepted += 1;
            let (registry, token) = (self.poll.registry(), Token(place + FIRST_PLACE));
            match Socket::accept(stream, registry, token, self.tls.as_ref()) {
                Ok(socket) => {
                    let connection = Connection::new(self.accepted, socket, Instant::now(), &self.shared);
                    if let Some(free) = self.places.get_mut(place) {
                        *free = Some(connection);
                    }
                    // TLS may have read ahead, and data may have come before the registration.
                    self.ready(place);
                }
                Err(error) => {
                    log::debug!("session {}: {error}", self.accepted);
                    self.free.push(place);
                }
            }
        }
    }

    fn ready(&mut self, place: usize) {
        let Some(connection) = self.places.get_mut(place).and_then(Option::as_mut) else { return };
        if connection.on_ready(Instant::now(), &mut self.shared) {
            self.unread.push(place);
        }
        self.after(place);
    }

    /// What is to happen to every session happens.
    fn suffer(&mut self) {
        let sudden = std::mem::take(&mut *self.shared.sudden.lock().unwrap_or_else(PoisonError::into_inner));
        for fault in sudden {
            for place in 0..self.places.len() {
                if let Some(connection) = self.places.get_mut(place).and_then(Option::as_mut) {
                    connection.suffer(&fault, Instant::now(), &mut self.shared);
                    self.after(place);
                }
            }
        }
    }

    /// Forgets a connection that is over, or sets the timer of one that lives.
    fn after(&mut self, place: usize) {
        let Some(slot) = self.places.get_mut(place) else { return };
        let Some(connection) = slot else { return };
        if connection.is_over() {
            *slot = None;
            self.free.push(place);
        } else if let Some(deadline) = connection.deadline()
            && connection.timer.is_none_or(|timer| deadline < timer)
        {
            connection.timer = Some(deadline);
            self.timers.push(Reverse((deadline, place, connection.id)));
        }
    }

    fn run_timers(&mut self) {
        while let Some(&Reverse((at, place, id))) = self.timers.peek() {
            let now = Instant::now();
            if at > now {
                return;
            }
            self.timers.pop();
            // A timer may be out of date: its connection gone, or an earlier one set meanwhile.
            let Some(connection) = self.places.get_mut(place).and_then(Option::as_mut) else { continue };
            if connection.id != id || connection.timer != Some(at) {
                continue;
            }
            connection.timer = None;
            if connection.deadline().is_some_and(|deadline| deadline <= now) {
                connection.on_time(now, &mut self.shared);
            }
            self.after(place);
        }
    }
}
