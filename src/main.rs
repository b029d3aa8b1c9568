//! The binary: arguments to exit code. Everything else is in the library.
//!
//! Runs in: the main thread. Owns nothing. Never does what a library function could do.

use std::io::IsTerminal;
use std::process::ExitCode;

use log::error;
use tandem::{cli, doctor, server, telemetry};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let loaded = match cli::prepare(&arguments, std::env::vars_os().collect()) {
        Ok(cli::Task::Run(loaded)) => *loaded,
        Ok(cli::Task::Doctor(examination)) => return diagnose(*examination),
        Err(exit) => return exit.print(),
    };
    if let Err(problem) = telemetry::log::init(loaded.config.log.level) {
        eprintln!("tandem: the log cannot be started: {problem}");
    }
    loaded.log();
    match server::run(&loaded.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn diagnose(examination: cli::Examination) -> ExitCode {
    let cli::Examination { json, sources, freeswitch, call } = examination;
    let options = doctor::Options { sources, freeswitch, call };
    let report = doctor::examine(&options);
    let healthy = report.count(doctor::Status::Bad) == 0;
    let output = if json { report.to_json() } else { report.to_text(std::io::stdout().is_terminal()) };
    cli::Exit { output, errors: String::new(), status: u8::from(!healthy) }.print()
}
