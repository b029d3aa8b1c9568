//! The dial pool: threads that may block while a link is connected.
//!
//! Runs in: the control thread (asks), and threads of its own, started when all others are busy and ended when idle.
//! Owns nothing but the queue. Never logs a request: its headers carry the key.
//! Invariant: every request ends in a connected link at its gemini thread or in one `LinkGone`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use log::debug;

use crate::base::limits::CHANNEL_MESSAGES;
use crate::call::Fact;
use crate::codec::gemini::close::LinkEnd;
use crate::net::dial::{DialError, Dialer};
use crate::sync::Outbox;
use crate::telemetry::Counters;
use crate::threads::messages::{ControlInput, DialRequest, GeminiOrder};

/// Links connected at once. Each takes a thread for some 100 ms, so this many renew 50 links within a second.
const THREADS_MAX: usize = 32;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(30);

/// What every dial thread uses.
#[derive(Clone)]
struct Shared {
    dialer: Arc<Dialer>,
    gemini: Vec<Outbox<GeminiOrder>>,
    control: Outbox<ControlInput>,
    counters: Arc<Counters>,
    requests: Receiver<DialRequest>,
    idle: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
}

/// See the head of this file.
pub struct DialPool {
    shared: Shared,
    queue: Sender<DialRequest>,
}

impl DialPool {
    /// A pool without threads.
    pub fn new(
        dialer: Dialer,
        gemini: Vec<Outbox<GeminiOrder>>,
        control: Outbox<ControlInput>,
        counters: Arc<Counters>,
    ) -> Self {
        let (queue, requests) = crossbeam_channel::bounded(CHANNEL_MESSAGES);
        let shared = Shared {
            dialer: Arc::new(dialer),
            gemini,
            control,
            counters,
            requests,
            idle: Arc::default(),
            running: Arc::default(),
        };
        Self { shared, queue }
    }

    /// Has a link connected.
    ///
    /// # Errors
    /// The end of the link, when too many wait or no thread can be started.
    pub fn request(&self, request: DialRequest) -> Result<(), LinkEnd> {
        self.queue.try_send(request).map_err(|_| LinkEnd::dropped("too many links wait to be connected"))?;
        let waiting = self.queue.len();
        let (idle, running) =
            (self.shared.idle.load(Ordering::Acquire), self.shared.running.load(Ordering::Acquire));
        if waiting > idle && running < THREADS_MAX {
            self.shared.running.fetch_add(1, Ordering::AcqRel);
            let shared = self.shared.clone();
            let started = thread::Builder::new().name("dial".into()).spawn(move || shared.run());
            if let Err(error) = started {
                self.shared.running.fetch_sub(1, Ordering::AcqRel);
                if running == 0 {
                    return Err(LinkEnd::dropped(&format!("no thread to connect with: {error}")));
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
        let DialRequest { id, link, target, setup, deadline, shard } = request;
        match self.dialer.connect(&target, deadline) {
            Ok(connection) => {
                self.counters.links_opened.increment();
                let connection = Box::new(connection);
                self.gemini[shard].send(GeminiOrder::Connected { id, link, connection, setup });
            }
            Err(error) => {
                self.counters.link_dial_failures.increment();
                debug!("call {id}: link {link}: {error}");
                let end = match &error {
                    DialError::Refused(status, body) => LinkEnd::from_http_status(*status, body),
                    other => LinkEnd::dropped(&other.to_string()),
                };
                self.control.send(ControlInput::Fact(id, Fact::LinkGone(link, end)));
            }
        }
        // The channels of a dial thread are its own; what they held back must not wait for the next request.
        while !(self.gemini[shard].flush() && self.control.flush()) {
            thread::sleep(Duration::from_millis(1));
        }
    }
}
