//! What a run found, with stable field names that carry their units: the JSON report and the library's result.
//!
//! Runs in: anywhere: pure. Owns the figures. Never measures anything itself.
//! Invariant: `calls_good + calls_failed == calls`, and the sums over `per_call` are the totals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::call::Call;
use super::caller::Caller;
use super::options::{Expect, Options};
use super::totals::{Times, Totals, record, times};
use super::track::TrackCounts;
use super::worker::Plan;

/// A run whose sending was later than this at the 99th percentile measured the generator: void.
pub const LATENESS_MS_MAX: f64 = 5.0;

/// Bars of the latency plot.
const BARS: usize = 60;

/// The distribution of a time, in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Values measured; with 0 all else is 0.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// 90 of 100 are at most this.
    pub p90: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// 999 of 1000 are at most this.
    pub p999: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// From a histogram in µs.
    pub fn of<C: hdrhistogram::Counter>(times: &hdrhistogram::Histogram<C>) -> Self {
        if times.is_empty() {
            return Self::default();
        }
        let ms = |us: u64| us as f64 / 1000.0;
        Self {
            count: times.len(),
            min: ms(times.min()),
            mean: (times.mean().round()) / 1000.0,
            p50: ms(times.value_at_quantile(0.5)),
            p90: ms(times.value_at_quantile(0.9)),
            p99: ms(times.value_at_quantile(0.99)),
            p999: ms(times.value_at_quantile(0.999)),
            max: ms(times.max()),
        }
    }

    fn of_ns(values: impl Iterator<Item = u64>) -> Self {
        let mut histogram = times();
        values.for_each(|ns| record(&mut histogram, ns));
        Self::of(&histogram)
    }
}

/// The course of the run, in bins of equal length from the first call's beginning.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Length of a bin.
    pub bin_ms: f64,
    /// Calls up at the end of the bin.
    pub concurrency: Vec<u32>,
    /// Mean jitter in the bin.
    pub jitter_mean_ms: Vec<f64>,
    /// Largest jitter in the bin.
    pub jitter_max_ms: Vec<f64>,
    /// Mean round trip in the bin.
    pub latency_mean_ms: Vec<f64>,
    /// Longest round trip in the bin.
    pub latency_max_ms: Vec<f64>,
}

/// The round trips as bars, each as wide as the one before it times the same factor, for plots.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bars {
    /// The edges: one more than there are bars.
    pub edges_ms: Vec<f64>,
    /// Values in each bar.
    pub counts: Vec<u64>,
}

/// One call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CallReport {
    /// Number within the run, from 0.
    pub call: usize,
    /// Nothing was wrong.
    pub good: bool,
    /// What was wrong first.
    pub failure: Option<String>,
    /// From the beginning of the TCP connection to the 101.
    pub setup_ms: f64,
    /// From the 101 to the end.
    pub up_ms: f64,
    /// Audio frames sent, silence included.
    pub frames_sent: u64,
    /// Audio received, in frames of 20 ms.
    pub frames_received: u64,
    /// Marked frames sent.
    pub marked_frames_sent: u64,
    /// Marked frames that did not come back.
    pub lost_frames: u64,
    /// Marked frames that came back more than once.
    pub repeated_frames: u64,
    /// Marked frames that came back after a later one.
    pub reordered_frames: u64,
    /// Marked frames that this call never sent.
    pub foreign_frames: u64,
    /// Round trips.
    pub latency_ms: Spread,
    /// Times the modelled switch's queue ran dry in the midst of audio.
    pub underruns: u64,
    /// Silence heard in those times.
    pub underrun_ms: f64,
    /// Places where the received audio itself was silent between two marks.
    pub gaps: u64,
    /// The length of those places.
    pub gap_ms: f64,
    /// Clear messages received.
    pub clears: u32,
    /// Answers heard in full and found right.
    pub answers: u32,
    /// Lowest correlation of an answer's envelope with the one expected; 1 without answers.
    pub correlation_min: f64,
    /// End of a talkspurt to the first audible sample of the answer, each.
    pub response_ms: Vec<f64>,
    /// First frame spoken over an answer to the last old sample played, each.
    pub barge_in_ms: Vec<f64>,
    /// The same to the last old audio handed over, each.
    pub barge_in_handed_over_ms: Vec<f64>,
    /// The same to the clear message, for those that had one.
    pub barge_in_clear_ms: Vec<f64>,
    /// Old audio still queued in the modelled switch at that moment, each.
    pub barge_in_residual_ms: Vec<f64>,
}

