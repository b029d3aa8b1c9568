//! `soak`: short calls that follow each other for a long time, and whether the relay stays as it was.
//!
//! Runs in: its own process; starts the others. Invariant: exit status 0 only if nothing was lost, nothing grew and the relay
//! caused no underrun; 1 otherwise, 2 after wrong usage.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::FromArgs;
use tandem_loadtest::callgen::args;
use tandem_loadtest::density::{Figures, Programs};
use tandem_loadtest::processes::beside;
use tandem_loadtest::soak::{Options, run};

/// The share of the knee that a soak has when no number of calls is given.
const KNEE_SHARE: f64 = 0.6;

/// Have short calls follow each other for a long time, and watch the relay's memory, descriptors and threads.
#[derive(FromArgs)]
struct Args {
    /// the relay (tandem, beside this binary)
    #[argh(option, default = "beside(\"tandem\")")]
    tandem: PathBuf,
    /// the simulator (gemini-sim, beside this binary)
    #[argh(option, default = "beside(\"gemini-sim\")")]
    gemini_sim: PathBuf,
    /// how long (20)
    #[argh(option, default = "20.0")]
    minutes: f64,
    /// calls at the same time (60 % of knee_calls in target/density.json)
    #[argh(option)]
    calls: Option<u32>,
    /// shortest and longest call, in seconds: the first (20)
    #[argh(option, default = "20.0")]
    call_seconds_min: f64,
    /// and the second (60)
    #[argh(option, default = "60.0")]
    call_seconds_max: f64,
    /// a setting of the relay, KEY=VALUE; may be repeated
    #[argh(option)]
    set: Vec<String>,
    /// where soak.json, soak.html and the logs go, and density.json is (target)
    #[argh(option, default = "PathBuf::from(\"target\")")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    env_logger::init();
    let args: Args = match args::parse("soak") {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    let of_knee = || Figures::read(&args.folder.join("density.json")).number("knee_calls");
    let calls = args.calls.or_else(|| of_knee().map(|knee| (knee * KNEE_SHARE) as u32));
    let Some(calls) = calls.filter(|calls| (1..=10_000).contains(calls)) else {
        eprintln!(
            "soak: no number of calls from 1 to 10000: write --calls, or measure the knee (density --only knee)"
        );
        return args::EXIT_USAGE.into();
    };
    if !(args.minutes > 0.0 && args.minutes <= 1440.0) {
        eprintln!("soak: --minutes {} is not within 0 to 1440 (a day)", args.minutes);
        return args::EXIT_USAGE.into();
    }
    args::raise_file_limit();
    let options = Options {
        programs: Programs {
            tandem: args.tandem,
            gemini_sim: args.gemini_sim,
            null_relay: PathBuf::new(),
            python: PathBuf::new(),
            naive_relay: PathBuf::new(),
            logs: args.folder.join("soak-logs"),
            settings: args.set,
        },
        calls,
        minutes: args.minutes,
        call_seconds: (args.call_seconds_min, args.call_seconds_max),
    };
    let written = run(&options, &mut |line| eprintln!("{line}")).map_err(|e| e.to_string()).and_then(
        |(soak, report)| {
            print!("{}", soak.table());
            let json = serde_json::to_string_pretty(&soak).map_err(|e| e.to_string())?;
            write(&args.folder, "soak.json", &json)?;
            write(&args.folder, "soak.html", &soak.page(&report))?;
            Ok(soak.is_good())
        },
    );
    match written {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("soak: {text}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<(), String> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}
