//! Whole recordings in virtual time: a dsp worker with a tapped call, a caller, a model and a switch that keep a list of what
//! was said and heard when, and the recorder.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::*;
use crate::base::tap::{TICKS_PER_SECOND, ticks_in_us};
use crate::base::{Frame, FrameSink, FrameSource, LegFormat, SampleRate};
use crate::call::WorkerOrder;
use crate::dsp::Tap;
use crate::sync::mailbox;
use crate::sync::rings::{GeminiRings, TelephonyRings, call_rings, ring, tap_ring};
use crate::threads::dsp::{DspCall, DspOrder, Worker};

const ID: CallId = CallId { slot: 0, generation: 1 };
/// No deadline of the worker lies between two steps.
const STEP_US: u64 = 5_000;

/// Sound of which every place is like no other: noise without its highest part, at 48 kHz and so at every rate.
struct Sound(u64);

impl Sound {
    fn samples(&mut self, rate: SampleRate, from_us: u64, count: usize) -> Vec<i16> {
        let sample = |n: usize| {
            let at = from_us as f64 / 1e6 + n as f64 / f64::from(rate.hz());
            // Tones that have nothing to do with each other.
            let tone = |hz: f64| (at * hz * std::f64::consts::TAU + self.0 as f64).sin();
            ((tone(211.3) + tone(517.9) + tone(1033.7) + tone(1711.1)) * 3_000.0) as i16
        };
        (0..count).map(sample).collect()
    }
}

/// A line at 16 kHz as it should be.
#[derive(Default)]
struct Line(Vec<(u64, SampleRate, Vec<i16>)>);

impl Line {
    fn says(&mut self, at_us: u64, rate: SampleRate, samples: &[i16]) {
        self.0.push((at_us, rate, samples.to_vec()));
    }

    /// From this time on nothing is heard.
    fn cut(&mut self, from_us: u64) {
        for (at, rate, samples) in &mut self.0 {
            let kept = from_us.saturating_sub(*at) * u64::from(rate.hz()) / 1_000_000;
            samples.truncate(kept as usize);
        }
    }

    fn at_16_khz(&self, length: usize) -> Vec<i16> {
        let mut line = vec![0; length];
        for (at, rate, samples) in &self.0 {
            let first = (*at * 16).div_ceil(1000);
            for number in first.. {
                let place = (number as f64 / 16_000.0 - *at as f64 / 1e6) * f64::from(rate.hz());
                let (before, share) = (place.floor() as usize, place.fract());
                let Some(&sample) = samples.get(before) else { break };
                let next = samples.get(before + 1).copied().unwrap_or(sample);
                if let Some(target) = line.get_mut(number as usize) {
                    *target = (f64::from(sample) * (1.0 - share) + f64::from(next) * share) as i16;
                }
            }
        }
        line
    }
}

struct Rig {
    now: Instant,
    worker: Worker,
    orders: Outbox<DspOrder>,
    retired: rtrb::Consumer<Box<DspCall>>,
    telephony: TelephonyRings,
    gemini: GeminiRings,
    shared: Arc<CallShared>,
    recorder: Recorder,
    told: Outbox<RecorderOrder>,
    disk: Receiver<DiskOrder>,
    counters: Arc<Counters>,
    said: Line,
    heard: Line,
    turn: u32,
    /// In ticks: a third of a frame of 48 kHz is no whole number of microseconds.
    plays_until: u64,
    sound: Sound,
    recorded: Vec<Pair>,
    ended: Option<u64>,
    _control: Mailbox<ControlInput>,
}

const BEGAN: Instant = Instant::from_micros(1_000_000);

fn binary(rate: SampleRate) -> LegFormat {
    LegFormat::new(rate, 60, 20)
}

