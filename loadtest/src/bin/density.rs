//! `density`: CPU, memory, latency and the number of the relay's calls beside those of the null relay.
//!
//! Runs in: its own process; starts the others. Invariant: exit status 0 only if every run was usable; 1 if figures
//! are missing, 2 after wrong usage, 3 if runs were repeated or left out.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use argh::FromArgs;
use tandem_loadtest::callgen::args;
use tandem_loadtest::density::{Figures, Options, Part, Programs, run};
use tandem_loadtest::processes::beside;

/// Measure what calls cost in the relay, and how many it carries; figures of parts that are not measured stay as they are.
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
    /// a Python that has loadtest/baselines/requirements.txt (target/baseline/bin/python)
    #[argh(option, default = "PathBuf::from(\"target/baseline/bin/python\")")]
    python: PathBuf,
    /// the naive relay (loadtest/baselines/relay.py)
    #[argh(option, default = "PathBuf::from(\"loadtest/baselines/relay.py\")")]
    naive_relay: PathBuf,
    /// what is measured: cpu,memory,latency,knee,shards,cap,baseline (all)
    #[argh(option)]
    only: Option<String>,
    /// calls while CPU and memory are measured (100)
    #[argh(option, default = "100")]
    calls: u32,
    /// calls while the latency of many is measured, and the cap of the part cap (50)
    #[argh(option, default = "50")]
    latency_calls: u32,
    /// calls through the naive relay (50)
    #[argh(option, default = "50")]
    baseline_calls: u32,
    /// the most calls that are tried for the knee (2000)
    #[argh(option, default = "2000")]
    calls_max: u32,
    /// length of each measurement (6)
    #[argh(option, default = "6.0")]
    seconds: f64,
    /// measurements of each kind, in turns; the median counts (5)
    #[argh(option, default = "5")]
    rounds: u32,
    /// a setting of the relay, KEY=VALUE; may be repeated
    #[argh(option)]
    set: Vec<String>,
    /// where the figures go (target/density.json)
    #[argh(option, default = "PathBuf::from(\"target/density.json\")")]
    report: PathBuf,
}

fn usage(text: &str) -> ExitCode {
    eprintln!("density: {text}\nRun density --help for the options.");
    args::EXIT_USAGE.into()
}

fn main() -> ExitCode {
    env_logger::init();
    let args: Args = match args::parse("density") {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    let in_range = |n: u32| (1..=10_000).contains(&n);
    let counts = [args.calls, args.latency_calls, args.baseline_calls, args.calls_max, args.rounds];
    let possible = counts.into_iter().all(in_range) && args.seconds > 0.0 && args.seconds <= 3600.0;
    if !possible {
        return usage("numbers of calls and rounds are 1 to 10000, --seconds 0 to 3600");
    }
    let parts = match args.only.as_deref().map_or(Ok(Part::ALL.to_vec()), Part::list) {
        Ok(parts) => parts,
        Err(text) => return usage(&text),
    };
    args::raise_file_limit();
    let folder = args.report.parent().map(PathBuf::from).unwrap_or_default();
    let options = Options {
        programs: Programs {
            tandem: args.tandem,
            gemini_sim: args.gemini_sim,
            null_relay: args.null_relay,
            python: args.python,
            naive_relay: args.naive_relay,
            logs: folder.join("density-logs"),
            settings: args.set,
        },
        calls: args.calls,
        latency_calls: args.latency_calls,
        baseline_calls: args.baseline_calls,
        calls_max: args.calls_max,
        seconds: args.seconds,
        rounds: args.rounds,
    };
    let (mut figures, mut is_whole, began) = (Figures::read(&args.report), true, Instant::now());
    for part in parts {
        let result = run(part, &options, &mut figures, &mut |line| {
            eprintln!("{:>5.0} s  {line}", began.elapsed().as_secs_f64());
        });
        match result {
            Ok(()) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                figures.measured(part.name(), now.as_secs());
            }
            Err(e) => {
                eprintln!("density: {}: {e}", part.name());
                is_whole = false;
            }
        }
        // After each part, so that a run that is broken off leaves what it has.
        if let Err(e) = std::fs::write(&args.report, figures.json()) {
            eprintln!("density: cannot write {}: {e}", args.report.display());
            return 1.into();
        }
    }
    print!("{}", figures.table());
    match (is_whole, figures.runs_void + figures.runs_failed) {
        (false, _) => ExitCode::FAILURE,
        (true, 0) => ExitCode::SUCCESS,
        (true, _) => 3.into(),
    }
}
