//! One relay with one call: the clock, what will happen, and the loops of its threads, all of which run at once.
//!
//! Runs in: the simulation. Owns the real parts and both peers.
//! Invariant: time never goes back, and after each event everything that can be done is done before the next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tandem::agents::Agents;
use tandem::base::parameters::Parameters;
use tandem::base::{CallId, Instant, LinkNumber, Mix, PlaybackFormat, SampleRate, Sound};
use tandem::call::CallDetail;
use tandem::call::agent::{Agent, CallTerms};
use tandem::call::leg::CallFields;
use tandem::call::leg::LegKind;
use tandem::call::tool::{HttpTool, Method, ToolNumber, ToolTerms};
use tandem::sync::CallShared;
use tandem::threads::gemini::speech::SpeechPool;
use tandem::threads::messages::{ControlInput, Drain, OnChannel};
use tandem::threads::telephony::defaults::{LegDefaults, Pacing};

use super::Report;
use super::ear::Ear;
use super::gemini::{Gemini, Say};
use super::links::Links;
use super::outside::Outside;
use super::switch::{Spurt, Switch};
use crate::relay::{Bells, Ends};

pub(super) const LEG: LegKind = LegKind::ModAudioStream;
pub(super) const UUID: &str = "u-1";
/// How many credentials there are.
pub(super) const CREDENTIALS: usize = 3;
const TOOL_SCHEMA: &str = r#"{"type": "object", "properties": {"number": {"type": "integer"}}}"#;
/// How long a tool of another server may take.
pub(super) const TOOL_WITHIN: Duration = Duration::from_secs(3);
/// As in `threads::gemini`.
const REFILL_MS: u64 = 40;
const STREAM_END_MS: u64 = 2_000;
pub(super) const GIVE_UP: Duration = Duration::from_secs(20);
/// What may be kept in all: 60 s of the caller waiting, 60 s unanswered, 120 s of the model, in blocks.
const POOL_BYTES: usize = 64 << 20;
/// So long behind a call's end everything has happened that still comes of it: the slowest disk, tool and close.
const AFTERMATH_MS: u64 = 20_000;
const ROUNDS_MAX: u32 = 10_000;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The caller begins a talkspurt of so many frames.
    Speaks(usize),
    /// A frame of a talkspurt, and how many follow.
    Frame(usize, usize, usize),
    /// The caller presses a key.
    Key,
    LegLost(LegLoss),
    LegReturns,
    LegClosed,
    /// The attempt to connect this link with this credential is over, and it is connected.
    Dialled(LinkNumber, usize, bool),
    Gemini(LinkNumber, Say),
    /// Any link that is there then ends so.
    Strikes(Say),
    LinkClosed(LinkNumber),
    /// What Gemini says of this credential from now on, or nothing any more.
    Refuses(usize, Option<Say>),
    /// A tool thread takes this tool up, or is done with it.
    ToolAsked(ToolNumber),
    ToolDone(ToolNumber),
    /// The disk has closed this call's recording.
    Recorded(CallId),
    /// Somebody asks something of the call.
    Asked(Asked),
    /// Whoever listens in has heard enough.
    ListenerLeaves,
    ShutDown,
}

/// What somebody asks of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asked {
    Pause(bool),
    Say,
    Listen,
    Look,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LegLoss {
    Dropped,
    Goodbye,
    HungUp,
}

