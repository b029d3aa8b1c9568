//! What a call costs its dsp worker: a pass with 20 ms of the caller in and 20 ms of the model out, for each call.
//!
//! Runs in: `cargo bench --bench call`. Owns nothing. Never a pass mark: the ratios that it prints last are taken in turns
//! with two bare copies of the same samples for each call, then those of callers who are silent with callers who are not,
//! and written to `target/call.json`.
//! Invariant: every pass gives exactly one frame of 20 ms each way for every call; only the pass is timed, not what the
//! neighbouring threads do in reality meanwhile (fill and empty the rings).

use std::cell::RefCell;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant as Stopwatch};

use criterion::{Criterion, Throughput};
use tandem::base::{CallId, Frame, FrameSink, FrameSource, Instant, LegFormat, SampleRate};
use tandem::dsp::fir;
use tandem::sync::rings::{GeminiRings, TelephonyRings, call_rings, ring};
use tandem::sync::{CallShared, Doorbell, mailbox};
use tandem::threads::dsp::{DspCall, DspOrder, Worker};

use ratios::{Report, in_turns};

mod ratios;

const RATES: [SampleRate; 2] = [SampleRate::Hz16000, SampleRate::Hz8000];
const CALLS: [usize; 3] = [1, 50, 400];

/// A worker whose calls all speak and listen.
struct Rig {
    worker: Worker,
    ends: Vec<(TelephonyRings, GeminiRings)>,
    now: Instant,
    caller: Vec<i16>,
    model: Vec<i16>,
    rate: SampleRate,
    /// Where the bare copies go, for each call.
    copies: Vec<(Vec<i16>, Vec<i16>)>,
}

fn noise(count: usize) -> Vec<i16> {
    let mut state = 0x9E37_79B9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 18) as i16 - 8192
    };
    (0..count).map(|_| next()).collect()
}

impl Rig {
    fn new(rate: SampleRate, calls: usize) -> Self {
        let (mut orders, inbox) = mailbox(Doorbell::for_parked(std::thread::current()));
        let (back, _retired) = ring(calls);
        let worker = Worker::new(inbox, back, calls, Arc::default());
        let now = Instant::from_micros(1_000_000);
        let format = LegFormat::new(rate, 20, 20);
        let ends = (0..calls)
            .map(|slot| {
                let id = CallId { slot: slot as u32, generation: 1 };
                let shared = Arc::new(CallShared::new(id, format));
                let (telephony, rings, gemini) = call_rings();
                orders.send(DspOrder::Add(Box::new(DspCall::new(now, rings, shared, 0))));
                (telephony, gemini)
            })
            .collect();
        let (caller, model) =
            (noise(rate.samples_per_frame()), noise(SampleRate::Hz24000.samples_per_frame()));
        let copies = vec![(vec![0; caller.len()], vec![0; model.len()]); calls];
        let mut rig = Self { worker, ends, now, caller, model, rate, copies };
        for _ in 0..10 {
            rig.pass();
        }
        rig
    }

    /// One pass of all calls. Returns how long it took.
    fn pass(&mut self) -> Duration {
        for (telephony, gemini) in &mut self.ends {
            telephony.caller_in.put(Frame::audio(0, self.rate, &self.caller));
            for piece in self.model.chunks(Frame::CAPACITY) {
                gemini.model_in.put(Frame::audio(1, SampleRate::Hz24000, piece));
            }
        }
        let start = Stopwatch::now();
        black_box(self.worker.pass_over_all(self.now));
        let took = start.elapsed();
        for (telephony, gemini) in &mut self.ends {
            let (heard, played) = (gemini.model_out.take(), telephony.caller_out.take());
            assert_eq!(heard.map(|frame| frame.samples().len()), Some(320));
            assert_eq!(played.map(|frame| frame.samples().len()), Some(self.rate.samples_per_frame()));
        }
        self.now = self.now.plus_ms(20);
        took
    }

    /// The least that could be done with the same audio.
    fn copy(&mut self) -> Duration {
        let start = Stopwatch::now();
        for (caller, model) in &mut self.copies {
            caller.copy_from_slice(black_box(&self.caller));
            model.copy_from_slice(black_box(&self.model));
            black_box((&caller, &model));
        }
        start.elapsed()
    }
}

fn criterion_figures() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    for rate in RATES {
        let mut group = criterion.benchmark_group(format!("a pass, 20 ms both ways at {rate}"));
        for calls in CALLS {
            let mut rig = Rig::new(rate, calls);
            group.throughput(Throughput::Elements(calls as u64));
            group.bench_function(format!("calls: {calls}"), |bencher| {
                bencher.iter_custom(|passes| (0..passes).map(|_| rig.pass()).sum());
            });
        }
        group.finish();
    }
    criterion.final_summary();
}

/// Exact silence after a second of faint noise, as a muted telephone sends it, against the noise.
fn print_silence(report: &mut Report) {
    const CALLS: usize = 50;
    for rate in RATES {
        let faint = noise(rate.samples_per_frame()).iter().map(|sample| sample >> 10).collect::<Vec<_>>();
        let rig_of = |caller: Vec<i16>| {
            let mut rig = Rig::new(rate, CALLS);
            rig.caller.clone_from(&faint);
            // Longer than a filter without care takes to sink below what a normal number can express.
            (0..50).for_each(|_| _ = rig.pass());
            rig.caller = caller;
            (0..100).for_each(|_| _ = rig.pass());
            rig
        };
        let mut silent = rig_of(vec![0; rate.samples_per_frame()]);
        let mut noisy = rig_of(faint.clone());
        let each = |rig: &mut Rig| {
            (0..20).map(|_| rig.pass()).sum::<Duration>().as_secs_f64() * 1e9 / (20 * CALLS) as f64
        };
        let cost = in_turns(|| each(&mut silent), || each(&mut noisy));
        report.row(&format!("{rate}, calls: {CALLS}; exact silence / faint noise"), &cost);
    }
}

fn print_ratios() {
    let mut report = Report::new("call");
    for rate in RATES {
        for calls in CALLS {
            let rig = RefCell::new(Rig::new(rate, calls));
            let passes = (400 / calls).max(1) as u32;
            let each = |took: Duration| took.as_secs_f64() * 1e9 / f64::from(passes) / calls as f64;
            let cost = in_turns(
                || each((0..passes).map(|_| rig.borrow_mut().pass()).sum()),
                || each((0..passes).map(|_| rig.borrow_mut().copy()).sum()),
            );
            report.row(&format!("{rate}, calls: {calls}; a call's share / two copies"), &cost);
        }
    }
    print_silence(&mut report);
    report.write();
}

fn main() {
    fir::warm_tables();
    criterion_figures();
    if ratios::wanted() {
        print_ratios();
    }
}
