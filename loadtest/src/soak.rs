//! The soak: short calls that follow each other for minutes or hours at a number that the relay bears, and what its
//! process has meanwhile: memory, descriptors, threads.
//!
//! Runs in: the `soak` binary; starts the relay and the simulator as processes and makes the calls itself. Owns those
//! processes and ends them. Never counts an underrun against the relay in a second in which the generator was late.
//! Invariant: what it takes itself does not grow with the number of calls.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::callgen::plot::{Plot, Series};
use crate::callgen::{self, Audio, Expect, Progress, Report, RunError, html};
use crate::density::start::{Relay, Sim};
use crate::density::{Error, Programs, Usage, usage};
use crate::processes::StartError;

/// Of all calls one in so many is analysed.
const ANALYSE: u32 = 20;
/// The share of the time in which either side talks.
const TALK: f64 = 0.4;
/// Samples of a soak.
const SAMPLES: f64 = 600.0;
/// The generator's own lateness that makes a second say nothing of the relay.
const LATENESS_MS: f64 = 5.0;
/// What is flat may rise or fall by this share of its mean from the beginning to the end.
const DRIFT_MAX: f64 = 0.05;
/// The first part of the samples belongs to a process that still warms up.
const WARM_UP_SHARE: f64 = 0.1;

/// How long, and with how many calls.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs are.
    pub programs: Programs,
    /// Calls at the same time.
    pub calls: u32,
    /// How long.
    pub minutes: f64,
    /// Shortest and longest call, in seconds.
    pub call_seconds: (f64, f64),
}

/// What the process had at some time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Since the beginning.
    pub at_s: f64,
    /// Resident memory.
    pub rss_kib: u64,
    /// Open descriptors.
    pub descriptors: u64,
    /// Threads.
    pub threads: u64,
}

/// How something went in the course of the soak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Slope {
    /// By how much it rose in an hour, by least squares.
    pub per_hour: f64,
    /// Its mean.
    pub mean: f64,
    /// By which share of the mean it rose from the beginning to the end.
    pub drift: f64,
}

impl Slope {
    /// Through these values at these times in seconds.
    fn of(points: &[(f64, f64)]) -> Self {
        let count = points.len().max(1) as f64;
        let mean_of = |f: fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / count;
        let (at, mean) = (mean_of(|point| point.0), mean_of(|point| point.1));
        let (mut above, mut below) = (0.0, 0.0);
        for (x, y) in points {
            above += (x - at) * (y - mean);
            below += (x - at) * (x - at);
        }
        let per_s = if below > 0.0 { above / below } else { 0.0 };
        let span_s = points.last().map_or(0.0, |point| point.0) - points.first().map_or(0.0, |point| point.0);
        Self { per_hour: per_s * 3600.0, mean, drift: if mean > 0.0 { per_s * span_s / mean } else { 0.0 } }
    }

    fn is_flat(&self) -> bool {
        self.drift.abs() <= DRIFT_MAX
    }
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Soak {
    /// Calls at the same time.
    pub calls_at_once: u32,
    /// How long.
    pub minutes: f64,
    /// Calls made.
    pub calls: usize,
    /// Calls that failed: what was lost.
    pub calls_lost: usize,
    /// Calls that were refused.
    pub calls_refused: usize,
    /// Why calls failed or were refused.
    pub reasons: Vec<String>,
    /// Underruns in seconds in which the generator was on time.
    pub underruns: u64,
    /// Underruns in the others.
    pub underruns_of_the_generator: u64,
    /// Seconds in which the generator was late.
    pub seconds_void: usize,
    /// Resident memory, in KiB.
    pub rss_kib: Slope,
    /// Open descriptors.
    pub descriptors: Slope,
    /// Threads.
    pub threads: Slope,
    /// The samples that the slopes go through, and those of the warm-up before.
    pub samples: Vec<Sample>,
}

impl Soak {
    /// Nothing was lost, nothing grows, and the relay caused no underrun.
    pub fn is_good(&self) -> bool {
        self.calls_lost + self.calls_refused == 0
            && self.underruns == 0
            && [self.rss_kib, self.descriptors, self.threads].iter().all(Slope::is_flat)
    }