/// See the head of this file.
pub(super) struct World {
    pub now: Instant,
    pub start: Instant,
    pub rng: Rng,
    trace: bool,
    pub shared: Arc<CallShared>,
    pub ends: Ends,
    control_at: Option<Instant>,
    dsp_at: Option<Instant>,
    pub switch: Switch,
    pub links: Links,
    pub pool: SpeechPool,
    pub gemini: Gemini,
    pub outside: Outside,
    pub ear: Ear,
    pub spurts: Vec<Spurt>,
    /// Talkspurts whose link was lost before they were answered: which, how often they had been heard, and when.
    pub owed: Vec<(usize, u32, u64)>,
    events: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    event_count: u64,
    pub records: Vec<CallDetail>,
    is_running: bool,
    /// When the call ended, or would if it did now.
    pub ended_at: Instant,
    over_at: Option<Instant>,
    pub detached_ms: u64,
    pub counts: BTreeMap<&'static str, u64>,
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
        let agents = Agents::from_iter([agent(&mut rng, seconds)]);
        let mut ends = Ends::new(seed, Bells::new(), agents, CREDENTIALS, 1);
        let (uuid, rate) = (Some(UUID.to_owned()), Some(SampleRate::Hz16000));
        let fields = CallFields { uuid, rate, ..CallFields::default() };
        let shared = ends.offer(now, LEG, fields.clone(), defaults, STREAM_END_MS);
        let recorder = ends.recorder.take().expect("its mailbox");
        let outside = Outside::new(&ends, recorder);
        let mut world = Self {
            now,
            start: now,
            rng,
            trace,
            shared,
            ends,
            control_at: Some(now),
            dsp_at: Some(now),
            switch: Switch::new(defaults, fields),
            links: Links::default(),
            pool: SpeechPool::new(POOL_BYTES),
            gemini: Gemini::default(),
            outside,
            ear: Ear::default(),
            spurts: Vec::new(),
            owed: Vec::new(),
            events: BinaryHeap::new(),
            event_count: 0,
            records: Vec::new(),
            is_running: true,
            ended_at: now,
            over_at: None,
            detached_ms: 0,
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
        for _ in 0..self.rng.u32(0..18) {
            let at = self.rng.u64(0..call_us);
            match self.rng.u32(0..16) {
                0..4 => {
                    let end = self.link_end();
                    self.later(at, Event::Strikes(end));
                }
                4..6 => {
                    let left_ms = self.rng.u64(500..50_000);
                    self.later(at, Event::Strikes(Say::GoAway(left_ms)));
                }
                6..8 => self.later(at, Event::LegLost(LegLoss::Dropped)),
                8 => self.later(at, Event::LegLost(LegLoss::Goodbye)),
                9 => self.later(at, Event::Key),
                10..13 => self.credential_fails(at, call_us),
                _ => {
                    let asked = [Asked::Pause(true), Asked::Say, Asked::Listen, Asked::Look];
                    let asked = asked[self.rng.usize(0..asked.len())];
                    self.later(at, Event::Asked(asked));
                    if asked == Asked::Pause(true) {
                        let us = self.rng.u64(0..60_000_000);
                        self.later(at + us, Event::Asked(Asked::Pause(false)));
                    }
                }
            }
        }
        let end = match self.rng.u32(0..10) {
            0 => Event::ShutDown,
            _ => Event::LegLost(LegLoss::HungUp),
        };
        self.later(call_us, end);
    }

    /// A credential is refused for a while, or for good; now and then all of them.
    fn credential_fails(&mut self, at: u64, call_us: u64) {
        let refusal = match self.rng.u32(0..4) {
            0 => Say::Close(1007, "API key not valid. Please pass a valid API key."),
            1 => Say::Close(1008, "Permission denied on the resource."),
            _ => Say::Close(1011, "You exceeded your current quota, please check your plan."),
        };
        let lasts_us = self.rng.u64(1_000_000..call_us / 2);
        let first = self.rng.usize(0..CREDENTIALS);
        let all = self.rng.u32(0..6) == 0;
        for number in (0..CREDENTIALS).filter(|number| all || *number == first) {
            self.later(at, Event::Refuses(number, Some(refusal.clone())));
            self.later(at + lasts_us, Event::Refuses(number, None));
        }
        if self.rng.bool() {
            // Running sessions end for it, too.
            self.later(at + 1, Event::Strikes(refusal));
        }
    }

    pub(super) fn link_end(&mut self) -> Say {
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

    pub(super) fn later(&mut self, us: u64, event: Event) {
        self.event_count += 1;
        self.events.push(Reverse((self.now.plus_us(us), self.event_count, event)));
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn note(&self, what: std::fmt::Arguments<'_>) {
        if self.trace {
            println!("{:12.3} s  {what}", self.now.since_us(self.start) as f64 / 1e6);
        }
    }

    /// Which call it is.
    pub(super) fn id(&self) -> CallId {
        self.shared.id()
    }

    /// Runs the call to its end, and checks what it leaves.
    pub(super) fn run(mut self) -> Report {
        loop {
            self.settle();
            if self.over_at.is_some_and(|at| self.now >= at) {
                return self.finish();
            }
            let event = self.events.peek().map(|Reverse((at, ..))| *at);
            let refill = self.links.has_backlog().then(|| self.now.plus_ms(REFILL_MS));
            let own = [event, self.dsp_at, refill, self.control_at, self.outside.recorder_at, self.over_at];
            let Some(next) = own.into_iter().flatten().min() else { panic!("a call that waits for nothing") };
            self.now = self.now.max(next);
            self.count("steps");
            while self.events.peek().is_some_and(|Reverse((at, ..))| *at <= self.now) {
                let Some(Reverse((_, _, event))) = self.events.pop() else { break };
                self.happens(event);
                self.settle();
            }
        }
    }

    /// Does everything that can be done now.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "the relay spins");
            let mut again = self.step_control();
            again |= self.serve_leg();
            let report = self.ends.worker.pass_over_all(self.now);
            again |= report.to_telephony || report.to_gemini || report.to_control;
            if report.to_control {
                self.ends.bells.control.ring();
            }
            self.dsp_at = report.deadline;
            again |= self.serve_links();
            again |= self.serve_outside();
            let blocks = self.pool.blocks_in_use() as u64;
            let most = self.counts.entry("blocks_max").or_default();
            *most = blocks.max(*most);
            if !again && !self.ends.bells.control.is_rung() {
                return;
            }
        }
    }

