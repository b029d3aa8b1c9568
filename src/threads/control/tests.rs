//! The control thread without its thread: real machines, real deadlines, virtual time.

use proptest::prelude::*;

use super::*;
use crate::admission::credentials::CredentialTerms;
use crate::base::LegFormat;
use crate::base::SampleRate;
use crate::call::leg::CallFields;
use crate::call::model::ToolCall;
use crate::call::transcript::Speaker;
use crate::call::{LegKind, LegOrder, ModelOrder};
use crate::config::Config;
use crate::net::dial::Target;
use crate::sync::rings::call_rings;
use crate::sync::{mailbox, random};
use crate::threads::credentials::Access;
use crate::threads::messages::NewLeg;
use crate::threads::places::Places;
use crate::threads::tools::tool_queue;

/// How late something may be.
const LATE_MS: u64 = 100;

/// The control thread's state with everything around it, and the time.
struct World {
    control: Control,
    now: Instant,
    inbox: Outbox<ControlInput>,
    telephony: Mailbox<TelephonyOrder>,
    gemini: Mailbox<GeminiOrder>,
    calls: Vec<CallId>,
    /// What it said that has to be done next, and when it next has something to do by itself.
    deadline: Option<Instant>,
    steps: u64,
}

fn bell() -> Doorbell {
    Doorbell::for_parked(std::thread::current())
}

impl World {
    fn new(calls: usize, set: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        set(&mut config);
        let now = Instant::from_micros(1_000_000);
        let (inbox, own_inbox) = mailbox(bell());
        let (telephony_outbox, telephony) = mailbox(bell());
        let (gemini_outbox, gemini) = mailbox(bell());
        config.listen.max_calls = calls;
        (config.listen.max_calls_per_second_per_address, config.listen.max_calls_burst_per_address) =
            (1_000_000, 1_000_000);
        let relay = Relay::new(&config).expect("agents");
        relay.credentials.replace(vec![(credential(), Access::with_key(target()))]);
        let parts = ControlParts {
            inbox: own_inbox,
            own: bell(),
            telephony: vec![telephony_outbox],
            gemini: vec![gemini_outbox],
            esl: None,
            recorder: mailbox(bell()).0,
            workers: vec![mailbox(bell()).0],
            retired: Vec::new(),
            dial: Box::new(|_| Ok(())),
            tools: tool_queue(Box::new(|| ())).0,
            random: Box::new(random::bits128),
            stats_interval: Some(Duration::from_secs(60)),
            load: None,
            records: None,
            living: None,
        };
        let control = Control::new(relay, parts);
        let (calls, deadline) = (Vec::new(), None);
        Self { control, now, inbox, telephony, gemini, calls, deadline, steps: 0 }
    }

    /// A call whose model is ready.
    fn call(&mut self) -> CallId {
        let id = self.control.relay.registry.admit(self.now, [127, 0, 0, 1].into()).expect("room");
        let shared = Arc::new(CallShared::new(id, LegFormat::new(SampleRate::Hz8000, 20, 20)));
        let (rings, _, _) = call_rings();
        let kind = LegKind::AudioSocket;
        let fields = CallFields { uuid: Some(format!("call-{id}")), ..CallFields::default() };
        let leg =
            NewLeg { id, shared: Arc::clone(&shared), rings, connection: None, fields: fields.clone(), kind };
        let offer = Offer {
            id,
            shared,
            fields: fields.clone(),
            told: false,
            peer: ([127, 0, 0, 1], 1).into(),
            credentials: LegCredentials { token: None, address: [127, 0, 0, 1].into() },
            opening: Opening { kind: LegKind::AudioSocket, fields },
            place: Places::new(vec![1]).take(),
            leg: Box::new(leg),
        };
        self.tell(ControlInput::Offered(Box::new(offer)));
        self.fact(id, Fact::LinkConnected(1));
        self.fact(id, Fact::SetupComplete(1));
        self.calls.push(id);
        id
    }

    fn fact(&mut self, id: CallId, fact: Fact) {
        self.tell(ControlInput::Fact(id, fact));
    }

    fn tell(&mut self, input: ControlInput) {
        self.inbox.send(input);
        self.step();
    }

    fn step(&mut self) {
        self.deadline = self.control.step(self.now);
        self.steps += 1;
        let calls = self.control.calls.iter();
        let earliest = calls.filter_map(|call| call.machine.deadline()).min();
        assert!(self.deadline <= earliest || earliest.is_none(), "a deadline is forgotten");
    }

    /// Lets time pass, as the thread would sleep through it: to its own deadlines and no other moment.
    fn pass(&mut self, ms: u64, mut each: impl FnMut(Instant, &mut Self)) {
        let end = self.now.plus_ms(ms);
        while let Some(at) = self.deadline.filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step();
            each(self.now, self);
        }
        self.now = end;
    }

    /// The calls whose legs were told to close.
    fn closed(&mut self) -> Vec<CallId> {
        let orders = std::iter::from_fn(|| self.telephony.take());
        let closed = orders.filter_map(|order| match order {
            TelephonyOrder::Call(id, LegOrder::Close(_)) => Some(id),
            _ => None,
        });
        closed.collect()
    }
}

fn credential() -> CredentialTerms {
    CredentialTerms { name: "test".into(), max_sessions: 0, model_prefix: None, needs_token: false }
}

fn target() -> Target {
    Target {
        host: "127.0.0.1".into(),
        port: 9,
        tls: false,
        url: "ws://127.0.0.1:9/".parse().expect("a URL"),
        headers: Vec::new(),
        limits: tungstenite::protocol::WebSocketConfig::default(),
    }
}

