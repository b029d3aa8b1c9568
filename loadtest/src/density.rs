//! The density measurement: what a call costs in the relay beside the same calls through the null relay, how many of
//! them it carries, and what becomes of those that are too many.
//!
//! Runs in: the `density` binary; starts the relay, the simulator and the null relay as processes and makes the calls
//! itself. Owns those processes and ends them. Never compares runs that did not alternate: what is compared is measured
//! in turns, and medians are taken. Invariant: a figure is only reported from runs in which every call was good and
//! the generator was on time; other runs are repeated, and counted.

mod capacity;
mod cost;
mod figures;
mod measure;
mod memory;
mod rounds;
pub(crate) mod start;
mod watch;

pub use figures::Figures;
pub(crate) use measure::{Usage, usage};
pub use start::Programs;

use crate::callgen::RunError;
use crate::processes::StartError;

/// A part of the measurement, which can be made by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// CPU beside the null relay: plain, TLS, density profile, silence, conversation, page open.
    Cpu,
    /// Memory of idle and of talking calls, and what is given back.
    Memory,
    /// Round trips added to those of the null relay.
    Latency,
    /// The most calls with short round trips, and how long they are below that.
    Knee,
    /// One shard beside two.
    Shards,
    /// Twice as many calls as are admitted.
    Cap,
    /// A naive relay beside this one.
    Baseline,
}

impl Part {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 7] =
        [Self::Cpu, Self::Memory, Self::Latency, Self::Knee, Self::Shards, Self::Cap, Self::Baseline];

    /// As written after `--only`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Latency => "latency",
            Self::Knee => "knee",
            Self::Shards => "shards",
            Self::Cap => "cap",
            Self::Baseline => "baseline",
        }
    }

    /// Reads names with commas between them.
    ///
    /// # Errors
    /// A text that names the parts there are.
    pub fn list(text: &str) -> Result<Vec<Self>, String> {
        let one = |name: &str| {
            Self::ALL
                .into_iter()
                .find(|part| part.name() == name.trim())
                .ok_or_else(|| format!("--only {name:?}: write {}", Self::ALL.map(Self::name).join(",")))
        };
        text.split(',').map(one).collect()
    }
}

/// How much is measured, and with what.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the programs are.
    pub programs: Programs,
    /// Calls while CPU and memory are measured.
    pub calls: u32,
    /// Calls while the latency of many is measured, and those that are admitted in the part `cap`.
    pub latency_calls: u32,
    /// Calls through the naive relay.
    pub baseline_calls: u32,
    /// The most calls that are tried for the knee.
    pub calls_max: u32,
    /// Length of each measurement.
    pub seconds: f64,
    /// Measurements of each kind; the median counts.
    pub rounds: u32,
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

impl From<RunError> for Error {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

/// Measures one part into `figures`; `say` is told what is going on, a line at a time.
///
/// # Errors
/// When a process does not start, calls cannot be made at all, or no round of a kind was usable.
pub fn run(
    part: Part,
    options: &Options,
    figures: &mut Figures,
    say: &mut dyn FnMut(&str),
) -> Result<(), Error> {
    options.programs.make_folder()?;
    let bench = rounds::Bench { options, part };
    match part {
        Part::Cpu => cost::cpu(&bench, figures, say),
        Part::Memory => memory::memory(&bench, figures, say),
        Part::Latency => cost::latency(&bench, figures, say),
        Part::Knee => capacity::knee(&bench, figures, say),
        Part::Shards => capacity::shards(&bench, figures, say),
        Part::Cap => capacity::cap(&bench, figures, say),
        Part::Baseline => cost::baseline(&bench, figures, say),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_by_their_names() {
        let names = Part::ALL.map(Part::name).join(", ");
        assert_eq!(Part::list(&names), Ok(Part::ALL.to_vec()));
        assert!(Part::list("cpu,disk").is_err_and(|text| text.contains("\"disk\"") && text.contains("knee")));
    }
}
