//! The state of a real control thread with the other end of each of its mailboxes, for worlds in virtual time.
//!
//! Runs in: the simulations. Owns what stands around control: the relay that it decides for, and what it orders from others.
//! Never opens a socket, reads a clock, or starts a thread. Invariant: control is stepped through [`Ends::step`] alone, which
//! looks whether what it says of its next step is true.

use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use crossbeam_channel::{Receiver, unbounded};
use fastrand::Rng;
use tandem::admission::{CredentialTerms, LegCredentials, Opening};
use tandem::agents::{Agents, CurrentAgents};
use tandem::base::{CallId, Instant};
use tandem::call::leg::{CallFields, LegKind};
use tandem::call::{CallDetail, Fact, Machine};
use tandem::config::Config;
use tandem::net::dial::Target;
use tandem::sync::rings::{call_rings, ring};
use tandem::sync::{CallShared, Clock, Doorbell, Mailbox, Outbox, mailbox};
use tandem::threads::control::{Control, ControlParts};
use tandem::threads::credentials::Access;
use tandem::threads::dsp::{DspCall, DspOrder, Worker};
use tandem::threads::messages::{
    ControlInput, DialRequest, GeminiOrder, LinkRequest, NewLeg, NewModelSide, Offer, TelephonyOrder,
};
use tandem::threads::places::Places;
use tandem::threads::recorder::RecorderOrder;
use tandem::threads::relay::Relay;
use tandem::threads::store::RecordDoor;
use tandem::threads::telephony::defaults::LegDefaults;
use tandem::threads::tools::{ToolJob, tool_queue};

/// When the simulations begin, by the wall clock.
const WALL_S: u64 = 1_800_000_000;
/// Where all legs come from.
pub(crate) const SWITCH: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Bells of the threads around control.
pub(crate) struct Bells {
    pub control: Doorbell,
    pub telephony: Doorbell,
    pub dsp: Doorbell,
    pub gemini: Doorbell,
    pub recorder: Doorbell,
}

impl Bells {
    /// Bells that wake nobody, but can be looked at.
    pub(crate) fn new() -> Self {
        let bell = || Doorbell::for_parked(thread::current());
        Self { control: bell(), telephony: bell(), dsp: bell(), gemini: bell(), recorder: bell() }
    }
}

/// See the head of this file.
pub(crate) struct Ends {
    pub relay: Relay,
    control: Control,
    pub bells: Bells,
    pub inbox: Outbox<ControlInput>,
    pub telephony: Mailbox<TelephonyOrder>,
    pub worker: Worker,
    dsp: Outbox<DspOrder>,
    pub gemini: Mailbox<GeminiOrder>,
    to_gemini: Outbox<GeminiOrder>,
    pub recorder: Option<Mailbox<RecorderOrder>>,
    pub dials: Receiver<LinkRequest>,
    pub tools: Receiver<ToolJob>,
    pub records: Receiver<Box<CallDetail>>,
    /// The last step said that another one is overdue.
    overdue: bool,
}

impl Ends {
    /// A relay with these agents, so many credentials and room for so many calls.
    pub(crate) fn new(seed: u64, bells: Bells, agents: Agents, credentials: usize, max_calls: usize) -> Self {
        let mut config = Config::default();
        config.listen.max_calls = max_calls;
        config.listen.max_calls_burst_per_address = 1_000_000;
        if credentials == 1 {
            // Calls of one world would be refused for what another one did.
            config.gemini.credential_backoff = Duration::ZERO;
        }
        let mut relay = Relay::new(&config).expect("a relay");
        relay.clock = Clock::standing(UNIX_EPOCH + Duration::from_secs(WALL_S));
        relay.agents = Arc::new(CurrentAgents::new(agents));
        relay.credentials.replace((0..credentials).map(|n| (terms(n), Access::with_key(target()))).collect());
        let (inbox, own_inbox) = mailbox(bells.control.clone());
        let (to_telephony, telephony) = mailbox(bells.telephony.clone());
        let (dsp, dsp_inbox) = mailbox(bells.dsp.clone());
        let (to_gemini, gemini) = mailbox(bells.gemini.clone());
        let (to_recorder, recorder) = mailbox(bells.recorder.clone());
        let (back, retired) = ring(max_calls);
        let (dial, dials) = unbounded();
        let (tool_pool, tools) = tool_queue(Box::new(|| ()));
        let (door, records) = RecordDoor::new(Arc::clone(&relay.counters));
        let mut rng = Rng::with_seed(seed);
        let parts = ControlParts {
            inbox: own_inbox,
            own: bells.control.clone(),
            telephony: vec![to_telephony],
            gemini: vec![to_gemini.clone()],
            esl: None,
            recorder: to_recorder,
            workers: vec![dsp.clone()],
            retired: vec![retired],
            dial: Box::new(move |request| match request {
                DialRequest::Link(request) => dial.send(request).map_err(|error| error.to_string()),
                DialRequest::Warm(_) | DialRequest::Leg(_) => unreachable!("never asked for by control"),
            }),
            tools: tool_pool,
            random: Box::new(move || rng.u128(..)),
            stats_interval: None,
            load: None,
            records: Some(door),
            living: None,
        };
        let worker = Worker::new(dsp_inbox, back, max_calls, Arc::clone(&relay.counters));
        let control = Control::new(relay.clone(), parts);
        Self {
            relay,
            control,
            bells,
            inbox,
            telephony,
            worker,
            dsp,
            gemini,
            to_gemini,
            recorder: Some(recorder),
            dials,
            tools,
            records,
            overdue: false,
        }
    }

