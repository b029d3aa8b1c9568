//! Every leg and playback beside each other: an echo for round trips and holes, and callers who interrupt, on the bundled
//! simulator; and on demand the long run of file playback.
//!
//! Runs in: the `legs` binary; starts relay and simulator as processes on free loopback ports and makes the calls
//! itself. Owns those processes and ends them. Never measures legs one after the other: their calls run at the same
//! time, so that all of them meet the same machine.
//! Invariant: a leg's line holds figures of all its calls, failed ones included, and says how many were good.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;
use tandem::base::SampleRate;

use crate::callgen::{self, Audio, Expect, Leg, LegReport, Playback, Report};
pub use crate::demo::Error;
use crate::processes::{Process, StartError, start_sim, start_tandem};

/// Where the binaries are, and how much is measured.
#[derive(Debug, Clone)]
pub struct Options {
    /// The relay.
    pub tandem: PathBuf,
    /// The simulator.
    pub gemini_sim: PathBuf,
    /// Where the processes' output goes.
    pub logs: PathBuf,
    /// The legs.
    pub legs: Vec<Leg>,
    /// Calls of each leg, for the echo and again for the interruptions.
    pub calls: u32,
    /// How long each of them talks.
    pub seconds: f64,
    /// Rate of every leg.
    pub rate: SampleRate,
    /// Calls of the long run of file playback; 0 leaves it out.
    pub file_calls: u32,
    /// How long each of those talks.
    pub file_seconds: f64,
}

/// One leg and playback.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Line {
    /// The leg's name.
    pub leg: String,
    /// `binary`, `json` or `file`.
    pub playback: String,
    /// Calls made: those with an echo and those that interrupted.
    pub calls: usize,
    /// Calls with which nothing was wrong.
    pub calls_good: usize,
    /// Echo: a frame's sending to the playing of its first sample at the caller's ear, median.
    pub round_trip_ms_p50: f64,
    /// The same, 99th percentile.
    pub round_trip_ms_p99: f64,
    /// Echo: a frame's sending to the arrival of its message at the switch, median.
    pub socket_ms_p50: f64,
    /// The same, 99th percentile.
    pub socket_ms_p99: f64,
    /// Echo: how far the distance of messages is from their length.
    pub jitter_ms_p99: f64,
    /// Times the ear ran dry, in all calls.
    pub underruns: u64,
    /// The longest of those times.
    pub underrun_ms_max: f64,
    /// Echo: frames that never reached the ear.
    pub lost: u64,
    /// Interruptions made.
    pub barge_ins: u64,
    /// The caller's first word to the end of the last old sample at his ear.
    pub barge_in_ms_p99: f64,
    /// The clear message to the end of the last old sample at his ear; AudioSocket has none.
    pub clear_to_silence_ms_p99: Option<f64>,
    /// End of a talkspurt to the answer at the ear, median; the simulator waits 500 ms of it.
    pub response_ms_p50: f64,
    /// The generator itself was too late in one of the runs: the line says nothing about the relay.
    pub void: bool,
}

/// The long run of file playback.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct FileRun {
    /// Calls made.
    pub calls: usize,
    /// Calls with which nothing was wrong; a chunk out of order or lost is wrong.
    pub calls_good: usize,
    /// How long each talked.
    pub seconds: f64,
    /// Answers heard in full and found right.
    pub answers: u64,
    /// Lowest correlation of an answer with what was said.
    pub correlation_min: f64,
    /// Times the ear ran dry in the midst of an answer.
    pub underruns: u64,
    /// The longest of them.
    pub underrun_ms_max: f64,
    /// Frames of 20 ms heard.
    pub frames_received: u64,
    /// Lateness of the generator's own sending.
    pub own_lateness_ms_p99: f64,
    /// The generator itself was too late.
    pub void: bool,
    /// Why calls failed.
    pub failures: Vec<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Legs {
    /// One line for each leg and playback.
    pub lines: Vec<Line>,
    /// The long run, if it was asked for.
    pub file_run: Option<FileRun>,
    /// The generator's own reports: echo, interruptions, the long run.
    pub reports: Vec<Report>,
}

