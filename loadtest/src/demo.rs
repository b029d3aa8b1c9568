//! The demonstration: real speech through the whole relay, on the bundled simulator.
//!
//! Runs in: the `demo` binary; starts relay and simulator as processes on free loopback ports and makes the calls
//! itself. Owns those processes and ends them.
//! Invariant: it ends within a minute, and says "good" only if every call was.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::thread;

use serde::Serialize;
use tandem::base::SampleRate;

use crate::callgen::html::{escaped, folded};
use crate::callgen::{self, Audio, Expect, Leg, Options, Playback, Report, RunError};
use crate::processes::{StartError, start_sim, start_tandem};

/// How long each caller talks: two or three questions with their answers.
const SECONDS: f64 = 20.0;

/// What is shown: name, calls, rate, leg, whether the callers interrupt.
const SCENES: [(&str, u32, SampleRate, Leg, bool); 9] = [
    ("8 kHz, binary", 3, SampleRate::Hz8000, Leg::ModAudioStream(Playback::Binary), false),
    ("16 kHz, binary", 3, SampleRate::Hz16000, Leg::ModAudioStream(Playback::Binary), false),
    ("8 kHz, json", 2, SampleRate::Hz8000, Leg::ModAudioStream(Playback::Json), false),
    ("16 kHz, json", 2, SampleRate::Hz16000, Leg::ModAudioStream(Playback::Json), false),
    ("8 kHz, file", 1, SampleRate::Hz8000, Leg::ModAudioStream(Playback::File), false),
    ("mod_audio_fork", 1, SampleRate::Hz16000, Leg::AudioFork, false),
    ("AudioSocket", 1, SampleRate::Hz8000, Leg::AudioSocket, false),
    ("chan_websocket", 1, SampleRate::Hz16000, Leg::ChanWebSocket, false),
    ("16 kHz, barge-in", 2, SampleRate::Hz16000, Leg::ModAudioStream(Playback::Binary), true),
];

/// What can be listened to of a call, in the order of [`crate::callgen::tape::Tape::wavs`].
const SIDES: [&str; 3] = ["caller", "agent", "both"];

fn file_name(scene: usize, side: &str) -> String {
    format!("scene-{}-{side}.wav", scene + 1)
}

/// How many callers there are.
pub fn callers() -> u32 {
    SCENES.iter().map(|(_, calls, ..)| calls).sum()
}

/// One line of the table.
#[derive(Debug, Serialize)]
pub struct Scene {
    /// What kind of calls.
    pub name: &'static str,
    /// Samples a second of the leg.
    pub rate_hz: u32,
    /// The leg's name.
    pub leg: &'static str,
    /// `binary`, `json` or `file`.
    pub playback: &'static str,
    /// Calls made.
    pub calls: u32,
    /// Calls in which everything was as it should be.
    pub calls_good: usize,
    /// Answers heard that were what the caller had said.
    pub answers: u64,
    /// The least likeness of an answer's envelope to what was said, 1 at most.
    pub correlation_min: f64,
    /// From the caller's last word to the first of the answer; the simulator waits 500 ms of it to be sure that the
    /// caller has finished.
    pub response_ms_p50: f64,
    /// Distance of arrivals from the 20 ms grid.
    pub jitter_ms_p99: f64,
    /// Times the caller's ear ran dry.
    pub underruns: u64,
    /// Interruptions.
    pub barge_ins: u64,
    /// From the caller's first word to the last old sample at the ear; 0 without interruptions.
    pub barge_in_ms_max: f64,
    /// Why calls failed.
    pub failures: Vec<String>,
}

/// What the demonstration found.
pub struct Demo {
    /// The table's lines.
    pub scenes: Vec<Scene>,
    /// The generator's own reports, one a scene.
    pub reports: Vec<Report>,
}

