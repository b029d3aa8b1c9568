//! `play`: relay, simulator, page and browser telephone, until Ctrl-C: somebody wants to speak and hear, without a key.
//!
//! Runs in: its own process; starts the relay and the simulator that lie beside it, and ends them.
//! Invariant: exit status 0 only if it was ended by a signal; neither process outlives it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use argh::FromArgs;
use signal_hook::consts::{SIGINT, SIGTERM};
use tandem_loadtest::callgen::args;
use tandem_loadtest::processes::{beside, start_sim, start_tandem};

/// How often it is looked whether something has ended.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Run the relay on the bundled simulator until Ctrl-C: open the page, call the receptionist of a pharmacy, speak.
#[derive(FromArgs)]
struct Args {
    /// the port where switches and the browser's telephone call (9094)
    #[argh(option, default = "9094")]
    port: u16,
    /// the port of the page (9095)
    #[argh(option, default = "9095")]
    page_port: u16,
    /// where records, recordings and logs go (target/play)
    #[argh(option, default = "PathBuf::from(\"target/play\")")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let args: Args = match args::parse("play") {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    match play(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("play: {text}");
            ExitCode::FAILURE
        }
    }
}

fn play(args: &Args) -> Result<(), String> {
    std::fs::create_dir_all(&args.folder)
        .map_err(|e| format!("cannot make {}: {e}", args.folder.display()))?;
    let over = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&over)).map_err(|e| e.to_string())?;
    }
    let log = |name: &str| args.folder.join(name);
    let (sim, address) =
        start_sim(&beside("gemini-sim"), &["--voice", "receptionist"], &log("gemini-sim.log"))
            .map_err(|e| e.to_string())?;
    let settings = settings(args);
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let (tandem, legs) = start_tandem(&beside("tandem"), &address, &settings, &log("tandem.log"))
        .map_err(|e| e.to_string())?;
    let page = tandem.wait_for("admin server: http://").map_err(|e| e.to_string())?;
    println!(
        "Open http://{page}/ and choose Telephone, Call: a simulated receptionist answers, with five sentences that do not\n\
         depend on what you say. Interrupt her. The call is under Calls then, with its recording. Switches call {legs}.\n\
         Logs, records and recordings: {}   Ctrl-C ends it.",
        args.folder.display()
    );
    while !over.load(Ordering::Relaxed) {
        for (name, process) in [("the simulator", &sim), ("the relay", &tandem)] {
            // Ctrl-C on a terminal reaches them as well, and may do so first.
            if process.has_ended() && !over.load(Ordering::Relaxed) {
                return Err(format!("{name} has ended; {} says why", args.folder.display()));
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// What of the relay's configuration is not as in every other run of the tools.
fn settings(args: &Args) -> Vec<String> {
    let path = |name: &str| -> PathBuf {
        std::path::absolute(&args.folder).as_deref().unwrap_or(Path::new(".")).join(name)
    };
    vec![
        format!("listen.port={}", args.port),
        format!("admin.listen=127.0.0.1:{}", args.page_port),
        format!("store.url=sqlite:{}", path("tandem.db").display()),
        format!("recording.directory={}", path("recordings").display()),
        "agent.greeting=Greet the caller.".to_owned(),
        "agent.transcript=true".to_owned(),
        "agent.record=true".to_owned(),
    ]
}
