//! One relay with one call: the clock, what will happen, and the loops of its threads, all of which run at once.
//!
//! Runs in: the simulation. Owns the real parts and both peers.
//! Invariant: time never goes back, and after each event everything that can be done is done before the next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use rtrb::Consumer;
use serde_json::Value;
use tandem::base::limits::CLOSE_TIMEOUT_MS;
use tandem::base::{CallId, Instant, LinkNumber, Mix, PlaybackFormat, SampleRate};
use tandem::call::agent::{Agent, CallTerms};
use tandem::call::events::LegEnd;
use tandem::call::leg::CallFields;
use tandem::call::machine::Phase;
use tandem::call::model::LinkEnd;
use tandem::call::tool::{ToolNumber, ToolTerms};
use tandem::call::{
    CredentialView, Fact, LegKind, LegOrder, Machine, ModelOrder, Order, Outcome, Part, ToolOrder,
    WorkerOrder,
};
use tandem::codec::Provider;
use tandem::codec::base64;
use tandem::sync::rings::{call_rings, ring};
use tandem::sync::{CallShared, Doorbell, Outbox, mailbox};
use tandem::threads::dsp::{DspCall, DspOrder, Worker};
use tandem::threads::gemini::model_side::{ModelSide, ModelSideLimits};
use tandem::threads::gemini::speech::SpeechPool;
use tandem::threads::messages::NewModelSide;
use tandem::threads::telephony::defaults::{LegDefaults, Pacing};
use tandem::threads::telephony::leg::{Leg, Received};

use super::Report;
use super::ear::Ear;
use super::gemini::{Gemini, Say};
use super::switch::{self, Spurt};

const ID: CallId = CallId { slot: 0, generation: 1 };
const PROTOCOL: LegKind = LegKind::ModAudioStream;
const CREDENTIAL: CredentialView<'static> = CredentialView { number: 0, model_prefix: None, vertex: false };
/// As in `threads::gemini`.
const REFILL_MS: u64 = 40;
const STREAM_END_MS: u64 = 2_000;
const GIVE_UP: Duration = Duration::from_secs(20);
/// What may be kept in all: 60 s of the caller waiting, 60 s unanswered, 120 s of the model, in blocks.
const POOL_BYTES: usize = 64 << 20;
/// What the model has not begun to answer so long after it was said needs no answer. The relay waits for 15 s.
const ANSWER_OWED_US: u64 = 10_000_000;
/// The relay sends a talkspurt again three times.
const TIMES_HEARD_MAX: u32 = 4;
/// A talkspurt needs so long to reach the model, through a change of links and a replay.
const SETTLED_US: u64 = 60_000_000;
const ROUNDS_MAX: u32 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The caller begins a talkspurt of so many frames.
    Speaks(usize),
    /// A frame of a talkspurt, and how many follow.
    Frame(usize, usize, usize),
    /// The caller presses a key.
    Key,
    LegLost(LegLoss),
    LegReturns,
    LegClosed,
    /// The attempt to connect this link is over, and it is connected.
    Dialled(LinkNumber, bool),
    Gemini(LinkNumber, Say),
    /// Any link that is there then ends so.
    Strikes(Say),
    LinkClosed(LinkNumber),
    ToolDone(ToolNumber),
    ShutDown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LegLoss {
    Dropped,
    Goodbye,
    HungUp,
}

struct Link {
    number: LinkNumber,
    closing: bool,
}

/// See the head of this file.
pub(super) struct World {
    now: Instant,
    start: Instant,
    rng: Rng,
    trace: bool,
    shared: Arc<CallShared>,
    machine: Machine,
    leg: Option<Leg>,
    lost: Option<Leg>,
    leg_closing: bool,
    worker: Worker,
    dsp: Outbox<DspOrder>,
    retired: Consumer<Box<DspCall>>,
    dsp_at: Option<Instant>,
    model: Option<ModelSide>,
    pool: SpeechPool,
    dialling: Option<LinkNumber>,
    link: Option<Link>,
    gemini: Gemini,
    ear: Ear,
    spurts: Vec<Spurt>,
    /// Talkspurts whose link was lost before they were answered: which, how often they had been heard, and when.
    owed: Vec<(usize, u32, u64)>,
    facts: VecDeque<Fact>,
    tools: Vec<ToolNumber>,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    event_count: u64,
    outcome: Option<Outcome>,
    counts: BTreeMap<&'static str, u64>,
}

