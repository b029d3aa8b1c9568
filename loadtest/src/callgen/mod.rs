//! The call generator: N telephone calls as FreeSWITCH and Asterisk make them, measured in their audio.
//!
//! Runs in: [`run`] starts callgen's worker threads (`worker`) and waits for them; everything below the workers
//! is pure or belongs to one worker. Owns nothing after it has returned. Never used by the relay.
//! Invariant: what is measured is measured where the caller is: at the socket, and in the audio itself.
//!
//! Way of a frame: `caller` says what is sent ([`mark`], [`source`], [`turns`]) → [`websocket`](crate::websocket) → `socket` → relay →
//! `socket` → [`websocket`](crate::websocket) → [`switch`] (what the switch does with it) → [`ear`] (what is heard when) → `caller`:
//! [`track`] (which frame was it), [`turns`] (is it the right answer) → [`totals`] → [`figures`] → [`report`].

pub mod args;
mod call;
mod caller;
pub mod clock;
pub mod dialogue;
pub mod ear;
pub mod envelope;
pub mod figures;
mod floor_leg;
pub mod handshake;
pub mod html;
pub mod knee;
pub mod leg;
mod light;
pub mod mark;
pub mod message;
pub mod options;
pub(crate) mod plot;
pub mod report;
pub mod scan;
mod schedule;
mod socket;
pub mod source;
pub mod switch;
pub mod table;
pub mod tape;
pub mod totals;
pub mod track;
pub mod turns;
mod worker;

use std::fmt;
use std::io;
use std::sync::Arc;

pub use dialogue::{DialogueReport, HeardMark, Utterance};
pub use figures::{Counts, Figures, Spread};
pub use leg::Leg;
pub use options::{Audio, Expect, Mix, Options, Playback, Steps};
pub use report::{CallReport, LegReport, Report, StepReport};
pub use totals::Progress;

/// Why a run did not take place.
#[derive(Debug)]
pub enum RunError {
    /// An option is wrong; the text names it, its value and the remedy.
    Usage(String),
    /// The system refused something.
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) => f.write_str(text),
            Self::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl std::error::Error for RunError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Usage(_) => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

/// Makes the calls, waits until all have ended, and tells what was found.
///
/// # Errors
/// [`RunError::Usage`] when the options contradict each other, the URL cannot be resolved or the audio cannot be
/// read; [`RunError::Io`] when the system has no threads or descriptors left. Calls that fail are no error: they are
/// in the report.
pub fn run(options: Options) -> Result<Report, RunError> {
    run_observed(options, &Arc::new(Progress::default()))
}

/// As [`run`]; `progress` can be read by other threads meanwhile.
///
/// # Errors
/// As [`run`].
pub fn run_observed(options: Options, progress: &Arc<Progress>) -> Result<Report, RunError> {
    options.check().map_err(RunError::Usage)?;
    let target = handshake::Target::parse(&options.url).map_err(RunError::Usage)?;
    let schedule = schedule::Schedule::new(&options);
    let places = schedule.places;
    let mut lines: Vec<worker::Line> = Vec::new();
    for leg in (0..places).map(|place| options.leg_of(place)).take(options.legs.len().max(1)) {
        if lines.iter().all(|line| line.leg != leg) {
            let mut target = target.clone();
            leg.complete(&mut target, options.rate, options.mix);
            lines.push(worker::Line { leg, target });
        }
    }
    let talks =
        options.expect != Expect::Echo && !options.idle && !options.floor && options.dialogue.is_none();
    let script =
        if talks { Some(Arc::new(source::Script::new(&options).map_err(RunError::Usage)?)) } else { None };
    let writer = mark::MarkWriter::new(options.rate);
    let prepared = (options.analyse != 1)
        .then(|| light::Prepared::new(&options, script.as_deref(), |number| writer.frame(number)));
    let expected_s = schedule.expected_s();
    // A second, or what keeps the series of a long run at some thousands.
    let bin_ns = ((expected_s / 7200.0).max(1.0) * 1e9) as u64;
    let workers = options.worker_count(places);
    let plan = Arc::new(worker::Plan {
        writer,
        reader: Arc::new(mark::MarkReader::new(options.rate)),
        silence: vec![0; options.rate.samples_per_frame()],
        script,
        prepared,
        lines,
        schedule,
        // The first call begins when every worker surely runs.
        epoch_ns: clock::now_ns() + 20_000_000,
        bin_ns,
        bins: (expected_s * 1e9) as usize / bin_ns as usize + 1,
        options,
    });
    let mut threads = Vec::with_capacity(workers);
    for worker in 0..workers {
        let (plan, progress) = (Arc::clone(&plan), Arc::clone(progress));
        let own = (worker..places).step_by(workers).collect();
        let thread = std::thread::Builder::new()
            .name(format!("callgen-{worker}"))
            .spawn(move || worker::run(plan, own, progress))
            .map_err(|source| RunError::Io { doing: "starting a worker thread", source })?;
        threads.push(thread);
    }
    let mut calls = Vec::with_capacity(places);
    let mut totals = plan.totals();
    for thread in threads {
        let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("the worker panicked")));
        let (some, measured) = ended.map_err(|source| RunError::Io { doing: "running calls", source })?;
        calls.extend(some);
        totals.merge(&measured);
    }
    Ok(Report::new(&plan, calls, &totals, clock::now_ns()))
}