/// A run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always `callgen`.
    pub tool: String,
    /// Version of the package.
    pub version: String,
    /// Where the calls went.
    pub url: String,
    /// `echo`, `parrot`, `answer`, `idle` or `floor`; the first three are what was expected.
    pub mode: String,
    /// `binary` or `json`.
    pub playback: String,
    /// `mono` or `stereo`.
    pub mix: String,
    /// Rate of the legs.
    pub rate_hz: u32,
    /// How long each call was to talk.
    pub seconds: f64,
    /// Calls of the run.
    pub calls: usize,
    /// Calls with which nothing was wrong.
    pub calls_good: usize,
    /// Calls with which something was.
    pub calls_failed: usize,
    /// How many calls failed for each reason.
    pub failures: BTreeMap<String, usize>,
    /// The generator itself was too late: the figures say nothing about the relay.
    pub void: bool,
    /// Lateness of the generator's own sending.
    pub own_lateness_ms: Spread,
    /// How long the run lasted.
    pub wall_ms: f64,
    /// Most calls up at the same time.
    pub concurrency_max: u32,
    /// Audio frames sent, silence included.
    pub frames_sent: u64,
    /// Audio received, in frames of 20 ms.
    pub frames_received: u64,
    /// Marked frames sent.
    pub marked_frames_sent: u64,
    /// Marked frames that did not come back.
    pub lost_frames: u64,
    /// Marked frames that came back more than once.
    pub repeated_frames: u64,
    /// Marked frames that came back after a later one.
    pub reordered_frames: u64,
    /// Marked frames in calls that never sent them.
    pub foreign_frames: u64,
    /// Sending of a marked frame to the arrival of the message that holds its first millisecond.
    pub latency_ms: Spread,
    /// Where in that message the frame begins: the delay of filters, and of messages that do not begin where frames
    /// do. It comes on top of `latency_ms` at the ear.
    pub offset_ms: Spread,
    /// How far arrivals are from their distance on the 20 ms grid.
    pub jitter_ms: Spread,
    /// TCP connect to 101.
    pub setup_ms: Spread,
    /// Times a modelled switch's queue ran dry in the midst of audio.
    pub underruns: u64,
    /// Silence heard in those times.
    pub underrun_ms: f64,
    /// Places where the received audio itself was silent between two marks.
    pub gaps: u64,
    /// The length of those places.
    pub gap_ms: f64,
    /// Answers heard in full and found right.
    pub answers: u64,
    /// End of a talkspurt to the first audible sample of the answer.
    pub response_ms: Spread,
    /// Lowest correlation of an answer's envelope with the one expected; 1 without answers.
    pub correlation_min: f64,
    /// Answers spoken over.
    pub barge_ins: u64,
    /// Clear messages received.
    pub clears: u64,
    /// First frame spoken over an answer to the last old sample played in the modelled switch.
    pub barge_in_ms: Spread,
    /// The same to the last old audio handed over.
    pub barge_in_handed_over_ms: Spread,
    /// The same to the clear message.
    pub barge_in_clear_ms: Spread,
    /// Old audio still queued in the modelled switch at that moment.
    pub barge_in_residual_ms: Spread,
    /// Round trips as bars.
    pub latency_bars: Bars,
    /// The course of the run.
    pub series: Series,
    /// Each call.
    pub per_call: Vec<CallReport>,
}

impl Report {
    /// 0 all calls good, 1 some failed, 3 void.
    pub fn exit_status(&self) -> u8 {
        match (self.void, self.calls_failed) {
            (true, _) => 3,
            (false, 0) => 0,
            (false, _) => 1,
        }
    }

