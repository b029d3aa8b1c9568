//! What a run found, with stable field names that carry their units: the JSON report and the library's result.
//!
//! Runs in: anywhere: pure. Owns the figures. Never measures anything itself.
//! Invariant: `calls_good + calls_failed + calls_refused == calls`, and without churn the sums over `per_call` are the totals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use super::figures::Spread;

use super::call::Call;
use super::dialogue::DialogueReport;
use super::figures::{Counts, Figures, correlation, ms, rounded};
use super::options::{Expect, Options};
use super::tape::Tape;
use super::totals::{LegTimes, StepTotals, Times, Totals};
use super::worker::Plan;

/// A run whose sending was later than this at the 99th percentile measured the generator: void.
pub const LATENESS_MS_MAX: f64 = 5.0;

/// Bars of the latency plot.
const BARS: usize = 60;

/// The course of the run, in bins of equal length, a second unless the run lasts for hours, from its beginning.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Length of a bin.
    pub bin_ms: f64,
    /// Most calls up at the same time in the bin.
    pub concurrency: Vec<u32>,
    /// Audio frames sent in the bin.
    pub frames_sent: Vec<u64>,
    /// Audio frames of 20 ms received in the bin.
    pub frames_received: Vec<u64>,
    /// Mean jitter in the bin.
    pub jitter_mean_ms: Vec<f64>,
    /// Largest jitter in the bin.
    pub jitter_max_ms: Vec<f64>,
    /// Mean round trip in the bin.
    pub latency_mean_ms: Vec<f64>,
    /// Median of the round trips in the bin, to an eighth.
    pub latency_p50_ms: Vec<f64>,
    /// 99th percentile of the round trips in the bin, to an eighth.
    pub latency_p99_ms: Vec<f64>,
    /// Longest round trip in the bin.
    pub latency_max_ms: Vec<f64>,
    /// 99th percentile of the generator's own lateness in the bin, to an eighth.
    pub own_lateness_p99_ms: Vec<f64>,
    /// Times that a caller's queue ran dry in the bin.
    pub underruns: Vec<u64>,
    /// Calls refused in the bin.
    pub refused: Vec<u64>,
    /// Calls that failed in the bin.
    pub failed: Vec<u64>,
}

/// One step of a run whose number of calls rises.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Calls from this step on.
    pub calls: u32,
    /// When measuring began, in seconds from the run's beginning: a second after the step's last call was begun.
    pub from_s: f64,
    /// How long it was measured.
    pub seconds: f64,
    /// Round trips of the calls that are analysed, to the arrival of the message.
    pub latency_ms: Spread,
    /// Lateness of the generator's own sending.
    pub own_lateness_ms: Spread,
    /// The generator itself was too late.
    pub void: bool,
    /// Audio frames sent.
    pub frames_sent: u64,
    /// Audio frames of 20 ms received.
    pub frames_received: u64,
    /// Times that a caller's queue ran dry.
    pub underruns: u64,
    /// Calls that failed since the step before, and while this one was measured.
    pub calls_failed: u64,
    /// Calls that were refused since the step before, and while this one was measured.
    pub calls_refused: u64,
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
    /// The leg's name.
    pub leg: String,
    /// `binary`, `json` or `file`.
    pub playback: String,
    /// Nothing was wrong.
    pub good: bool,
    /// The relay refused it; `failure` says in which words.
    pub refused: bool,
    /// What was wrong first.
    pub failure: Option<String>,
    /// From the beginning of the TCP connection to the 101.
    pub setup_ms: f64,
    /// From the 101 to the end.
    pub up_ms: f64,
    /// What was counted.
    #[serde(flatten)]
    pub counts: Counts,
    /// Round trips, to the arrival of the message.
    pub latency_ms: Spread,
    /// Lowest correlation of an answer's envelope with the one expected; 1 without answers.
    pub correlation_min: f64,
    /// End of a talkspurt to the playing of the first audible sample of the answer, each.
    pub response_ms: Vec<f64>,
    /// First frame spoken over an answer to the last old sample played, each.
    pub barge_in_ms: Vec<f64>,
    /// The same to the last old audio handed over, each.
    pub barge_in_handed_over_ms: Vec<f64>,
    /// The same to the clear message, for those that had one.
    pub barge_in_clear_ms: Vec<f64>,
    /// Old audio still queued in the modelled switch at that moment, each.
    pub barge_in_residual_ms: Vec<f64>,
    /// What was said and heard, where the caller wrote it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialogue: Option<DialogueReport>,
    /// What was said and heard, where it was to be kept.
    #[serde(skip)]
    pub tape: Option<Box<Tape>>,
}