    fn new(options: &Options, report: &Report, samples: Vec<Sample>) -> Self {
        let (mut underruns, mut excused, mut seconds_void) = (0, 0, 0);
        let series = &report.series;
        let late =
            |place: usize| series.own_lateness_p99_ms.get(place).is_some_and(|late| *late > LATENESS_MS);
        for (place, count) in series.underruns.iter().enumerate() {
            seconds_void += usize::from(late(place));
            // What was sent late in one second may be missed in the next.
            let is_excused = late(place) || place.checked_sub(1).is_some_and(late);
            *(if is_excused { &mut excused } else { &mut underruns }) += count;
        }
        let warm = (samples.len() as f64 * WARM_UP_SHARE) as usize;
        let slope = |f: fn(&Sample) -> f64| {
            Slope::of(&samples.iter().skip(warm).map(|sample| (sample.at_s, f(sample))).collect::<Vec<_>>())
        };
        let reasons = report.failures.iter().chain(&report.refusals);
        Self {
            calls_at_once: options.calls,
            minutes: options.minutes,
            calls: report.figures.calls,
            calls_lost: report.calls_failed,
            calls_refused: report.figures.calls_refused,
            reasons: reasons.map(|(why, count)| format!("{count}: {why}")).collect(),
            underruns,
            underruns_of_the_generator: excused,
            seconds_void,
            rss_kib: slope(|sample| sample.rss_kib as f64),
            descriptors: slope(|sample| sample.descriptors as f64),
            threads: slope(|sample| sample.threads as f64),
            samples,
        }
    }

    /// The figures as a table.
    pub fn table(&self) -> String {
        let slope = |name: &str, slope: &Slope| {
            format!(
                "{name:<26} {:.1} on average, {:+.2} an hour, {:+.2} % from the beginning to the end\n",
                slope.mean,
                slope.per_hour,
                slope.drift * 100.0
            )
        };
        format!(
            "{:<26} {} at once for {:.1} min: {} in all, {} lost, {} refused {:?}\n\
             {:<26} {}; {} more in the {} s in which the generator was late\n{}{}{}{}",
            "calls",
            self.calls_at_once,
            self.minutes,
            self.calls,
            self.calls_lost,
            self.calls_refused,
            self.reasons,
            "underruns",
            self.underruns,
            self.underruns_of_the_generator,
            self.seconds_void,
            slope("resident memory, KiB", &self.rss_kib),
            slope("descriptors", &self.descriptors),
            slope("threads", &self.threads),
            format_args!("{:<26} {}\n", "verdict", if self.is_good() { "good" } else { "not good" })
        )
    }

    /// Plots of what the process had, and the report of the calls.
    pub fn page(&self, report: &Report) -> String {
        let every_ms = match self.samples.as_slice() {
            [first, .., last] => (last.at_s - first.at_s) * 1000.0 / (self.samples.len() - 1) as f64,
            _ => 1000.0,
        };
        let plot = |title: &str, unit: &'static str, f: fn(&Sample) -> f64| {
            let values: Vec<f64> = self.samples.iter().map(f).collect();
            let line = Series { name: title, class: "a", values: &values };
            format!("<h2>{title}</h2>\n{}", Plot::over_time(every_ms, unit).lines(&[line]))
        };
        let plots = [
            plot("resident memory", "MiB", |sample| sample.rss_kib as f64 / 1024.0),
            plot("descriptors", "", |sample| sample.descriptors as f64),
            plot("threads", "", |sample| sample.threads as f64),
        ];
        html::pages_below("Tandem: soak", &plots.concat(), std::slice::from_ref(report))
    }
}

