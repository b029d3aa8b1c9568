//! The dsp worker: runs the uplink and the playout of its calls. The only pacer.
//!
//! Runs in: N dsp threads, each with its own calls. Owns their resamplers and the middle ends of their rings.
//! Never allocates, frees, locks, logs, formats, or makes a system call but park, wake and sleep; reads the clock once
//! a pass.
//! Invariant: a call's memory comes and goes in the box in which control sent it; and a pass costs what is due, whatever
//! other calls there are.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use crate::base::units::PTIME_MS;
use crate::base::{CallId, FrameSink, Instant, Turn};
use crate::call::WorkerOrder;
use crate::dsp::playout::{Pass, PlayoutReport};
use crate::dsp::talkspurt::Heard;
use crate::dsp::uplink::UplinkReport;
use crate::dsp::{Answers, ListenTerms, LocalBargeIn, Playout, Spurts, Tap, Uplink};
use crate::sync::rings::{DspRings, TapProducer};
use crate::sync::shared::{add, raise};
use crate::sync::{CallShared, Clock, Doorbell, DueSet, Mailbox};
use crate::telemetry::Counters;
use crate::threads::company::Company;
use crate::threads::deadlines::Deadlines;
use crate::threads::slots::{OfCall, Slots};

/// One call's share of a dsp worker.
pub struct DspCall {
    /// Which call.
    pub id: CallId,
    rings: DspRings,
    shared: Arc<CallShared>,
    uplink: Uplink,
    spurts: Spurts,
    playout: Playout,
    local_barge_in: LocalBargeIn,
    answers: Answers,
    /// How long after it a talkspurt's end is known, in milliseconds.
    hangover_ms: u64,
    paused: bool,
    /// Where its audio goes beside its way, while somebody wants it.
    tap: Option<Box<Tap<TapProducer>>>,
    tapped: bool,
    /// Until when there is nothing to do but for what arrives.
    idle_until: IdleUntil,
}

/// When the two directions of a call have to be looked at even if nothing arrives.
struct IdleUntil {
    uplink: Instant,
    playout: Instant,
    turn: Turn,
}

const NEVER: Instant = Instant::from_micros(u64::MAX);

/// What control and accept tell a worker.
pub enum DspOrder {
    /// Serve this call.
    Add(Box<DspCall>),
    /// Do what this call's machine orders.
    Call(CallId, WorkerOrder),
    /// Tell this tap, too, what this call's two sides say. It goes with the call.
    Tap(CallId, Box<Tap<TapProducer>>),
    /// Tell this call's tap nothing (false), or go on with it.
    SetTapped(CallId, bool),
    /// End the thread.
    Stop,
}

/// What a pass did, to know whom to wake and when to come back.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PassReport {
    /// Something was put into a ring towards telephony.
    pub to_telephony: bool,
    /// Something was put into a ring towards gemini.
    pub to_gemini: bool,
    /// A removed call waits to be handed back.
    pub to_control: bool,
    /// When to come back even if nobody rings.
    pub deadline: Option<Instant>,
    /// The thread is to end.
    pub stop: bool,
}

/// See the head of this file.
pub struct Worker {
    inbox: Mailbox<DspOrder>,
    calls: Slots<DspCall>,
    retired: rtrb::Producer<Box<DspCall>>,
    counters: Arc<Counters>,
    /// Slots of calls to which something happened: marked by the neighbours, and by the worker itself.
    due: Arc<DueSet>,
    deadlines: Deadlines,
    /// Slots of calls for which something was put into a ring towards telephony.
    telephony_due: Arc<DueSet>,
    /// The same towards gemini.
    gemini_due: Arc<DueSet>,
}