impl std::ops::Deref for CallReport {
    type Target = Counts;

    /// A figure is named without saying which of them are counts.
    fn deref(&self) -> &Counts {
        &self.counts
    }
}

/// The calls of one leg and playback.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LegReport {
    /// The leg's name.
    pub leg: String,
    /// `binary`, `json` or `file`.
    pub playback: String,
    /// What was found.
    #[serde(flatten)]
    pub figures: Figures,
}

impl std::ops::Deref for LegReport {
    type Target = Figures;

    /// A leg's figures are named as the run's.
    fn deref(&self) -> &Figures {
        &self.figures
    }
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
    /// `echo`, `parrot`, `answer`, `idle`, `floor` or `dialogue`; the first three are what was expected.
    pub mode: String,
    /// The leg's name, or `mixed`.
    pub leg: String,
    /// `binary`, `json`, `file`, or `mixed`.
    pub playback: String,
    /// `mono` or `stereo`.
    pub mix: String,
    /// Rate of the legs.
    pub rate_hz: u32,
    /// How long each call was to talk.
    pub seconds: f64,
    /// Calls with which something was wrong.
    pub calls_failed: usize,
    /// How many calls failed for each reason.
    pub failures: BTreeMap<String, usize>,
    /// How many calls were refused in which words.
    pub refusals: BTreeMap<String, usize>,
    /// The generator itself was too late: the figures say nothing about the relay.
    pub void: bool,
    /// Lateness of the generator's own sending.
    pub own_lateness_ms: Spread,
    /// How long the run lasted.
    pub wall_ms: f64,
    /// Most calls up at the same time.
    pub concurrency_max: u32,
    /// All calls together.
    #[serde(flatten)]
    pub figures: Figures,
    /// The same for each leg and playback.
    pub legs: Vec<LegReport>,
    /// Round trips as bars, to the arrival of the message.
    pub latency_bars: Bars,
    /// The course of the run.
    pub series: Series,
    /// The steps, if the number of calls rose in steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Each call; of a run with churn at most a thousand, those that were not good among them.
    pub per_call: Vec<CallReport>,
}

impl std::ops::Deref for Report {
    type Target = Figures;

    /// A report is read like its figures.
    fn deref(&self) -> &Figures {
        &self.figures
    }
}

impl Report {
    /// 0 all calls good, 1 some failed or were refused, 3 void.
    pub fn exit_status(&self) -> u8 {
        match (self.void, self.calls_failed + self.calls_refused) {
            (true, _) => 3,
            (false, 0) => 0,
            (false, _) => 1,
        }
    }

    pub(super) fn new(plan: &Plan, mut per_call: Vec<CallReport>, totals: &Totals, ended_ns: u64) -> Self {
        per_call.sort_by_key(|call| call.call);
        let options = &plan.options;
        let mut all = LegTimes::new();
        totals.legs.iter().for_each(|times| all.merge(times));
        let figures = Figures::of(&all);
        let legs: Vec<LegReport> = plan
            .lines
            .iter()
            .zip(&totals.legs)
            .map(|(line, times)| LegReport {
                leg: line.leg.name().to_owned(),
                playback: line.leg.playback().name().to_owned(),
                figures: Figures::of(times),
            })
            .collect();
        let common = |name: fn(&LegReport) -> &str| match legs.split_first() {
            Some((first, others)) if others.iter().all(|leg| name(leg) == name(first)) => name(first),
            _ => "mixed",
        };
        let series = series(plan, totals, ended_ns);
        let own_lateness_ms = Spread::of(&totals.lateness);
        Self {
            tool: "callgen".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            url: options.url.clone(),
            mode: mode(options).to_owned(),
            leg: common(|leg| &leg.leg).to_owned(),
            playback: common(|leg| &leg.playback).to_owned(),
            mix: options.mix.name().to_owned(),
            rate_hz: options.rate.hz(),
            seconds: options.seconds,
            calls_failed: figures.calls - figures.calls_good - figures.calls_refused,
            failures: totals.failures.clone(),
            refusals: totals.refusals.clone(),
            void: own_lateness_ms.p99 > LATENESS_MS_MAX,
            own_lateness_ms,
            wall_ms: ms(ended_ns - plan.epoch_ns),
            concurrency_max: series.concurrency.iter().copied().max().unwrap_or(0),
            figures,
            legs,
            latency_bars: bars(&all.latency),
            series,
            steps: totals.steps.iter().map(StepReport::of).collect(),
            per_call,
        }
    }
}

