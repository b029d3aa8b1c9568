//! The density measurement: what a call costs in the relay, beside the same calls through the null relay.
//!
//! Runs in: the `density` binary; starts the relay, the simulator and the null relay as processes and makes the calls
//! itself. Owns those processes and ends them. Never compares runs that did not alternate: both sides are measured
//! in turns, and medians are taken. Invariant: a figure is only reported from runs in which every call was good and
//! the generator was on time; other runs are counted.

mod measure;
mod watch;

use std::path::PathBuf;

use serde::Serialize;

use crate::callgen::RunError;
use crate::processes::{Process, StartError, start_sim, start_tandem};
use measure::{Load, Sample};
use watch::Watch;

/// Where the binaries are, and how much is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// The relay.
    pub tandem: PathBuf,
    /// The simulator.
    pub gemini_sim: PathBuf,
    /// The null relay.
    pub null_relay: PathBuf,
    /// Where the processes' output goes.
    pub logs: PathBuf,
    /// Calls while CPU is measured.
    pub calls: u32,
    /// Calls while the latency of many is measured; that of one is always measured, too.
    pub latency_calls: u32,
    /// Idle calls while memory is measured.
    pub idle_calls: u32,
    /// Length of each measurement.
    pub seconds: f64,
    /// Measurements of each kind; the median counts.
    pub rounds: u32,
}

/// Round trips of relay and null relay, and the difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Calls at once.
    pub calls: u32,
    /// Through the relay, median.
    pub relay_p50: f64,
    /// Through the relay, 99th percentile.
    pub relay_p99: f64,
    /// Through the null relay, median.
    pub null_p50: f64,
    /// Through the null relay, 99th percentile.
    pub null_p99: f64,
    /// What the relay adds to the median.
    pub added_p50: f64,
    /// What the relay adds to the 99th percentile.
    pub added_p99: f64,
}

/// The latencies by the number of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Latencies {
    /// One call.
    pub one: Latency,
    /// [`Options::latency_calls`] calls.
    pub many: Latency,
}

/// What it costs that somebody looks: the page is open and Prometheus scrapes each second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Watched {
    /// CPU of the relay over that without anybody looking.
    pub cpu_ratio: f64,
    /// Median of the round trips over that without anybody looking.
    pub latency_p50_ratio: f64,
    /// 99th percentile of the round trips, the jitter of 100 calls at once, over that without anybody looking.
    pub latency_p99_ratio: f64,
    /// Events that the page read.
    pub events: u64,
    /// Times that Prometheus got its metrics.
    pub scrapes: u64,
}

/// What was found; medians over the rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Density {
    /// CPU of the relay over CPU of the null relay, for the same frames.
    pub cpu_ratio: f64,
    /// CPU of the relay for one frame up and one down.
    pub relay_us_per_frame_pair: f64,
    /// CPU of the null relay for the same.
    pub null_us_per_frame_pair: f64,
    /// Each round's figures: relay, null relay.
    pub us_per_frame_pair_rounds: Vec<(f64, f64)>,
    /// Calls in those rounds.
    pub calls: u32,
    /// Resident memory of the relay before any call.
    pub empty_rss_kib: u64,
    /// Resident memory per idle call above that.
    pub idle_kib_per_call: f64,
    /// The same in proportional set size.
    pub idle_pss_kib_per_call: f64,
    /// Idle calls while memory was measured.
    pub idle_calls: u32,
    /// Round trips.
    pub latency_ms: Latencies,
    /// What being looked at costs.
    pub watched: Watched,
    /// Processors of this machine.
    pub processors: usize,
    /// Runs in which the generator was later than 5 ms at p99, and which were left out.
    pub runs_void: u32,
    /// Runs in which calls failed, and which were left out.
    pub runs_failed: u32,
    /// Why calls failed, if any did.
    pub failures: Vec<String>,
}