    /// Lets a leg in, as accept does.
    pub(crate) fn offer(
        &mut self,
        now: Instant,
        kind: LegKind,
        fields: CallFields,
        defaults: LegDefaults,
        stream_end_after_ms: u64,
    ) -> Arc<CallShared> {
        let id = self.relay.registry.admit(now, SWITCH).expect("room");
        let shared = Arc::new(CallShared::new(id, defaults.format(kind, &fields)));
        let (credentials, opening) = shown(kind, &fields);
        if let Some(uuid) = &fields.uuid {
            let known = self.relay.registry.known();
            known.begin(uuid, credentials.clone(), opening.clone(), Arc::clone(&shared));
        }
        let (rings, dsp_rings, gemini_rings) = call_rings();
        let call = DspCall::new(now, dsp_rings, Arc::clone(&shared), stream_end_after_ms);
        self.dsp.send(DspOrder::Add(Box::new(call)));
        let side = NewModelSide { id, shared: Arc::clone(&shared), rings: gemini_rings };
        self.to_gemini.send(GeminiOrder::Add(Box::new(side)));
        let leg_shared = Arc::clone(&shared);
        let leg = NewLeg { id, shared: leg_shared, rings, connection: None, fields: fields.clone(), kind };
        self.inbox.send(ControlInput::Offered(Box::new(Offer {
            id,
            shared: Arc::clone(&shared),
            fields,
            told: false,
            peer: (SWITCH, 1).into(),
            credentials,
            opening,
            place: Places::new(vec![1]).take(),
            leg: Box::new(leg),
        })));
        shared
    }

    /// Sends a fact to control.
    pub(crate) fn tell(&mut self, id: CallId, fact: Fact) {
        self.inbox.send(ControlInput::Fact(id, fact));
    }

    /// One step of control. Returns when the next one is due.
    pub(crate) fn step(&mut self, now: Instant) -> Option<Instant> {
        self.bells.control.answer();
        let deadline = self.control.step(now);
        let due = self.machines().filter_map(Machine::deadline).min();
        assert!(deadline <= due || due.is_none(), "control sleeps until {deadline:?}, and {due:?} is due");
        let overdue = deadline.is_some_and(|at| at <= now);
        assert!(!(overdue && self.overdue), "control spins: {deadline:?} at {now:?}");
        self.overdue = overdue;
        deadline
    }

    /// The machines of all calls.
    pub(crate) fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.control.machines()
    }

    /// Nothing is left of any call.
    pub(crate) fn assert_empty(&self, now: Instant) {
        assert!(
            self.control.keeps_nothing(),
            "control keeps something of a call, or of what was asked for one"
        );
        assert_eq!(self.worker.calls(), 0, "the dsp worker has a call");
        let registry = &self.relay.registry;
        assert_eq!(registry.live_calls(), 0, "a slot is not given back");
        assert!(registry.known().is_empty(), "a UUID is known of a call that is over");
        for (name, sessions, _) in registry.credentials().expect("credentials").states(now) {
            assert_eq!(sessions, 0, "a lease of credential {name} is not given back");
        }
        assert_eq!(self.relay.counters.active_calls(), 0, "a call is not counted as ended");
    }
}

/// What a leg shows at the door, and how it is opened.
pub(crate) fn shown(kind: LegKind, fields: &CallFields) -> (LegCredentials, Opening) {
    let credentials = LegCredentials { token: None, address: SWITCH };
    (credentials, Opening { kind, fields: fields.clone() })
}

fn terms(number: usize) -> CredentialTerms {
    CredentialTerms {
        name: format!("key-{number}").into(),
        max_sessions: 0,
        model_prefix: None,
        needs_token: false,
    }
}

fn target() -> Target {
    Target {
        host: "gemini".into(),
        port: 443,
        tls: true,
        url: "wss://gemini/".parse().expect("a URL"),
        headers: Vec::new(),
        limits: tungstenite::protocol::WebSocketConfig::default(),
    }
}
