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

use crate::admission::Expected;
use crate::base::cores::Cores;
use crate::config::Config;
use crate::net::dial::Dialer;
use crate::net::listener::Listener;
use crate::net::passed::Passed;
use crate::net::tls::{self, Identity};
use crate::sync::rings::ring;
use crate::sync::{CallBell, Clock, Doorbell, DueSet, Mailbox, Outbox, mailbox, random};
use crate::telemetry::Counters;
use crate::threads::accept::{self, AcceptParts, Acceptor, ShardDoor};
use crate::threads::admin::{Admin, AdminShared};
use crate::threads::company::Company;
use crate::threads::control::load::LoadMeter;
use crate::threads::control::{Control, ControlParts};
use crate::threads::dial::DialOutboxes;
use crate::threads::dsp::{self, DspOrder, Neighbours, Worker};
use crate::threads::gemini::model_side::ModelSideLimits;
use crate::threads::gemini::{self, Gemini, GeminiParts};
use crate::threads::messages::{AcceptOrder, ControlInput, GeminiOrder, TelephonyOrder};
use crate::threads::places::Places;
use crate::threads::relay::Relay;
use crate::threads::telephony::leg::LegDefaults;
use crate::threads::telephony::{self, Telephony, TelephonyParts, TelephonySettings};
use begin::{Waiting, start};
pub(crate) use credentials::credentials;
use outside::admin_shared;
use pinning::keep_to;
pub(crate) use prerequisites::descriptors_needed;
use prerequisites::{check_file_limit, listen as listen_for_legs};
pub use signals::{Handle, run};
use store::{StoreDoors, StoreThreads, start_store};
use supervisor::Bells;

mod begin;
mod credentials;
mod outside;
mod pinning;
mod prerequisites;
mod recorder;
mod reload;
mod signals;
mod store;
mod supervisor;

/// A running relay.
pub struct Server {
    address: SocketAddr,
    relay: Relay,
    accept: Outbox<AcceptOrder>,
    control: Outbox<ControlInput>,
    control_thread: JoinHandle<()>,
    admin: Option<Arc<AdminShared>>,
    /// The certificates of our servers.
    identities: Vec<Arc<Identity>>,
    /// End last: they write the records of the last calls.
    store: Option<StoreThreads>,
    threads: Vec<JoinHandle<()>>,
    bells: Bells,
}

/// Where legs come in.
struct Door {
    listeners: Vec<Listener>,
    inherited: bool,
    tls: Option<Arc<Identity>>,
}

struct Shard {
    door: ShardDoor,
    telephony: Outbox<TelephonyOrder>,
    telephony_bell: Doorbell,
    gemini_bell: Doorbell,
    worker_bells: Vec<Doorbell>,
}

/// Whether the relay could start with this configuration, as far as that can be told before anything is started.
///
/// # Errors
/// What it lacks, with the remedy.
pub fn check(config: &Config) -> Result<(), String> {
    credentials(config)?;
    pinning::of_shards(&config.threads).map(|_| ())
}

impl Server {
    /// Starts every thread and listens.
    ///
    /// # Errors
    /// Why it cannot, with the remedy.
    pub fn start(config: &Config) -> Result<Self, String> {
        Self::start_with(config, Passed::default())
    }