/// A relay with its simulator.
struct Side {
    url: String,
    _processes: [Process; 2],
}

impl Side {
    fn start(options: &Options, voice: &str) -> Result<Self, Error> {
        let log = |name: &str| options.logs.join(format!("{name}-{voice}.log"));
        let (sim, addr) =
            start_sim(&options.gemini_sim, &["--voice", voice], &log("gemini-sim")).map_err(Error::Start)?;
        let (tandem, url) =
            start_tandem(&options.tandem, &addr, &[], &log("tandem")).map_err(Error::Start)?;
        Ok(Self { url, _processes: [sim, tandem] })
    }
}

/// Measures everything; `say` is told what is going on, a line at a time.
///
/// # Errors
/// When a process does not start or calls cannot be made at all. Calls that fail are in the lines.
pub fn run(options: &Options, say: &mut dyn FnMut(&str)) -> Result<Legs, Error> {
    std::fs::create_dir_all(&options.logs).map_err(|source| {
        Error::Start(StartError { what: format!("cannot make {}", options.logs.display()), source })
    })?;
    let calls = options.calls * options.legs.len() as u32;
    let common = callgen::Options {
        calls,
        seconds: options.seconds,
        rate: options.rate,
        legs: options.legs.clone(),
        ..callgen::Options::default()
    };
    let mut found = Legs::default();
    let echo_side = Side::start(options, "echo")?;
    say(&format!("{calls} calls with an echo, {} s …", options.seconds));
    let echo = callgen::run(callgen::Options { url: echo_side.url.clone(), ..common.clone() });
    drop(echo_side);
    let answer_side = Side::start(options, "answer")?;
    let talks = |options: callgen::Options| callgen::Options {
        url: answer_side.url.clone(),
        audio: Audio::Speech,
        expect: Expect::Answer,
        ..options
    };
    say(&format!("{calls} callers who interrupt, {} s …", options.seconds));
    let barge_in = callgen::run(callgen::Options { barge_in: true, ..talks(common.clone()) });
    found.reports = vec![echo.map_err(Error::Run)?, barge_in.map_err(Error::Run)?];
    found.lines = lines(&found.reports[0], &found.reports[1]);
    if options.file_calls > 0 {
        say(&format!("{} calls with file playback, {} s …", options.file_calls, options.file_seconds));
        let report = callgen::run(callgen::Options {
            calls: options.file_calls,
            seconds: options.file_seconds,
            legs: vec![Leg::ModAudioStream(Playback::File)],
            ..talks(common)
        });
        let report = report.map_err(Error::Run)?;
        found.file_run = Some(FileRun::of(&report));
        found.reports.push(report);
    }
    Ok(found)
}

/// The lines of two runs with the same legs.
fn lines(echo: &Report, barge_in: &Report) -> Vec<Line> {
    let void = echo.void || barge_in.void;
    echo.legs.iter().zip(&barge_in.legs).map(|(echo, barge_in)| Line::of(echo, barge_in, void)).collect()
}

impl Line {
    fn of(echo: &LegReport, barge_in: &LegReport, void: bool) -> Self {
        Self {
            leg: echo.leg.clone(),
            playback: echo.playback.clone(),
            calls: echo.calls + barge_in.calls,
            calls_good: echo.calls_good + barge_in.calls_good,
            round_trip_ms_p50: echo.ear_latency_ms.p50,
            round_trip_ms_p99: echo.ear_latency_ms.p99,
            socket_ms_p50: echo.latency_ms.p50,
            socket_ms_p99: echo.latency_ms.p99,
            jitter_ms_p99: echo.jitter_ms.p99,
            underruns: echo.underruns + barge_in.underruns,
            underrun_ms_max: echo.underrun_longest_ms.max(barge_in.underrun_longest_ms),
            lost: echo.lost_frames,
            barge_ins: barge_in.barge_ins,
            barge_in_ms_p99: barge_in.barge_in_ms.p99,
            clear_to_silence_ms_p99: Some(barge_in.clear_to_silence_ms)
                .filter(|spread| spread.count > 0)
                .map(|spread| spread.p99),
            response_ms_p50: barge_in.response_ms.p50,
            void,
        }
    }
}

