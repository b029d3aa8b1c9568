//! The whole relay: builds rings and channels, starts the threads, drains, joins.
//!
//! Runs in: the main thread. Owns the threads. Never touches audio.
//! Invariant: threads are started here and in the dial pool only, and [`Server::join`] returns when all calls have ended
//! and every thread started here is gone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use log::info;
use mio::Poll;

use crate::call::allowances::Rate;
use crate::call::{Agents, CurrentAgents, Expected, Pool, Registry};
use crate::config::Config;
use crate::net::dial::Dialer;
use crate::net::listener::Listener;
use crate::net::tls;
use crate::sync::rings::ring;
use crate::sync::{Clock, Doorbell, Outbox, mailbox};
use crate::telemetry::{Counters, Limiter};
use crate::threads::accept::{self, AcceptParts, Acceptor, ShardDoor};
use crate::threads::admin::AdminShared;
use crate::threads::control::{Control, ControlParts};
use crate::threads::credentials::Credentials;
use crate::threads::dial::DialParts;
use crate::threads::dsp::{self, DspOrder, Neighbours, Worker};
use crate::threads::gemini::model_side::ModelSideLimits;
use crate::threads::gemini::{self, Gemini, GeminiParts};
use crate::threads::messages::{AcceptOrder, ControlInput, GeminiOrder, TelephonyOrder};
use crate::threads::store::{RecordDoor, StoreStatus};
use crate::threads::telephony::leg::LegDefaults;
use crate::threads::telephony::{self, Telephony, TelephonyParts, TelephonySettings};
use crate::threads::warm::WarmLinks;
use begin::{Waiting, start};
pub(crate) use credentials::credentials;
use outside::{start_admin, tools};
pub(crate) use prerequisites::descriptors_needed;
use prerequisites::{cannot_listen, check_file_limit};
pub use signals::{Handle, run};
use store::start_store;
use supervisor::Bells;

mod begin;
mod credentials;
mod outside;
mod prerequisites;
mod recorder;
mod reload;
mod signals;
mod store;
mod supervisor;

/// A running relay.
pub struct Server {
    address: SocketAddr,
    clock: Clock,
    registry: Arc<Registry>,
    agents: Arc<CurrentAgents>,
    expected: Arc<Expected>,
    counters: Arc<Counters>,
    accept: Outbox<AcceptOrder>,
    control: Outbox<ControlInput>,
    control_thread: JoinHandle<()>,
    admin: Option<Arc<AdminShared>>,
    credentials: Arc<Credentials>,
    store_status: Arc<StoreStatus>,
    /// Ends last: it writes the records of the last calls.
    store_thread: Option<JoinHandle<()>>,
    threads: Vec<JoinHandle<()>>,
    bells: Bells,
}

struct Shard {
    door: ShardDoor,
    telephony: Outbox<TelephonyOrder>,
    telephony_bell: Doorbell,
    gemini_bell: Doorbell,
    worker_bells: Vec<Doorbell>,
}