    /// The same on the sockets that were passed, where there are some.
    ///
    /// # Errors
    /// Why it cannot, with the remedy.
    pub(crate) fn start_with(config: &Config, mut passed: Passed) -> Result<Self, String> {
        let access = credentials(config)?;
        let cores = pinning::of_shards(&config.threads)?;
        let relay = Relay::new(config)?;
        relay.credentials.replace(access);
        let (listen, admin) = (&config.listen, &config.admin);
        let leg_tls =
            Identity::configured("listen", listen.tls_certificate.as_ref(), listen.tls_key.as_ref())?;
        let admin_tls =
            Identity::configured("admin", admin.tls_certificate.as_ref(), admin.tls_key.as_ref())?;
        let identities = [&leg_tls, &admin_tls].into_iter().flatten().cloned().collect();
        let connector = tls::connector(config.gemini.ca_file.as_deref())?;
        let inherited = !passed.legs.is_empty();
        let (listeners, address) = listen_for_legs(listen, &mut passed)?;
        let door = Door { listeners, inherited, tls: leg_tls };
        check_file_limit(config.listen.max_calls);
        crate::dsp::fir::warm_tables();

        let (doors, store) = start_store(config, &relay)
            .map_err(|problem| format!("the store cannot be started: {problem}"))?
            .unzip();
        let admin = admin_shared(config, &relay, &door, address.port(), admin_tls, &mut passed)?;
        let cannot_start = |problem| format!("the threads cannot be started: {problem}");
        let control = Waiting::start("control").map_err(cannot_start)?;
        let control_bell = Doorbell::for_parked(control.thread());
        let (to_control, inbox) = mailbox::<ControlInput>(control_bell.clone());
        let mut builder = Builder {
            config,
            relay: &relay,
            control: to_control.clone(),
            control_bell,
            threads: Vec::new(),
            cores,
        };
        let (accept, controller, bells) =
            builder.build(door, connector, inbox, admin.as_ref(), doors).map_err(cannot_start)?;
        let threads = builder.threads;
        let control_thread = control.begin(move || controller.run());
        let scheme = if config.listen.has_tls() { "wss" } else { "ws" };
        // Operators of today's systems look for exactly these words.
        info!("FreeSWITCH mod_audio_stream WebSocket server: {scheme}://{address}");
        if let Some(admin) = &admin {
            let scheme = if admin.has_tls() { "https" } else { "http" };
            info!("admin server: {scheme}://{}", admin.address());
        }
        let control = to_control;
        Ok(Self { address, relay, accept, control, control_thread, admin, identities, store, threads, bells })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was counted so far.
    pub fn counters(&self) -> &Counters {
        &self.relay.counters
    }

    /// Where calls are announced before their leg connects.
    pub fn expected(&self) -> Arc<Expected> {
        Arc::clone(&self.relay.expected)
    }

    /// The clock that all of its threads read.
    pub fn clock(&self) -> Clock {
        self.relay.clock
    }

    /// Calls that have a slot.
    pub fn live_calls(&self) -> usize {
        self.relay.registry.live_calls()
    }

    /// What another thread needs to end it.
    pub fn handle(&self) -> Handle {
        Handle { relay: self.relay.clone(), accept: self.accept.clone(), control: self.control.clone() }
    }

    /// Waits until it has been drained and every thread has ended.
    pub fn join(mut self) {
        // A thread that panicked has said so; there is nothing to add.
        _ = self.control_thread.join();
        self.accept.send(AcceptOrder::Stop);
        if let Some(admin) = &self.admin {
            admin.stop();
        }
        self.relay.credentials.stop();
        for thread in self.threads {
            _ = thread.join();
        }
        if let Some(store) = self.store {
            store.join();
        }
    }
}

struct Builder<'a> {
    config: &'a Config,
    relay: &'a Relay,
    control: Outbox<ControlInput>,
    control_bell: Doorbell,
    threads: Vec<JoinHandle<()>>,
    /// Of each shard.
    cores: Vec<Option<Cores>>,
}