/// Makes the calls; `say` is told where they stand, once a minute.
///
/// # Errors
/// When a process does not start, ends, or calls cannot be made at all. Calls that fail are in the result.
pub fn run(options: &Options, say: &mut dyn FnMut(&str)) -> Result<(Soak, Report), Error> {
    options.programs.make_folder()?;
    let most = format!("listen.max_calls={}", options.calls.saturating_mul(2).max(1000));
    let relay = Relay::tandem(&options.programs, "soak", &Sim { voice: "parrot", is_tls: false }, &[&most])?;
    let seconds = options.minutes * 60.0;
    let calls = callgen::Options {
        url: relay.url.clone(),
        calls: options.calls,
        seconds,
        call_seconds: Some(options.call_seconds),
        audio: Audio::Speech,
        expect: Expect::Parrot,
        analyse: ANALYSE,
        talk: Some(TALK),
        ..callgen::Options::default()
    };
    let progress = Arc::new(Progress::default());
    let observed = Arc::clone(&progress);
    let runner = thread::spawn(move || callgen::run_observed(calls, &observed));
    let every = Duration::from_secs_f64((seconds / SAMPLES).max(0.2));
    let (began, mut samples, mut said) = (Instant::now(), Vec::new(), 0);
    while !runner.is_finished() {
        let at_s = began.elapsed().as_secs_f64();
        if at_s <= seconds {
            let Usage { rss_kib, descriptors, threads } = usage(relay.process.pid()).map_err(|source| {
                StartError { what: "the relay cannot be measured; has it ended?".to_owned(), source }
            })?;
            samples.push(Sample { at_s, rss_kib, descriptors, threads });
            if at_s >= f64::from(said) * 60.0 {
                said += 1;
                let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
                say(&format!(
                    "{at_s:>5.0} s  {} calls up, {} made, {} failed, {} refused; {rss_kib} KiB, {descriptors} descriptors, {threads} threads",
                    of(&progress.up),
                    of(&progress.begun),
                    of(&progress.failed),
                    of(&progress.refused)
                ));
            }
        }
        thread::sleep(every);
    }
    let ended = runner.join().unwrap_or_else(|_| {
        Err(RunError::Io { doing: "running calls", source: std::io::Error::other("the run panicked") })
    });
    let report = ended?;
    Ok((Soak::new(options, &report, samples), report))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_least_squares() {
        let rising: Vec<(f64, f64)> =
            (0..100).map(|i| (f64::from(i) * 10.0, 1000.0 + f64::from(i) + f64::from(i % 2))).collect();
        let slope = Slope::of(&rising);
        assert!((slope.per_hour - 360.0).abs() < 1.0, "{slope:?}");
        assert!((slope.drift - 0.094).abs() < 0.002 && !slope.is_flat(), "{slope:?}");
        let flat = Slope::of(&[(0.0, 7.0), (1.0, 9.0), (2.0, 7.0)]);
        assert!(flat.per_hour.abs() < 1e-9 && flat.is_flat());
        assert_eq!(Slope::of(&[]), Slope::default());
    }

    #[test]
    fn underruns_count_against_the_relay_where_the_generator_was_on_time() {
        let mut report = Report::default();
        report.series.underruns = vec![0, 2, 1, 1, 5];
        report.series.own_lateness_p99_ms = vec![0.1, 9.0, 0.1, 0.1, 0.1];
        let programs = Programs {
            tandem: "t".into(),
            gemini_sim: "g".into(),
            null_relay: "n".into(),
            python: "p".into(),
            naive_relay: "r".into(),
            logs: "l".into(),
            settings: Vec::new(),
        };
        let options = Options { programs, calls: 3, minutes: 1.0, call_seconds: (2.0, 6.0) };
        let sample = |at: u32| Sample { at_s: f64::from(at), rss_kib: 9000, descriptors: 90, threads: 9 };
        let mut soak = Soak::new(&options, &report, (0..20).map(sample).collect());
        assert_eq!((soak.underruns, soak.underruns_of_the_generator, soak.seconds_void), (6, 3, 1));
        assert!(!soak.is_good() && soak.rss_kib.is_flat());
        soak.underruns = 0;
        assert!(soak.is_good());
        soak.calls_lost = 1;
        assert!(!soak.is_good() && soak.table().contains("not good"));
        let page = soak.page(&report);
        assert!(page.matches("<svg").count() >= 3 && !page.contains("NaN"));
    }
}
