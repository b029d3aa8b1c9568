//! The world of a simulation: the clock, what will happen, and which thread of the relay runs next.
//!
//! Runs in: the simulations. Owns the parts of one relay and all its calls.
//! Invariant: time never goes back; a thread runs when its bell was rung, when its time-out is over, and never at a time
//! that it did not ask for.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use fastrand::Rng;
use tandem::agents::Agents;
use tandem::base::{CallId, Instant};
use tandem::call::{Agent, Fact};
use tandem::sync::Doorbell;
use tandem::threads::gemini::speech::SpeechPool;

use super::call::Call;
use super::plan::Plan;
use super::report::Report;
use super::scenario::Scenario;
use crate::relay::{Bells, Ends};

/// How long a thread with nothing to do waits.
const IDLE_US: u64 = 1_000_000;
/// A call that is still there after this has lost its way: a minute's answer and every time-out are far shorter.
const WORLD_MS_MAX: u64 = 300_000;
/// The worker may run so often at one moment before it counts as spinning.
const PASSES_AT_ONCE_MAX: u32 = 1_000;
const SPEECH_BYTES: usize = 64 << 20;

/// A thread of the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Telephony,
    Dsp,
    Gemini,
    Control,
}

impl Part {
    const ALL: [Self; 4] = [Self::Telephony, Self::Dsp, Self::Gemini, Self::Control];
}

/// Something that happens to a call from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// The switch connects.
    Begins,
    /// Item so-and-so of the switch's script arrives.
    FromSwitch(usize),
    /// The switch takes nothing, or again something.
    Stalls(bool),
    /// The switch agrees to our close.
    SwitchAgrees,
    /// The attempt to connect a link is over.
    Dialled(u32),
    /// Item so-and-so of Gemini's script arrives.
    FromGemini(usize),
    /// The relay's time for running calls is over.
    ShutDown,
}

/// One thread's place in time.
struct Place {
    bell: Doorbell,
    runs_at: Instant,
    /// The bell was rung and the thread is on its way.
    woken: bool,
}

/// See the head of this file.
pub(super) struct World {
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) thread_delay_us_max: u64,
    pub(super) calls: Vec<Call>,
    pub(super) ends: Ends,
    pub(super) pool: SpeechPool,
    /// What was sent to control and not taken yet.
    pub(super) told: VecDeque<(CallId, Fact)>,
    /// Links that the dial pool has connected and the gemini thread has not yet seen.
    pub(super) connected: VecDeque<(CallId, u32)>,
    places: [Place; 4],
    events: BinaryHeap<Reverse<(Instant, u64, usize, Event)>>,
    event_count: u64,
    passes_at_once: u32,
    passed_at: Instant,
    trace: bool,
}

impl World {
    /// A relay with these calls, all of whose chances come from the seed.
    pub(super) fn new(seed: u64, trace: bool, scenarios: &[Scenario]) -> Self {
        let now = Instant::from_micros(1_000_000);
        let place = || Place {
            bell: Doorbell::for_parked(std::thread::current()),
            runs_at: now.plus_us(IDLE_US),
            woken: false,
        };
        let places = [place(), place(), place(), place()];
        let bell = |part: Part| places[part as usize].bell.clone();
        let bells = Bells {
            control: bell(Part::Control),
            telephony: bell(Part::Telephony),
            dsp: bell(Part::Dsp),
            gemini: bell(Part::Gemini),
            ..Bells::new()
        };
        let delay_us_max = scenarios.iter().map(|scenario| scenario.thread_delay_us_max).max().unwrap_or(0);
        let mut rng = Rng::with_seed(seed);
        let thread_delay_us_max = delay_us_max * rng.u64(0..4) / 3;
        let calls: Vec<Call> = (scenarios.iter().enumerate())
            .map(|(number, scenario)| Call::new(number, Plan::draw(seed, number, scenario)))
            .collect();
        let agents = calls.iter().enumerate().map(|(number, call)| {
            let agent = Agent::from(call.plan.terms.clone());
            Agent { name: number.to_string(), ..agent }
        });
        let ends = Ends::new(seed, bells, Agents::from_iter(agents), 1, calls.len());
        let mut world = Self {
            now,
            rng,
            thread_delay_us_max,
            calls,
            ends,
            pool: SpeechPool::new(SPEECH_BYTES),
            told: VecDeque::new(),
            connected: VecDeque::new(),
            places,
            events: BinaryHeap::new(),
            event_count: 0,
            passes_at_once: 0,
            passed_at: now,
            trace,
        };
        for number in 0..world.calls.len() {
            let begins = world.calls[number].plan.begins;
            world.expect(begins, number, Event::Begins);
        }
        world
    }