    pub(super) fn new(plan: &Plan, mut calls: Vec<Call>, totals: &Totals, ended_ns: u64) -> Self {
        calls.sort_by_key(Call::index);
        let options = &plan.options;
        let per_call: Vec<CallReport> = calls.iter().map(|call| CallReport::new(call, options)).collect();
        let sum = |f: fn(&CallReport) -> u64| per_call.iter().map(f).sum::<u64>();
        let sum_ms = |f: fn(&CallReport) -> f64| rounded(per_call.iter().map(f).sum::<f64>());
        let mut failures = BTreeMap::new();
        for why in per_call.iter().filter_map(|call| call.failure.as_ref()) {
            *failures.entry(why.clone()).or_insert(0) += 1;
        }
        let turns = || calls.iter().filter_map(Call::turns);
        let barge_ins = || turns().flat_map(|turns| &turns.barge_ins);
        let series = series(plan, &calls, totals);
        let own_lateness_ms = Spread::of(&totals.lateness);
        let calls_good = per_call.iter().filter(|call| call.good).count();
        Self {
            tool: "callgen".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            url: options.url.clone(),
            mode: mode(options).to_owned(),
            playback: options.playback.name().to_owned(),
            mix: options.mix.name().to_owned(),
            rate_hz: options.rate.hz(),
            seconds: options.seconds,
            calls: per_call.len(),
            calls_good,
            calls_failed: per_call.len() - calls_good,
            failures,
            void: own_lateness_ms.p99 > LATENESS_MS_MAX,
            own_lateness_ms,
            wall_ms: ms(ended_ns - plan.epoch_ns),
            concurrency_max: series.concurrency.iter().copied().max().unwrap_or(0),
            frames_sent: sum(|call| call.frames_sent),
            frames_received: sum(|call| call.frames_received),
            marked_frames_sent: sum(|call| call.marked_frames_sent),
            lost_frames: sum(|call| call.lost_frames),
            repeated_frames: sum(|call| call.repeated_frames),
            reordered_frames: sum(|call| call.reordered_frames),
            foreign_frames: sum(|call| call.foreign_frames),
            latency_ms: Spread::of(&totals.latency),
            offset_ms: Spread::of(&totals.offset),
            jitter_ms: Spread::of(&totals.jitter),
            setup_ms: Spread::of(&totals.setup),
            underruns: sum(|call| call.underruns),
            underrun_ms: sum_ms(|call| call.underrun_ms),
            gaps: sum(|call| call.gaps),
            gap_ms: sum_ms(|call| call.gap_ms),
            answers: sum(|call| u64::from(call.answers)),
            response_ms: Spread::of_ns(turns().flat_map(|turns| turns.responses_ns.iter().copied())),
            correlation_min: per_call.iter().map(|call| call.correlation_min).fold(1.0, f64::min),
            barge_ins: barge_ins().count() as u64,
            clears: sum(|call| u64::from(call.clears)),
            barge_in_ms: Spread::of_ns(barge_ins().map(|b| b.played_ns)),
            barge_in_handed_over_ms: Spread::of_ns(barge_ins().map(|b| b.handed_over_ns)),
            barge_in_clear_ms: Spread::of_ns(barge_ins().filter_map(|b| b.clear_ns)),
            barge_in_residual_ms: Spread::of_ns(barge_ins().map(|b| b.residual_ns)),
            latency_bars: bars(&totals.latency),
            series,
            per_call,
        }
    }
}

