//! `tandem doctor`: the troubleshooting guide as a command. Looks at everything between the switch and Gemini, and says
//! what is wrong in the words of an operator, with the remedy.
//!
//! Runs in: the main thread, in a process of its own beside the running relay. Owns nothing that lasts; changes nothing.
//! Never prints a key, token or password.
//! Invariant: every check makes at least one finding, and whatever is bad has a remedy.

mod call;
mod door;
mod files;
mod finding;
mod gemini;
mod records;
mod switch;
mod system;
mod through;

use std::path::PathBuf;
use std::time::Duration;

use crate::agents;
use crate::config::{Config, Sources};
use crate::sync::Clock;
use crate::telemetry::conceal;

pub use finding::{Finding, Report, Status};

/// How long one probe may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the doctor is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the configuration comes from: the same places as the relay's.
    pub sources: Sources,
    /// FreeSWITCH's configuration directory, where it can be seen from here.
    pub freeswitch: Option<PathBuf>,
    /// Whether a test call is made.
    pub call: bool,
}

/// What the checks share.
struct Examination<'a> {
    options: &'a Options,
    config: Config,
    clock: Clock,
    report: Report,
}

/// Looks at everything.
pub fn examine(options: &Options) -> Report {
    let mut report = Report::default();
    let config = match agents::load(&options.sources) {
        Ok(loaded) => {
            for read in &loaded.read {
                report.good("configuration", read.to_string());
            }
            for unread in &loaded.unread {
                report.warn(
                    "configuration",
                    unread.to_string(),
                    "sudo tandem doctor sees what the service sees",
                );
            }
            for warning in &loaded.warnings {
                report.warn("configuration", warning.to_string(), "see docs/configuration.md");
            }
            conceal(loaded.config.secrets().iter().map(String::as_str));
            report.good("configuration", "every key is known and within its range");
            loaded.config
        }
        Err(problems) => {
            for problem in &problems.0 {
                report.bad(
                    "configuration",
                    problem.to_string(),
                    "put it right; tandem --check shows what is in force",
                );
            }
            report.skip("everything else", "needs a configuration that can be read");
            return report;
        }
    };
    let mut examination = Examination { options, config, clock: Clock::new(), report };
    examination.system();
    examination.records();
    examination.gemini();
    let running = examination.door();
    let url = examination.switch();
    examination.files();
    examination.switch_side(url.as_deref(), running);
    let direct = examination.test_call(running);
    examination.call_by_switch(direct, url.as_deref());
    examination.report
}