impl Rig {
    fn new(format: LegFormat) -> Self {
        crate::dsp::fir::warm_tables();
        let bell = || Doorbell::for_parked(thread::current());
        let (mut orders, inbox) = mailbox(bell());
        let (back, retired) = ring(1);
        let counters = Arc::new(Counters::new());
        let worker = Worker::new(inbox, back, 1, Arc::clone(&counters));
        let shared = Arc::new(CallShared::new(ID, format));
        let (telephony, dsp, gemini) = call_rings();
        orders.send(DspOrder::Add(Box::new(DspCall::new(BEGAN, dsp, Arc::clone(&shared), 0))));
        let (writer, taken) = tap_ring();
        orders.send(DspOrder::Tap(ID, Box::new(Tap::new(BEGAN, writer))));
        let (mut told, recorder_inbox) = mailbox(bell());
        let (disk_orders, disk) = crossbeam_channel::unbounded();
        let (control, _control) = mailbox(bell());
        let parts = RecorderParts {
            inbox: recorder_inbox,
            own: bell(),
            disk: disk_orders,
            control,
            counters: Arc::clone(&counters),
        };
        let tap = NewTap {
            id: ID,
            record_id: RecordId::new(1, 1),
            began_at: BEGAN,
            tapped_at: BEGAN,
            shared: Arc::clone(&shared),
            ring: taken,
        };
        told.send(RecorderOrder::Tapped(Box::new(tap)));
        Self {
            now: BEGAN,
            worker,
            orders,
            retired,
            telephony,
            gemini,
            shared,
            recorder: Recorder::new(parts),
            told,
            disk,
            counters,
            said: Line::default(),
            heard: Line::default(),
            turn: 1,
            plays_until: 0,
            sound: Sound(0),
            recorded: Vec::new(),
            ended: None,
            _control,
        }
    }

    fn now_us(&self) -> u64 {
        self.now.since_us(BEGAN)
    }

    /// 20 ms of the caller arrive.
    fn caller(&mut self, rate: SampleRate) {
        let at = self.now_us();
        let samples = self.sound.samples(rate, at, rate.samples_per_frame());
        samples
            .chunks(Frame::CAPACITY)
            .for_each(|piece| self.telephony.caller_in.put(Frame::audio(0, rate, piece)));
        self.said.says(at, rate, &samples);
    }

    /// The model says so much that no more fits.
    fn model(&mut self) {
        while self.gemini.model_in.room() > 0 {
            let from = self.shared.tally.model_samples.fetch_add(320, std::sync::atomic::Ordering::Relaxed);
            let rate = SampleRate::Hz24000;
            let samples = Sound(7).samples(rate, from * 1_000_000 / 24_000, Frame::CAPACITY);
            self.gemini.model_in.put(Frame::audio(self.shared.turn(), rate, &samples));
        }
    }

    /// The caller interrupts: the switch gets the order to drop what it has in the same moment.
    fn interrupt(&mut self) {
        self.turn = self.shared.cancel_turn();
        self.heard.cut(self.now_us());
        self.plays_until = ticks_in_us(self.now_us());
    }

    /// The worker's pass, and the switch takes what there is.
    fn step(&mut self) {
        self.worker.pass_over_all(self.now);
        while let Some(frame) = self.telephony.caller_out.take() {
            if frame.turn == self.turn && !frame.samples().is_empty() {
                let at = self.plays_until.max(ticks_in_us(self.now_us()));
                self.heard.says(at * 1000 / 48, frame.rate, frame.samples());
                self.plays_until =
                    at + frame.samples().len() as u64 * TICKS_PER_SECOND / u64::from(frame.rate.hz());
            }
        }
        while self.gemini.model_out.take().is_some() {}
        self.now = self.now.plus_us(STEP_US);
        if self.now_us().is_multiple_of(100_000) {
            self.record();
        }
    }

    fn record(&mut self) -> bool {
        let goes_on = self.recorder.pass(self.now);
        while let Ok(order) = self.disk.try_recv() {
            match order {
                DiskOrder::Begin(..) => {}
                DiskOrder::Write(_, from, pairs) => {
                    self.recorded.resize(from as usize, [0, 0]);
                    self.recorded.extend(pairs);
                }
                DiskOrder::End(_, pairs) => self.ended = Some(pairs),
            }
        }
        goes_on
    }

    fn end(&mut self) {
        self.orders.send(DspOrder::Call(ID, WorkerOrder::Retire));
        self.worker.pass_over_all(self.now);
        drop(self.retired.pop());
        self.record();
        assert_eq!(self.ended, Some(self.recorded.len() as u64));
    }

    fn side(&self, side: usize) -> Vec<i16> {
        self.recorded.iter().map(|pair| pair[side]).collect()
    }
}

/// By how many samples `line` lags behind `expected` around `at`, where anything is said there.
fn lag(expected: &[i16], line: &[i16], at: usize) -> Option<i64> {
    let (length, most) = (800, 8_i64);
    let window = expected.get(at..at + length)?;
    // Speech all the way: at its ends the filters of both lines differ.
    if window.windows(40).any(|part| part.iter().all(|sample| sample.unsigned_abs() < 300)) {
        return None;
    }
    let error = |lag: i64| -> Option<i64> {
        let from = usize::try_from(at as i64 + lag).ok()?;
        let part = line.get(from..from + length)?;
        Some(window.iter().zip(part).map(|(a, b)| i64::from(*a - b / 2 * 2).abs().min(60_000)).sum())
    };
    (-most..=most).filter_map(|lag| Some((error(lag)?, lag))).min().map(|(_, lag)| lag)
}

