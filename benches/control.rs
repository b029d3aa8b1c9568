//! What a walk over all calls costs, against a wake-up of control that one of them needs.
//!
//! Runs in: `cargo bench --bench control`. Owns nothing. Never a pass mark: the ratios that it prints are taken in turns with a
//! look at the deadline of every call, which is the least that a control without an agenda would do, and written to
//! `target/control.json`.
//! Invariant: all calls but one are live and want nothing; that one tries again and again to get a link, in vain.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant as Stopwatch};

use crossbeam_channel::{Receiver, unbounded};
use tandem::admission::{CredentialTerms, LegCredentials, Opening};
use tandem::agents::{Agents, CurrentAgents};
use tandem::base::{Instant, LegFormat, SampleRate};
use tandem::call::agent::CallTerms;
use tandem::call::leg::{CallFields, LegKind};
use tandem::call::{Fact, Machine};
use tandem::config::Config;
use tandem::net::dial::Target;
use tandem::sync::rings::call_rings;
use tandem::sync::{CallShared, Doorbell, Mailbox, mailbox};
use tandem::threads::control::{Control, ControlParts};
use tandem::threads::credentials::Access;
use tandem::threads::messages::{ControlInput, DialRequest, GeminiOrder, NewLeg, Offer};
use tandem::threads::places::Places;
use tandem::threads::relay::Relay;
use tandem::threads::tools::tool_queue;

use ratios::{Report, in_turns};

mod ratios;

const CALLS: [usize; 3] = [100, 1_000, 10_000];
/// Far beyond what is measured.
const FOR_EVER: Duration = Duration::from_secs(1 << 31);

struct Rig {
    control: Control,
    now: Instant,
    gemini: Mailbox<GeminiOrder>,
    dials: Receiver<DialRequest>,
}

/// What nobody stands behind.
fn bell() -> Doorbell {
    Doorbell::for_parked(std::thread::current())
}

impl Rig {
    fn new(calls: usize) -> Self {
        let mut config = Config::default();
        config.listen.max_calls = calls;
        config.listen.max_calls_burst_per_address = calls as u32;
        let mut relay = Relay::new(&config).expect("a relay");
        let terms = CallTerms { max_call: FOR_EVER, give_up: FOR_EVER, ..CallTerms::default() };
        relay.agents = Arc::new(CurrentAgents::new(Agents::from_iter([terms.into()])));
        relay.credentials.replace(vec![credential()]);
        let (mut inbox, own_inbox) = mailbox(bell());
        let (telephony, legs) = mailbox(bell());
        let (to_gemini, gemini) = mailbox(bell());
        let (dial, dials) = unbounded();
        let parts = ControlParts {
            inbox: own_inbox,
            own: bell(),
            telephony: vec![telephony],
            gemini: vec![to_gemini],
            esl: None,
            recorder: mailbox(bell()).0,
            workers: vec![mailbox(bell()).0],
            retired: Vec::new(),
            dial: Box::new(move |request| dial.send(request).map_err(|error| error.to_string())),
            tools: tool_queue(Box::new(|| ())).0,
            random: Box::new(|| 0),
            stats_interval: None,
            load: None,
            records: None,
            living: None,
        };
        let registry = Arc::clone(&relay.registry);
        let mut control = Control::new(relay, parts);
        let mut now = Instant::from_micros(1_000_000);
        for number in 0..calls {
            now = now.plus_us(1);
            let id = registry.admit(now, [127, 0, 0, 1].into()).expect("room");
            let shared = Arc::new(CallShared::new(id, LegFormat::new(SampleRate::Hz8000, 20, 20)));
            let (fields, kind, rings) = (CallFields::default(), LegKind::ModAudioStream, call_rings().0);
            let offer = Offer {
                id,
                shared: Arc::clone(&shared),
                fields: fields.clone(),
                told: false,
                peer: ([127, 0, 0, 1], 1).into(),
                credentials: LegCredentials { token: None, address: [127, 0, 0, 1].into() },
                opening: Opening { kind, fields: fields.clone() },
                place: Places::new(vec![1]).take(),
                leg: Box::new(NewLeg { id, shared, rings, connection: None, fields, kind }),
            };
            inbox.send(ControlInput::Offered(Box::new(offer)));
            if number > 0 {
                inbox.send(ControlInput::Fact(id, Fact::LinkConnected(1)));
                inbox.send(ControlInput::Fact(id, Fact::SetupComplete(1)));
            }
            control.step(now);
            while legs.take().is_some() {}
        }
        Self { control, now, gemini, dials }
    }

    /// Wakes up when the first is due. Returns how long that took.
    fn wake_up(&mut self) -> Duration {
        let start = Stopwatch::now();
        let next = black_box(self.control.step(self.now)).expect("a deadline");
        let took = start.elapsed();
        self.now = next;
        while self.gemini.take().is_some() || self.dials.try_recv().is_ok() {}
        took
    }

    /// Looks at all.
    fn walk(&self) -> Duration {
        let start = Stopwatch::now();
        black_box(self.control.machines().filter_map(Machine::deadline).min());
        start.elapsed()
    }
}

fn credential() -> (CredentialTerms, Access) {
    let terms =
        CredentialTerms { name: "key".into(), max_sessions: 0, model_prefix: None, needs_token: false };
    let target = Target {
        host: "gemini".into(),
        port: 443,
        tls: true,
        url: "wss://gemini/".parse().expect("a URL"),
        headers: Vec::new(),
        limits: tungstenite::protocol::WebSocketConfig::default(),
    };
    (terms, Access::with_key(target))
}

fn main() {
    let mut report = Report::new("control");
    for calls in CALLS {
        let rig = std::cell::RefCell::new(Rig::new(calls));
        let wakes = if ratios::wanted() { 1_000 } else { 1 };
        let walks = (wakes / calls).max(1);
        let ns = |took: Duration, times: usize| took.as_secs_f64() * 1e9 / times as f64;
        let cost = in_turns(
            || ns((0..walks).map(|_| rig.borrow().walk()).sum(), walks),
            || ns((0..wakes).map(|_| rig.borrow_mut().wake_up()).sum(), wakes),
        );
        report.row(&format!("calls: {calls}, one is due; a walk / a wake-up"), &cost);
    }
    if ratios::wanted() {
        report.write();
    }
}
