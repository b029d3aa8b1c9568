//! The accept thread: the door. Listens, finishes handshakes, admits calls and hands them, and those whose leg the relay
//! itself has connected to, to their threads.
//!
//! Runs in: one accept thread. Owns the listening sockets and unfinished handshakes.
//! Never blocks but in its poll, and while the mailbox of a thread is full; decides from memory.
//! Invariant: a call exists from the moment of its 101 (ours, or that of a switch that was connected to), with its rings
//! at dsp and gemini before its offer, which holds its leg, is at control; whoever is refused is told why and counted.

mod come_back;
mod hand_over;
pub(crate) mod handshake;
mod leaving;
mod many;
mod refusals;
mod request;
mod token;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use crossbeam_channel::Sender;
use log::warn;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

use crate::admission::allowances::Allowances;
use crate::admission::guesses::Guesses;
use crate::agents::Choice;
use crate::base::{CallId, Instant};
use crate::call::leg::CallFields;
use crate::codec::mod_audio_stream::RequestFacts;
use crate::config::ListenConfig;
use crate::net::listener::{Accepted, Listener};
use crate::net::options;
use crate::net::passed::LEGS_MAX;
use crate::net::stream::Stream;
use crate::sync::{Doorbell, Mailbox, Outbox};
use crate::telemetry::RefusalReason;
use crate::threads::dsp::DspOrder;
use crate::threads::messages::{AcceptOrder, ControlInput, Drain, GeminiOrder};
use crate::threads::places::Places;
use crate::threads::relay::Relay;
use crate::threads::telephony::connection::LegConnection;
use crate::threads::telephony::leg::LegDefaults;
use crate::threads::tls::TlsJob;
use hand_over::NewCall;
use handshake::{Handshake, Step};
use request::{Upgrade, refusal};

const BELL: Token = Token(usize::MAX);
/// The token of the first listening socket; the others' are below it.
const LISTENER: usize = usize::MAX - 1;
/// Listening sockets at most.
const LISTENERS_MAX: usize = LEGS_MAX;
/// Connections accepted in one pass, before handshakes get their turn.
const ACCEPTS_PER_PASS: usize = 64;

/// How long connections wait for a descriptor before the next try.
const STARVED: Duration = Duration::from_millis(50);

/// One shard's threads, as the acceptor sees them.
pub(crate) struct ShardDoor {
    /// The gemini thread.
    pub gemini: Outbox<GeminiOrder>,
    /// The dsp workers.
    pub workers: Vec<Outbox<DspOrder>>,
    /// The number of the first of them over all shards.
    pub first_worker: usize,
}

/// What the thread is built from.
pub(crate) struct AcceptParts {
    /// Its poll, whose waker is the mailbox's bell.
    pub poll: Poll,
    /// Its mailbox.
    pub inbox: Mailbox<AcceptOrder>,
    /// Its own bell.
    pub own: Doorbell,
    /// The listening sockets, two at most: what comes to one is what comes to the other.
    pub listeners: Vec<Listener>,
    /// Whether they belong to whoever has started the relay, who gives them to the next one, too.
    pub inherited: bool,
    /// To the tls thread, where TLS is configured.
    pub tls: Option<Sender<TlsJob>>,
    /// The shards.
    pub shards: Vec<ShardDoor>,
    /// Where in them calls are served.
    pub places: Places,
    /// To the control thread.
    pub control: Outbox<ControlInput>,
    /// The door's configuration.
    pub listen: ListenConfig,
    /// What a leg is taken to be.
    pub defaults: LegDefaults,
    /// Milliseconds of filled silence after which the uplink's stream is ended; 0 for never.
    pub stream_end_after_ms: u64,
}

/// A doorbell on the thread's poll.
///
/// # Errors
/// Those of making an eventfd.
pub(crate) fn doorbell(poll: &Poll) -> io::Result<Doorbell> {
    crate::sync::doorbell::poll_doorbell(poll, BELL)
}

