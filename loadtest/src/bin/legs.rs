//! `legs`: every leg and playback beside each other, on the bundled simulator; no key, no switch.
//!
//! Runs in: its own process; starts the relay and the simulator that lie beside it.
//! Invariant: exit status 0 only if every call was good; 1 some were not, 2 wrong usage, 3 the generator was late.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::FromArgs;
use tandem::base::SampleRate;
use tandem_loadtest::callgen::{Leg, Playback, args, html};
use tandem_loadtest::legs::{Legs, Options, run};
use tandem_loadtest::processes::beside;

/// Measure what callers hear on each leg: round trip, jitter, underruns, and how soon an interruption is obeyed.
#[derive(FromArgs)]
struct Args {
    /// the relay (tandem, beside this binary)
    #[argh(option, default = "beside(\"tandem\")")]
    tandem: PathBuf,
    /// the simulator (gemini-sim, beside this binary)
    #[argh(option, default = "beside(\"gemini-sim\")")]
    gemini_sim: PathBuf,
    /// the legs, as callgen --leg takes them (all)
    #[argh(option)]
    leg: Option<String>,
    /// calls of each leg, for the echo and again for the interruptions (4)
    #[argh(option, default = "4")]
    calls: u32,
    /// how long each call talks (15)
    #[argh(option, default = "15.0")]
    seconds: f64,
    /// rate of the legs: 8000, 16000, 24000, 32000 or 48000 (16000)
    #[argh(option, default = "16000")]
    rate: u32,
    /// calls of the long run of file playback after the others; 0 is none (0)
    #[argh(option, default = "0")]
    file_calls: u32,
    /// how long each of those talks (60)
    #[argh(option, default = "60.0")]
    file_seconds: f64,
    /// where legs.json, legs.html and the logs go (target)
    #[argh(option, default = "PathBuf::from(\"target\")")]
    folder: PathBuf,
}

impl Args {
    fn options(self) -> Result<Options, String> {
        let rate = SampleRate::from_hz(self.rate)
            .ok_or_else(|| format!("--rate {}: write 8000, 16000, 24000, 32000 or 48000", self.rate))?;
        if !(1..=1000).contains(&self.calls) || self.file_calls > 10_000 {
            return Err("--calls is 1 to 1000, --file-calls 0 to 10000".to_owned());
        }
        let legs = match &self.leg {
            Some(text) => Leg::list(text, Playback::Binary)?,
            None => Leg::ALL.to_vec(),
        };
        Ok(Options {
            tandem: self.tandem,
            gemini_sim: self.gemini_sim,
            logs: self.folder.join("legs-logs"),
            legs,
            calls: self.calls,
            seconds: self.seconds,
            rate,
            file_calls: self.file_calls,
            file_seconds: self.file_seconds,
        })
    }
}

fn main() -> ExitCode {
    env_logger::init();
    let args: Args = match args::parse("legs") {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    args::raise_file_limit();
    let folder = args.folder.clone();
    let options = match args.options() {
        Ok(options) => options,
        Err(text) => {
            eprintln!("legs: {text}\nRun legs --help for the options.");
            return args::EXIT_USAGE.into();
        }
    };
    let written =
        run(&options, &mut |line| eprintln!("{line}")).map_err(|e| e.to_string()).and_then(|legs| {
            print!("{}", legs.table());
            write(&folder, &legs)?;
            Ok(legs)
        });
    match written {
        Ok(legs) if legs.is_void() => 3.into(),
        Ok(legs) if legs.is_good() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("legs: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the figures and the page.
fn write(folder: &Path, legs: &Legs) -> Result<(), String> {
    let json = |value| serde_json::to_string_pretty(&value).map_err(|e| e.to_string());
    let mut files = vec![
        ("legs.json", json(serde_json::json!(legs.lines))?),
        ("legs.html", html::pages("Tandem: legs", &legs.reports)),
    ];
    if let Some(run) = &legs.file_run {
        files.push(("legs-file.json", json(serde_json::json!(run))?));
    }
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
