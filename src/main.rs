//! The binary: arguments to exit code. Everything else is in the library.
//!
//! Runs in: the main thread. Owns nothing. Never does what a library function could do.

use std::process::ExitCode;

use log::error;
use tandem::{cli, server, telemetry};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let loaded = match cli::prepare(&arguments, std::env::vars_os().collect()) {
        Ok(loaded) => loaded,
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