impl World {
    /// A call whose every chance comes from the seed, of so many seconds if nothing ends it before.
    pub(super) fn new(seed: u64, trace: bool, seconds: u64) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let now = Instant::from_micros(1_000_000);
        let pacing = Pacing { lead_ms: 60, chunk_ms: 20 };
        let defaults = LegDefaults {
            rate: SampleRate::Hz16000,
            rate_is_written: false,
            mix: Mix::Mono,
            playback: PlaybackFormat::Binary,
            stream: pacing,
            file: pacing,
            chan_websocket_lead_ms: 40,
        };
        let uuid = Some("u-1".to_owned());
        let fields = CallFields { uuid, rate: Some(SampleRate::Hz16000), ..CallFields::default() };
        let shared = Arc::new(CallShared::new(ID, defaults.format(PROTOCOL, &fields)));
        let (telephony_rings, dsp_rings, gemini_rings) = call_rings();
        let (mut dsp, inbox) = mailbox(Doorbell::for_parked(std::thread::current()));
        let (back, retired) = ring(1);
        let call = DspCall::new(now, dsp_rings, Arc::clone(&shared), STREAM_END_MS);
        dsp.send(DspOrder::Add(Box::new(call)));
        let limits = ModelSideLimits { chunk_ms: 20, model_speech_ms: 120_000, kept_speech_ms: 60_000 };
        let side = NewModelSide { id: ID, shared: Arc::clone(&shared), rings: gemini_rings };
        let max_call = if rng.bool() { seconds } else { 2 * seconds };
        let agent: Agent = CallTerms {
            give_up: GIVE_UP,
            max_call: Duration::from_secs(max_call),
            greeting: rng.bool().then(|| "Greet the caller.".to_owned()),
            tools: ToolTerms { call_info: true, ..ToolTerms::default() },
            ..CallTerms::default()
        }
        .into();
        let mut machine = Machine::new(now, Arc::new(agent), fields.clone());
        machine.set_leg(LegKind::ModAudioStream, seed as u32);
        let leg = Leg::new(ID, Arc::clone(&shared), telephony_rings, defaults, PROTOCOL, fields, now);
        let mut world = Self {
            now,
            start: now,
            rng,
            trace,
            shared,
            machine,
            leg: Some(leg),
            lost: None,
            leg_closing: false,
            worker: Worker::new(inbox, back, 1, Arc::default()),
            dsp,
            retired,
            dsp_at: Some(now),
            model: Some(ModelSide::new(side, limits)),
            pool: SpeechPool::new(POOL_BYTES),
            dialling: None,
            link: None,
            gemini: Gemini::default(),
            ear: Ear::default(),
            spurts: Vec::new(),
            owed: Vec::new(),
            facts: VecDeque::new(),
            tools: Vec::new(),
            events: BinaryHeap::new(),
            event_count: 0,
            outcome: None,
            counts: BTreeMap::new(),
        };
        world.plan(seconds);
        world
    }

    /// Draws what happens from outside.
    fn plan(&mut self, seconds: u64) {
        let first = self.rng.u64(0..4_000_000);
        let frames = self.rng.usize(10..70);
        self.later(first, Event::Speaks(frames));
        let call_us = seconds * 1_000_000;
        for _ in 0..self.rng.u32(0..14) {
            let at = self.rng.u64(0..call_us);
            let event = match self.rng.u32(0..10) {
                0..4 => Event::Strikes(self.link_end()),
                4..6 => Event::Strikes(Say::GoAway(self.rng.u64(500..50_000))),
                6..8 => Event::LegLost(LegLoss::Dropped),
                8 => Event::LegLost(LegLoss::Goodbye),
                _ => Event::Key,
            };
            self.later(at, event);
        }
        let end = match self.rng.u32(0..10) {
            0 => Event::ShutDown,
            _ => Event::LegLost(LegLoss::HungUp),
        };
        self.later(call_us, end);
    }

    fn link_end(&mut self) -> Say {
        match self.rng.u32(0..8) {
            0 => Say::Close(1000, ""),
            1 => Say::Close(1001, "going away"),
            2 => Say::Close(1007, "Request contains an invalid argument."),
            3 => Say::Close(1008, "The operation was aborted."),
            4 => Say::Close(1011, "Internal error encountered."),
            5 => Say::Close(1011, "Deadline expired before operation could complete."),
            _ => Say::Drop,
        }
    }

    fn later(&mut self, us: u64, event: Event) {
        self.event_count += 1;
        self.events.push(Reverse((self.now.plus_us(us), self.event_count, event)));
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        if self.trace {
            println!("{:12.3} s  {what}", self.now.since_us(self.start) as f64 / 1e6);
        }
    }

    /// Runs the call to its end, and checks what it leaves.
    pub(super) fn run(mut self) -> Report {
        self.carry_out();
        loop {
            self.settle();
            if self.outcome.is_some() && self.link.is_none() && self.dialling.is_none() {
                return self.finish();
            }
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let refill = self.model.as_ref().filter(|model| model.has_backlog());
            let refill = refill.map(|_| self.now.plus_ms(REFILL_MS));
            let machine = self.machine.deadline().filter(|_| self.outcome.is_none());
            let next = [event, self.dsp_at, refill, machine].into_iter().flatten().min();
            let Some(next) = next else {
                panic!("a call that waits for nothing: {:?}", self.machine.phase())
            };
            self.now = self.now.max(next);
            self.count("steps");
            while self.events.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Some(Reverse((_, _, event))) = self.events.pop() else { break };
                self.happens(event);
                self.settle();
            }
            if machine.is_some_and(|at| at <= self.now) {
                if self.machine.wants_played(self.now) {
                    self.machine.played(self.now, self.shared.tally.snapshot().played_samples);
                }
                self.machine.tick(self.now);
                self.carry_out();
            }
        }
    }

    /// Does everything that can be done now.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "the relay spins");
            let mut again = false;
            while let Some(fact) = self.facts.pop_front() {
                self.tell(fact);
                again = true;
            }
            if let Some(leg) = self.leg.as_mut().filter(|_| !self.leg_closing) {
                if leg.is_stalled() {
                    leg.resume(self.now);
                }
                while let Some(message) = leg.next_message() {
                    self.ear.hear(&message);
                    again = true;
                }
            }
            let report = self.worker.pass(self.now);
            again |= report.to_telephony || report.to_gemini;
            self.dsp_at = report.deadline;
            while self.retired.pop().is_ok() {
                self.facts.push_back(Fact::Retired(Part::Dsp));
            }
            if let Some(model) = &mut self.model {
                let facts = &mut self.facts;
                model.take_uplink(&mut self.pool, |fact| facts.push_back(fact));
                again |= model.fill(&mut self.pool);
            }
            again |= self.send();
            let blocks = self.pool.blocks_in_use() as u64;
            let most = self.counts.entry("blocks_max").or_default();
            *most = blocks.max(*most);
            if !again && self.facts.is_empty() {
                return;
            }
        }
    }

    /// Sends what is to be sent on the link.
    fn send(&mut self) -> bool {
        let Some(number) = self.link.as_ref().filter(|link| !link.closing).map(|link| link.number) else {
            return false;
        };
        let mut json = Vec::new();
        let mut sent = false;
        while self.model.as_mut().is_some_and(|model| model.next_message(&mut self.pool, &mut json)) {
            sent = true;
            let text = std::str::from_utf8(&json).expect("ASCII");
            let now_us = self.now.as_micros();
            let says = match text.split_once(r#""data":""#).and_then(|(_, rest)| rest.split_once('"')) {
                Some((audio, _)) => {
                    let mut samples = Vec::new();
                    base64::decode_samples(audio.as_bytes(), |block| samples.extend_from_slice(block))
                        .expect("base64");
                    let mut says = Vec::new();
                    for frame in samples.chunks(320) {
                        let known = switch::frame_of(frame);
                        if let Some((spurt, n)) = known {
                            self.spurts[spurt].heard[n] += 1;
                        }
                        says.extend(self.gemini.hear(&mut self.rng, now_us, known.is_some()));
                    }
                    says
                }
                None if text.contains("audioStreamEnd") || text.contains("activityEnd") => {
                    self.gemini.over(&mut self.rng, now_us)
                }
                None => Vec::new(),
            };
            self.says(number, says);
        }
        sent
    }

    fn says(&mut self, number: LinkNumber, says: Vec<(u64, Say)>) {
        for (us, say) in says {
            self.later(us, Event::Gemini(number, say));
        }
    }

    fn happens(&mut self, event: Event) {
        if !matches!(event, Event::Frame(..) | Event::Gemini(_, Say::Audio(..))) {
            self.note(format_args!("{event:?}"));
        }
        match event {
            Event::Speaks(frames) => {
                if self.outcome.is_none() {
                    let spurt = self.spurts.len();
                    self.spurts.push(Spurt::default());
                    self.frame(spurt, 0, frames);
                    let pause = self.rng.u64(3_000_000..80_000_000);
                    let next = self.rng.usize(10..70);
                    self.later(frames as u64 * 20_000 + pause, Event::Speaks(next));
                }
            }
            Event::Frame(spurt, number, left) => self.frame(spurt, number, left),
            Event::Key => {
                let report = r#"{"type":"tandem","event":"dtmf","digit":"5"}"#;
                if let Some(Received::Reported(report)) =
                    self.leg.as_mut().map(|leg| leg.receive_text(report, self.now))
                {
                    self.facts.push_back(Fact::Reported(report));
                }
            }
            Event::LegLost(loss) => self.leg_lost(loss),
            Event::LegReturns => self.leg_returns(),
            Event::LegClosed => {
                if self.leg.take().is_some() {
                    self.facts.push_back(Fact::LegGone(LegEnd::ByUs));
                }
            }
            Event::Dialled(link, connected) => self.dialled(link, connected),
            Event::Gemini(link, say) => {
                if self.link.as_ref().is_some_and(|own| own.number == link && !own.closing) {
                    self.said(link, &say);
                }
            }
            Event::Strikes(say) => {
                let open = self.link.as_ref().filter(|link| !link.closing).map(|link| link.number);
                if let Some(link) = open {
                    self.strikes(link, say);
                }
            }
            Event::LinkClosed(link) => {
                if self.link.as_ref().is_some_and(|own| own.number == link && own.closing) {
                    self.link = None;
                    self.facts.push_back(Fact::LinkClosed(link));
                }
            }
            Event::ToolDone(number) => {
                if let Some(at) = self.tools.iter().position(|tool| *tool == number) {
                    self.tools.swap_remove(at);
                    self.facts.push_back(Fact::ToolDone(number, Ok(Value::Null)));
                }
            }
            Event::ShutDown => self.facts.push_back(Fact::ShutDown),
        }
    }

    /// The caller says 20 ms of a talkspurt; without a leg nobody hears them.
    fn frame(&mut self, spurt: usize, number: usize, left: usize) {
        let heard = &mut self.spurts[spurt].heard;
        if let Some(leg) = self.leg.as_mut().filter(|_| !self.leg_closing) {
            let said = heard.len();
            heard.push(0);
            leg.receive_audio(switch::frame(spurt, said).into(), self.now);
        }
        if left > 1 {
            self.later(20_000, Event::Frame(spurt, number + 1, left - 1));
        } else {
            self.spurts[spurt].ended_us = Some(self.now.as_micros());
        }
    }

    fn leg_lost(&mut self, loss: LegLoss) {
        if self.leg_closing || self.leg.is_none() {
            // It is away already: the caller hangs up all the same, which the event socket tells.
            if loss == LegLoss::HungUp {
                self.facts.push_back(Fact::HungUp("NORMAL_CLEARING".into()));
            }
            return;
        }
        let (end, back) = match loss {
            LegLoss::Dropped => (LegEnd::Dropped("reset".into()), Some(self.rng.u64(1_000..11_000_000))),
            LegLoss::Goodbye => (LegEnd::Closed(1000), Some(self.rng.u64(1_000..550_000))),
            LegLoss::HungUp => (LegEnd::Closed(1000), None),
        };
        let connection = self.machine.leg_connection();
        match back {
            // It comes back before anybody has noticed that the old connection is dead.
            Some(_) if self.rng.u32(0..5) == 0 => return self.leg_returns(),
            Some(us) => self.later(us, Event::LegReturns),
            None => self.facts.push_back(Fact::HungUp("NORMAL_CLEARING".into())),
        }
        self.count("legs lost");
        self.lost = self.leg.take();
        self.facts.push_back(Fact::LegLost(connection, end));
    }

    /// As accept, control and telephony do it.
    fn leg_returns(&mut self) {
        if !self.machine.takes_leg_back() {
            return;
        }
        let Some(mut leg) = self.lost.take().or(self.leg.take()) else { return };
        leg.reconnected(PROTOCOL, CallFields::default(), self.now);
        self.leg = Some(leg);
        self.count("legs back");
        self.facts.push_back(Fact::LegReturned);
    }

    fn dialled(&mut self, link: LinkNumber, connected: bool) {
        if self.dialling == Some(link) {
            self.dialling = None;
        }
        let Some(model) = self.model.as_mut().filter(|model| model.closed() < link) else {
            self.facts.push_back(Fact::LinkClosed(link));
            return;
        };
        if !connected {
            let end = match self.rng.u32(0..3) {
                0 => Provider::Gemini.end_of_status(503, b"unavailable"),
                _ => LinkEnd::dropped("reset"),
            };
            self.facts.push_back(Fact::LinkGone(link, end));
            return;
        }
        // As long as an older link is open the server would refuse a resumption.
        assert!(self.link.as_ref().is_none_or(|link| link.closing), "two links at one time");
        model.connected(link);
        self.link = Some(Link { number: link, closing: false });
        self.gemini.linked();
        self.facts.push_back(Fact::LinkConnected(link));
        let us = self.rng.u64(20_000..300_000);
        let answer = match self.rng.u32(0..100) {
            0..4 => Some(Say::Close(1011, "Internal error encountered.")),
            4..6 => Some(Say::Close(1008, "The operation was aborted.")),
            6..8 => Some(Say::Drop),
            8 => None,
            _ => Some(Say::SetupComplete),
        };
        self.says(link, answer.map(|say| (us, say)).into_iter().collect());
    }

    /// The server says something on the present link.
    fn said(&mut self, number: LinkNumber, say: &Say) {
        match say {
            Say::SetupComplete => {
                self.gemini.live = true;
                // No link lives for ever, and most say so.
                let life_us = self.rng.u64(150_000_000..900_000_000);
                let warned_ms = self.rng.u64(5_000..60_000);
                let end = self.link_end();
                if self.rng.u32(0..5) > 0 {
                    self.later(life_us - warned_ms * 1000, Event::Gemini(number, Say::GoAway(warned_ms)));
                }
                self.later(life_us, Event::Gemini(number, end));
                self.later(10_000, Event::Gemini(number, Say::Handle));
            }
            Say::GoAway(_) if self.rng.u32(0..3) == 0 => self.gemini.mute = true,
            Say::Close(code, reason) => {
                return self.link_gone(number, Provider::Gemini.end_of_close(Some(*code), reason.as_bytes()));
            }
            Say::Drop => return self.link_gone(number, LinkEnd::dropped("reset")),
            _ => {}
        }
        let Some(message) = self.gemini.message(say) else { return };
        if let Say::Audio(..) = say {
            let heard = self.spurts.iter_mut().filter(|spurt| spurt.ended_us.is_some());
            heard.filter(|spurt| spurt.heard_whole() > 0).for_each(|spurt| spurt.answered = true);
        }
        let Some(model) = &mut self.model else { return };
        let facts = &mut self.facts;
        model.receive(&message, &mut self.pool, |fact| facts.push_back(fact)).expect("a good message");
    }

    /// Something goes wrong on the present link.
    fn strikes(&mut self, number: LinkNumber, say: Say) {
        if let Say::GoAway(ms) = say {
            let end = self.link_end();
            self.later(ms * 1000, Event::Gemini(number, end));
        }
        self.said(number, &say);
    }

    /// The link is over: what was heard on it and not answered is to be heard again.
    fn owe(&mut self) {
        let now_us = self.now.as_micros();
        for (n, spurt) in self.spurts.iter().enumerate().rev().take(8) {
            let recent = spurt.ended_us.is_some_and(|ended| ended + ANSWER_OWED_US > now_us);
            let times = spurt.heard_whole();
            if self.gemini.live && recent && !spurt.answered && (1..TIMES_HEARD_MAX).contains(&times) {
                self.owed.push((n, times, now_us));
            }
        }
    }

    fn link_gone(&mut self, number: LinkNumber, end: LinkEnd) {
        self.count("links lost");
        // Of what the server may blame nothing is sent twice.
        if end.close_code != Some(1007) {
            self.owe();
        }
        self.link = None;
        if let Some(model) = &mut self.model {
            self.facts.extend(model.disconnected(&mut self.pool, end.close_code == Some(1007)));
        }
        self.facts.push_back(Fact::LinkGone(number, end));
    }

    fn tell(&mut self, fact: Fact) {
        if self.outcome.is_none() {
            if !matches!(fact, Fact::TurnStarted(_) | Fact::GenerationComplete(_) | Fact::TurnComplete(_)) {
                self.note(format_args!("fact {fact:?}"));
            }
            self.machine.tell(self.now, fact);
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        while let Some(order) = self.machine.next_order() {
            assert!(self.outcome.is_none(), "{order:?} behind the end");
            self.note(format_args!("order {order:?}"));
            match order {
                Order::Dial(link) => self.dial(link),
                Order::Model(ModelOrder::Prompt(link, _)) => {
                    self.count("prompts");
                    if self.link.as_ref().is_some_and(|own| own.number == link) && self.gemini.live {
                        let says = self.gemini.answer(&mut self.rng, self.now.as_micros());
                        self.says(link, says);
                    }
                }
                Order::Model(ModelOrder::AnswerTool(link, ..)) => {
                    self.count("tools answered");
                    if self.link.as_ref().is_some_and(|own| own.number == link) && self.gemini.live {
                        let says = self.gemini.answer(&mut self.rng, self.now.as_micros());
                        self.says(link, says);
                    }
                }
                Order::Tool(ToolOrder::Run(number, _)) => {
                    self.tools.push(number);
                    let us = self.rng.u64(0..3_000_000);
                    self.later(us, Event::ToolDone(number));
                }
                Order::Tool(ToolOrder::Cancel(number)) => self.tools.retain(|tool| *tool != number),
                Order::Model(ModelOrder::CloseLink(link)) => self.close_link(link),
                Order::Leg(LegOrder::Close(_)) => {
                    if self.lost.take().is_some() {
                        self.facts.push_back(Fact::LegGone(LegEnd::ByUs));
                    } else {
                        assert!(self.leg.is_some() && !self.leg_closing, "the leg is closed twice");
                        self.leg_closing = true;
                        let us = self.rng.u64(0..200_000);
                        self.later(us, Event::LegClosed);
                    }
                }
                Order::Dsp(WorkerOrder::Retire) => self.dsp.send(DspOrder::Call(ID, WorkerOrder::Retire)),
                Order::Model(ModelOrder::Retire) => {
                    if let Some(model) = self.model.take() {
                        model.release(&mut self.pool);
                    }
                    self.facts.push_back(Fact::Retired(Part::Gemini));
                }
                Order::Model(ModelOrder::HoldUplink(held)) => {
                    self.model.iter_mut().for_each(|model| model.hold(held))
                }
                Order::Model(ModelOrder::TakeTurns) => {
                    self.model.iter_mut().for_each(|model| model.take_turns())
                }
                Order::Dsp(WorkerOrder::Listen(terms)) => {
                    self.dsp.send(DspOrder::Call(ID, WorkerOrder::Listen(terms)))
                }
                Order::Model(ModelOrder::Commit(link)) => {
                    self.count("commits");
                    if self.link.as_ref().is_some_and(|own| own.number == link && !own.closing) {
                        let says = self.gemini.over(&mut self.rng, self.now.as_micros());
                        self.says(link, says);
                    }
                }
                Order::Finish(outcome) => self.outcome = Some(outcome),
                order => panic!("{order:?}, and nobody asked for it"),
            }
        }
    }

    fn dial(&mut self, link: LinkNumber) {
        let open = self.link.as_ref().is_some_and(|link| !link.closing);
        assert!(!open && self.dialling.is_none(), "link {link} is dialled beside another one");
        _ = self.machine.setup(&CREDENTIAL);
        self.count("dials");
        self.dialling = Some(link);
        let us = self.rng.u64(10_000..400_000);
        match self.rng.u32(0..100) {
            0..8 => self.later(us, Event::Dialled(link, false)),
            // Heard of after its time is over, connected or not.
            8..10 => {
                let late = self.rng.bool();
                self.later(us + 3_500_000, Event::Dialled(link, late));
            }
            _ => self.later(us, Event::Dialled(link, true)),
        }
    }

    fn close_link(&mut self, number: LinkNumber) {
        if let Some(model) = &mut self.model {
            self.facts.extend(model.close(number, &mut self.pool));
        }
        if self.dialling == Some(number) {
            self.dialling = None;
        }
        if let Some(link) = self.link.as_mut().filter(|link| link.number == number && !link.closing) {
            link.closing = true;
            self.owe();
            let us = match self.rng.u32(0..20) {
                // A server that does not answer a close.
                0 => CLOSE_TIMEOUT_MS * 1000,
                _ => self.rng.u64(1_000..60_000),
            };
            self.later(us, Event::LinkClosed(number));
        }
    }

    /// Nothing is left, and nobody was deceived.
    fn finish(mut self) -> Report {
        let Some(outcome) = self.outcome.take() else { panic!("no outcome") };
        self.note(format_args!("ended: {outcome}"));
        assert_eq!(self.machine.phase(), Phase::Ended);
        assert!(self.leg.is_none() && self.lost.is_none(), "a leg is left");
        assert_eq!(self.worker.calls(), 0, "the dsp worker has the call");
        assert_eq!(self.pool.blocks_in_use(), 0, "blocks of speech are left");
        assert!(self.tools.is_empty(), "tools are being carried out for nobody");
        assert_eq!(Arc::strong_count(&self.shared), 1, "somebody owns a part of the call");
        let events = self.machine.events();
        assert!(
            events.gap_ms_max <= GIVE_UP.as_millis() as u64 + 20_000,
            "a gap of {} ms",
            events.gap_ms_max
        );
        let tally = self.shared.tally.snapshot();
        for (answer, heard_ms) in self.ear.heard_ms.iter().enumerate() {
            let said_ms = self.gemini.said_ms[answer];
            assert!(*heard_ms <= said_ms, "answer {answer}: {heard_ms} ms are heard of {said_ms} ms");
        }
        let given_up = tally.uplink_frames_dropped + tally.caller_messages_dropped;
        let over_us = self.now.as_micros();
        let mut missing = 0;
        for spurt in &self.spurts {
            let settled = spurt.ended_us.is_some_and(|ended| ended + SETTLED_US < over_us);
            if settled {
                missing += spurt.heard.iter().filter(|times| **times == 0).count() as u64;
            }
        }
        let unheard = self.owed.iter().filter(|(spurt, times, lost_us)| {
            lost_us + SETTLED_US < over_us && self.spurts[*spurt].heard_behind_onset() <= *times
        });
        let unheard: Vec<_> = unheard.collect();
        assert!(unheard.is_empty() || given_up > 0, "talkspurts that no link heard again: {unheard:?}");
        assert!(
            missing <= given_up,
            "{missing} frames of the caller never reached the model, {given_up} are known of"
        );
        for (name, n) in [
            ("frames said", self.spurts.iter().map(|spurt| spurt.heard.len() as u64).sum()),
            ("frames replayed", tally.replayed_frames),
            ("frames missing", missing),
            ("talkspurts", self.spurts.len() as u64),
            ("owed again", self.owed.len() as u64),
            ("answers", self.gemini.answers as u64),
            ("answers ms", self.gemini.said_ms.iter().sum()),
            ("answers heard ms", self.ear.heard_ms.iter().sum()),
            ("resumptions", events.resumptions),
            ("fresh sessions", events.fresh_sessions),
            ("gap_ms_max", events.gap_ms_max),
            ("detached ms", events.detached_ms),
            ("minutes", self.now.since_ms(self.start) / 60_000),
        ] {
            *self.counts.entry(name).or_default() += n;
        }
        Report { outcome: outcome.label(), counts: self.counts }
    }
}
