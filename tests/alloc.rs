//! The allocation law (docs/architecture.md): what the media threads may ask of the allocator, counted call by call.
//!
//! Runs in: `cargo test --test alloc`; the counter counts the calling thread only. Owns the budgets. Never measures time.
//! Invariant: each scenario also asserts that what it is about did happen, so that none passes because nothing ran.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use tandem::base::{CallId, Frame, FrameKind, FrameSink, FrameSource, Instant, LegFormat, SampleRate};
use tandem::call::WorkerOrder;
use tandem::config::Config;
use tandem::dsp::{ListenTerms, Tap, fir};
use tandem::sync::rings::{GeminiRings, TelephonyRings, call_rings, ring, tap_ring};
use tandem::sync::{CallShared, Clock, Doorbell, Outbox, mailbox};
use tandem::threads::company::Company;
use tandem::threads::dsp::{self, DspCall, DspOrder, Neighbours, PassReport, Worker};

#[path = "alloc/gemini.rs"]
mod gemini;
#[path = "alloc/held.rs"]
mod held;
#[path = "alloc/telephony.rs"]
mod telephony;

/// What some code asked of the allocator. A reallocation counts as one of each.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Asked {
    allocations: u64,
    frees: u64,
}

impl Asked {
    const NOTHING: Self = Self { allocations: 0, frees: 0 };

    /// Runs `work` and adds what it asked.
    fn count<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let mut result = None;
        let info = measure(|| result = Some(work()));
        self.allocations += info.count_total;
        self.frees += info.count_total.saturating_add_signed(-info.count_current);
        result.expect("the work was done")
    }
}

/// A dsp worker with the other ends of its calls' rings, in virtual time.
struct Rig {
    worker: Worker,
    orders: Outbox<DspOrder>,
    retired: rtrb::Consumer<Box<DspCall>>,
    now: Instant,
    asked: Asked,
}

/// What telephony and gemini hold of a call.
struct Ends {
    id: CallId,
    shared: Arc<CallShared>,
    telephony: TelephonyRings,
    gemini: GeminiRings,
    /// Audio frames that reached gemini.
    heard: usize,
    /// Ends of the caller's stream that reached gemini.
    stream_ends: usize,
    /// Frames that reached telephony.
    played: usize,
}

fn bell() -> Doorbell {
    Doorbell::for_parked(std::thread::current())
}

fn new_call(slot: u32, format: LegFormat, now: Instant, end_after_ms: u64) -> (Box<DspCall>, Ends) {
    let id = CallId { slot, generation: 1 };
    let shared = Arc::new(CallShared::new(id, format));
    let (telephony, rings, gemini) = call_rings();
    let call = Box::new(DspCall::new(now, rings, Arc::clone(&shared), end_after_ms));
    (call, Ends { id, shared, telephony, gemini, heard: 0, stream_ends: 0, played: 0 })
}

impl Rig {
    fn new(max_calls: usize) -> Self {
        fir::warm_tables();
        let (orders, inbox) = mailbox(bell());
        let (back, retired) = ring(max_calls);
        let worker = Worker::new(inbox, back, max_calls, Arc::default());
        Self { worker, orders, retired, now: Instant::from_micros(1_000_000), asked: Asked::NOTHING }
    }

    /// Sends an `Add`, to be taken in the next pass.
    fn add(&mut self, slot: u32, format: LegFormat, end_after_ms: u64) -> Ends {
        let (call, ends) = new_call(slot, format, self.now, end_after_ms);
        self.orders.send(DspOrder::Add(call));
        ends
    }

    fn pass(&mut self) -> PassReport {
        let (worker, now) = (&mut self.worker, self.now);
        self.asked.count(|| worker.pass_over_all(now))
    }

    fn advance_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ms(ms);
    }
}

impl Ends {
    /// 20 ms of the caller, as telephony packs them. Returns false where the ring had no room for all of it.
    fn caller_speaks(&mut self, rate: SampleRate) -> bool {
        let samples = [1000; SampleRate::Hz48000.samples_per_frame()];
        for piece in samples[..rate.samples_per_frame()].chunks(Frame::CAPACITY) {
            if self.telephony.caller_in.room() == 0 {
                return false;
            }
            self.telephony.caller_in.put(Frame::audio(0, rate, piece));
        }
        true
    }

    /// The model's speech, as far as there is room up to `frames` frames of 13 ms.
    fn model_speaks(&mut self, frames: usize, rate: SampleRate) {
        let turn = self.shared.turn();
        for _ in 0..frames.min(self.gemini.model_in.room()) {
            self.gemini.model_in.put(Frame::audio(turn, rate, &[-500; Frame::CAPACITY]));
        }
    }

