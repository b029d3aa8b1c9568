//! Everything that the Gemini side does to a call, at every moment of it, on every leg: calls of numbered words through the
//! real relay to simulators that go wrong on purpose, and what became of each word.
//!
//! Runs in: the `faults` binary; starts relays as processes and simulators as threads, a pair of them for each case, and
//! makes the calls itself. Owns the pairs and ends them. Never lets two cases share a relay or a simulator.
//! Invariant: every call that was offered is in exactly one row, whatever became of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use serde::Serialize;

use crate::callgen::{self, Audio, Expect, Leg, Playback, dialogue};
pub use crate::demo::Error;
use crate::processes::{StartError, start_tandem};
use crate::sim::{AudioKept, SimConfig, SimEvent, Simulator, Voice, What};

mod cases;
pub mod judge;
mod rotation;
mod tool_server;

pub use cases::{Case, cases};
pub use judge::Verdict;
pub use rotation::Rotation;

/// The legs that every case is tried on.
pub const LEGS: [Leg; 4] = [
    Leg::ModAudioStream(Playback::Binary),
    Leg::AudioSocket,
    Leg::ChanWebSocket,
    Leg::ModAudioStream(Playback::File),
];

/// A case's calls last no longer than this.
const CALL_SECONDS_MAX: f64 = 60.0;
/// So long a simulator is listened to after the calls have ended.
const SETTLE: Duration = Duration::from_secs(2);

/// Where the relay is, and how much is tried.
#[derive(Debug, Clone)]
pub struct Options {
    /// The relay.
    pub tandem: PathBuf,
    /// Where the processes' output goes.
    pub logs: PathBuf,
    /// How often each case is tried, with one call on each leg.
    pub rounds: usize,
    /// Cases tried at the same time.
    pub parallel: usize,
    /// Only cases whose name contains this.
    pub only: Option<String>,
    /// Calls of the rotation; 0 leaves it out.
    pub rotation_calls: u32,
}

/// One fault at one moment on one leg.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Row {
    /// What went wrong.
    pub fault: String,
    /// When.
    pub moment: String,
    /// The telephone side.
    pub leg: String,
    /// Calls made.
    pub offered: usize,
    /// Calls that the caller ended as he had planned, and in which he was answered after the fault.
    pub survived: usize,
    /// Frames of 20 ms of the callers' speech that the model never got: that were not received by the connection that
    /// got the end of their utterance, since what an earlier one received ended with it.
    pub speech_lost: usize,
    /// Utterances after which nothing was heard.
    pub unanswered: usize,
    /// Utterances whose answer was heard twice.
    pub repeated: usize,
    /// How long the session had no live link, at the simulator: from the end of one connection to the next
    /// `setupComplete`; median. 0 where no link was lost.
    pub gap_ms_p50: f64,
    /// The same, 99th percentile.
    pub gap_ms_p99: f64,
}