fn end_call() -> Fact {
    let call = ToolCall::read(Some("e-1"), "end_call", &serde_json::Value::Null);
    Fact::ToolCalled(1, Box::new(call.expect("a call")))
}

#[test]
fn a_call_is_hung_up_when_the_goodbye_was_heard_and_not_when_somebody_wakes_the_thread() {
    for calls in [1, 1_000] {
        let mut world = World::new(calls, |config| config.agent.end_call = true);
        let mut wished = Vec::new();
        let mut late_ms = Vec::new();
        for n in 0..calls {
            let id = world.call();
            world.fact(id, end_call());
            wished.push((id, world.now));
            let rest_ms = if n + 1 == calls { 5_000 } else { 3 };
            world.pass(rest_ms, |now, world| {
                for id in world.closed() {
                    let wish = wished.iter().find(|(other, _)| *other == id);
                    late_ms.push(now.since_ms(wish.expect("it wished so").1));
                }
            });
        }
        assert!(late_ms.iter().all(|ms| *ms <= 900 + LATE_MS), "{late_ms:?}");
        assert_eq!(late_ms.len(), calls);
    }
}

#[test]
fn each_step_of_the_watchdog_comes_in_its_time_with_nobody_to_wake_the_thread() {
    for calls in [1, 1_000] {
        let mut world = World::new(calls, |config| config.agent.answer_within = Some(Duration::from_secs(4)));
        let mut asked = Vec::new();
        for _ in 0..calls {
            let id = world.call();
            world.fact(id, Fact::Resumable(1, "handle".into()));
            world.fact(id, Fact::CallerSpoke(true));
            asked.push(id);
        }
        world.pass(1_500, |_, _| ());
        for id in asked {
            world.fact(id, Fact::CallerSpoke(false));
        }
        let asked_at = world.now;
        while world.gemini.take().is_some() {}
        let mut seen = [0; 3];
        world.pass(12_000 + LATE_MS, |now, world| {
            while let Some(order) = world.gemini.take() {
                let (step, due_ms) = match order {
                    GeminiOrder::Call(_, ModelOrder::Commit(..)) => (0, 4_000),
                    GeminiOrder::Call(_, ModelOrder::Prompt(..)) => (1, 8_000),
                    GeminiOrder::Call(_, ModelOrder::CloseLink(..)) => (2, 12_000),
                    _ => continue,
                };
                let late_ms = now.since_ms(asked_at) - due_ms;
                assert!(late_ms <= LATE_MS, "step {step} is {late_ms} ms late");
                seen[step] += 1;
            }
        });
        assert_eq!(seen, [calls; 3]);
    }
}

#[test]
fn the_setup_of_each_link_is_measured_for_its_credential() {
    let mut world = World::new(2, |_| ());
    for _ in 0..2 {
        let id = world.call();
        // Said again, it is no other setup.
        world.fact(id, Fact::SetupComplete(1));
    }
    let measured = world.control.relay.counters.credential_setup.snapshots();
    let measured: Vec<_> = measured.iter().map(|(name, setups)| (&**name, setups.count())).collect();
    assert_eq!(measured, [("test", 2)]);
}

#[test]
fn a_wake_up_costs_the_calls_that_are_due_and_a_thread_without_work_sleeps() {
    let mut world = World::new(200, |_| ());
    for _ in 0..200 {
        world.call();
    }
    let before = world.steps;
    // Statistics are logged each minute, and nothing else happens.
    world.pass(600_000, |_, _| ());
    assert!(world.steps - before <= 12, "{} steps in ten minutes", world.steps - before);
    let id = world.calls[7];
    world.fact(id, Fact::CallerSpoke(true));
    assert_eq!(world.control.calls.due(world.now.plus_ms(600_000)).len(), 0);
    assert_eq!(world.control.calls.due(world.now.plus_ms(3_600_000)).len(), 200, "the longest call");
}

#[test]
fn when_the_time_of_a_shutdown_is_over_every_call_is_ended_at_once() {
    let mut world = World::new(50, |_| ());
    for _ in 0..50 {
        world.call();
    }
    world.tell(ControlInput::Drain(Some(Drain { by: world.now.plus_ms(2_000), moves: false })));
    world.pass(1_999, |_, _| ());
    assert_eq!(world.closed().len(), 0);
    world.pass(1, |_, _| ());
    assert_eq!(world.closed().len(), 50);
    let steps = world.steps;
    world.pass(10_000, |_, _| ());
    assert!(world.steps - steps <= 2, "it spins: {} steps", world.steps - steps);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever happens to whichever call: [`World::step`] looks whether a deadline is forgotten.
    #[test]
    fn no_deadline_is_forgotten_whatever_happens(events in prop::collection::vec((0..4_usize, 0..9_u8, 0..3_000_u64), 0..60)) {
        let mut world = World::new(4, |config| {
            config.agent.end_call = true;
            config.agent.answer_within = Some(Duration::from_secs(4));
        });
        for _ in 0..4 {
            world.call();
        }
        for (call, what, ms) in events {
            let id = world.calls[call];
            let fact = match what {
                0 => Fact::CallerSpoke(true),
                1 => Fact::CallerSpoke(false),
                2 => Fact::TurnStarted(1),
                3 => Fact::TurnComplete(1),
                4 => Fact::Interrupted(1),
                5 => end_call(),
                6 => Fact::InProgress(1, ms % 2 == 0),
                7 => Fact::GoAway(1, Duration::from_millis(ms)),
                _ => Fact::Transcribed(1, Speaker::Caller, "Hello.".into()),
            };
            world.fact(id, fact);
            world.pass(ms, |_, _| ());
        }
    }
}