    /// Steps control where it was rung for, or something is due. Returns whether it was.
    fn step_control(&mut self) -> bool {
        let due = self.control_at.is_some_and(|at| at <= self.now);
        if !due && !self.ends.bells.control.is_rung() {
            return false;
        }
        self.count("steps of control");
        self.control_at = self.ends.step(self.now);
        // What a call knows of itself is gone with it.
        let machine = self.ends.machines().next().map(|machine| machine.events().detached_ms);
        match machine {
            Some(detached_ms) => (self.detached_ms, self.ended_at) = (detached_ms, self.now),
            None if self.is_running => (self.is_running, self.ended_at) = (false, self.now),
            None => {}
        }
        while let Ok(record) = self.ends.records.try_recv() {
            self.note(format_args!("record: {}, {}", record.record.outcome, record.record.reason));
            self.records.push(*record);
            self.over_at = Some(self.now.plus_ms(AFTERMATH_MS));
        }
        true
    }

    fn happens(&mut self, event: Event) {
        if !matches!(event, Event::Frame(..) | Event::Gemini(_, Say::Audio(..))) {
            self.note(format_args!("{event:?}"));
        }
        match event {
            Event::Speaks(frames) => {
                if self.over_at.is_none() {
                    let spurt = self.spurts.len();
                    self.spurts.push(Spurt::default());
                    self.frame(spurt, 0, frames);
                    let pause = self.rng.u64(3_000_000..80_000_000);
                    let next = self.rng.usize(10..70);
                    self.later(frames as u64 * 20_000 + pause, Event::Speaks(next));
                }
            }
            Event::Frame(spurt, number, left) => self.frame(spurt, number, left),
            Event::Key => self.key(),
            Event::LegLost(loss) => self.leg_lost(loss),
            Event::LegReturns => self.leg_returns(),
            Event::LegClosed => self.leg_closed(),
            Event::Dialled(link, credential, connected) => self.dialled(link, credential, connected),
            Event::Gemini(link, say) => {
                if self.links.is_open(link) {
                    self.said(link, &say);
                }
            }
            Event::Strikes(say) => self.strikes(say),
            Event::LinkClosed(link) => self.link_closed(link),
            Event::Refuses(credential, say) => self.links.refusals[credential] = say,
            Event::ToolAsked(number) => self.tool_asked(number),
            Event::ToolDone(number) => self.tool_done(number),
            Event::Recorded(id) => self.recording_closed(id),
            Event::Asked(asked) => self.asked(asked),
            Event::ListenerLeaves => self.outside.listeners.clear(),
            Event::ShutDown => {
                self.ends.inbox.send(ControlInput::Drain(Some(Drain { by: self.now, moves: false })))
            }
        }
    }

    /// The event socket tells that the caller has hung up.
    pub(super) fn hung_up(&mut self) {
        let said = OnChannel::HungUp("NORMAL_CLEARING".into());
        self.ends.inbox.send(ControlInput::OnChannel(UUID.to_owned(), said));
    }
}

/// Who answers.
fn agent(rng: &mut Rng, seconds: u64) -> Agent {
    let sound = |level, samples| Arc::new(Sound { rate: SampleRate::Hz8000, samples: vec![level; samples] });
    let max_call = if rng.bool() { seconds } else { 2 * seconds };
    let record = rng.u32(0..3) == 0;
    let tool = HttpTool {
        name: "look_up".into(),
        description: String::new(),
        url: "https://tools/".into(),
        method: Method::Get,
        parameters: Parameters::read(TOOL_SCHEMA).expect("a schema"),
        timeout: TOOL_WITHIN,
        retries: 0,
        secret: None,
        behavior: None,
        scheduling: None,
        hold_uplink: rng.bool(),
    };
    CallTerms {
        give_up: GIVE_UP,
        max_call: Duration::from_secs(max_call),
        greeting: rng.bool().then(|| "Greet the caller.".to_owned()),
        record,
        // Too quiet for the ear, which takes it for no answer.
        consent_sound: (record && rng.bool()).then(|| sound(300, 8_000)),
        tools: ToolTerms { call_info: true, http: vec![Arc::new(tool)], ..ToolTerms::default() },
        ..CallTerms::default()
    }
    .into()
}