impl Row {
    /// Whether nothing was lost.
    pub fn is_good(&self) -> bool {
        self.survived == self.offered && self.speech_lost == 0 && self.unanswered == 0 && self.repeated == 0
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Faults {
    /// One row for each case and leg.
    pub rows: Vec<Row>,
    /// Renewing many links at once, at a turn's boundary and within a turn.
    pub rotations: Vec<Rotation>,
    /// The generator itself was late in one of the runs.
    pub void: bool,
    /// Why calls failed, and in which cases.
    pub failures: Vec<String>,
}

/// A relay and its simulator, after their calls.
struct Played {
    report: callgen::Report,
    events: Vec<SimEvent>,
    /// What each session received, 16 kHz.
    audio: BTreeMap<u64, Vec<i16>>,
}

/// Tries everything; `say` is told what is going on, a line at a time.
///
/// # Errors
/// When a process does not start or calls cannot be made at all. Calls that fail are in the rows.
pub fn run(options: &Options, say: &mut dyn FnMut(&str)) -> Result<Faults, Error> {
    std::fs::create_dir_all(&options.logs).map_err(|source| {
        Error::Start(StartError { what: format!("cannot make {}", options.logs.display()), source })
    })?;
    let wanted = |case: &Case| options.only.as_ref().is_none_or(|only| case.name().contains(only.as_str()));
    let cases: Vec<Case> = cases().into_iter().filter(wanted).collect();
    let tool = tool_server::ToolServer::start().map_err(|source| {
        Error::Start(StartError { what: "cannot listen for the tool's requests".to_owned(), source })
    })?;
    say(&format!(
        "{} cases, {} calls each, {} at a time …",
        cases.len(),
        options.rounds * LEGS.len(),
        options.parallel
    ));
    let mut found = Faults::default();
    let verdicts = try_all(&cases, options, tool.url(), say)?;
    for (case, verdicts) in cases.iter().zip(verdicts) {
        found.void |= verdicts.iter().any(|verdict| verdict.void);
        for leg in LEGS {
            let of_leg = verdicts.iter().flat_map(|verdict| &verdict.calls).filter(|call| call.leg == leg);
            found.rows.push(judge::row(case, leg, of_leg.clone()));
            found.failures.extend(of_leg.filter_map(|call| {
                Some(format!("{}, {}: {}", case.name(), leg.name(), call.failure.as_ref()?))
            }));
        }
    }
    if options.rotation_calls > 0 {
        for case in rotation::both() {
            say(&format!("{} calls, {} …", options.rotation_calls, case.name()));
            let plan = rotation::plan();
            let legs = vec![LEGS[0]];
            let played = play(&case, &plan, options.rotation_calls, &legs, options, tool.url(), 0)?;
            found.void |= played.report.void;
            let (row, rotation) = rotation::judge(&case, &plan, &played);
            found.rows.push(row);
            found.rotations.push(rotation);
        }
    }
    Ok(found)
}

/// Tries all cases, several at a time. Gives the verdicts of each case back.
fn try_all(
    cases: &[Case],
    options: &Options,
    tool: &str,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Vec<Verdict>>, Error> {
    let jobs: Vec<(usize, usize)> =
        (0..options.rounds).flat_map(|round| (0..cases.len()).map(move |case| (case, round))).collect();
    let next = Mutex::new(jobs.iter());
    let (sender, results) = mpsc::channel();
    let mut verdicts: Vec<Vec<Verdict>> = cases.iter().map(|_| Vec::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..options.parallel.clamp(1, jobs.len().max(1)) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    // A panic elsewhere leaves the iterator as it was.
                    let job = next.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next().copied();
                    let Some((place, round)) = job else { return };
                    let Some(case) = cases.get(place) else { return };
                    let plan = case.plan();
                    let played = play(case, &plan, LEGS.len() as u32, &LEGS, options, tool, round);
                    if sender.send((place, played.map(|played| judge::judge(case, &plan, &played)))).is_err()
                    {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut done = 0;
        while let Ok((place, verdict)) = results.recv() {
            done += 1;
            if done % 20 == 0 {
                say(&format!("{done} of {} …", jobs.len()));
            }
            if let Some(of_case) = verdicts.get_mut(place) {
                of_case.push(verdict?);
            }
        }
        Ok(verdicts)
    })
}

/// Plays one case: a relay, a simulator, and `calls` callers.
fn play(
    case: &Case,
    plan: &dialogue::Plan,
    calls: u32,
    legs: &[Leg],
    options: &Options,
    tool: &str,
    round: usize,
) -> Result<Played, Error> {
    let start = |source| Error::Start(StartError { what: "cannot start a simulator".to_owned(), source });
    let simulator = Simulator::start(SimConfig {
        voice: Voice::Parrot,
        burst: case.burst,
        hangover_ms: 400,
        faults: case.faults(),
        audio_kept: AudioKept::Samples,
        ..SimConfig::default()
    })
    .map_err(start)?;
    let log = options.logs.join(format!("{}-{round}.log", file_name(&case.name())));
    let settings = case.settings(tool);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let (relay, url) = start_tandem(&options.tandem, &simulator.addr().to_string(), &settings, &log)
        .map_err(Error::Start)?;
    let report = callgen::run(callgen::Options {
        url,
        calls,
        seconds: CALL_SECONDS_MAX,
        audio: Audio::Marks,
        expect: Expect::Echo,
        legs: legs.to_vec(),
        dialogue: Some(plan.clone()),
        warmup_ms: 700,
        ramp_per_s: 50.0,
        ..callgen::Options::default()
    })
    .map_err(Error::Run)?;
    let mut events = Vec::new();
    let mut open = std::collections::BTreeSet::new();
    while let Ok(event) =
        simulator.events().recv_timeout(if open.is_empty() { Duration::ZERO } else { SETTLE })
    {
        match &event.what {
            What::Upgraded { .. } => _ = open.insert(event.session),
            What::Closed { .. } => _ = open.remove(&event.session),
            // There are thousands of them, and the samples are kept elsewhere.
            What::Audio { .. } => continue,
            _ => {}
        }
        events.push(event);
    }
    drop(relay);
    let audio = events.iter().map(|event| event.session).collect::<std::collections::BTreeSet<u64>>();
    let audio = audio.into_iter().map(|session| (session, simulator.audio(session))).collect();
    Ok(Played { report, events, audio })
}

fn file_name(name: &str) -> String {
    name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
}

impl Faults {
    /// Whether every row is as it should be.
    pub fn is_good(&self) -> bool {
        self.rows.iter().all(Row::is_good) && self.rotations.iter().all(Rotation::is_good)
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut text = String::from(
            "|   | fault | moment | leg | survived | speech lost | unanswered | repeated | gap ms p50 / p99 |\n\
             | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for row in &self.rows {
            // Writing to a String cannot fail.
            _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} of {} | {} | {} | {} | {:.0} / {:.0} |",
                if row.is_good() { " " } else { "✗" },
                row.fault,
                row.moment,
                row.leg,
                row.survived,
                row.offered,
                row.speech_lost,
                row.unanswered,
                row.repeated,
                row.gap_ms_p50,
                row.gap_ms_p99,
            );
        }
        for rotation in &self.rotations {
            _ = writeln!(text, "\n{}", rotation.text());
        }
        for failure in &self.failures {
            _ = writeln!(text, "failed: {failure}");
        }
        let (offered, survived) = self
            .rows
            .iter()
            .fold((0, 0), |(offered, survived), row| (offered + row.offered, survived + row.survived));
        let bad = self.rows.iter().filter(|row| !row.is_good()).count();
        _ = writeln!(
            text,
            "\n{survived} of {offered} calls survived; {bad} of {} rows miss a bound",
            self.rows.len()
        );
        if self.void {
            text.push_str("The generator itself was late: the machine is too busy for these times.\n");
        }
        text
    }
}

/// Writes `faults.json` and gives its path back.
///
/// # Errors
/// A text with the path and what the system said.
pub fn write(folder: &Path, found: &Faults) -> Result<PathBuf, String> {
    let path = folder.join("faults.json");
    let json = serde_json::to_string_pretty(&found.rows).map_err(|error| error.to_string())?;
    std::fs::write(&path, json).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_has_the_names_that_releases_are_compared_by() {
        let json = serde_json::to_value(Row::default()).expect("plain figures");
        let names: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut expected = [
            "fault",
            "moment",
            "leg",
            "offered",
            "survived",
            "speech_lost",
            "unanswered",
            "repeated",
            "gap_ms_p50",
            "gap_ms_p99",
        ];
        expected.sort_unstable();
        let mut names = names;
        names.sort_unstable();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_lost_frame_a_repeated_sentence_and_a_lost_call_miss_the_bound() {
        let good = Row { offered: 2, survived: 2, ..Row::default() };
        assert!(good.is_good());
        for bad in [
            Row { survived: 1, ..good.clone() },
            Row { speech_lost: 1, ..good.clone() },
            Row { unanswered: 1, ..good.clone() },
            Row { repeated: 1, ..good },
        ] {
            assert!(!bad.is_good());
        }
    }
}