/// All lags within the line, each with how often it was found.
fn lags(expected: &[i16], line: &[i16]) -> std::collections::BTreeMap<i64, usize> {
    let mut found = std::collections::BTreeMap::new();
    for at in (0..expected.len()).step_by(800) {
        if let Some(lag) = lag(expected, line, at) {
            *found.entry(lag).or_default() += 1;
        }
    }
    found
}

#[test]
fn after_ten_minutes_of_gaps_barge_ins_underruns_and_rates_both_sides_stand_where_they_were_said_and_heard() {
    let mut rig = Rig::new(binary(SampleRate::Hz16000));
    rig.told.send(RecorderOrder::Record(ID));
    let mut rate = SampleRate::Hz16000;
    for step in 0..120_000_u64 {
        let ms = step * STEP_US / 1000;
        if ms.is_multiple_of(37_000) {
            rate = SampleRate::ALL[(ms / 37_000 % 5) as usize];
            rig.shared.set_format(binary(rate));
        }
        // The caller is not heard for 1.3 s of every 11, and comes back off the old grid.
        let shift = ms / 11_000 * 5;
        if ms % 11_000 < 9_700 && ms.wrapping_sub(shift).is_multiple_of(20) {
            rig.caller(rate);
        }
        // The model speaks for 5 s of 8, is late for 200 ms of each second one, and is interrupted in every third.
        let speaks = ms % 8_000 < 5_000;
        let late = (ms / 8_000).is_multiple_of(2) && (2_000..2_200).contains(&(ms % 8_000));
        if ms % 24_000 == 3_335 {
            rig.interrupt();
        }
        if speaks && !late {
            rig.model();
        }
        rig.step();
    }
    rig.end();
    let length = rig.recorded.len();
    assert_eq!(length, 600 * 16_000);
    for (side, expected) in [(0, &rig.said), (1, &rig.heard)] {
        let lags = lags(&expected.at_16_khz(length), &rig.side(side));
        let all: usize = lags.values().sum();
        assert!(all > 5_000, "side {side}: {lags:?}");
        assert!(lags.keys().all(|lag| lag.abs() <= 1), "side {side}: {lags:?}");
    }
    let tally = rig.shared.tally.snapshot();
    assert!(tally.flushes >= 20 && tally.underruns >= 30 && tally.silence_frames >= 2_000, "{tally:?}");
    assert_eq!((tally.tap_lost_frames, rig.counters.recording_frames_lost.get()), (0, 0));
}

#[test]
fn what_was_interrupted_is_silent_from_that_moment_on() {
    let mut rig = Rig::new(binary(SampleRate::Hz16000));
    rig.told.send(RecorderOrder::Record(ID));
    for step in 0..400 {
        if step < 201 {
            rig.model();
        }
        if step == 201 {
            rig.interrupt();
        }
        rig.step();
    }
    rig.end();
    // Interrupted after 201 steps of 5 ms.
    let (agent, interrupted) = (rig.side(1), 201 * 80);
    assert!(agent[interrupted - 160..interrupted].iter().any(|sample| sample.unsigned_abs() > 300));
    assert!(agent[interrupted..].iter().all(|sample| *sample == 0));
}

#[test]
fn a_pause_is_silent_to_the_sample_and_nothing_else_is() {
    let mut rig = Rig::new(binary(SampleRate::Hz16000));
    rig.told.send(RecorderOrder::Record(ID));
    for step in 0..1_000_u64 {
        if step.is_multiple_of(4) {
            rig.caller(SampleRate::Hz16000);
        }
        match step {
            301 => rig.told.send(RecorderOrder::Pause(ID, rig.now, true)),
            702 => rig.told.send(RecorderOrder::Pause(ID, rig.now, false)),
            _ => {}
        }
        rig.model();
        rig.step();
    }
    rig.end();
    let (from, until) = (301 * 80, 702 * 80);
    let loud = |pairs: &[Pair]| [0, 1].map(|side| pairs.iter().any(|pair| pair[side].unsigned_abs() > 300));
    assert_eq!(loud(&rig.recorded[from..until]), [false, false]);
    assert_eq!(loud(&rig.recorded[from - 40..from]), [true, true]);
    assert_eq!(loud(&rig.recorded[until..until + 40]), [true, true]);
}