    /// Runs until every call has ended, and checks that nothing is left of them.
    pub(super) fn run(mut self) -> Vec<Report> {
        let end = self.now.plus_ms(WORLD_MS_MAX);
        while self.calls.iter().any(|call| !call.is_over()) {
            let next_event = self.events.peek().map(|Reverse((at, ..))| *at);
            let (part, part_at) = self.next_part();
            // At the same moment the seed decides; without delays the outside comes first, so that a run can be
            // compared with another.
            let event_first = next_event.is_some_and(|at| {
                at < part_at || at == part_at && (self.thread_delay_us_max == 0 || self.rng.bool())
            });
            if event_first && let Some(Reverse((at, _, call, event))) = self.events.pop() {
                self.now = at;
                self.happens(call, event);
            } else {
                self.now = self.now.max(part_at);
                self.step(part);
            }
            self.answer_bells();
            if self.now >= end {
                let phases: Vec<_> = self.calls.iter().map(Call::describe).collect();
                panic!("calls that do not end: {phases:?}");
            }
        }
        // What was ordered last is still to be carried out, and what was under way still arrives somewhere.
        while self.now < end && self.links_are_open() {
            let (part, part_at) = self.next_part();
            self.now = self.now.max(part_at);
            self.step(part);
            self.answer_bells();
        }
        self.ends.assert_empty(self.now);
        assert_eq!(self.pool.blocks_in_use(), 0, "blocks of speech left");
        self.calls.into_iter().map(Call::finish).collect()
    }

    /// The call with this id.
    pub(super) fn call(&mut self, id: CallId) -> Option<&mut Call> {
        self.calls.iter_mut().find(|call| call.id == id)
    }

    /// Its number.
    pub(super) fn number(&self, id: CallId) -> usize {
        self.calls.iter().position(|call| call.id == id).expect("a call of this world")
    }

    /// Lets something happen later.
    pub(super) fn expect(&mut self, at: Instant, call: usize, event: Event) {
        self.event_count += 1;
        self.events.push(Reverse((at.max(self.now), self.event_count, call, event)));
    }

    /// Wakes a thread as its producers do.
    pub(super) fn ring(&self, part: Part) {
        self.places[part as usize].bell.ring();
    }

    /// How many pieces of work a thread does before another may run.
    pub(super) fn share(&mut self) -> u32 {
        if self.thread_delay_us_max == 0 || self.rng.bool() { u32::MAX } else { self.rng.u32(1..6) }
    }

    /// How late the relay's threads may be together, in microseconds.
    pub(super) fn tolerance_us(&self) -> u64 {
        self.thread_delay_us_max * 4 + 1_000
    }

    pub(super) fn note(&self, call: usize, what: std::fmt::Arguments<'_>) {
        if self.trace {
            println!("{:10.3} ms  call {call}: {what}", self.now.as_micros() as f64 / 1000.0 - 1000.0);
        }
    }

    fn delay_us(&mut self) -> u64 {
        self.rng.u64(0..=self.thread_delay_us_max)
    }

    fn next_part(&mut self) -> (Part, Instant) {
        let earliest = self.places.iter().map(|place| place.runs_at).min().unwrap_or_default();
        let ready = |part: &Part| self.places[*part as usize].runs_at == earliest;
        let ready: Vec<Part> = Part::ALL.into_iter().filter(ready).collect();
        let chosen = if self.thread_delay_us_max == 0 { 0 } else { self.rng.usize(0..ready.len()) };
        (ready[chosen], earliest)
    }

    fn step(&mut self, part: Part) {
        let place = &mut self.places[part as usize];
        let rung = place.bell.answer();
        place.woken = false;
        let again = match part {
            Part::Telephony => self.telephony_step(),
            Part::Dsp => self.dsp_step(rung),
            Part::Gemini => self.gemini_step(),
            Part::Control => self.control_step(),
        };
        let late_us = self.delay_us();
        let runs_at = again.unwrap_or(self.now.plus_us(IDLE_US)).plus_us(late_us);
        self.places[part as usize].runs_at = runs_at;
    }

    fn answer_bells(&mut self) {
        for part in Part::ALL {
            let place = &self.places[part as usize];
            if place.bell.is_rung() && !place.woken {
                let at = self.now.plus_us(self.delay_us());
                let place = &mut self.places[part as usize];
                place.woken = true;
                place.runs_at = place.runs_at.min(at);
            }
        }
    }

    /// One pass of the worker, and what it did for each call.
    fn dsp_step(&mut self, rung: bool) -> Option<Instant> {
        self.passes_at_once = if self.passed_at == self.now { self.passes_at_once + 1 } else { 0 };
        self.passed_at = self.now;
        assert!(self.passes_at_once < PASSES_AT_ONCE_MAX, "the dsp worker spins");
        let now = self.now;
        // Whoever rings means one of the calls; whichever it is, the others bear being looked at.
        let worker = &mut self.ends.worker;
        let report = if rung { worker.pass_over_all(now) } else { worker.pass(now) };
        for call in &mut self.calls {
            call.worker_passed(now);
        }
        for (wakes, part) in [
            (report.to_telephony, Part::Telephony),
            (report.to_gemini, Part::Gemini),
            (report.to_control, Part::Control),
        ] {
            if wakes {
                self.ring(part);
            }
        }
        if let Some(deadline) = report.deadline {
            assert!(deadline > now, "a deadline that is over makes the worker spin");
        }
        report.deadline
    }
}
