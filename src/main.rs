//! The binary: arguments to exit code. Everything else is in the library.
//!
//! Runs in: the main thread. Owns nothing. Never does what a library function could do.

use std::io::IsTerminal;
use std::process::ExitCode;

use log::{error, info};
use tandem::{cli, config, doctor, server, telemetry};

/// Gives back to the system what calls have left, which glibc's does not: docs/performance.md, "Memory".
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let (loaded, sources) = match cli::prepare(&arguments, std::env::vars_os().collect()) {
        Ok(cli::Task::Run(loaded, sources)) => (*loaded, sources),
        Ok(cli::Task::Doctor(sources, options)) => return diagnose(sources, &options),
        Err(exit) => return exit.print(),
    };
    if let Err(problem) = server::check(&loaded.config) {
        return cli::Exit::wrong_use(format!("{}tandem: {problem}\n", loaded.files())).print();
    }
    let as_objects = loaded.config.log.format == config::LogFormat::Json;
    if let Err(problem) = telemetry::log::init(loaded.config.log.level, as_objects) {
        eprintln!("tandem: the log cannot be started: {problem}");
    }
    telemetry::conceal(loaded.config.secrets().iter().map(String::as_str));
    info!("tandem {}", env!("CARGO_PKG_VERSION"));
    loaded.log();
    match server::run(loaded, sources) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("{problem}");
            ExitCode::FAILURE
        }
    }
}

fn diagnose(sources: config::Sources, options: &cli::DoctorOptions) -> ExitCode {
    let asked = doctor::Options { sources, freeswitch: options.freeswitch.clone(), call: !options.no_call };
    let report = doctor::examine(&asked);
    let healthy = report.count(doctor::Status::Bad) == 0;
    let output =
        if options.json { report.to_json() } else { report.to_text(std::io::stdout().is_terminal()) };
    cli::Exit { output, errors: String::new(), status: u8::from(!healthy) }.print()
}