impl Builder<'_> {
    /// Starts a thread that the relay cannot do without, and waits for at the end.
    fn start(&mut self, name: &str, run: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
        self.threads.push(start(name, run)?);
        Ok(())
    }

    fn build(
        &mut self,
        door: Door,
        connector: native_tls::TlsConnector,
        control_inbox: Mailbox<ControlInput>,
        admin: Option<&Arc<AdminShared>>,
        doors: Option<StoreDoors>,
    ) -> io::Result<(Outbox<AcceptOrder>, Control, Bells)> {
        let (records, living) = doors.map(|doors| (doors.records, doors.living)).unzip();
        let mut retired = Vec::new();
        let mut shards = Vec::new();
        for number in 0..self.config.threads.shards.max(1) {
            let first_worker = retired.len();
            shards.push(self.shard(number, first_worker, &mut retired)?);
        }

        let poll = Poll::new()?;
        let own = accept::doorbell(&poll)?;
        let mut bells =
            vec![("control".to_owned(), self.control_bell.clone()), ("accept".to_owned(), own.clone())];
        for (number, shard) in shards.iter().enumerate() {
            bells.push((format!("telephony-{number}"), shard.telephony_bell.clone()));
            bells.push((format!("gemini-{number}"), shard.gemini_bell.clone()));
            let workers = shard.worker_bells.iter().enumerate();
            bells.extend(workers.map(|(n, bell)| (format!("dsp-{number}-{n}"), bell.clone())));
        }
        // Behind control and accept, those that carry audio.
        let media_bells = bells.iter().skip(2).map(|(_, bell)| bell.clone()).collect();
        let (accept, inbox) = mailbox(own.clone());
        let gemini: Vec<_> = shards.iter().map(|shard| shard.door.gemini.clone()).collect();
        let to =
            DialOutboxes { gemini: gemini.clone(), control: self.control.clone(), accept: accept.clone() };
        let dial = self.dial_pool(Dialer::new(self.relay.clock, connector.clone()), to)?;
        let esl = self.esl()?;
        if let Some(admin) = admin {
            let admin = Admin::new(
                Arc::clone(admin),
                self.control.clone(),
                accept.clone(),
                esl.clone(),
                dial.clone(),
            );
            self.start("admin", move || admin.run())?;
        }
        let parts = ControlParts {
            inbox: control_inbox,
            own: self.control_bell.clone(),
            telephony: shards.iter().map(|shard| shard.telephony.clone()).collect(),
            gemini,
            workers: shards.iter().flat_map(|shard| shard.door.workers.clone()).collect(),
            recorder: self.recorder()?,
            esl,
            retired,
            dial: Box::new(move |request| dial.request(request)),
            tools: self.tools(connector)?,
            random: Box::new(random::bits128),
            stats_interval: self.config.log.stats_interval,
            load: Some(LoadMeter::new(media_bells, self.config.listen.refuse_when_overloaded)),
            records,
            living,
        };
        let controller = Control::new(self.relay.clone(), parts);
        let parts = AcceptParts {
            poll,
            inbox,
            own,
            listeners: door.listeners,
            inherited: door.inherited,
            tls: door.tls.map(|identity| self.tls(identity, accept.clone())).transpose()?,
            places: Places::new(shards.iter().map(|shard| shard.door.workers.len()).collect()),
            shards: shards.into_iter().map(|shard| shard.door).collect(),
            control: self.control.clone(),
            listen: self.config.listen.clone(),
            defaults: LegDefaults::configured(self.config),
            stream_end_after_ms: self.config.uplink.stream_end_after.map_or(0, |d| d.as_millis() as u64),
        };
        let acceptor = Acceptor::new(self.relay.clone(), parts);
        self.start("accept", move || acceptor.run())?;
        Ok((accept, controller, bells))
    }

    fn shard(
        &mut self,
        number: usize,
        first_worker: usize,
        retired: &mut Vec<rtrb::Consumer<Box<dsp::DspCall>>>,
    ) -> io::Result<Shard> {
        let (clock, max_calls) = (self.relay.clock, self.config.listen.max_calls);
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
        let (telephony_due, gemini_due) =
            (Arc::new(DueSet::new(max_calls)), Arc::new(DueSet::new(max_calls)));
        let mut workers = Vec::new();
        let cores = self.cores.get(number).cloned().flatten();
        for n in 0..self.dsp_workers(cores.as_ref()) {
            let waiting = Waiting::start(&format!("dsp-{number}-{n}"))?;
            let own = Doorbell::for_parked(waiting.thread());
            let (outbox, inbox) = mailbox::<DspOrder>(own.clone());
            let (back, returned) = ring(max_calls);
            let mut worker = Worker::new(inbox, back, max_calls, Arc::clone(&self.relay.counters))
                .beside(Arc::clone(&telephony_due), Arc::clone(&gemini_due));
            workers.push(CallBell::new(own.clone(), worker.due()));
            let neighbours = Neighbours {
                own: own.clone(),
                telephony: shard.telephony_bell.clone(),
                gemini: shard.gemini_bell.clone(),
                control: self.control_bell.clone(),
                company: Company::configured(self.config),
            };
            let cores = cores.clone();
            self.threads.push(waiting.begin(move || {
                keep_to(cores.as_ref());
                dsp::run(&mut worker, &neighbours, clock);
            }));
            shard.door.workers.push(outbox);
            shard.worker_bells.push(own);
            retired.push(returned);
        }
        let telephony = Telephony::new(TelephonyParts {
            poll: telephony_poll,
            inbox: telephony_inbox,
            control: self.control.clone(),
            own: shard.telephony_bell.clone(),
            due: Arc::clone(&telephony_due),
            workers: workers.clone(),
            counters: Arc::clone(&self.relay.counters),
            settings: TelephonySettings {
                defaults: LegDefaults::configured(self.config),
                silent_after_ms: self.config.leg.silent_after.as_millis() as u64,
            },
            clock,
            max_calls,
            company: Company::configured(self.config),
        });
        let own_cores = cores.clone();
        self.start(&format!("telephony-{number}"), move || {
            keep_to(own_cores.as_ref());
            telephony.run()
        })?;
        let gemini = Gemini::new(GeminiParts {
            poll: gemini_poll,
            inbox: gemini_inbox,
            control: self.control.clone(),
            own: shard.gemini_bell.clone(),
            telephony: CallBell::new(shard.telephony_bell.clone(), telephony_due),
            workers,
            due: gemini_due,
            counters: Arc::clone(&self.relay.counters),
            limits: ModelSideLimits {
                chunk_ms: self.config.uplink.chunk_ms,
                model_speech_ms: self.config.limits.model_speech.as_millis() as u64,
                kept_speech_ms: self.config.limits.kept_speech.as_millis() as u64,
            },
            speech_bytes: self.config.limits.shard_speech_bytes,
            clock,
            max_calls,
            company: Company::configured(self.config),
        });
        self.start(&format!("gemini-{number}"), move || {
            keep_to(cores.as_ref());
            gemini.run()
        })?;
        Ok(shard)
    }

    /// Workers of a shard: what is configured, else a core each for what the other threads leave.
    fn dsp_workers(&self, cores: Option<&Cores>) -> usize {
        let all = || thread::available_parallelism().map_or(1, |n| n.get());
        let own =
            cores.map_or_else(|| all() / self.config.threads.shards.max(1), |cores| cores.numbers().len());
        match self.config.threads.dsp {
            0 => own.saturating_sub(2).max(1),
            n => n,
        }
    }
}