impl Worker {
    /// A worker for at most `max_calls` calls, which takes orders from `inbox` and hands removed calls back through
    /// `retired`, a ring with room for all of them.
    pub fn new(
        inbox: Mailbox<DspOrder>,
        retired: rtrb::Producer<Box<DspCall>>,
        max_calls: usize,
        counters: Arc<Counters>,
    ) -> Self {
        let nobody = Arc::new(DueSet::new(0));
        Self {
            inbox,
            calls: Slots::new(max_calls),
            retired,
            counters,
            due: Arc::new(DueSet::new(max_calls)),
            deadlines: Deadlines::new(max_calls),
            telephony_due: Arc::clone(&nobody),
            gemini_due: nobody,
        }
    }

    /// The same for a worker beside threads that look at the calls which are marked here.
    pub fn beside(mut self, telephony_due: Arc<DueSet>, gemini_due: Arc<DueSet>) -> Self {
        (self.telephony_due, self.gemini_due) = (telephony_due, gemini_due);
        self
    }

    /// Where whoever puts something into a ring towards the worker, or changes a turn, marks the call's slot.
    pub fn due(&self) -> Arc<DueSet> {
        Arc::clone(&self.due)
    }

    /// Calls being served.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Serves each call once to which something happened or whose deadline is over.
    pub fn pass(&mut self, now: Instant) -> PassReport {
        let mut report = PassReport::default();
        while let Some(order) = self.inbox.take() {
            self.carry_out(order, &mut report);
        }
        while let Some(slot) = self.deadlines.take_due(now) {
            self.due.mark(slot);
        }
        for piece in 0..self.due.pieces() {
            for slot in self.due.take(piece) {
                self.serve(slot, now, &mut report);
            }
        }
        report.deadline = self.deadlines.first();
        report
    }

    /// A pass over every call, for whoever plays the neighbours and marks nothing.
    pub fn pass_over_all(&mut self, now: Instant) -> PassReport {
        self.calls.slots().for_each(|slot| self.due.mark(slot));
        self.pass(now)
    }

    fn carry_out(&mut self, order: DspOrder, report: &mut PassReport) {
        match order {
            DspOrder::Add(call) => {
                self.due.mark(call.id.slot as usize);
                self.calls.put(call);
            }
            DspOrder::Call(id, WorkerOrder::Listen(terms)) => {
                if let Some(call) = self.calls.get_mut(id) {
                    call.spurts.set(terms);
                    call.hangover_ms = terms.hangover_ms.into();
                    call.local_barge_in.enable(terms.local_barge_in);
                    self.due.mark(id.slot as usize);
                }
            }
            DspOrder::Tap(id, tap) => {
                // A call that is gone has gone back to control, which sent this before; so there is one.
                let call = self.calls.get_mut(id);
                debug_assert!(call.as_ref().is_some_and(|call| call.tap.is_none()), "one tap a call");
                if let Some(call) = call {
                    (call.tap, call.tapped) = (Some(tap), true);
                }
            }
            DspOrder::SetTapped(id, tapped) => {
                if let Some(call) = self.calls.get_mut(id) {
                    call.tapped = tapped;
                }
            }
            DspOrder::Call(id, WorkerOrder::Retire) => {
                if let Some(call) = self.calls.take(id) {
                    self.deadlines.set(id.slot as usize, None);
                    let pushed = self.retired.push(call);
                    debug_assert!(pushed.is_ok(), "the ring has room for every call");
                    report.to_control = true;
                }
            }
            DspOrder::Stop => report.stop = true,
        }
    }

    fn serve(&mut self, slot: usize, now: Instant, report: &mut PassReport) {
        let Some(call) = self.calls.at(slot) else { return };
        let did = call.pass(now, &self.counters);
        if did.to_telephony {
            self.telephony_due.mark(slot);
            report.to_telephony = true;
        }
        if did.to_gemini {
            self.gemini_due.mark(slot);
            report.to_gemini = true;
        }
        if did.look_again {
            self.due.mark(slot);
        }
        self.deadlines.set(slot, did.deadline);
    }
}

impl OfCall for DspCall {
    fn id(&self) -> CallId {
        self.id
    }
}

