//! The dial pool: threads that may block while a link, or a leg of a switch that waits for us, is connected.
//!
//! Runs in: the control and the admin thread (ask), and threads of its own, started when all others are busy and ended when idle.
//! Owns nothing but the queue. Never logs a request: its headers carry the key.
//! Invariant: every request for a link ends in a connected link at its gemini thread or in one `LinkGone`, and every one
//! for a leg in a connected leg at accept or in its call's slot given free, and every reserved place of a warm link is taken
//! or given back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use log::{debug, warn};

use crate::base::limits::CHANNEL_MESSAGES;
use crate::call::Fact;
use crate::call::model::LinkEnd;
use crate::codec::Provider;
use crate::net::dial::{DialError, Dialer};
use crate::sync::Outbox;
use crate::threads::messages::{
    AcceptOrder, ControlInput, DialRequest, DialledLeg, GeminiOrder, LegRequest, LinkRequest, WarmRequest,
};
use crate::threads::relay::Relay;

/// Connections made at once. Each takes a thread for some 100 ms, so 50 links are renewed all at once and 400 within a
/// second.
const THREADS_MAX: usize = 64;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(30);

/// Where the pool's connections go.
#[derive(Clone)]
pub(crate) struct DialOutboxes {
    /// The gemini thread of each shard.
    pub gemini: Vec<Outbox<GeminiOrder>>,
    /// To the control thread.
    pub control: Outbox<ControlInput>,
    /// To the accept thread.
    pub accept: Outbox<AcceptOrder>,
}

/// What every dial thread uses.
#[derive(Clone)]
struct Shared {
    relay: Relay,
    dialer: Arc<Dialer>,
    to: DialOutboxes,
    requests: Receiver<DialRequest>,
    idle: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
}

/// See the head of this file.
#[derive(Clone)]
pub(crate) struct DialPool {
    shared: Shared,
    queue: Sender<DialRequest>,
}

impl DialPool {
    /// A pool without threads.
    pub(crate) fn new(relay: Relay, mut dialer: Dialer, to: DialOutboxes) -> Self {
        let (queue, requests) = crossbeam_channel::bounded(CHANNEL_MESSAGES);
        // The system's resolver knows no deadline, so whoever waits for it must not be who asks it.
        dialer.resolve_with(Box::new(|work| {
            thread::Builder::new().name("resolve".into()).spawn(work).map(drop)
        }));
        let dialer = Arc::new(dialer);
        let shared = Shared { relay, dialer, to, requests, idle: Arc::default(), running: Arc::default() };
        Self { shared, queue }
    }

    /// Has a connection made.
    ///
    /// # Errors
    /// Why it will not be, when too many wait or no thread can be started.
    pub(crate) fn request(&self, request: DialRequest) -> Result<(), String> {
        // Before it is queued: what was refused must not be carried out later by a thread of the next request.
        self.have_thread()?;
        self.queue.try_send(request).map_err(|_| "too many connections wait to be made".to_owned())
    }

    /// Sees to it that there is a thread for one more request.
    fn have_thread(&self) -> Result<(), String> {
        let waiting = self.queue.len() + 1;
        let (idle, running) =
            (self.shared.idle.load(Ordering::Acquire), self.shared.running.load(Ordering::Acquire));
        if waiting > idle && running < THREADS_MAX {
            self.shared.running.fetch_add(1, Ordering::AcqRel);
            let shared = self.shared.clone();
            let started = thread::Builder::new().name("dial".into()).spawn(move || shared.run());
            if let Err(error) = started {
                self.shared.running.fetch_sub(1, Ordering::AcqRel);
                if running == 0 {
                    return Err(format!("no thread to connect with: {error}"));
                }
            }
        }
        Ok(())
    }
}

impl Shared {
    fn run(mut self) {
        loop {
            self.idle.fetch_add(1, Ordering::AcqRel);
            let request = self.requests.recv_timeout(IDLE);
            self.idle.fetch_sub(1, Ordering::AcqRel);
            let Ok(request) = request else { break };
            self.connect(request);
        }
        self.running.fetch_sub(1, Ordering::AcqRel);
    }

