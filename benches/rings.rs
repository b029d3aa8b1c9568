//! What it costs to hand a frame from one thread to another: the ring of a call against a crossbeam channel and against
//! a locked queue.
//!
//! Runs in: `cargo bench --bench rings`. Owns nothing. Never a pass mark: the ratios that it prints last are taken in
//! turns, and written to `target/rings.json`.
//! Invariant: each way carries the same frames in the same order; one that loses some does not end.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Stopwatch};

use criterion::{Criterion, Throughput};
use crossbeam_channel::{Receiver, Sender};
use tandem::base::limits::MODEL_IN_FRAMES;
use tandem::base::{Frame, FrameSink, FrameSource, SampleRate};
use tandem::sync::rings::{FrameConsumer, FrameProducer, ring};

use ratios::{Report, in_turns};

mod ratios;

/// Frames of a burst: what the gemini thread keeps in `model_in`.
const BURST: usize = MODEL_IN_FRAMES * 3 / 4;
/// Frames that cross from one thread to the other in one measurement.
const CROSSING: u32 = 20_000;

/// One end into which frames go, bounded.
trait Put: Send {
    /// Returns false when it is full.
    fn try_put(&mut self, frame: Frame) -> bool;
}

/// The other end.
trait Take: Send {
    fn try_take(&mut self) -> Option<Frame>;
}

impl Put for FrameProducer {
    fn try_put(&mut self, frame: Frame) -> bool {
        let fits = self.room() > 0;
        if fits {
            self.put(frame);
        }
        fits
    }
}

impl Take for FrameConsumer {
    fn try_take(&mut self) -> Option<Frame> {
        self.take()
    }
}

impl Put for Sender<Frame> {
    fn try_put(&mut self, frame: Frame) -> bool {
        self.try_send(frame).is_ok()
    }
}

impl Take for Receiver<Frame> {
    fn try_take(&mut self) -> Option<Frame> {
        self.try_recv().ok()
    }
}

#[derive(Clone)]
struct Locked(Arc<Mutex<VecDeque<Frame>>>);

impl Put for Locked {
    fn try_put(&mut self, frame: Frame) -> bool {
        let mut queue = self.0.lock().expect("nobody panics with it");
        let fits = queue.len() < MODEL_IN_FRAMES;
        if fits {
            queue.push_back(frame);
        }
        fits
    }
}

impl Take for Locked {
    fn try_take(&mut self) -> Option<Frame> {
        self.0.lock().expect("nobody panics with it").pop_front()
    }
}

fn locked() -> (Locked, Locked) {
    let queue = Locked(Arc::new(Mutex::new(VecDeque::with_capacity(MODEL_IN_FRAMES))));
    (queue.clone(), queue)
}

fn frame(number: u32) -> Frame {
    Frame::audio(number, SampleRate::Hz24000, &[number as i16; Frame::CAPACITY])
}

/// A burst put in and taken out by one thread: the bare cost of the operations. Returns how many frames came out (each
/// has turn 1).
fn burst(put: &mut impl Put, take: &mut impl Take, frame: &Frame) -> u64 {
    for _ in 0..BURST {
        assert!(put.try_put(*black_box(frame)), "there is room for a burst");
    }
    (0..BURST).map(|_| u64::from(black_box(take.try_take()).expect("what was put in").turn)).sum()
}

/// Nanoseconds a frame, from one thread to another as fast as it goes; whoever finds the queue full or empty lets the
/// other run.
fn cross_ns(mut put: impl Put, mut take: impl Take) -> f64 {
    let start = Stopwatch::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..CROSSING {
                let frame = frame(number);
                while !put.try_put(frame) {
                    std::thread::yield_now();
                }
            }
        });
        for number in 0..CROSSING {
            let taken = loop {
                match take.try_take() {
                    Some(frame) => break frame,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(taken.turn, number, "frames arrive in order");
        }
    });
    start.elapsed().as_secs_f64() * 1e9 / f64::from(CROSSING)
}

fn criterion_figures() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    let frame = frame(1);
    let mut group = criterion.benchmark_group(format!("{BURST} frames in and out"));
    group.throughput(Throughput::Elements(BURST as u64));
    let (mut put, mut take) = ring(MODEL_IN_FRAMES);
    group.bench_function("ring", |bencher| bencher.iter(|| burst(&mut put, &mut take, &frame)));
    let (mut put, mut take) = crossbeam_channel::bounded(MODEL_IN_FRAMES);
    group.bench_function("crossbeam channel", |bencher| bencher.iter(|| burst(&mut put, &mut take, &frame)));
    let (mut put, mut take) = locked();
    group.bench_function("locked queue", |bencher| bencher.iter(|| burst(&mut put, &mut take, &frame)));
    group.finish();
    criterion.final_summary();
}

/// Nanoseconds a frame of what carries frames and returns how many.
fn ns_a_frame(times: u32, mut carry: impl FnMut() -> u64) -> f64 {
    let start = Stopwatch::now();
    let frames: u64 = (0..times).map(|_| black_box(carry())).sum();
    start.elapsed().as_secs_f64() * 1e9 / frames as f64
}

fn print_ratios() {
    let mut report = Report::new("rings");
    let frame = frame(1);
    let (mut ring_put, mut ring_take) = ring(MODEL_IN_FRAMES);
    let mut ours = || ns_a_frame(500, || burst(&mut ring_put, &mut ring_take, &frame));
    let (mut put, mut take) = crossbeam_channel::bounded(MODEL_IN_FRAMES);
    let cost = in_turns(&mut ours, || ns_a_frame(500, || burst(&mut put, &mut take, &frame)));
    report.row("one thread, a frame: ring / crossbeam channel", &cost);
    let (mut put, mut take) = locked();
    let cost = in_turns(&mut ours, || ns_a_frame(500, || burst(&mut put, &mut take, &frame)));
    report.row("one thread, a frame: ring / locked queue", &cost);

    let ours = || {
        let (put, take) = ring(MODEL_IN_FRAMES);
        cross_ns(put, take)
    };
    let cost = in_turns(ours, || {
        let (put, take) = crossbeam_channel::bounded(MODEL_IN_FRAMES);
        cross_ns(put, take)
    });
    report.row("two threads, a frame: ring / crossbeam channel", &cost);
    let cost = in_turns(ours, || {
        let (put, take) = locked();
        cross_ns(put, take)
    });
    report.row("two threads, a frame: ring / locked queue", &cost);
    report.write();
}

fn main() {
    criterion_figures();
    if ratios::wanted() {
        print_ratios();
    }
}
