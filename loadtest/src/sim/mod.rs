//! `gemini-sim`: the Gemini Live API (BidiGenerateContent) as a server, good enough for Google's own SDKs, for tests and
//! load tests without a key.
//!
//! Runs in: one thread of its own per [`Simulator`]; the caller's thread only starts it, takes events and stops it.
//! Owns: its listening socket and every connection. Never calls a model: what it says is the caller's own speech or a
//! bundled sentence.
//! Invariant: nothing that a client sends ends the thread or touches another session.
//!
//! From the wire inwards: `socket` (TCP, TLS), `connection` (upgrade, frames), `framing`, `session` (the protocol, a
//! machine without I/O), `turn` (pace of what is said), `detector` (when the caller speaks). What a client may say is in
//! `schema`, `model` and `message`; what goes wrong on purpose in `fault`. The manual is `docs/gemini-sim.md`.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
    thread::{self, JoinHandle},
};

use mio::{Poll, Waker, net::TcpListener};
use native_tls::{Identity, TlsAcceptor};

pub use config::{AudioKept, Framing, SimConfig, TlsPem, Voice};
pub use event::{AuthKind, ClosedBy, Fnv1a, SimEvent, What};
pub use fault::{Connections, Fault, FaultError, Moment, Scheduled, read_script};
pub use resample::upsampled;

use event_loop::{EventLoop, EventSink, KeptAudio, Record, Shared, Sudden, WAKER};
use registry::FailingKeys;

use crate::speech;

mod config;
mod connection;
mod detector;
mod event;
mod event_loop;
mod fault;
mod framing;
mod message;
mod model;
mod outbox;
mod registry;
mod resample;
mod schema;
mod session;
mod socket;
mod turn;
mod upgrade;

/// A simulator that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Simulator {
    addr: SocketAddr,
    tls: bool,
    events: Receiver<SimEvent>,
    kept_audio: KeptAudio,
    sudden: Sudden,
    failing: FailingKeys,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Listens and starts the thread.
    ///
    /// # Errors
    /// Where it cannot listen, cannot use the certificate, or cannot open the record; the text says which.
    pub fn start(config: SimConfig) -> io::Result<Self> {
        let listen = config.listen;
        let listener = TcpListener::bind(listen).map_err(context(&format!("cannot listen on {listen}")))?;
        let addr = listener.local_addr()?;
        let tls = match &config.tls {
            None => None,
            Some(pem) => {
                let identity = Identity::from_pkcs8(&pem.certificate, &pem.key).map_err(|error| {
                    io::Error::other(format!(
                        "cannot use the certificate and key: {error}; both must be PEM, the key PKCS#8 (\"BEGIN PRIVATE \
                         KEY\")"
                    ))
                })?;
                Some(TlsAcceptor::new(identity).map_err(io::Error::other)?)
            }
        };
        let record = match &config.record {
            None => None,
            Some(path) => {
                Some(Record::open(path).map_err(context(&format!("cannot write {}", path.display())))?)
            }
        };
        let bundled = |samples: Vec<i16>, text: &str| (upsampled(&samples).into(), text.to_owned());
        let answers = match (&config.answer, config.voice) {
            (Some(samples), _) => vec![(samples.as_slice().into(), "This is the answer.".to_owned())],
            (None, Voice::Receptionist) => {
                speech::receptionist().map(|(samples, text)| bundled(samples, text)).collect()
            }
            (None, _) => vec![bundled(speech::answer(), speech::ANSWER_TEXT)],
        };
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (sender, events) = mpsc::channel();
        let kept_audio = KeptAudio::default();
        let sudden = Sudden::default();
        let registry = registry::Registry::default();
        let failing = Arc::clone(&registry.failing);
        let shared = Shared {
            answers,
            registry,
            events: EventSink(config.events.then_some(sender)),
            record,
            space: vec![0; 64 << 10],
            kept_audio: Arc::clone(&kept_audio),
            sudden: Arc::clone(&sudden),
            config,
        };
        let is_tls = tls.is_some();
        let event_loop = EventLoop::new(poll, listener, tls, shared)?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("gemini-sim".to_owned()).spawn({
            let stop = Arc::clone(&stop);
            move || event_loop.run(&stop)
        })?;
        Ok(Self { addr, tls: is_tls, events, kept_audio, sudden, failing, stop, waker, thread: Some(thread) })
    }

    /// The address it listens on, with the port that the system chose.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL for clients: `ws://ADDR`, or `wss://ADDR` with TLS.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls { "wss" } else { "ws" }, self.addr)
    }

    /// What happens, as it happens. Events are kept until they are taken.
    pub const fn events(&self) -> &Receiver<SimEvent> {
        &self.events
    }

    /// Every sample that a session has received so far, at its own rate, where the configuration keeps them.
    pub fn audio(&self, session: u64) -> Vec<i16> {
        let kept = self.kept_audio.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&session).cloned().unwrap_or_default()
    }

    /// Lets a fault happen to every open session at once.
    ///
    /// # Errors
    /// A text for a fault that belongs to a moment, such as an empty turn.
    pub fn everyone(&self, fault: Fault) -> Result<(), String> {
        if !fault.stands_alone() {
            return Err(format!("{fault:?} belongs to a moment: put it into the configuration"));
        }
        self.sudden.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
        self.waker.wake().map_err(|error| error.to_string())
    }

    /// From now on new connections with this key fail: with [`Fault::Http`] at the upgrade, with [`Fault::Close`] at the
    /// setup; other faults do nothing. `None`: they no longer fail.
    pub fn fail_key(&self, key: &str, fault: Option<Fault>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => failing.insert(key.to_owned(), fault),
            None => failing.remove(key),
        };
    }

    /// Ends every connection without a goodbye and waits for the thread. Done on drop as well.
    pub fn stop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // A waker fails only when its poll is gone, and then the thread is gone too.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the simulator's thread panicked");
        }
    }

    /// Waits until the simulator stops by itself, which it does only where its poll fails.
    pub fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop();
    }
}

fn context(doing: &str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{doing}: {error}"))
}