impl FileRun {
    fn of(report: &Report) -> Self {
        Self {
            calls: report.calls,
            calls_good: report.calls_good,
            seconds: report.seconds,
            answers: report.answers,
            correlation_min: report.correlation_min,
            underruns: report.underruns,
            underrun_ms_max: report.underrun_longest_ms,
            frames_received: report.frames_received,
            own_lateness_ms_p99: report.own_lateness_ms.p99,
            void: report.void,
            failures: report.failures.keys().cloned().collect(),
        }
    }

    /// No hole above 20 ms and no chunk lost.
    pub fn is_good(&self) -> bool {
        self.calls_good == self.calls && self.underrun_ms_max <= 20.0
    }
}

impl Legs {
    /// Whether every call was good, and the long run if there was one.
    pub fn is_good(&self) -> bool {
        self.lines.iter().all(|line| line.calls_good == line.calls)
            && self.file_run.as_ref().is_none_or(FileRun::is_good)
    }

    /// Whether the generator itself was on time.
    pub fn is_void(&self) -> bool {
        self.reports.iter().any(|report| report.void)
    }

    /// The table, as it stands in docs/legs.md too.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| leg | playback | calls good | round trip at the ear ms p50 / p99 | at the socket ms p50 / p99 | jitter ms p99 | \
             underruns | lost | barge-in ms p99 | clear to silence ms p99 |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for line in &self.lines {
            // Writing to a String cannot fail.
            _ = writeln!(
                text,
                "| {} | {} | {} of {} | {:.1} / {:.1} | {:.1} / {:.1} | {:.1} | {} | {} | {:.0} | {} |",
                line.leg,
                line.playback,
                line.calls_good,
                line.calls,
                line.round_trip_ms_p50,
                line.round_trip_ms_p99,
                line.socket_ms_p50,
                line.socket_ms_p99,
                line.jitter_ms_p99,
                line.underruns,
                line.lost,
                line.barge_in_ms_p99,
                line.clear_to_silence_ms_p99.map_or("–".to_owned(), |ms| format!("{ms:.0}"))
            );
        }
        if let Some(run) = &self.file_run {
            _ = writeln!(
                text,
                "\nfile playback, {} calls of {} s: {} good, {} answers right, {} underruns, the longest {} ms",
                run.calls, run.seconds, run.calls_good, run.answers, run.underruns, run.underrun_ms_max
            );
        }
        for (why, count) in self.reports.iter().flat_map(|report| &report.failures) {
            _ = writeln!(text, "failed: {count} calls: {why}");
        }
        if self.is_void() {
            text.push_str("VOID: the generator itself was late: the machine is too busy for these figures\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_names_that_releases_are_compared_by() {
        let json = serde_json::to_value(Line::default()).expect("plain figures");
        for name in ["leg", "playback"] {
            assert!(json[name].is_string(), "{name}");
        }
        for name in
            ["calls", "round_trip_ms_p50", "round_trip_ms_p99", "underruns", "lost", "barge_in_ms_p99"]
        {
            assert!(json[name].is_number(), "{name}");
        }
    }

    #[test]
    fn a_hole_or_a_failed_call_spoils_the_long_run() {
        let good =
            FileRun { calls: 50, calls_good: 50, underruns: 1, underrun_ms_max: 20.0, ..FileRun::default() };
        assert!(good.is_good());
        assert!(!FileRun { underrun_ms_max: 40.0, ..good.clone() }.is_good());
        assert!(!FileRun { calls_good: 49, ..good }.is_good());
    }
}