/// The thread's state.
pub(crate) struct Acceptor {
    relay: Relay,
    parts: AcceptParts,
    handshakes: Slab<Handshake>,
    /// Handshakes so far.
    begun: u64,
    /// TLS handshakes, each of which costs a hundred times what the rest of a connection does.
    greetings: Allowances,
    guesses: Guesses,
    /// Handshakes that are held.
    held: usize,
    /// It is to end: control is told to, once no handshake is left.
    leaving: Option<Drain>,
    /// The answer to a connection for which there is no descriptor.
    no_descriptor: Vec<u8>,
}

/// Whether connections wait to be accepted of which no edge will tell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum More {
    None,
    /// They do, and no descriptor is left.
    Later,
    Now,
}

impl Acceptor {
    /// The thread's state before its first pass.
    pub(crate) fn new(relay: Relay, parts: AcceptParts) -> Self {
        let no_descriptor = refusal(RefusalReason::Descriptors.explained());
        let greetings = many::greetings(&parts.listen);
        Self {
            relay,
            parts,
            handshakes: Slab::new(),
            begun: 0,
            greetings,
            guesses: Guesses::default(),
            held: 0,
            leaving: None,
            no_descriptor,
        }
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// Those of the poll itself, which leave nothing to go on with.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(512);
        for (n, listener) in self.parts.listeners.iter_mut().enumerate() {
            listener.register(self.parts.poll.registry(), Token(LISTENER - n))?;
        }
        let mut more = More::None;
        loop {
            let wait = match more {
                More::Now => Duration::ZERO,
                More::Later => self.next_deadline().min(STARVED),
                More::None => self.next_deadline(),
            };
            match self.parts.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.parts.own.answer();
            let now = self.relay.clock.now();
            while let Some(order) = self.parts.inbox.take() {
                match order {
                    AcceptOrder::Dialled(leg) => self.dialled(now, *leg),
                    AcceptOrder::Greeted(id, greeted) => self.greeted(now, id, *greeted),
                    AcceptOrder::Drain(drain) => self.drain(drain),
                    AcceptOrder::Stop => return Ok(()),
                }
            }
            for event in &events {
                match event.token() {
                    BELL => {}
                    Token(token) if token > LISTENER - LISTENERS_MAX => more = More::Now,
                    Token(key) => self.step(now, key),
                }
            }
            if more != More::None {
                more = self.accept(now);
            }
            self.decide_held(now);
            self.expire(now);
            self.leave();
            self.name_left_out(now);
            self.flush();
        }
    }

    fn next_deadline(&self) -> Duration {
        let now = self.relay.clock.now();
        let earliest = self.handshakes.iter().map(|(_, handshake)| handshake.deadline).min();
        if self.held > 0 {
            return come_back::LOOK;
        }
        // The longest wait bounds how long a message that was held back stays.
        let longest = Duration::from_secs(1);
        earliest.map_or(longest, |at| longest.min(at.since(now) + Duration::from_millis(1)))
    }

    /// Accepts what waits, a pass's share of it.
    fn accept(&mut self, now: Instant) -> More {
        let mut more = More::None;
        for n in 0..self.parts.listeners.len() {
            more = more.max(self.accept_from(now, n));
        }
        more
    }

    fn accept_from(&mut self, now: Instant, listener: usize) -> More {
        let no_descriptor = RefusalReason::Descriptors;
        for _ in 0..ACCEPTS_PER_PASS {
            match self.parts.listeners[listener].accept(&self.no_descriptor) {
                Accepted::Connection(socket, peer) => self.welcome(now, socket, peer),
                Accepted::Shed => {
                    self.relay.counters.connections.increment();
                    self.refuse_counted(now, None, no_descriptor.explained());
                }
                Accepted::Gone => {}
                Accepted::Starved => return More::Later,
                Accepted::None => return More::None,
            }
        }
        More::Now
    }