    fn connect(&mut self, request: DialRequest) {
        match request {
            DialRequest::Link(request) => self.connect_link(request),
            DialRequest::Warm(request) => self.connect_warm(request),
            DialRequest::Leg(request) => self.connect_leg(*request),
        }
        // The channels of a dial thread are its own; what they held back must not wait for the next request.
        while !self.flush() {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn connect_link(&mut self, request: LinkRequest) {
        let LinkRequest { id, link, credential, target, setup, deadline, shard } = request;
        let now = self.relay.clock.now();
        let warm = self.relay.warm.take(now, credential);
        let is_warm = warm.is_some();
        match warm.map_or_else(|| self.dialer.connect(&target, deadline), Ok) {
            Ok(connection) => {
                if !is_warm {
                    self.relay.counters.links_opened.increment();
                }
                let connection = Box::new(connection);
                let setup = Provider::Gemini.setup(&setup);
                self.to.gemini[shard].send(GeminiOrder::Connected { id, link, connection, setup });
            }
            Err(error) => {
                self.relay.counters.link_dial_failures.increment();
                debug!("call {id}: link {link}: {error}");
                self.to.control.send(ControlInput::Fact(id, Fact::LinkGone(link, link_end(&error))));
            }
        }
        // The call must not wait for its own successor's link.
        _ = self.flush();
        if is_warm
            && self.relay.credentials.pool().is_open_to_more(credential)
            && self.relay.warm.begin(credential)
        {
            let within = deadline.since(now).as_micros() as u64;
            let deadline = self.relay.clock.now().plus_us(within);
            self.connect_warm(WarmRequest { credential, target, deadline });
        }
    }

    fn connect_warm(&mut self, request: WarmRequest) {
        let WarmRequest { credential, target, deadline } = request;
        let made = self.dialer.connect(&target, deadline);
        let now = self.relay.clock.now();
        match made {
            Ok(connection) => {
                self.relay.counters.links_opened.increment();
                self.relay.warm.put(now, credential, Some(connection));
                debug!("a link waits for its call");
            }
            Err(error) => {
                self.relay.counters.link_dial_failures.increment();
                debug!("a link ahead of its call: {error}");
                self.relay.warm.put(now, credential, None);
                let pool = self.relay.credentials.pool();
                self.relay.credentials.note(pool.link_ended(now, None, credential, &link_end(&error), true));
            }
        }
    }

    fn connect_leg(&mut self, request: LegRequest) {
        let LegRequest { id, fields, target, deadline } = request;
        let connected = self.dialer.connect(&target, deadline).and_then(|mut connection| {
            let peer = connection.stream().peer_addr();
            let peer = peer.map_err(|error| DialError::Connect(error.to_string()))?;
            Ok((connection, peer))
        });
        match connected {
            Ok((connection, peer)) => {
                let leg = DialledLeg { id, fields, peer, connection };
                self.to.accept.send(AcceptOrder::Dialled(Box::new(leg)));
            }
            Err(error) => {
                self.relay.counters.leg_unreachable.increment();
                self.relay.registry.release(self.relay.clock.now(), id);
                warn!("call {id}: {fields}: no connection to {}: {error}{}", target.url, remedy(&error));
            }
        }
    }

    fn flush(&mut self) -> bool {
        // All of them, whatever the first says.
        let gemini = self.to.gemini.iter_mut().fold(true, |sent, outbox| outbox.flush() & sent);
        gemini & self.to.control.flush() & self.to.accept.flush()
    }
}

fn link_end(error: &DialError) -> LinkEnd {
    match error {
        DialError::Refused(status, body) => Provider::Gemini.end_of_status(*status, body),
        other => LinkEnd::dropped(&other.to_string()),
    }
}

/// What to do about a switch that did not take a connection.
fn remedy(error: &DialError) -> &'static str {
    match error {
        DialError::Refused(404, _) => {
            "; Asterisk waits for no connection of this id: its Dial() is over, or asterisk.media_url does not end in \
             /media behind the prefix of its http.conf"
        }
        DialError::Refused(409, _) => "; this connection is there already: ask for it once",
        DialError::Connect(_) | DialError::Timeout(_) => {
            "; does asterisk.media_url name address and port of its HTTP server (http.conf, http show status)?"
        }
        _ => "",
    }
}