impl Server {
    /// Starts every thread and listens.
    ///
    /// # Errors
    /// Why it cannot, with the remedy.
    pub fn start(config: &Config) -> Result<Self, String> {
        let access = credentials(config)?;
        let agents = Arc::new(CurrentAgents::new(Agents::new(config)?));
        let acceptor_tls = match (&config.listen.tls_certificate, &config.listen.tls_key) {
            (Some(certificate), Some(key)) => Some(tls::acceptor("listen", certificate, key)?),
            _ => None,
        };
        let connector = tls::connector(config.gemini.ca_file.as_deref())?;
        let wanted = SocketAddr::new(config.listen.host, config.listen.port);
        let listener = Listener::bind(wanted).map_err(|problem| cannot_listen(wanted, &problem))?;
        let address = listener.local_addr().map_err(|problem| cannot_listen(wanted, &problem))?;
        let mut listeners = vec![listener];
        if let Some(port) = config.listen.audiosocket_port {
            let wanted = SocketAddr::new(config.listen.host, port);
            listeners.push(Listener::bind(wanted).map_err(|problem| cannot_listen(wanted, &problem))?);
            info!("AudioSocket server: {wanted}");
        }
        check_file_limit(config.listen.max_calls);
        crate::dsp::fir::warm_tables();

        let clock = Clock::new();
        let counters = Arc::new(Counters::new());
        let rate = Rate {
            per_second: config.listen.max_calls_per_second_per_address,
            burst: config.listen.max_calls_burst_per_address,
        };
        let pool = Arc::new(Pool::new(config.gemini.credential_backoff.as_millis() as u64));
        let registry = Registry::new(config.listen.max_calls, rate).with_credentials(Arc::clone(&pool));
        let registry = Arc::new(registry);
        let (credentials, woken) = Credentials::new(pool, Arc::clone(&counters));
        credentials.replace(access);
        let credentials = Arc::new(credentials);
        let expected = Arc::new(Expected::default());
        let store_status = Arc::new(StoreStatus::default());
        let (records, store_thread) = start_store(&config.store, &store_status, &counters, clock)
            .map_err(|problem| format!("the store cannot be started: {problem}"))?
            .unzip();
        let mut builder = Builder {
            config,
            clock,
            counters: &counters,
            registry: &registry,
            agents: &agents,
            expected: &expected,
            credentials: &credentials,
            limiter: Arc::new(Limiter::default()),
            max_calls: config.listen.max_calls,
            admin: None,
            tool_tls: connector.clone(),
        };
        let admin = builder.admin_shared(&store_status, address.port())?;
        builder.admin = admin.as_ref();
        builder
            .build(listeners, acceptor_tls, Dialer::new(clock, connector), woken, records)
            .map_err(|problem| format!("the threads cannot be started: {problem}"))
            .map(|(accept, control, control_thread, threads, bells)| {
                let scheme = if config.listen.has_tls() { "wss" } else { "ws" };
                // Operators of today's systems look for exactly these words.
                info!("FreeSWITCH mod_audio_stream WebSocket server: {scheme}://{address}");
                if let Some(admin) = &admin {
                    let scheme = if admin.has_tls() { "https" } else { "http" };
                    info!("admin server: {scheme}://{}", admin.address());
                }
                Self {
                    address,
                    clock,
                    registry: Arc::clone(&registry),
                    agents: Arc::clone(&agents),
                    expected: Arc::clone(&expected),
                    counters: Arc::clone(&counters),
                    accept,
                    control,
                    control_thread,
                    admin,
                    credentials: Arc::clone(&credentials),
                    store_status,
                    store_thread,
                    threads,
                    bells,
                }
            })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Where calls are announced before their leg connects.
    pub fn expected(&self) -> Arc<Expected> {
        Arc::clone(&self.expected)
    }

    /// The clock that all of its threads read.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Calls that have a slot.
    pub fn live_calls(&self) -> usize {
        self.registry.live_calls()
    }

    /// How the store of records fares.
    pub fn store_status(&self) -> &StoreStatus {
        &self.store_status
    }

    /// What another thread needs to end it.
    pub fn handle(&self) -> Handle {
        Handle { clock: self.clock, registry: Arc::clone(&self.registry), control: self.control.clone() }
    }

    /// Waits until it has been drained and every thread has ended.
    pub fn join(mut self) {
        // A thread that panicked has said so; there is nothing to add.
        _ = self.control_thread.join();
        self.accept.send(AcceptOrder::Stop);
        if let Some(admin) = &self.admin {
            admin.stop();
        }
        self.credentials.stop();
        for thread in self.threads {
            _ = thread.join();
        }
        if let Some(store) = self.store_thread {
            _ = store.join();
        }
    }
}

type Built = (Outbox<AcceptOrder>, Outbox<ControlInput>, JoinHandle<()>, Vec<JoinHandle<()>>, Bells);

struct Builder<'a> {
    config: &'a Config,
    clock: Clock,
    counters: &'a Arc<Counters>,
    limiter: Arc<Limiter>,
    max_calls: usize,
    registry: &'a Arc<Registry>,
    agents: &'a Arc<CurrentAgents>,
    expected: &'a Arc<Expected>,
    credentials: &'a Arc<Credentials>,
    admin: Option<&'a Arc<AdminShared>>,
    tool_tls: native_tls::TlsConnector,
}

