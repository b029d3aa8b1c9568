//! The knee: the most calls that a relay carries with its round trips still short, found by doubling and halving.
//!
//! Runs in: `callgen --knee` and `density`; the search is pure, each probe is a run of its own. Owns nothing.
//! Never calls a number good that the generator itself was too late for. Invariant: the knee was probed and found good, and what is a
//! twentieth above it was found bad, or never tried because it is the most that was asked for.

use serde::{Deserialize, Serialize};

use super::options::{Options, Steps};
use super::report::StepReport;
use super::{RunError, run};

/// The first number of calls, and by what round trips of more calls are judged.
const FIRST: u32 = 25;
/// Less than this share of what was sent came back while it was measured: the relay falls behind.
const RETURNED_MIN: f64 = 0.97;

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most calls that are tried.
    pub calls_max: u32,
    /// How much longer round trips may be at p99 than those of 25 calls.
    pub added_p99_ms: f64,
}

/// One number of calls that was tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// What was measured.
    #[serde(flatten)]
    pub step: StepReport,
    /// Why it is too many; nothing if it is not.
    pub too_many: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Knee {
    /// The most calls that were good; 0 when none were.
    pub calls: u32,
    /// What more calls failed by, or that no more were tried.
    pub limited_by: String,
    /// Round trips of 25 calls at p99, to which the bound is added.
    pub base_p99_ms: f64,
    /// The bound: how much longer they may be.
    pub added_p99_ms: f64,
    /// All that was tried, in that order.
    pub probes: Vec<Probe>,
}

/// What is wrong with a number of calls, if anything is.
fn judge(step: &StepReport, base_p99_ms: f64, limits: &Limits) -> Option<String> {
    let bound_ms = base_p99_ms + limits.added_p99_ms;
    if step.void {
        let late_ms = step.own_lateness_ms.p99;
        Some(format!("the generator's own lateness: {late_ms:.1} ms at p99"))
    } else if step.calls_failed + step.calls_refused > 0 {
        Some(format!("{} calls failed and {} were refused", step.calls_failed, step.calls_refused))
    } else if step.latency_ms.count == 0 {
        Some("nothing came back".to_owned())
    } else if step.latency_ms.p99 > bound_ms {
        Some(format!("round trips of {:.1} ms at p99, more than {bound_ms:.1}", step.latency_ms.p99))
    } else if (step.frames_received as f64) < step.frames_sent as f64 * RETURNED_MIN {
        Some(format!("{} of {} frames came back", step.frames_received, step.frames_sent))
    } else {
        None
    }
}

/// Finds the knee; `probe` tries a number of calls, `say` is told of each. What looks like too many is tried once more,
/// because a busy moment of the machine looks the same; what the relay failed at is not.
///
/// # Errors
/// Those of `probe`.
pub fn find<E>(
    limits: &Limits,
    probe: &mut dyn FnMut(u32) -> Result<StepReport, E>,
    say: &mut dyn FnMut(&str),
) -> Result<Knee, E> {
    let mut knee = Knee { added_p99_ms: limits.added_p99_ms, ..Knee::default() };
    let (mut good, mut bad) = (0u32, None::<u32>);
    loop {
        let calls = match bad {
            None if good == 0 => FIRST.min(limits.calls_max),
            None => good.saturating_mul(2).min(limits.calls_max),
            Some(bad) => good + (bad - good) / 2,
        };
        let mut too_many = None;
        for _ in 0..2 {
            let step = probe(calls)?;
            if knee.probes.is_empty() {
                knee.base_p99_ms = step.latency_ms.p99;
            }
            too_many = judge(&step, knee.base_p99_ms, limits);
            say(&format!(
                "{calls} calls: round trip p50 {:.2} ms, p99 {:.2} ms, own lateness p99 {:.2} ms: {}",
                step.latency_ms.p50,
                step.latency_ms.p99,
                step.own_lateness_ms.p99,
                too_many.as_deref().unwrap_or("good")
            ));
            let has_failed = step.calls_failed + step.calls_refused > 0;
            knee.probes.push(Probe { step, too_many: too_many.clone() });
            if too_many.is_none() || has_failed {
                break;
            }
        }
        match too_many {
            None => good = calls,
            Some(why) => {
                bad = Some(calls);
                knee.limited_by = why;
            }
        }
        knee.calls = good;
        match bad {
            None if good == limits.calls_max => {
                "no more calls were tried".clone_into(&mut knee.limited_by);
                return Ok(knee);
            }
            Some(bad) if bad - good <= (good / 20).max(1) => return Ok(knee),
            _ => {}
        }
    }
}

/// Tries `calls` calls of `options` for so many seconds.
///
/// # Errors
/// Those of [`run`].
pub fn probe(options: &Options, calls: u32, seconds: f64) -> Result<StepReport, RunError> {
    let steps = Some(Steps { calls: vec![calls], seconds });
    let report = run(Options { calls, steps, ..options.clone() })?;
    let mut step = report.steps.into_iter().next().unwrap_or_default();
    // Whoever failed or was refused before the time that is measured, or after it.
    step.calls_failed = report.calls_failed as u64;
    step.calls_refused = report.figures.calls_refused as u64;
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::super::figures::Spread;
    use super::*;

    /// A relay whose round trips are long from `knee` calls on.
    fn step(calls: u32, p99: f64) -> StepReport {
        let latency_ms = Spread { count: 1, p99, ..Spread::default() };
        StepReport { calls, latency_ms, frames_sent: 100, frames_received: 100, ..StepReport::default() }
    }

    fn search(calls_max: u32, mut relay: impl FnMut(u32) -> StepReport) -> Knee {
        let limits = Limits { calls_max, added_p99_ms: 20.0 };
        let mut probe = |calls| Ok::<_, ()>(relay(calls));
        find(&limits, &mut probe, &mut |_| {}).expect("it cannot fail")
    }

    #[test]
    fn the_knee_is_found_to_a_twentieth() {
        for at in [1, 7, 30, 333, 790, 2400] {
            let knee = search(5000, |calls| step(calls, if calls > at { 100.0 } else { 5.0 }));
            let least = at - at / 20;
            let first_is_base = at < FIRST;
            assert!(first_is_base || (least..=at).contains(&knee.calls), "{at}: {knee:?}");
            assert!(knee.probes.len() < 30);
        }
        let all = search(100, |calls| step(calls, 5.0));
        assert_eq!((all.calls, all.limited_by.as_str()), (100, "no more calls were tried"));
    }

    #[test]
    fn a_busy_moment_is_tried_again_and_a_failed_call_is_not() {
        let mut tries = 0;
        let knee = search(50, |calls| {
            tries += 1;
            step(calls, if tries == 2 { 90.0 } else { 4.0 })
        });
        assert_eq!((knee.calls, tries), (50, 3));
        let failing =
            search(50, |calls| StepReport { calls_failed: u64::from(calls > 25), ..step(calls, 4.0) });
        assert!((25..=26).contains(&failing.calls) && failing.limited_by.contains("failed"), "{failing:?}");
        let tried: Vec<u32> = failing.probes.iter().map(|probe| probe.step.calls).collect();
        assert!(tried.windows(2).all(|pair| pair[0] != pair[1]), "{tried:?}");
        let void = search(50, |calls| StepReport { void: true, ..step(calls, 4.0) });
        assert!(void.calls == 0 && void.limited_by.contains("own lateness"), "{void:?}");
        let behind = search(25, |calls| StepReport { frames_received: 90, ..step(calls, 4.0) });
        assert!(behind.limited_by.contains("90 of 100"), "{behind:?}");
    }
}
