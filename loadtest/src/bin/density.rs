//! `density`: CPU, memory and latency of the relay's calls beside those of the null relay.
//!
//! Runs in: its own process; starts the others. Invariant: exit status 0 only if every run was usable; 1 if figures
//! are missing, 2 after wrong usage, 3 if runs were left out.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::FromArgs;
use tandem_loadtest::callgen::args;
use tandem_loadtest::density::{Options, run, table};
use tandem_loadtest::processes::beside;

/// Measure what calls cost in the relay: CPU beside the null relay, memory of idle calls, added latency.
#[derive(FromArgs)]
struct Args {
    /// the relay (tandem, beside this binary)
    #[argh(option, default = "beside(\"tandem\")")]
    tandem: PathBuf,
    /// the simulator (gemini-sim, beside this binary)
    #[argh(option, default = "beside(\"gemini-sim\")")]
    gemini_sim: PathBuf,
    /// the null relay (null-relay, beside this binary)
    #[argh(option, default = "beside(\"null-relay\")")]
    null_relay: PathBuf,
    /// calls while CPU is measured (100)
    #[argh(option, default = "100")]
    calls: u32,
    /// calls while the latency of many is measured (50)
    #[argh(option, default = "50")]
    latency_calls: u32,
    /// idle calls while memory is measured (100)
    #[argh(option, default = "100")]
    idle_calls: u32,
    /// length of each measurement (10)
    #[argh(option, default = "10.0")]
    seconds: f64,
    /// measurements of each kind, in turns; the median counts (5)
    #[argh(option, default = "5")]
    rounds: u32,
    /// where the figures go (target/density.json)
    #[argh(option, default = "PathBuf::from(\"target/density.json\")")]
    report: PathBuf,
}

fn main() -> ExitCode {
    env_logger::init();
    let args: Args = match args::parse("density") {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    let in_range = |n: u32| (1..=10_000).contains(&n);
    let counts = [args.calls, args.latency_calls, args.idle_calls, args.rounds];
    let possible = counts.into_iter().all(in_range) && args.seconds > 0.0 && args.seconds <= 3600.0;
    if !possible {
        eprintln!(
            "density: --calls, --latency-calls, --idle-calls and --rounds are 1 to 10000, --seconds 0 to 3600"
        );
        return args::EXIT_USAGE.into();
    }
    args::raise_file_limit();
    let folder = args.report.parent().map(PathBuf::from).unwrap_or_default();
    let options = Options {
        tandem: args.tandem,
        gemini_sim: args.gemini_sim,
        null_relay: args.null_relay,
        logs: folder.join("density-logs"),
        calls: args.calls,
        latency_calls: args.latency_calls,
        idle_calls: args.idle_calls,
        seconds: args.seconds,
        rounds: args.rounds,
    };
    let density = match run(&options, &mut |line| eprintln!("{line}")) {
        Ok(density) => density,
        Err(e) => {
            eprintln!("density: {e}");
            return 1.into();
        }
    };
    print!("{}", table(&density));
    let json = serde_json::to_string_pretty(&density).map_err(std::io::Error::other);
    if let Err(e) = json.and_then(|json| std::fs::write(&args.report, json)) {
        eprintln!("density: cannot write {}: {e}", args.report.display());
        return 1.into();
    }
    if density.runs_void + density.runs_failed > 0 { 3.into() } else { ExitCode::SUCCESS }
}