impl Builder<'_> {
    fn build(
        &self,
        listeners: Vec<Listener>,
        tls: Option<openssl::ssl::SslAcceptor>,
        dialer: Dialer,
        woken: crossbeam_channel::Receiver<()>,
        records: Option<RecordDoor>,
    ) -> io::Result<Built> {
        let mut threads = Vec::new();
        let control_waiting = Waiting::start("control")?;
        let control_bell = Doorbell::for_parked(control_waiting.thread());
        let (control, control_inbox) = mailbox::<ControlInput>(control_bell.clone());

        let mut retired = Vec::new();
        let mut shards = Vec::new();
        for number in 0..self.config.threads.shards.max(1) {
            let first_worker = retired.len();
            shards.push(self.shard(
                number,
                first_worker,
                &control,
                &control_bell,
                &mut retired,
                &mut threads,
            )?);
        }

        let poll = Poll::new()?;
        let own = accept::doorbell(&poll)?;
        let mut bells =
            vec![("control".to_owned(), control_bell.clone()), ("accept".to_owned(), own.clone())];
        for (number, shard) in shards.iter().enumerate() {
            bells.push((format!("telephony-{number}"), shard.telephony_bell.clone()));
            bells.push((format!("gemini-{number}"), shard.gemini_bell.clone()));
            let workers = shard.worker_bells.iter().enumerate();
            bells.extend(workers.map(|(n, bell)| (format!("dsp-{number}-{n}"), bell.clone())));
        }
        let (accept, inbox) = mailbox(own.clone());
        let parts = DialParts {
            dialer,
            gemini: shards.iter().map(|shard| shard.door.gemini.clone()).collect(),
            control: control.clone(),
            accept: accept.clone(),
            registry: Arc::clone(self.registry),
            credentials: Arc::clone(self.credentials),
            warm: Arc::new(WarmLinks::new(self.config.gemini.warm_links, Arc::clone(self.counters))),
            counters: Arc::clone(self.counters),
        };
        let dial = self.dial_pool(parts, woken, &mut threads)?;
        let esl = self.esl(&control, &mut threads)?;
        if let Some(admin) = self.admin {
            start_admin(admin, &control, esl.as_ref(), &dial, &mut threads)?;
        }
        let controller = Control::new(ControlParts {
            inbox: control_inbox,
            own: control_bell,
            telephony: shards.iter().map(|shard| shard.telephony.clone()).collect(),
            gemini: shards.iter().map(|shard| shard.door.gemini.clone()).collect(),
            workers: shards.iter().flat_map(|shard| shard.door.workers.clone()).collect(),
            recorder: self.recorder(&control, &mut threads)?,
            esl,
            retired,
            dial: Box::new(move |request| dial.request(request)),
            tools: tools(self, self.tool_tls.clone(), &control, &mut threads)?,
            registry: Arc::clone(self.registry),
            counters: Arc::clone(self.counters),
            limiter: Arc::clone(&self.limiter),
            clock: self.clock,
            agents: Arc::clone(self.agents),
            credentials: Arc::clone(self.credentials),
            stats_interval: self.config.log.stats_interval,
            records,
            max_calls: self.max_calls,
        });
        let control_thread = control_waiting.begin(move || controller.run());

        let acceptor = Acceptor::new(AcceptParts {
            poll,
            inbox,
            own,
            listeners,
            tls: tls.map(|acceptor| self.tls(acceptor, &accept, &mut threads)).transpose()?,
            shards: shards.into_iter().map(|shard| shard.door).collect(),
            control: control.clone(),
            registry: Arc::clone(self.registry),
            expected: Arc::clone(self.expected),
            agents: Arc::clone(self.agents),
            counters: Arc::clone(self.counters),
            limiter: Arc::clone(&self.limiter),
            clock: self.clock,
            listen: self.config.listen.clone(),
            defaults: LegDefaults::configured(self.config),
            stream_end_after_ms: self.config.uplink.stream_end_after.map_or(0, |d| d.as_millis() as u64),
        });
        threads.push(start("accept", move || acceptor.run())?);
        Ok((accept, control, control_thread, threads, bells))
    }

    fn shard(
        &self,
        number: usize,
        first_worker: usize,
        control: &Outbox<ControlInput>,
        control_bell: &Doorbell,
        retired: &mut Vec<rtrb::Consumer<Box<dsp::DspCall>>>,
        threads: &mut Vec<JoinHandle<()>>,
    ) -> io::Result<Shard> {
        let (telephony_poll, gemini_poll) = (Poll::new()?, Poll::new()?);
        let telephony_bell = telephony::doorbell(&telephony_poll)?;
        let gemini_bell = gemini::doorbell(&gemini_poll)?;
        let (telephony, telephony_inbox) = mailbox::<TelephonyOrder>(telephony_bell.clone());
        let (gemini, gemini_inbox) = mailbox::<GeminiOrder>(gemini_bell.clone());

        let mut shard = Shard {
            door: ShardDoor { gemini, workers: Vec::new(), first_worker },
            telephony,
            telephony_bell,
            gemini_bell,
            worker_bells: Vec::new(),
        };
        for n in 0..self.dsp_workers() {
            let waiting = Waiting::start(&format!("dsp-{number}-{n}"))?;
            let own = Doorbell::for_parked(waiting.thread());
            let (outbox, inbox) = mailbox::<DspOrder>(own.clone());
            let (back, returned) = ring(self.max_calls);
            let worker = Worker::new(inbox, back, self.max_calls, Arc::clone(self.counters));
            let neighbours = Neighbours {
                own: own.clone(),
                telephony: shard.telephony_bell.clone(),
                gemini: shard.gemini_bell.clone(),
                control: control_bell.clone(),
            };
            let clock = self.clock;
            threads.push(waiting.begin(move || dsp::run(worker, &neighbours, clock)));
            shard.door.workers.push(outbox);
            shard.worker_bells.push(own);
            retired.push(returned);
        }
        let telephony = Telephony::new(TelephonyParts {
            poll: telephony_poll,
            inbox: telephony_inbox,
            control: control.clone(),
            own: shard.telephony_bell.clone(),
            workers: shard.worker_bells.clone(),
            counters: Arc::clone(self.counters),
            settings: TelephonySettings {
                defaults: LegDefaults::configured(self.config),
                silent_after_ms: self.config.leg.silent_after.as_millis() as u64,
            },
            clock: self.clock,
            max_calls: self.max_calls,
        });
        threads.push(start(&format!("telephony-{number}"), move || telephony.run())?);
        let gemini = Gemini::new(GeminiParts {
            poll: gemini_poll,
            inbox: gemini_inbox,
            control: control.clone(),
            own: shard.gemini_bell.clone(),
            telephony: shard.telephony_bell.clone(),
            workers: shard.worker_bells.clone(),
            counters: Arc::clone(self.counters),
            limits: ModelSideLimits {
                chunk_ms: self.config.uplink.chunk_ms,
                model_speech_ms: self.config.limits.model_speech.as_millis() as u64,
                kept_speech_ms: self.config.limits.kept_speech.as_millis() as u64,
            },
            speech_bytes: self.config.limits.shard_speech_bytes,
            clock: self.clock,
            max_calls: self.max_calls,
        });
        threads.push(start(&format!("gemini-{number}"), move || gemini.run())?);
        Ok(shard)
    }

    /// Workers of a shard: what is configured, else a core each for what the other threads leave.
    fn dsp_workers(&self) -> usize {
        let cores = thread::available_parallelism().map_or(1, |n| n.get());
        match self.config.threads.dsp {
            0 => (cores.saturating_sub(2) / self.config.threads.shards.max(1)).max(1),
            n => n,
        }
    }
}