    fn model_ends_its_turn(&mut self) {
        self.gemini.model_in.put(Frame::end(self.shared.turn(), SampleRate::Hz24000));
    }

    /// Takes everything that came out on both sides.
    fn drain(&mut self) {
        while let Some(frame) = self.gemini.model_out.take() {
            match frame.kind {
                FrameKind::End => self.stream_ends += 1,
                FrameKind::Audio | FrameKind::AudioContinued | FrameKind::AudioLast => self.heard += 1,
                FrameKind::SpurtStart | FrameKind::SpurtEnd => {}
            }
        }
        while self.telephony.caller_out.take().is_some() {
            self.played += 1;
        }
    }
}

fn binary(rate: SampleRate) -> LegFormat {
    LegFormat::new(rate, 60, 20)
}

#[test]
fn the_counter_sees_allocations_and_frees() {
    let mut asked = Asked::default();
    let kept = asked.count(|| std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(asked, Asked { allocations: 1, frees: 0 });
    asked.count(move || drop(kept));
    assert_eq!(asked, Asked { allocations: 1, frees: 1 });
}

#[test]
fn thousands_of_frames_both_ways_ask_nothing_of_the_allocator() {
    let mut rig = Rig::new(16);
    let mut calls: Vec<_> = (0..10)
        .map(|n| {
            let rate = SampleRate::ALL[n % 5];
            // Half of the calls take their audio in long chunks.
            let format = if n < 5 { binary(rate) } else { LegFormat::new(rate, 200, 100) };
            (rate, rig.add(n as u32, format, 0))
        })
        .collect();
    for step in 0..1000 {
        for (rate, call) in &mut calls {
            assert!(call.caller_speaks(*rate));
            // Turns of 4 s with pauses of 1 s between them; bursts fill the ring.
            match step % 250 {
                0..200 => call.model_speaks(20, SampleRate::Hz24000),
                200 if call.gemini.model_in.room() > 0 => call.model_ends_its_turn(),
                _ => {}
            }
        }
        rig.pass();
        calls.iter_mut().for_each(|(_, call)| call.drain());
        rig.advance_ms(20);
    }
    assert_eq!(rig.asked, Asked::NOTHING);
    for (rate, call) in &calls {
        assert!(call.heard >= 990, "{rate}: {} frames reached the model", call.heard);
        assert!(call.played >= 750, "{rate}: {} frames reached the switch", call.played);
    }
}

#[test]
fn barge_in_underrun_and_slips_ask_nothing_of_the_allocator() {
    let mut rig = Rig::new(1);
    let mut call = rig.add(0, binary(SampleRate::Hz8000), 0);
    rig.pass();
    for _ in 0..300 {
        // An underrun: 53 ms of a turn, and then nothing for 120 ms.
        call.model_speaks(4, SampleRate::Hz24000);
        for _ in 0..6 {
            rig.pass();
            call.drain();
            rig.advance_ms(20);
        }
        // A slip: there is audio, but the worker comes 200 ms late.
        call.model_speaks(20, SampleRate::Hz24000);
        rig.pass();
        call.drain();
        rig.advance_ms(200);
        rig.pass();
        call.drain();
        // A barge-in, with audio in the ring, in the staged frame and at the switch.
        call.model_speaks(20, SampleRate::Hz24000);
        rig.pass();
        call.shared.cancel_turn();
        rig.advance_ms(5);
        rig.pass();
        call.drain();
        rig.advance_ms(15);
    }
    assert_eq!(rig.asked, Asked::NOTHING);
    let tally = call.shared.tally.snapshot();
    assert!(tally.underruns >= 300 && tally.slips >= 300 && tally.flushes >= 300, "{tally:?}");
}

#[test]
fn talkspurts_with_their_pre_roll_and_pauses_of_playout_ask_nothing_of_the_allocator() {
    let mut rig = Rig::new(1);
    let mut call = rig.add(0, binary(SampleRate::Hz16000), 0);
    let terms = ListenTerms { hangover_ms: 200, pre_roll_ms: 240, local_barge_in: true };
    rig.orders.send(DspOrder::Call(call.id, WorkerOrder::Listen(terms)));
    let step = std::f32::consts::TAU * 700.0 / 16_000.0;
    let voice: Vec<i16> = (0..320).map(|n| ((n as f32 * step).sin() * 3_000.0) as i16).collect();
    for frame in 0..4_000 {
        // 300 ms of speech every 2 s, over a model that never stops.
        let said = if frame % 100 < 15 { &voice[..] } else { &[0; 320] };
        call.telephony.caller_in.put(Frame::audio(0, SampleRate::Hz16000, said));
        call.model_speaks(2, SampleRate::Hz24000);
        rig.pass();
        call.drain();
        rig.advance_ms(20);
    }
    assert_eq!(rig.asked, Asked::NOTHING);
    let tally = call.shared.tally.snapshot();
    assert!(tally.spurts >= 39 && tally.local_barge_ins >= 39, "{tally:?}");
    assert!(call.heard >= 3_980, "{} frames reached the model", call.heard);
}

#[test]
fn a_tapped_call_asks_nothing_of_the_allocator_whether_anybody_empties_the_tap_or_not() {
    let mut rig = Rig::new(1);
    let mut call = rig.add(0, binary(SampleRate::Hz48000), 0);
    let (ring, mut taken) = tap_ring();
    rig.orders.send(DspOrder::Tap(call.id, Box::new(Tap::new(rig.now, ring))));
    let mut tapped = 0;
    for step in 0..3_000 {
        let rate = SampleRate::ALL[step / 100 % 5];
        call.shared.set_format(binary(rate));
        // Gaps, underruns and barge-ins are told to the tap, too; and it rests for a while.
        if step % 50 < 40 {
            assert!(call.caller_speaks(rate));
        }
        if step % 30 < 20 {
            call.model_speaks(2, SampleRate::Hz24000);
        }
        if step % 70 == 0 {
            call.shared.cancel_turn();
        }
        if step % 500 == 0 {
            rig.orders.send(DspOrder::SetTapped(call.id, step % 1_000 == 0));
        }
        rig.pass();
        call.drain();
        while step % 1_000 < 300 && taken.pop().is_ok() {
            tapped += 1;
        }
        rig.advance_ms(20);
    }
    assert_eq!(rig.asked, Asked::NOTHING);
    assert!(tapped >= 1_000, "{tapped}");
    assert!(call.shared.tally.snapshot().tap_lost_frames >= 100);
}

#[test]
fn changes_of_rate_in_the_middle_of_a_call_ask_nothing_of_the_allocator() {
    let mut rig = Rig::new(1);
    let mut call = rig.add(0, binary(SampleRate::Hz8000), 0);
    let mut steps = 0;
    for from in SampleRate::ALL {
        for to in SampleRate::ALL {
            for (caller, model) in [(from, SampleRate::Hz24000), (to, from), (from, to)] {
                call.shared.set_format(binary(to));
                assert!(call.caller_speaks(caller));
                call.model_speaks(2, model);
                for _ in 0..3 {
                    rig.pass();
                    call.drain();
                    rig.advance_ms(20);
                }
                steps += 1;
            }
        }
    }
    assert_eq!(rig.asked, Asked::NOTHING);
    assert!(call.heard >= steps && call.played >= steps, "{} heard, {} played", call.heard, call.played);
}

#[test]
fn filled_silence_and_the_end_of_the_stream_ask_nothing_of_the_allocator() {
    let mut rig = Rig::new(5);
    let mut calls = SampleRate::ALL.map(|rate| (rate, rig.add(rate as u32, binary(rate), 500)));
    for _ in 0..100 {
        for (rate, call) in &mut calls {
            call.caller_speaks(*rate);
        }
        for _ in 0..50 {
            rig.pass();
            calls.iter_mut().for_each(|(_, call)| call.drain());
            rig.advance_ms(20);
        }
    }
    assert_eq!(rig.asked, Asked::NOTHING);
    for (rate, call) in &calls {
        assert_eq!(call.stream_ends, 100, "{rate}");
        assert_eq!(call.shared.tally.snapshot().silence_frames, 100 * 25, "{rate}");
    }
}

#[test]
fn full_rings_on_every_side_ask_nothing_of_the_allocator() {
    let mut rig = Rig::new(1);
    let mut call = rig.add(0, binary(SampleRate::Hz48000), 0);
    let mut refused = 0;
    for _ in 0..1000 {
        refused += usize::from(!call.caller_speaks(SampleRate::Hz48000));
        call.model_speaks(20, SampleRate::Hz24000);
        rig.pass();
        rig.advance_ms(20);
    }
    assert_eq!(rig.asked, Asked::NOTHING);
    assert!(refused > 900, "the rings were full only {refused} times");
}

#[test]
fn a_hang_up_hands_the_memory_back_instead_of_freeing_it() {
    const CALLS: u32 = 50;
    let mut rig = Rig::new(CALLS as usize);
    let mut returned = 0;
    for _ in 0..40 {
        let mut calls: Vec<_> =
            (0..CALLS).map(|slot| rig.add(slot, binary(SampleRate::Hz16000), 0)).collect();
        for _ in 0..5 {
            for call in &mut calls {
                call.caller_speaks(SampleRate::Hz16000);
                call.model_speaks(20, SampleRate::Hz24000);
            }
            rig.pass();
            rig.advance_ms(20);
        }
        assert_eq!(rig.worker.calls(), CALLS as usize);
        // Hung up in the middle of everything, rings full; the other ends are gone before the worker hears of it.
        for call in calls {
            let id = call.id;
            drop(call);
            rig.orders.send(DspOrder::Call(id, WorkerOrder::Retire));
            rig.orders.send(DspOrder::Call(id, WorkerOrder::Retire));
        }
        assert!(rig.pass().to_control, "control is told");
        assert_eq!(rig.worker.calls(), 0);
        while let Ok(call) = rig.retired.pop() {
            returned += 1;
            drop(call);
        }
    }
    assert_eq!(rig.asked, Asked::NOTHING);
    assert_eq!(returned, 40 * CALLS);
}

/// The whole thread, its bells and its parking included, with the other threads' parts played in real time.
#[test]
fn the_dsp_thread_itself_allocates_nothing_while_it_runs() {
    fir::warm_tables();
    let clock = Clock::new();
    let (started, doorbells) = crossbeam_channel::bounded(1);
    let (go, work) = crossbeam_channel::bounded::<Worker>(1);
    let thread = std::thread::spawn(move || {
        let company = Company::configured(&Config::default());
        let neighbours =
            Neighbours { own: bell(), telephony: bell(), gemini: bell(), control: bell(), company };
        started.send(neighbours.own.clone()).expect("the test waits");
        let mut worker = work.recv().expect("the test sends one");
        let mut asked = Asked::default();
        asked.count(|| dsp::run(&mut worker, &neighbours, clock));
        asked
    });
    let own = doorbells.recv().expect("the thread starts");
    let (mut orders, inbox) = mailbox(own.clone());
    let (back, mut retired) = ring(20);
    let counters = Arc::default();
    let worker = Worker::new(inbox, back, 20, Arc::clone(&counters));
    let due = worker.due();
    go.send(worker).expect("the thread waits");

    // More than the sixteen calls from which the thread waits for company.
    let mut calls: Vec<_> = (0..18)
        .map(|slot| {
            let (call, ends) = new_call(slot, binary(SampleRate::Hz16000), clock.now(), 0);
            orders.send(DspOrder::Add(call));
            ends
        })
        .collect();
    let deadline = clock.now().plus_ms(20_000);
    while calls.iter().any(|call| call.played < 10 || call.heard < 10) {
        assert!(clock.now() < deadline, "the dsp thread gave no 10 frames a call within 20 s");
        for call in &mut calls {
            call.caller_speaks(SampleRate::Hz16000);
            call.model_speaks(20, SampleRate::Hz24000);
            call.drain();
        }
        calls.iter().for_each(|call| due.mark(call.id.slot as usize));
        own.ring();
        std::thread::yield_now();
    }
    for call in &calls {
        orders.send(DspOrder::Call(call.id, WorkerOrder::Retire));
    }
    let mut returned = 0;
    while returned < calls.len() {
        assert!(clock.now() < deadline, "{returned} of 18 calls came back within 20 s");
        returned += usize::from(retired.pop().is_ok());
        std::thread::yield_now();
    }
    orders.send(DspOrder::Stop);
    let asked = thread.join().expect("the thread ends by itself");
    assert_eq!(asked, Asked::NOTHING);
    drop(counters);
}

#[test]
fn counting_asks_nothing_of_the_allocator() {
    let counters = tandem::telemetry::Counters::new();
    let mut asked = Asked::default();
    asked.count(|| {
        for n in 0..1000 {
            counters.calls.increment();
            counters.uplink_frames.add(n);
            counters.first_audio.observe(Duration::from_micros(n * 1000));
            counters.barge_in_residual.observe(Duration::from_micros(n));
            counters.refuse(tandem::telemetry::RefusalReason::Token);
            counters.end_call(if n % 2 == 0 { "caller_hangup" } else { "model_closed" });
        }
    });
    assert_eq!(asked, Asked::NOTHING);
    assert_eq!((counters.calls.get(), counters.ended("caller_hangup")), (1000, 500));
    assert_eq!(counters.refused(tandem::telemetry::RefusalReason::Token), 1000);
}
