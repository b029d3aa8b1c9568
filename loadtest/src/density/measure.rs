//! One measurement: CPU, memory and round trips of a process while calls go through it.
//!
//! Runs in: the `density` binary; the calls run in callgen's threads of the same process. Owns nothing afterwards.
//! Never counts CPU of the ramp: the window begins when all calls are up and ends before the first one ends.
//! Invariant: frames and CPU are read at the same two moments.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use super::Error;
use crate::callgen::{Expect, Options, Progress, Report, RunError, run_observed};
use crate::processes::StartError;

/// Calls begun per second.
pub(super) const RAMP_PER_S: f64 = 100.0;
/// Between the last call's beginning and the window.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// How often progress is looked at while calls begin.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Frames of a call in a second.
const FRAMES_PER_S: f64 = 50.0;

/// What was measured.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) us_per_frame_pair: f64,
    pub(super) latency_p50_ms: f64,
    pub(super) latency_p99_ms: f64,
    pub(super) own_lateness_p99_ms: f64,
    pub(super) void: bool,
    pub(super) calls_failed: usize,
    pub(super) failures: Vec<String>,
}

impl Sample {
    pub(super) fn is_usable(&self) -> bool {
        !self.void && self.calls_failed == 0
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} µs a frame pair, round trip p50 {:.3} ms, p99 {:.3} ms, own lateness p99 {:.3} ms{}{}",
            self.us_per_frame_pair,
            self.latency_p50_ms,
            self.latency_p99_ms,
            self.own_lateness_p99_ms,
            if self.void { ", VOID" } else { "" },
            if self.calls_failed > 0 { ", CALLS FAILED" } else { "" }
        )
    }
}

/// Memory of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Memory {
    pub(super) rss_kib: u64,
    pub(super) pss_kib: u64,
}

/// Makes `calls` and measures process `pid` for so many seconds while all of them are up.
pub(super) fn under_load(pid: u32, calls: &Options, seconds: f64) -> Result<Sample, Error> {
    let ramp_s = f64::from(calls.calls) / RAMP_PER_S;
    let options = Options {
        seconds: seconds + ramp_s + SETTLE.as_secs_f64() + 1.0,
        ramp_per_s: RAMP_PER_S,
        ..calls.clone()
    };
    let number = options.calls;
    let (runner, progress) = start(options);
    let all_up = wait_until_up(&progress, number, ramp_s, &runner);
    thread::sleep(SETTLE);
    let look = || -> Result<_, Error> {
        let frames = progress.frames_received.load(Ordering::Relaxed);
        Ok((Instant::now(), cpu_us(pid).map_err(lost(pid))?, frames))
    };
    let (began, cpu_before, frames_before) = look()?;
    thread::sleep(Duration::from_secs_f64(seconds));
    let (ended, cpu_after, frames_after) = look()?;
    let report = finish(runner)?;
    // A model that answers in turns may be silent for a while.
    let is_silent = frames_after == frames_before && calls.expect == Expect::Echo;
    let mut failures: Vec<String> = report.failures.keys().chain(report.refusals.keys()).cloned().collect();
    if failures.is_empty() && !all_up {
        failures.push("not all calls came up".to_owned());
    } else if failures.is_empty() && is_silent {
        failures.push("nothing came back".to_owned());
    }
    let frame_pairs = f64::from(number) * FRAMES_PER_S * (ended - began).as_secs_f64();
    Ok(Sample {
        us_per_frame_pair: (cpu_after - cpu_before) / frame_pairs,
        latency_p50_ms: report.latency_ms.p50,
        latency_p99_ms: report.latency_ms.p99,
        own_lateness_p99_ms: report.own_lateness_ms.p99,
        void: report.void,
        calls_failed: report.calls_failed + report.calls_refused + usize::from(is_silent || !all_up),
        failures,
    })
}

/// What a process has: memory, descriptors, threads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) rss_kib: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

/// What process `pid` has now.
pub(crate) fn usage(pid: u32) -> io::Result<Usage> {
    let count = |what: &str| -> io::Result<u64> {
        Ok(std::fs::read_dir(format!("/proc/{pid}/{what}"))?.count() as u64)
    };
    Ok(Usage { rss_kib: memory(pid)?.rss_kib, descriptors: count("fd")?, threads: count("task")? })
}

pub(super) type Runner = thread::JoinHandle<Result<Report, RunError>>;

pub(super) fn start(options: Options) -> (Runner, Arc<Progress>) {
    let progress = Arc::new(Progress::default());
    let observed = Arc::clone(&progress);
    (thread::spawn(move || run_observed(options, &observed)), progress)
}

/// Whether all calls were up at the same time, some seconds after the ramp at the latest.
pub(super) fn wait_until_up(progress: &Progress, calls: u32, ramp_s: f64, runner: &Runner) -> bool {
    let deadline = Instant::now() + Duration::from_secs_f64(ramp_s + 1.5);
    while Instant::now() < deadline && !runner.is_finished() {
        if progress.up.load(Ordering::Relaxed) == u64::from(calls) {
            return true;
        }
        thread::sleep(LOOK_EVERY);
    }
    false
}

pub(super) fn finish(runner: Runner) -> Result<Report, Error> {
    let ended = runner.join().unwrap_or_else(|_| {
        Err(RunError::Io { doing: "running calls", source: io::Error::other("the run panicked") })
    });
    ended.map_err(Error::Run)
}

pub(super) fn lost(pid: u32) -> impl Fn(io::Error) -> Error {
    move |source| {
        StartError { what: format!("process {pid} cannot be measured; has it ended?"), source }.into()
    }
}

/// CPU time that process `pid` has used, user and system, in µs (proc(5): fields 14 and 15 of stat).
fn cpu_us(pid: u32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = parse_stat(&stat).ok_or_else(|| io::Error::other("unexpected form of /proc/PID/stat"))?;
    Ok(ticks as f64 * 1e6 / rustix::param::clock_ticks_per_second() as f64)
}

/// utime + stime. The second field, the name, may hold spaces and parentheses: count from the last one.
fn parse_stat(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Memory of process `pid` (proc(5): smaps_rollup).
pub(super) fn memory(pid: u32) -> io::Result<Memory> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    parse_rollup(&rollup).ok_or_else(|| io::Error::other("unexpected form of /proc/PID/smaps_rollup"))
}

fn parse_rollup(rollup: &str) -> Option<Memory> {
    let kib = |name: &str| -> Option<u64> {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_end_matches("kB").trim().parse().ok()
    };
    Some(Memory { rss_kib: kib("Rss:")?, pss_kib: kib("Pss:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_whatever_the_name_of_the_process() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 250 0 0 20 0 1 0 5 1 1";
        assert_eq!(parse_stat(stat), Some(400));
        let rollup =
            "55d-7ff ---p 0 00:00 0 [rollup]\nRss:      1234 kB\nPss:       567 kB\nPss_Dirty: 5 kB\n";
        assert_eq!(parse_rollup(rollup), Some(Memory { rss_kib: 1234, pss_kib: 567 }));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let pid = std::process::id();
        assert!(cpu_us(pid).is_ok());
        assert!(memory(pid).is_ok_and(|memory| memory.rss_kib > 100));
        assert!(usage(pid).is_ok_and(|usage| usage.descriptors > 2 && usage.threads > 1));
    }
}