/// What was done for one call.
#[derive(Debug, Default)]
struct Did {
    /// Something was put into its ring towards telephony.
    to_telephony: bool,
    /// The same towards gemini.
    to_gemini: bool,
    /// To be looked at in the next pass, whatever leads to that.
    look_again: bool,
    /// When to look again even if nothing happens.
    deadline: Option<Instant>,
}

impl DspCall {
    /// A worker's share of a call that begins now, whose uplink's stream is ended after `end_after_ms` of filled silence
    /// (0: never).
    pub fn new(now: Instant, rings: DspRings, shared: Arc<CallShared>, end_after_ms: u64) -> Self {
        let (id, rate) = (shared.id(), shared.format().rate);
        let uplink = Uplink::new(now, rate, end_after_ms);
        let playout = Playout::new(now, shared.turn(), rate);
        let idle_until = IdleUntil { uplink: Instant::default(), playout: Instant::default(), turn: 0 };
        let terms = ListenTerms::default();
        let (spurts, hangover_ms) = (Spurts::new(terms), terms.hangover_ms.into());
        let local_barge_in = LocalBargeIn::default();
        Self {
            id,
            rings,
            shared,
            uplink,
            spurts,
            playout,
            local_barge_in,
            answers: Answers::default(),
            hangover_ms,
            paused: false,
            tap: None,
            tapped: false,
            idle_until,
        }
    }

    /// Serves the call.
    fn pass(&mut self, now: Instant, counters: &Counters) -> Did {
        let mut did = Did::default();
        if now >= self.idle_until.uplink || !self.rings.caller_in.is_empty() {
            let mut marked = self.spurts.before(&mut self.rings.model_out);
            let tap = &mut self.tap.as_deref_mut().filter(|_| self.tapped);
            let uplink = self.uplink.pass(now, &mut self.rings.caller_in, &mut marked, tap);
            self.idle_until.uplink = uplink.deadline.unwrap_or(NEVER);
            if self.spurts.has_backlog() {
                // Nobody rings when room appears.
                self.idle_until.uplink = self.idle_until.uplink.min(now.plus_ms(PTIME_MS.into()));
            }
            did.to_gemini = self.spurts.has_released();
            self.count_uplink(&uplink);
            self.listen(now, counters);
        }
        let turn = self.shared.turn();
        let paused = self.local_barge_in.is_paused(now, turn);
        let pause_changes = paused != self.paused;
        if pause_changes {
            self.paused = paused;
            self.playout.pause(paused);
        }
        // What waits in `caller_out` tells playout whether the switch is stalled.
        let untouched = self.rings.model_in.is_empty() && self.rings.caller_out.waiting() == 0;
        if now >= self.idle_until.playout || turn != self.idle_until.turn || !untouched || pause_changes {
            let format = self.shared.format();
            let was_heard = self.playout.is_heard(now);
            let (source, sink) = (&mut self.rings.model_in, &mut self.rings.caller_out);
            let tap = &mut self.tap.as_deref_mut().filter(|_| self.tapped);
            let playout = self.playout.pass(turn, Pass::new(now, format, source, sink, tap));
            self.idle_until.playout = playout.deadline.unwrap_or(NEVER);
            self.idle_until.turn = turn;
            self.shared.tally.heard_at_us.store(self.playout.heard_at().as_micros(), Ordering::Relaxed);
            did.to_telephony =
                playout.frames > 0 || playout.chunk_closed || playout.barge_in_residual_us.is_some();
            if playout.frames > 0
                && !was_heard
                && let Some(us) = self.answers.model_began(now)
            {
                self.answered_after(us, counters);
            }
            self.count_playout(&playout, counters);
        }
        if let Some(lost) = self.tap.as_mut().map(|tap| tap.take_lost()).filter(|lost| *lost > 0) {
            add(&self.shared.tally.tap_lost_frames, lost);
        }
        let pause_ends = self.local_barge_in.deadline().unwrap_or(NEVER);
        let deadline = self.idle_until.uplink.min(self.idle_until.playout).min(pause_ends);
        did.deadline = (deadline != NEVER).then_some(deadline);
        // What waits there tells playout whether the switch is stalled: whether it still does counts in every pass.
        did.look_again = self.rings.caller_out.waiting() > 0;
        did
    }