impl CallReport {
    fn new(call: &Call, options: &Options) -> Self {
        let track = call.caller.as_ref().map(Caller::track);
        let (counts, marked) = track.unwrap_or((TrackCounts::default(), 0));
        let mut report = Self {
            call: call.index(),
            good: call.failure.is_none(),
            failure: call.failure.clone(),
            setup_ms: ms(call.setup_ns),
            up_ms: if call.up_ns > 0 { ms(call.ended_ns - call.up_ns) } else { 0.0 },
            marked_frames_sent: marked,
            lost_frames: marked - counts.unique,
            repeated_frames: counts.repeated,
            reordered_frames: counts.reordered,
            foreign_frames: counts.foreign,
            gaps: counts.gaps,
            gap_ms: rounded(counts.gap_samples as f64 * 1000.0 / f64::from(options.rate.hz())),
            correlation_min: 1.0,
            ..Self::default()
        };
        if let Some(caller) = &call.caller {
            report.frames_sent = caller.frames_sent;
            report.frames_received = caller.frames_heard();
            report.latency_ms = Spread::of(&caller.latency);
            report.underruns = caller.ear.underruns;
            report.underrun_ms = ms(caller.ear.underrun_ns);
            report.clears = caller.clears;
        }
        if let Some(turns) = call.turns() {
            report.answers = turns.answers;
            report.correlation_min = (f64::from(turns.correlation_min) * 1000.0).round() / 1000.0;
            report.response_ms = turns.responses_ns.iter().map(|ns| ms(*ns)).collect();
            report.barge_in_ms = turns.barge_ins.iter().map(|b| ms(b.played_ns)).collect();
            report.barge_in_handed_over_ms = turns.barge_ins.iter().map(|b| ms(b.handed_over_ns)).collect();
            report.barge_in_clear_ms = turns.barge_ins.iter().filter_map(|b| b.clear_ns.map(ms)).collect();
            report.barge_in_residual_ms = turns.barge_ins.iter().map(|b| ms(b.residual_ns)).collect();
        }
        report
    }
}

fn mode(options: &Options) -> &'static str {
    match options {
        Options { floor: true, .. } => "floor",
        Options { idle: true, .. } => "idle",
        Options { expect: Expect::Echo, .. } => "echo",
        Options { expect: Expect::Parrot, .. } => "parrot",
        Options { expect: Expect::Answer, .. } => "answer",
    }
}

/// Nanoseconds as ms, rounded to µs.
fn ms(ns: u64) -> f64 {
    ((ns + 500) / 1000) as f64 / 1000.0
}

/// Rounded to µs.
fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// Sixty bars from the least to the greatest value.
fn bars(times: &Times) -> Bars {
    if times.is_empty() {
        return Bars::default();
    }
    let (from_us, to_us) = (times.min().max(1) as f64, times.max() as f64 * 1.01 + 1.0);
    let factor = (to_us / from_us).powf(1.0 / BARS as f64);
    let edges_ms = (0..=BARS).map(|i| rounded(from_us * factor.powi(i as i32) / 1000.0)).collect();
    let mut counts = vec![0; BARS];
    for value in times.iter_recorded() {
        let bar = ((value.value_iterated_to() as f64 / from_us).ln() / factor.ln()).max(0.0) as usize;
        if let Some(count) = counts.get_mut(bar.min(BARS - 1)) {
            *count += value.count_at_value();
        }
    }
    Bars { edges_ms, counts }
}

fn series(plan: &Plan, calls: &[Call], totals: &Totals) -> Series {
    let last_ns = calls.iter().map(|call| call.ended_ns).max().unwrap_or(plan.epoch_ns);
    let bins = (last_ns.saturating_sub(plan.epoch_ns) / plan.bin_ns + 1) as usize;
    let mut concurrency = vec![0u32; bins];
    for call in calls.iter().filter(|call| call.up_ns > 0) {
        for (i, count) in concurrency.iter_mut().enumerate() {
            let end_ns = plan.epoch_ns + (i as u64 + 1) * plan.bin_ns;
            *count += u32::from(call.up_ns < end_ns && call.ended_ns >= end_ns - plan.bin_ns);
        }
    }
    let of = |f: fn(&super::totals::Bin) -> (u64, u64)| -> Vec<f64> {
        let bins = (0..bins).map(|i| totals.bins.get(i).copied().unwrap_or_default());
        bins.map(|bin| f(&bin)).map(|(sum, count)| ms(sum.checked_div(count).unwrap_or(0))).collect()
    };
    Series {
        bin_ms: ms(plan.bin_ns),
        concurrency,
        jitter_mean_ms: of(|bin| (bin.jitter_sum_ns, bin.jitter_count)),
        jitter_max_ms: of(|bin| (bin.jitter_max_ns, 1)),
        latency_mean_ms: of(|bin| (bin.latency_sum_ns, bin.latency_count)),
        latency_max_ms: of(|bin| (bin.latency_max_ns, 1)),
    }
}