/// Why nothing was found.
#[derive(Debug)]
pub enum Error {
    /// A process did not start.
    Start(StartError),
    /// The calls could not be made.
    Run(RunError),
    /// No round of a kind was usable; the text says which kind and why.
    Unusable(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start(e) => e.fmt(f),
            Self::Run(e) => e.fmt(f),
            Self::Unusable(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

fn sim(options: &Options, arguments: &[&str], log: &str) -> Result<(Process, String), Error> {
    Ok(start_sim(&options.gemini_sim, arguments, &options.logs.join(log))?)
}

/// Starts the null relay in front of `upstream` and gives its URL.
fn start_null(options: &Options, upstream: &str) -> Result<(Process, String), Error> {
    let mut command = std::process::Command::new(&options.null_relay);
    command.args(["--listen", "127.0.0.1:0", "--upstream", upstream]);
    let process = Process::start(command, &options.logs.join("null-relay.log"))?;
    let addr = process.wait_for("null-relay listening on ")?;
    Ok((process, format!("ws://{addr}/")))
}

/// Measures everything; `say` is told what is going on, a line at a time.
///
/// # Errors
/// When a process does not start, calls cannot be made at all, or no round of a kind was usable.
pub fn run(options: &Options, say: &mut dyn FnMut(&str)) -> Result<Density, Error> {
    std::fs::create_dir_all(&options.logs)
        .map_err(|source| StartError { what: format!("cannot make {}", options.logs.display()), source })?;
    let mut density = Density {
        calls: options.calls,
        idle_calls: options.idle_calls,
        processors: std::thread::available_parallelism().map_or(0, usize::from),
        ..Density::default()
    };
    memory(options, &mut density, say)?;

    let (_floor_sim, floor_addr) = sim(options, &["--floor"], "gemini-sim-floor.log")?;
    let (null, null_url) = start_null(options, &floor_addr)?;
    let (_sim, sim_addr) = sim(options, &["--voice", "echo"], "gemini-sim-echo.log")?;
    let (tandem, tandem_url) =
        start_tandem(&options.tandem, &sim_addr, &[], &options.logs.join("tandem.log"))?;
    let null = Side { process: &null, url: null_url, floor: true };
    let tandem = Side { process: &tandem, url: tandem_url, floor: false };

    let cpu = pairs(options, &tandem, &null, options.calls, &mut density, say)?;
    density.us_per_frame_pair_rounds = cpu
        .iter()
        .map(|(relay, null)| (rounded(relay.us_per_frame_pair), rounded(null.us_per_frame_pair)))
        .collect();
    density.relay_us_per_frame_pair = rounded(median(cpu.iter().map(|(relay, _)| relay.us_per_frame_pair)));
    density.null_us_per_frame_pair = rounded(median(cpu.iter().map(|(_, null)| null.us_per_frame_pair)));
    density.cpu_ratio =
        rounded(median(cpu.iter().map(|(relay, null)| relay.us_per_frame_pair / null.us_per_frame_pair)));
    for (calls, many) in [(1, false), (options.latency_calls, true)] {
        let samples = pairs(options, &tandem, &null, calls, &mut density, say)?;
        let of = |f: fn(&(Sample, Sample)) -> f64| rounded(median(samples.iter().map(f)));
        let latency = Latency {
            calls,
            relay_p50: of(|(relay, _)| relay.latency_p50_ms),
            relay_p99: of(|(relay, _)| relay.latency_p99_ms),
            null_p50: of(|(_, null)| null.latency_p50_ms),
            null_p99: of(|(_, null)| null.latency_p99_ms),
            added_p50: of(|(relay, null)| relay.latency_p50_ms - null.latency_p50_ms),
            added_p99: of(|(relay, null)| relay.latency_p99_ms - null.latency_p99_ms),
        };
        *(if many { &mut density.latency_ms.many } else { &mut density.latency_ms.one }) = latency;
    }
    let admin = tandem.process.wait_for("admin server: http://")?;
    watched(options, &tandem, &admin, &mut density, say)?;
    Ok(density)
}

/// Measures the relay alone and looked at, in turns.
fn watched(
    options: &Options,
    tandem: &Side<'_>,
    admin: &str,
    density: &mut Density,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    let mut usable = Vec::new();
    for round in 1..=options.rounds {
        let load = Load { url: &tandem.url, floor: false, calls: options.calls, seconds: options.seconds };
        let alone = measure::under_load(tandem.process.pid(), &load)?;
        let watch = Watch::of(admin);
        let watched = measure::under_load(tandem.process.pid(), &load)?;
        let (events, scrapes) = watch.end();
        say(&format!("round {round} of {}, nobody looks: {alone}", options.rounds));
        say(&format!("round {round} of {}, {events} events, {scrapes} scrapes: {watched}", options.rounds));
        density.watched.events += events;
        density.watched.scrapes += scrapes;
        for sample in [&alone, &watched] {
            density.runs_void += u32::from(sample.void);
            density.runs_failed += u32::from(sample.calls_failed > 0);
        }
        if alone.is_usable() && watched.is_usable() && events > 0 && scrapes > 0 {
            usable.push((watched, alone));
        }
    }
    if usable.is_empty() {
        return Err(Error::Unusable("no round in which somebody looked was usable".to_owned()));
    }
    let ratio =
        |f: fn(&Sample) -> f64| rounded(median(usable.iter().map(|(watched, alone)| f(watched) / f(alone))));
    density.watched.cpu_ratio = ratio(|sample| sample.us_per_frame_pair);
    density.watched.latency_p50_ratio = ratio(|sample| sample.latency_p50_ms);
    density.watched.latency_p99_ratio = ratio(|sample| sample.latency_p99_ms);
    Ok(())
}

/// A relay that is measured.
struct Side<'a> {
    process: &'a Process,
    url: String,
    floor: bool,
}

/// Measures both sides in turns, `rounds` times, and leaves out the rounds that are not usable.
fn pairs(
    options: &Options,
    tandem: &Side<'_>,
    null: &Side<'_>,
    calls: u32,
    density: &mut Density,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<(Sample, Sample)>, Error> {
    let mut usable = Vec::new();
    for round in 1..=options.rounds {
        let mut samples = Vec::with_capacity(2);
        for (name, side) in [("null relay", null), ("tandem", tandem)] {
            let load = Load { url: &side.url, floor: side.floor, calls, seconds: options.seconds };
            let sample = measure::under_load(side.process.pid(), &load)?;
            say(&format!("{calls} calls, round {round} of {}, {name}: {sample}", options.rounds));
            samples.push(sample);
        }
        for sample in &samples {
            density.runs_void += u32::from(sample.void);
            density.runs_failed += u32::from(sample.calls_failed > 0);
            density.failures.extend(sample.failures.iter().cloned());
        }
        density.failures.sort();
        density.failures.dedup();
        if let [null, tandem] = samples.as_slice()
            && [null, tandem].iter().all(|sample| sample.is_usable())
        {
            usable.push((tandem.clone(), null.clone()));
        }
    }
    if usable.is_empty() {
        return Err(Error::Unusable(format!(
            "no round with {calls} calls was usable: {} runs void (the machine is too busy), {} with failed calls {:?}",
            density.runs_void, density.runs_failed, density.failures
        )));
    }
    Ok(usable)
}

/// Memory of idle calls, in processes of their own.
fn memory(options: &Options, density: &mut Density, say: &mut dyn FnMut(&str)) -> Result<(), Error> {
    let (_sim, sim_addr) = sim(options, &["--voice", "answer"], "gemini-sim-idle.log")?;
    let (tandem, url) = start_tandem(&options.tandem, &sim_addr, &[], &options.logs.join("tandem-idle.log"))?;
    let (empty, full, report) = measure::idle(tandem.pid(), &url, options.idle_calls)?;
    if report.calls_failed > 0 {
        return Err(Error::Unusable(format!(
            "{} of {} idle calls failed: {:?}",
            report.calls_failed, report.calls, report.failures
        )));
    }
    let per_call =
        |full: u64, empty: u64| rounded((full as f64 - empty as f64) / f64::from(options.idle_calls));
    density.empty_rss_kib = empty.rss_kib;
    density.idle_kib_per_call = per_call(full.rss_kib, empty.rss_kib);
    density.idle_pss_kib_per_call = per_call(full.pss_kib, empty.pss_kib);
    say(&format!(
        "{} idle calls: {} KiB resident, {} KiB before, {} KiB a call",
        options.idle_calls, full.rss_kib, empty.rss_kib, density.idle_kib_per_call
    ));
    Ok(())
}

/// The figures as a table.
pub fn table(density: &Density) -> String {
    let Density { latency_ms: Latencies { one, many }, watched, .. } = density;
    let latency = |l: &Latency| {
        format!(
            "{} calls: relay {:.3} / {:.3}, null {:.3} / {:.3}, added {:.3} / {:.3}",
            l.calls, l.relay_p50, l.relay_p99, l.null_p50, l.null_p99, l.added_p50, l.added_p99
        )
    };
    format!(
        "cpu ratio                  {:.3} ({} calls, median of {} rounds)\n\
         µs per frame pair          relay {:.2}, null relay {:.2}\n\
         idle memory per call       {:.1} KiB resident ({:.1} KiB proportional), {} calls above {} KiB\n\
         round trip ms p50 / p99    {}\n                           {}\n\
         page open, scraped         cpu {:.3}, round trip p50 {:.3}, p99 {:.3} times that of nobody looking ({} events, {} scrapes)\n\
         runs left out              {} void, {} with failed calls {:?}\n",
        density.cpu_ratio,
        density.calls,
        density.us_per_frame_pair_rounds.len(),
        density.relay_us_per_frame_pair,
        density.null_us_per_frame_pair,
        density.idle_kib_per_call,
        density.idle_pss_kib_per_call,
        density.idle_calls,
        density.empty_rss_kib,
        latency(one),
        latency(many),
        watched.cpu_ratio,
        watched.latency_p50_ratio,
        watched.latency_p99_ratio,
        watched.events,
        watched.scrapes,
        density.runs_void,
        density.runs_failed,
        density.failures
    )
}

/// The median; of two middle values the mean; 0 of none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => {
            middle.checked_sub(1).and_then(|i| values.get(i)).map_or(*value, |v| (v + value) / 2.0)
        }
        (None, _) => 0.0,
    }
}

/// Rounded to three decimals.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.5);
        assert_eq!(median([].into_iter()), 0.0);
    }

    #[test]
    fn the_json_has_the_names_that_releases_are_compared_by() {
        let json = serde_json::to_value(Density::default()).expect("plain figures");
        for name in ["cpu_ratio", "relay_us_per_frame_pair", "null_us_per_frame_pair", "idle_kib_per_call"] {
            assert!(json[name].is_f64(), "{name}");
        }
        assert!(json["latency_ms"]["many"]["added_p99"].is_f64());
    }
}
