//! How many calls the relay carries: the knee, round trips below it, one shard beside two, and what becomes of calls
//! beyond the cap.
//!
//! Runs in: the `density` binary. Owns the processes while it measures. Never lets an overloaded relay be measured
//! again: every probe and every round has one of its own. Invariant: a knee that the generator limited says so.

use serde::Serialize;
use serde_json::json;

use super::figures::{Figures, median, rounded};
use super::measure::{RAMP_PER_S, Sample};
use super::rounds::Bench;
use super::start::{Relay, Sim};
use super::{Error, Options};
use crate::callgen::knee::{self, Knee, Limits};
use crate::callgen::plot::{Series, curves};
use crate::callgen::{self, Report, RunError, StepReport, Steps};

/// One call in so many is analysed while the knee is looked for.
const ANALYSE: u32 = 10;
/// How much longer round trips may be at p99 than those of 25 calls.
const ADDED_P99_MS: f64 = 20.0;
/// Shares of the knee at which round trips are shown, in percent.
const SHARES: [u32; 4] = [25, 50, 75, 90];
/// A run for which the generator was late is made so many times more.
const AGAIN_MAX: u32 = 2;

/// Round trips at a share of the knee: medians of the rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Row {
    share_percent: u32,
    calls: u32,
    p50_ms: f64,
    p99_ms: f64,
    underruns: f64,
    rounds: usize,
}

fn calls(relay: &Relay) -> callgen::Options {
    let url = relay.url.clone();
    callgen::Options { url, ramp_per_s: RAMP_PER_S, analyse: ANALYSE, ..callgen::Options::default() }
}

/// A relay that admits all calls that are tried.
fn start(options: &Options, name: &str, shards: u32) -> Result<Relay, Error> {
    let (shards, most) =
        (format!("threads.shards={shards}"), format!("listen.max_calls={}", options.calls_max.max(1000)));
    Relay::tandem(&options.programs, name, &Sim::ECHO, &[&shards, &most])
}

fn find(bench: &Bench<'_>, shards: u32, say: &mut dyn FnMut(&str)) -> Result<Knee, Error> {
    let options = bench.options;
    let limits = Limits { calls_max: options.calls_max, added_p99_ms: ADDED_P99_MS };
    let mut probe = |number| -> Result<StepReport, Error> {
        let relay = start(options, &format!("knee-{shards}"), shards)?;
        Ok(knee::probe(&calls(&relay), number, options.seconds)?)
    };
    let name = bench.part.name();
    let knee = knee::find(&limits, &mut probe, &mut |line| say(&format!("{name}, shards {shards}: {line}")))?;
    say(&format!("{name}, shards {shards}: {} calls; more: {}", knee.calls, knee.limited_by));
    Ok(knee)
}

/// Makes a run, and makes it again if the generator was late for it.
fn on_time(
    figures: &mut Figures,
    mut run: impl FnMut() -> Result<Report, Error>,
) -> Result<Option<Report>, Error> {
    for _ in 0..=AGAIN_MAX {
        let report = run()?;
        if !report.void && report.steps.iter().all(|step| !step.void) {
            return Ok(Some(report));
        }
        figures.runs_void += 1;
    }
    Ok(None)
}

/// The knee, and round trips at shares of it.
pub(super) fn knee(bench: &Bench<'_>, figures: &mut Figures, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let knee = find(bench, 1, say)?;
    figures.set("knee_calls", knee.calls);
    figures.set("knee", &knee);
    // Shares of less are not different numbers of calls.
    if knee.calls < 8 {
        return Err(Error::Unusable(format!(
            "{} calls are too many already: {}",
            knee.calls + 1,
            knee.limited_by
        )));
    }
    let rows = table(bench, knee.calls, figures, say)?;
    let p99 = |share| rows.iter().find(|row| row.share_percent == share).map(|row| row.p99_ms);
    if let (Some(at_25), Some(at_75)) = (p99(25), p99(75)) {
        figures.set("knee_p99_ratio_75_to_25", rounded(at_75 / at_25));
    }
    figures.set("knee_table", &rows);
    let path = bench.options.programs.logs.join("../density-knee.svg");
    std::fs::write(&path, plot(&rows))
        .map_err(|source| RunError::Io { doing: "writing density-knee.svg", source })?;
    Ok(())
}