/// Why there is nothing to show.
#[derive(Debug)]
pub enum Error {
    /// A process did not start.
    Start(StartError),
    /// Calls could not be made.
    Run(RunError),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start(e) => e.fmt(f),
            Self::Run(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

/// Starts relay and simulator and makes all calls at once. The processes' output goes to files in `logs`.
///
/// # Errors
/// When a process does not start or the calls cannot be made at all.
pub fn run(tandem: &Path, gemini_sim: &Path, logs: &Path) -> Result<Demo, Error> {
    let voice = ["--voice", "parrot"];
    let (_sim, sim) = start_sim(gemini_sim, &voice, &logs.join("gemini-sim.log")).map_err(Error::Start)?;
    let (_tandem, url) = start_tandem(tandem, &sim, &[], &logs.join("tandem.log")).map_err(Error::Start)?;
    let runs: Vec<_> = SCENES
        .into_iter()
        .map(|(_, calls, rate, leg, barge_in)| {
            let options = Options {
                url: url.clone(),
                calls,
                seconds: SECONDS,
                rate,
                audio: Audio::Speech,
                expect: Expect::Parrot,
                legs: vec![leg],
                barge_in,
                keep_audio: true,
                ..Options::default()
            };
            thread::spawn(move || callgen::run(options))
        })
        .collect();
    let mut demo = Demo { scenes: Vec::new(), reports: Vec::new() };
    for (run, (name, calls, rate, leg, _)) in runs.into_iter().zip(SCENES) {
        let panicked =
            |_| Err(RunError::Io { doing: "running calls", source: std::io::Error::other("panicked") });
        let report = run.join().unwrap_or_else(panicked).map_err(Error::Run)?;
        demo.scenes.push(Scene {
            name,
            rate_hz: rate.hz(),
            leg: leg.name(),
            playback: leg.playback().name(),
            calls,
            calls_good: report.calls_good,
            answers: report.answers,
            correlation_min: report.correlation_min,
            response_ms_p50: report.response_ms.p50,
            jitter_ms_p99: report.jitter_ms.p99,
            underruns: report.underruns,
            barge_ins: report.barge_ins,
            barge_in_ms_max: report.barge_in_ms.max,
            failures: report.failures.keys().cloned().collect(),
        });
        demo.reports.push(report);
    }
    Ok(demo)
}

impl Demo {
    /// Whether every call was good and every kind was heard to answer.
    pub fn is_good(&self) -> bool {
        self.scenes.iter().all(|scene| scene.calls_good == scene.calls as usize && scene.answers > 0)
    }

    /// The page: one verdict, the scenes with a call of each kind to listen to, and what was measured, folded up. The sound is in
    /// the folder `audio` beside it, as [`Self::write_audio`] writes it.
    pub fn page(&self, audio: &str) -> String {
        let (class, verdict) = if self.is_good() {
            ("good", "Every call was good.")
        } else {
            ("bad", "Some calls were not good.")
        };
        let mut head = format!(
            "<h1>Tandem: demonstration</h1>\n<p class=\"{class}\"><strong>{verdict}</strong></p>\n\
             <p>{} callers asked over every kind of leg, and the bundled simulator of Gemini Live repeated what it had heard; the two of \
             the last scene interrupted it. All of it went through the whole relay, in real time. Listen to the first call of each \
             scene: the caller alone, what he heard, or both (caller left).</p>\n\
             <div class=\"scroll\"><table><tr><th>calls</th><th>good</th><th>answers</th><th>likeness</th>\
             <th>response, ms</th><th>gaps</th><th>interrupted</th><th>caller</th><th>agent</th><th>both</th></tr>\n",
            callers()
        );
        for (place, scene) in self.scenes.iter().enumerate() {
            let barge_in =
                if scene.barge_ins > 0 { format!("{:.0}", scene.barge_in_ms_max) } else { "–".to_owned() };
            // Writing to a String cannot fail.
            _ = write!(
                head,
                "<tr><td>{}</td><td>{}/{}</td><td>{}</td><td>{:.3}</td><td>{:.0}</td><td>{}</td><td>{barge_in}</td>",
                escaped(scene.name),
                scene.calls_good,
                scene.calls,
                scene.answers,
                scene.correlation_min,
                scene.response_ms_p50,
                scene.underruns,
            );
            for side in SIDES {
                _ = write!(
                    head,
                    "<td><audio controls preload=\"none\" aria-label=\"{}: {side}\" src=\"{audio}/{}\"></audio></td>",
                    escaped(scene.name),
                    file_name(place, side)
                );
            }
            head.push_str("</tr>\n");
            for failure in &scene.failures {
                _ = writeln!(head, "<tr><td class=\"bad\" colspan=\"10\">{}</td></tr>", escaped(failure));
            }
        }
        head.push_str(
            "</table></div>\n<p class=\"muted\">Likeness: the envelope of an answer beside that of what was said, 1 at most. Response: \
             from the caller's last word to the first of the answer, half a second of which the simulator waits to be sure that the \
             caller has finished. Gaps: times that the caller's ear ran dry within an answer. Interrupted, in ms: from the caller's first word \
             to the last of the old answer.</p>\n<h2>What was measured in each scene</h2>\n",
        );
        let runs: Vec<_> = self.scenes.iter().map(|scene| scene.name).zip(&self.reports).collect();
        folded("Tandem: demonstration", &head, &runs)
    }

    /// Writes the sound of the first call of each scene into `folder`, which is made.
    ///
    /// # Errors
    /// A text with the file's name.
    pub fn write_audio(&self, folder: &Path) -> Result<(), String> {
        std::fs::create_dir_all(folder).map_err(|e| format!("cannot make {}: {e}", folder.display()))?;
        for (place, report) in self.reports.iter().enumerate() {
            let Some(tape) = report.per_call.first().and_then(|call| call.tape.as_ref()) else { continue };
            for (side, wav) in SIDES.into_iter().zip(tape.wavs()) {
                let path = folder.join(file_name(place, side));
                std::fs::write(&path, wav).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
            }
        }
        Ok(())
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<18} {:>5} {:>5} {:>8} {:>9} {:>12} {:>12} {:>10} {:>14}\n",
            "calls",
            "made",
            "good",
            "answers",
            "likeness",
            "response ms",
            "jitter p99",
            "underruns",
            "barge-in ms"
        );
        for scene in &self.scenes {
            let barge_in =
                if scene.barge_ins > 0 { format!("{:.1}", scene.barge_in_ms_max) } else { "-".to_owned() };
            // Writing to a String cannot fail.
            _ = writeln!(
                text,
                "{:<18} {:>5} {:>5} {:>8} {:>9.3} {:>12.1} {:>12.2} {:>10} {:>14}",
                scene.name,
                scene.calls,
                scene.calls_good,
                scene.answers,
                scene.correlation_min,
                scene.response_ms_p50,
                scene.jitter_ms_p99,
                scene.underruns,
                barge_in
            );
            for failure in &scene.failures {
                _ = writeln!(text, "    failed: {failure}");
            }
        }
        text
    }
}

/// Writes a report beside the others.
///
/// # Errors
/// A text with the file's name.
pub fn write(path: &PathBuf, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}