    fn welcome(&mut self, now: Instant, socket: TcpStream, peer: SocketAddr) {
        self.relay.counters.connections.increment();
        let is_proxy = self.parts.listen.is_proxy(peer.ip());
        if !is_proxy && !self.parts.listen.allows(peer.ip()) {
            self.turn_away(now, &socket, peer, RefusalReason::AddressNotAllowed.explained());
            return;
        }
        if options::apply(&socket).is_err() {
            self.refuse_counted(now, Some(peer), RefusalReason::Abandoned.explained());
            return;
        }
        if self.handshakes.len() >= self.parts.listen.max_handshakes {
            self.evict(now);
        }
        let deadline = now.plus(self.parts.listen.handshake_timeout);
        let entry = self.handshakes.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let source = socket.as_raw_fd();
        if self.parts.poll.registry().register(&mut SourceFd(&source), Token(key), interest).is_err() {
            return;
        }
        self.begun += 1;
        entry.insert(Handshake::new(socket, peer, is_proxy, deadline, self.begun));
        self.step(now, key);
    }

    fn step(&mut self, now: Instant, key: usize) {
        let Some(handshake) = self.handshakes.get_mut(key) else { return };
        let step = handshake.step(now, self.parts.tls.is_some(), self.parts.listen.tls_required);
        self.take(now, key, step);
    }

    fn take(&mut self, now: Instant, key: usize, step: Step) {
        let Some(handshake) = self.handshakes.get_mut(key) else { return };
        match step {
            Step::Wait => {}
            Step::Named(peer) => {
                handshake.peer = peer.unwrap_or(handshake.peer);
                if self.parts.listen.allows(handshake.peer.ip()) {
                    return self.step(now, key);
                }
                let step = handshake.refuse_named(now, RefusalReason::AddressNotAllowed.explained());
                self.take(now, key, step);
            }
            Step::Greet(greeting) => self.greet(now, key, greeting),
            Step::Over => {
                if let Some(handshake) = self.handshakes.try_remove(key)
                    && !handshake.is_refused()
                {
                    self.abandoned(now, handshake.peer, handshake.has_spoken());
                }
            }
            Step::Refused(refused) => {
                let peer = handshake.peer;
                if handshake.is_over() {
                    self.handshakes.remove(key);
                }
                self.refuse_counted(now, Some(peer), refused);
            }
            Step::Upgrade(upgrade) => self.upgrade(now, key, *upgrade, None),
        }
    }

    /// Admits or refuses a complete request, which was held before since then.
    fn upgrade(&mut self, now: Instant, key: usize, mut upgrade: Upgrade, held_since: Option<Instant>) {
        let by_ticket = self.take_ticket(now, &mut upgrade);
        if upgrade.facts.is_browser && !by_ticket {
            return self.refuse(now, key, upgrade, RefusalReason::WebPage.explained());
        }
        if upgrade.facts.kind.traits().has_token
            && !by_ticket
            && let Err((refused, delay_ms)) = self.judge_token(now, &upgrade)
        {
            self.tell_refusal(now, &upgrade, refused);
            let Some(handshake) = self.handshakes.get_mut(key) else { return };
            return handshake.refuse_later(now, delay_ms, upgrade, refused);
        }
        let Some(upgrade) = self.come_back(now, key, upgrade, held_since) else { return };
        let registry = &self.relay.registry;
        let admitted = match self.parts.inherited {
            true => registry.admit_accepted(now, upgrade.peer.ip()),
            false => registry.admit(now, upgrade.peer.ip()),
        };
        match admitted {
            Ok(id) => {
                let expected = upgrade.facts.url.uuid.as_deref();
                let expected = expected.and_then(|uuid| self.relay.expected.take(now, uuid));
                if expected.is_none() && self.must_be_expected(upgrade.facts.kind) {
                    self.relay.registry.release(now, id);
                    let why = "this UUID was not announced (POST /api/expect), and listen.require_expected or \
                               listen.token is set";
                    return self.refuse(now, key, upgrade, (RefusalReason::NotExpected, why));
                }
                let told = expected.is_some();
                let fields = upgrade.known(expected.unwrap_or_default());
                let agents = self.relay.agents.get();
                if agents.is_settled(&fields)
                    && let Choice::Refuse(reason) = agents.choose(&fields)
                {
                    self.relay.registry.release(now, id);
                    let why = format!("a route refuses this call: {reason}");
                    let upgrade = Upgrade { facts: RequestFacts { url: fields, ..upgrade.facts }, ..upgrade };
                    return self.refuse(now, key, upgrade, (RefusalReason::Route, &why));
                }
                self.handshakes.remove(key);
                self.answer(now, id, upgrade, fields, told);
            }
            Err(reason) => {
                let why = match reason {
                    RefusalReason::RateLimited => {
                        "too many new calls from this address (listen.max_calls_per_second_per_address)"
                    }
                    RefusalReason::TooManyCalls => "as many calls as allowed are running (listen.max_calls)",
                    other => other.explanation(),
                };
                self.refuse(now, key, upgrade, (reason, why));
            }
        }
    }