    /// Takes notice of what the caller has begun or ended to say.
    fn listen(&mut self, now: Instant, counters: &Counters) {
        let tally = &self.shared.tally;
        tally.caller_peak.store(self.spurts.peak().into(), Ordering::Relaxed);
        let Some(heard) = self.spurts.heard() else { return };
        tally.caller_speaks.store(self.spurts.is_speaking().into(), Ordering::Relaxed);
        match heard {
            Heard::Began => self.answers.caller_began(),
            Heard::Ended { speech_ms } => {
                add(&tally.spurts, 1);
                add(&tally.speech_ms, speech_ms.into());
                let stopped_at = now.minus_ms(self.hangover_ms);
                if let Some(us) = self.answers.caller_stopped(stopped_at) {
                    self.answered_after(us, counters);
                }
            }
        }
        let tally = &self.shared.tally;
        let model_is_heard = self.playout.is_heard(now);
        if self.local_barge_in.heard(now, heard, self.shared.turn(), model_is_heard) {
            add(&tally.local_barge_ins, 1);
        }
    }

    fn count_uplink(&self, uplink: &UplinkReport) {
        if uplink.frames > 0 {
            add(&self.shared.tally.uplink_frames, uplink.frames);
            add(&self.shared.tally.silence_frames, uplink.silence_frames);
        }
    }

    fn answered_after(&self, us: u64, counters: &Counters) {
        self.shared.answered_after(us);
        counters.answer_latency.observe(Duration::from_micros(us));
    }

    fn count_playout(&self, playout: &PlayoutReport, counters: &Counters) {
        let tally = &self.shared.tally;
        if let Some(us) = playout.late_us {
            counters.playout_lateness.observe(Duration::from_micros(us));
        }
        if playout.frames > 0 {
            tally.agent_peak.store(playout.peak.into(), Ordering::Relaxed);
            add(&tally.downlink_frames, playout.frames);
            add(&tally.underruns, playout.underruns);
            add(&tally.underrun_us, playout.underrun_us);
            add(&tally.slips, playout.slips);
        }
        if let Some(residual_us) = playout.barge_in_residual_us {
            add(&tally.flushes, 1);
            tally.residual_us_last.store(residual_us, Ordering::Relaxed);
            raise(&tally.residual_us_max, residual_us);
        }
    }
}

/// Whom a worker wakes, and how long it waits for company.
pub struct Neighbours {
    /// The worker's own bell.
    pub own: Doorbell,
    /// The telephony thread of its shard.
    pub telephony: Doorbell,
    /// The gemini thread of its shard.
    pub gemini: Doorbell,
    /// The control thread.
    pub control: Doorbell,
    /// How deadlines come together.
    pub company: Company,
}