#[test]
fn frames_that_a_full_tap_lost_are_counted_and_move_nothing() {
    let mut rig = Rig::new(binary(SampleRate::Hz16000));
    rig.told.send(RecorderOrder::Record(ID));
    rig.record();
    for step in 0..4_000_u64 {
        if step.is_multiple_of(4) {
            rig.caller(SampleRate::Hz16000);
        }
        // The recorder sleeps for 10 s.
        let (recorder_sleeps, at) = ((1_000..3_000).contains(&step), rig.now);
        if recorder_sleeps {
            rig.worker.pass_over_all(at);
            while rig.telephony.caller_out.take().is_some() {}
            while rig.gemini.model_out.take().is_some() {}
            rig.now = rig.now.plus_us(STEP_US);
        } else {
            rig.step();
        }
    }
    rig.end();
    assert!(rig.shared.tally.snapshot().tap_lost_frames >= 200);
    let lags = lags(&rig.said.at_16_khz(rig.recorded.len())[250_000..], &rig.side(0)[250_000..]);
    assert!(lags.keys().all(|lag| *lag == 0) && lags.values().sum::<usize>() > 50, "{lags:?}");
}

#[test]
fn speech_that_was_stuck_and_comes_at_once_is_kept_and_pauses_bring_it_back_to_the_clock() {
    let mut rig = Rig::new(binary(SampleRate::Hz16000));
    rig.told.send(RecorderOrder::Record(ID));
    let mut stuck = 0;
    for step in 0..6_000_u64 {
        if step.is_multiple_of(4) {
            match step {
                400..600 => stuck += 1,
                _ => {
                    for _ in 0..std::mem::take(&mut stuck) {
                        rig.caller(SampleRate::Hz16000);
                        rig.worker.pass_over_all(rig.now);
                        while rig.gemini.model_out.take().is_some() {}
                    }
                    // Silence of the line, as a caller makes who listens.
                    if (1_000..3_000).contains(&step) {
                        rig.telephony.caller_in.put(Frame::audio(0, SampleRate::Hz16000, &[3; 320]));
                    } else {
                        rig.caller(SampleRate::Hz16000);
                    }
                }
            }
        }
        rig.step();
    }
    rig.end();
    // All of the second that was stuck is there, behind the moment at which it came (3 s).
    let late = &rig.side(0)[3 * 16_000..4 * 16_000];
    assert!(late.chunks(320).all(|frame| frame.iter().any(|sample| sample.unsigned_abs() > 300)));
    let lags = lags(&rig.said.at_16_khz(rig.recorded.len())[260_000..], &rig.side(0)[260_000..]);
    // To a frame, the least that is left out.
    assert!(!lags.is_empty(), "what was said last is at its place: {lags:?}");
}

#[test]
fn listeners_share_a_tap_and_a_slow_one_hurts_nobody() {
    let mut rig = Rig::new(binary(SampleRate::Hz16000));
    let listen = |rig: &mut Rig| {
        let (reply, mut answer) = oneshot::channel();
        rig.told.send(RecorderOrder::Listen(ID, reply));
        rig.record();
        answer.try_recv().expect("an answer")
    };
    let (mut quick, mut slow) = (listen(&mut rig).expect("a place"), listen(&mut rig).expect("a place"));
    let mut heard = Vec::new();
    for step in 0..2_000_u64 {
        if step.is_multiple_of(4) {
            rig.caller(SampleRate::Hz16000);
        }
        rig.step();
        while let Ok(piece) = quick.try_recv() {
            heard.extend(piece.as_chunks::<4>().0.iter().map(|[a, b, _, _]| i16::from_le_bytes([*a, *b])));
        }
    }
    assert!(heard.len() > 9 * 16_000, "{}", heard.len());
    let lags = lags(&rig.said.at_16_khz(heard.len()), &heard);
    assert!(lags.keys().all(|lag| *lag == 0) && !lags.is_empty(), "{lags:?}");
    let mut pieces = 0;
    while slow.try_recv().is_ok() {
        pieces += 1;
    }
    assert!((1..=20).contains(&pieces), "{pieces}");
    for _ in 2..listeners::PER_CALL_MAX {
        std::mem::forget(listen(&mut rig).expect("a place"));
    }
    assert_eq!(listen(&mut rig).err(), Some(ListenRefused::TooMany));
    assert!(rig.disk.is_empty() && rig.recorded.is_empty(), "nobody asked for a recording");
}