fn table(
    bench: &Bench<'_>,
    knee: u32,
    figures: &mut Figures,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Row>, Error> {
    let options = bench.options;
    let numbers: Vec<u32> = SHARES.iter().map(|share| (knee * share / 100).max(1)).collect();
    let mut usable: Vec<Vec<StepReport>> = vec![Vec::new(); numbers.len()];
    for round in 1..=options.rounds {
        let relay = start(options, "knee-table", 1)?;
        let steps = Some(Steps { calls: numbers.clone(), seconds: options.seconds });
        let report = callgen::run(callgen::Options { steps, ..calls(&relay) })?;
        for (step, usable) in report.steps.into_iter().zip(&mut usable) {
            let StepReport { latency_ms, own_lateness_ms, .. } = &step;
            say(&format!(
                "knee table {round}/{}, {} calls: round trip p50 {:.2} ms, p99 {:.2} ms, own lateness p99 {:.2} ms{}",
                options.rounds,
                step.calls,
                latency_ms.p50,
                latency_ms.p99,
                own_lateness_ms.p99,
                if step.void { ", VOID" } else { "" }
            ));
            figures.runs_void += u64::from(step.void);
            if !step.void {
                usable.push(step);
            }
        }
    }
    // A step for which the generator was late in every round is left out.
    let rows = SHARES.iter().zip(usable).filter(|(_, steps)| !steps.is_empty()).map(|(share, steps)| {
        let of = |f: fn(&StepReport) -> f64| rounded(median(steps.iter().map(f)));
        Row {
            share_percent: *share,
            calls: steps.first().map_or(0, |step| step.calls),
            p50_ms: of(|step| step.latency_ms.p50),
            p99_ms: of(|step| step.latency_ms.p99),
            underruns: of(|step| step.underruns as f64),
            rounds: steps.len(),
        }
    });
    Ok(rows.collect())
}

fn plot(rows: &[Row]) -> String {
    let calls: Vec<f64> = rows.iter().map(|row| f64::from(row.calls)).collect();
    let of = |f: fn(&Row) -> f64| -> Vec<f64> { rows.iter().map(f).collect() };
    let (p50, p99) = (of(|row| row.p50_ms), of(|row| row.p99_ms));
    curves(
        "calls",
        &calls,
        "ms",
        &[Series { name: "p99", class: "b", values: &p99 }, Series { name: "p50", class: "a", values: &p50 }],
    )
}

/// One shard beside two: the knee of each, and CPU and round trips at three quarters of the first one's.
pub(super) fn shards(
    bench: &Bench<'_>,
    figures: &mut Figures,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let one_knee = match figures.number("knee_calls") {
        Some(calls) if calls > 0.0 => calls as u32,
        _ => find(bench, 1, say)?.calls,
    };
    let two_knee = find(bench, 2, say)?;
    let number = (one_knee * 3 / 4).max(1);
    let one = start(bench.options, "shards-1", 1)?;
    let two = start(bench.options, "shards-2", 2)?;
    let sides = [("one shard", &one), ("two shards", &two)].map(|(name, relay)| {
        let mut side = bench.side(name, relay, number);
        side.calls.analyse = ANALYSE;
        side
    });
    let rounds = bench.in_turns(&sides, figures, say)?;
    let row = |name, shards: u32, knee: u32| {
        let of = |f: fn(&Sample) -> f64| rounds.median(name, f);
        json!({
            "shards": shards,
            "knee_calls": knee,
            "calls": number,
            "us_per_frame_pair": of(|sample| sample.us_per_frame_pair),
            "p50_ms": of(|sample| sample.latency_p50_ms),
            "p99_ms": of(|sample| sample.latency_p99_ms),
        })
    };
    figures.set("knee_calls_2_shards", two_knee.calls);
    figures.set("shards_p99_ratio", rounds.ratio("two shards", "one shard", |sample| sample.latency_p99_ms));
    figures.set("shards", [row("one shard", 1, one_knee), row("two shards", 2, two_knee.calls)]);
    figures.set("knee_2_shards", two_knee);
    Ok(())
}

/// Twice the cap offered, beside just the cap.
pub(super) fn cap(bench: &Bench<'_>, figures: &mut Figures, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let options = bench.options;
    let cap = options.latency_calls;
    let setting = format!("listen.max_calls={cap}");
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        let mut reports = Vec::with_capacity(2);
        for offered in [cap, cap * 2] {
            let report = on_time(figures, || {
                let relay = Relay::tandem(&options.programs, "cap", &Sim::ECHO, &[&setting])?;
                let seconds = options.seconds + f64::from(offered) / RAMP_PER_S;
                let calls = callgen::Options { calls: offered, seconds, analyse: 1, ..calls(&relay) };
                Ok(callgen::run(calls)?)
            })?;
            let Some(report) = report else { break };
            say(&format!(
                "cap {round}/{}, {offered} calls offered: {} served, {} refused in at most {:.1} ms, {} failed {:?}, p99 {:.2} ms",
                options.rounds,
                report.calls_good,
                report.calls_refused,
                report.refusal_ms.max,
                report.calls_failed,
                report.failures,
                report.latency_ms.p99
            ));
            reports.push(report);
        }
        if let Ok([at_cap, twice]) = <[Report; 2]>::try_from(reports) {
            rounds.push((at_cap, twice));
        }
    }
    if rounds.is_empty() {
        return Err(Error::Unusable("the generator was late in every round at the cap".to_owned()));
    }
    let of = |f: fn(&(Report, Report)) -> f64| rounded(median(rounds.iter().map(f)));
    let is_exact = rounds.iter().all(|(_, twice)| {
        twice.calls_good == cap as usize && twice.calls_refused == cap as usize && twice.calls_failed == 0
    });
    figures.set("cap_p99_ratio", of(|(at_cap, twice)| twice.latency_ms.p99 / at_cap.latency_ms.p99));
    figures
        .set("cap_refusal_ms_max", rounds.iter().map(|(_, twice)| twice.refusal_ms.max).fold(0.0, f64::max));
    figures.set(
        "cap",
        json!({
            "cap": cap,
            "offered": cap * 2,
            "rounds": rounds.len(),
            "is_exact": is_exact,
            "served": of(|(_, twice)| twice.calls_good as f64),
            "refused": of(|(_, twice)| twice.calls_refused as f64),
            "failed": of(|(_, twice)| twice.calls_failed as f64),
            "p99_ms_at_cap": of(|(at_cap, _)| at_cap.latency_ms.p99),
            "p99_ms_at_twice": of(|(_, twice)| twice.latency_ms.p99),
        }),
    );
    Ok(())
}