/// Serves calls until told to stop.
pub fn run(worker: &mut Worker, neighbours: &Neighbours, clock: Clock) {
    loop {
        neighbours.own.answer();
        let now = clock.now();
        neighbours.own.answered(now);
        let report = worker.pass(now);
        if report.to_telephony {
            neighbours.telephony.ring();
        }
        if report.to_gemini {
            neighbours.gemini.ring();
        }
        if report.to_control {
            neighbours.control.ring();
        }
        if report.stop {
            return;
        }
        if !neighbours.own.is_rung() {
            // Whoever rings is served at once: what they bring came together at a door. Deadlines come together here. The
            // time that the pass itself took is small against the tolerance of one (the lead).
            let wait = report.deadline.map_or(Duration::from_secs(1), |deadline| deadline.since(now));
            let wait = wait.max(neighbours.company.at_deadlines(worker.calls()));
            thread::park_timeout(wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Frame, LegFormat, SampleRate};
    use crate::sync::rings::{call_rings, ring};

    #[test]
    fn gemini_is_told_of_the_calls_that_have_something_for_it_and_of_no_others() {
        let due = Arc::new(DueSet::new(8));
        let bell = Doorbell::for_parked(thread::current());
        let (mut orders, inbox) = crate::sync::mailbox(bell);
        let (back, _returned) = ring(8);
        let mut worker = Worker::new(inbox, back, 8, Arc::default()).beside(Arc::default(), Arc::clone(&due));
        let now = Instant::from_micros(1_000_000);
        let (mut callers, mut models) = (Vec::new(), Vec::new());
        for slot in 0..8 {
            let id = CallId { slot, generation: 1 };
            let shared = Arc::new(CallShared::new(id, LegFormat::new(SampleRate::Hz16000, 60, 20)));
            let (telephony, rings, gemini) = call_rings();
            callers.push(telephony.caller_in);
            models.push(gemini);
            orders.send(DspOrder::Add(Box::new(DspCall::new(now, rings, shared, 0))));
        }
        for (number, slots) in [vec![], vec![5], vec![2, 7], vec![]].into_iter().enumerate() {
            for &slot in &slots {
                callers[slot].put(Frame::audio(0, SampleRate::Hz16000, &[9; 320]));
                worker.due().mark(slot);
            }
            let report = worker.pass(now.plus_ms(number as u64));
            assert_eq!(report.to_gemini, !slots.is_empty());
            assert_eq!(due.take(0).collect::<Vec<_>>(), slots);
        }
    }

    #[test]
    fn a_pass_is_of_the_calls_that_are_marked_or_due_and_the_deadline_is_the_earliest() {
        let (mut orders, inbox) = crate::sync::mailbox(Doorbell::for_parked(thread::current()));
        let (back, _returned) = ring(100);
        let (to_telephony, to_gemini) = (Arc::new(DueSet::new(100)), Arc::new(DueSet::new(100)));
        let mut worker = Worker::new(inbox, back, 100, Arc::default())
            .beside(Arc::clone(&to_telephony), Arc::clone(&to_gemini));
        let (marks, now) = (worker.due(), Instant::from_micros(1_000_000));
        let mut ends = Vec::new();
        for slot in 0..100 {
            let id = CallId { slot, generation: 1 };
            let shared = Arc::new(CallShared::new(id, LegFormat::new(SampleRate::Hz16000, 60, 20)));
            let (telephony, rings, gemini) = call_rings();
            ends.push((telephony, gemini));
            orders.send(DspOrder::Add(Box::new(DspCall::new(now, rings, shared, 0))));
        }
        let taken = |due: &DueSet| (0..due.pieces()).flat_map(|piece| due.take(piece)).collect::<Vec<_>>();
        assert_eq!(worker.pass(now).deadline, Some(now.plus_ms(40)), "silence takes the caller's place");
        for (telephony, _) in &mut ends {
            telephony.caller_in.put(Frame::audio(0, SampleRate::Hz16000, &[9; 320]));
        }
        [3, 64, 99].into_iter().for_each(|slot| marks.mark(slot));
        worker.pass(now.plus_ms(1));
        assert_eq!(taken(&to_gemini), [3, 64, 99], "what nobody speaks of is not looked at");
        for (_, gemini) in &mut ends[5..7] {
            let audio = [9; Frame::CAPACITY];
            (0..2).for_each(|_| gemini.model_in.put(Frame::audio(1, SampleRate::Hz24000, &audio)));
        }
        marks.mark(5);
        assert!(worker.pass(now.plus_ms(2)).to_telephony);
        assert_eq!(taken(&to_telephony), [5]);
        let report = worker.pass(now.plus_ms(40));
        assert_eq!(taken(&to_gemini), (0..100).filter(|n| ![3, 64, 99].contains(n)).collect::<Vec<_>>());
        assert_eq!(taken(&to_telephony), [6], "whoever is looked at is looked at both ways");
        assert!(report.deadline > Some(now.plus_ms(40)));
        orders.send(DspOrder::Call(CallId { slot: 3, generation: 1 }, WorkerOrder::Retire));
        assert!(worker.pass(now.plus_ms(41)).to_control && worker.calls() == 99);
    }
}