impl StepReport {
    fn of(totals: &StepTotals) -> Self {
        let StepTotals { step, latency, lateness, counts } = totals;
        let own_lateness_ms = Spread::of(lateness);
        Self {
            calls: step.calls,
            from_s: ms(step.from_ns) / 1000.0,
            seconds: ms(step.to_ns - step.from_ns) / 1000.0,
            latency_ms: Spread::of(latency),
            own_lateness_ms,
            void: own_lateness_ms.p99 > LATENESS_MS_MAX,
            frames_sent: counts.frames_sent,
            frames_received: counts.frames_received,
            underruns: counts.underruns,
            calls_failed: counts.failed,
            calls_refused: counts.refused,
        }
    }
}

impl CallReport {
    /// Of a call that has ended.
    pub(super) fn of(call: &Call, plan: &Plan) -> Self {
        let leg = plan.line(call.line()).leg;
        let mut report = Self {
            call: call.index(),
            leg: leg.name().to_owned(),
            playback: leg.playback().name().to_owned(),
            good: call.failure.is_none(),
            refused: call.is_refused,
            failure: call.failure.clone(),
            setup_ms: ms(call.setup_ns),
            up_ms: if call.up_ns > 0 { ms(call.ended_ns - call.up_ns) } else { 0.0 },
            correlation_min: 1.0,
            ..Self::default()
        };
        let Some(caller) = &call.caller else { return report };
        report.counts = Counts::of(caller, plan.options.rate.hz());
        report.latency_ms = Spread::of(&caller.latency);
        report.dialogue = caller.dialogue().cloned();
        report.tape = caller.tape.clone();
        if let Some(turns) = caller.turns() {
            report.correlation_min = correlation(turns.correlation_min);
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
        Options { dialogue: Some(_), .. } => "dialogue",
        Options { idle: true, .. } => "idle",
        Options { expect: Expect::Echo, .. } => "echo",
        Options { expect: Expect::Parrot, .. } => "parrot",
        Options { expect: Expect::Answer, .. } => "answer",
    }
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

fn series(plan: &Plan, totals: &Totals, ended_ns: u64) -> Series {
    let count = (ended_ns.saturating_sub(plan.epoch_ns) / plan.bin_ns + 1) as usize;
    let bins = || (0..count).map(|place| totals.bins.get(place).copied().unwrap_or_default());
    let (mut came_up, mut went_down) = (0, 0);
    let concurrency = bins().map(|bin| {
        let before = came_up - went_down;
        came_up += bin.came_up;
        went_down += bin.went_down;
        (before + bin.peak) as u32
    });
    let mean_ms = |sum_ns: u64, count: u64| ms(sum_ns.checked_div(count).unwrap_or(0));
    Series {
        bin_ms: ms(plan.bin_ns),
        concurrency: concurrency.collect(),
        frames_sent: bins().map(|bin| bin.frames_sent).collect(),
        frames_received: bins().map(|bin| bin.frames_received).collect(),
        jitter_mean_ms: bins().map(|bin| mean_ms(bin.jitter_sum_ns, bin.jitter_count)).collect(),
        jitter_max_ms: bins().map(|bin| ms(bin.jitter_max_ns)).collect(),
        latency_mean_ms: bins().map(|bin| mean_ms(bin.latency_sum_ns, bin.latency_count)).collect(),
        latency_p50_ms: bins().map(|bin| ms(bin.latency.quantile_ns(0.5))).collect(),
        latency_p99_ms: bins().map(|bin| ms(bin.latency.quantile_ns(0.99))).collect(),
        latency_max_ms: bins().map(|bin| ms(bin.latency_max_ns)).collect(),
        own_lateness_p99_ms: bins().map(|bin| ms(bin.lateness.quantile_ns(0.99))).collect(),
        underruns: bins().map(|bin| bin.underruns).collect(),
        refused: bins().map(|bin| bin.refused).collect(),
        failed: bins().map(|bin| bin.failed).collect(),
    }
}
