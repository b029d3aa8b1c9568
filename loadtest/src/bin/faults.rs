//! `faults`: everything that can go wrong on the Gemini side, at every moment of a call, on every leg; no key, no switch.
//!
//! Runs in: its own process; starts the relay that lies beside it, and simulators within.
//! Invariant: exit status 0 only if nothing was lost; 1 something was, 2 wrong usage.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::FromArgs;
use tandem_loadtest::callgen::args;
use tandem_loadtest::faults::{Options, run, write};
use tandem_loadtest::processes::beside;

/// Let go wrong what can go wrong, and tell what became of the calls.
#[derive(FromArgs)]
struct Args {
    /// the relay (tandem, beside this binary)
    #[argh(option, default = "beside(\"tandem\")")]
    tandem: PathBuf,
    /// how often each case is tried, with one call on each leg (2)
    #[argh(option, default = "2")]
    rounds: usize,
    /// cases tried at the same time (14)
    #[argh(option, default = "14")]
    parallel: usize,
    /// only the cases whose name, FAULT / MOMENT, contains this
    #[argh(option)]
    only: Option<String>,
    /// calls whose links are renewed at once, at the end; 0 leaves it out (50)
    #[argh(option, default = "50")]
    rotation_calls: u32,
    /// where faults.json and the logs go (target)
    #[argh(option, default = "PathBuf::from(\"target\")")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    env_logger::init();
    let args: Args = match args::parse("faults") {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    if !(1..=100).contains(&args.rounds) || !(1..=64).contains(&args.parallel) || args.rotation_calls > 1_000
    {
        eprintln!("faults: --rounds is 1 to 100, --parallel 1 to 64, --rotation-calls 0 to 1000");
        return args::EXIT_USAGE.into();
    }
    args::raise_file_limit();
    let options = Options {
        tandem: args.tandem,
        logs: args.folder.join("faults-logs"),
        rounds: args.rounds,
        parallel: args.parallel,
        only: args.only,
        rotation_calls: args.rotation_calls,
    };
    let done = run(&options, &mut |line| eprintln!("{line}")).map_err(|e| e.to_string()).and_then(|found| {
        print!("{}", found.table());
        println!("{}", write(&args.folder, &found)?.display());
        Ok(found)
    });
    match done {
        Ok(found) if found.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("faults: {text}");
            ExitCode::FAILURE
        }
    }
}