    /// Whether a ticket lets the request in. What it is for stands in the place of all that the request itself says.
    fn take_ticket(&self, now: Instant, upgrade: &mut Upgrade) -> bool {
        let ticket = upgrade.facts.ticket.as_deref();
        let Some(fields) = ticket.and_then(|ticket| self.relay.expected.take_ticket(now, ticket)) else {
            return false;
        };
        (upgrade.facts.url, upgrade.facts.headers) = (fields, CallFields::default());
        true
    }

    /// Answers the upgrade, with which the call exists.
    fn answer(&mut self, now: Instant, id: CallId, upgrade: Upgrade, fields: CallFields, told: bool) {
        let peer = upgrade.peer;
        let (credentials, opening) = come_back::shown(&upgrade);
        let Some(connection) = self.connection(now, id, upgrade) else {
            self.relay.registry.release(now, id);
            return;
        };
        self.hand_over(now, NewCall { id, peer, credentials, opening, fields, told, connection });
    }

    /// Answers the upgrade. Returns the leg's connection, unless the switch has gone meanwhile.
    fn connection(&self, now: Instant, id: CallId, upgrade: Upgrade) -> Option<LegConnection> {
        let Upgrade { peer, facts, answer, mut stream, behind } = upgrade;
        let answered = send_at_once(&mut stream, &answer);
        if let Err(error) = answered.and_then(|()| self.deregister(&stream)) {
            let why = format!("the upgrade could not be answered: {error}");
            self.refuse_counted(now, Some(peer), (RefusalReason::Abandoned, &why));
            return None;
        }
        for note in &facts.notes {
            if let Some(left_out) = self.relay.limiter.allow(now, note.kind(), peer.ip()) {
                warn!("call {id} from {peer}: {note}{left_out}");
            }
        }
        Some(LegConnection::accepted(facts.kind, stream, behind))
    }

    fn deregister(&self, stream: &Stream) -> io::Result<()> {
        self.parts.poll.registry().deregister(&mut SourceFd(&stream.socket().as_raw_fd()))
    }

    /// Gives up handshakes whose time is over.
    fn expire(&mut self, now: Instant) {
        let expired: Vec<_> =
            self.handshakes.iter().filter(|(_, h)| now >= h.deadline).map(|(key, _)| key).collect();
        for key in expired {
            if self.handshakes.get_mut(key).is_some_and(|handshake| handshake.end_penance(now)) {
                continue;
            }
            let handshake = self.handshakes.remove(key);
            if !handshake.is_refused() {
                let why = "the handshake did not finish within listen.handshake_timeout_ms";
                self.refuse_counted(now, Some(handshake.peer), (RefusalReason::HandshakeTimeout, why));
                handshake.time_out(why);
            }
        }
    }

    fn flush(&mut self) {
        self.parts.control.flush();
        for shard in &mut self.parts.shards {
            shard.gemini.flush();
            shard.workers.iter_mut().for_each(|worker| _ = worker.flush());
        }
    }
}

/// Sends an answer of 200 bytes, which an empty socket takes or is broken.
fn send_at_once(stream: &mut Stream, answer: &[u8]) -> io::Result<()> {
    if answer.is_empty() {
        return Ok(());
    }
    let n = stream.write(answer)?;
    stream.flush()?;
    if n == answer.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
