//! `demo`: real speech through the whole relay, on the bundled simulator; no key, no switch.
//!
//! Runs in: its own process; starts the relay and the simulator that lie beside it.
//! Invariant: exit status 0 only if every call was good.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::FromArgs;
use tandem_loadtest::callgen::args;
use tandem_loadtest::demo;
use tandem_loadtest::processes::beside;

/// Place calls with real speech through the relay on the bundled simulator, and show what the callers heard.
#[derive(FromArgs)]
struct Args {
    /// where demo.json, demo.html and the logs go (target)
    #[argh(option, default = "PathBuf::from(\"target\")")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    let args: Args = match args::parse("demo") {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    match show(&args.folder) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("demo: {text}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the sound, beside the page.
const AUDIO: &str = "demo-audio";

fn show(folder: &std::path::Path) -> Result<bool, String> {
    let logs = folder.join("demo-logs");
    std::fs::create_dir_all(&logs).map_err(|e| format!("cannot make {}: {e}", logs.display()))?;
    println!(
        "{} callers ask, the simulated model repeats what it heard; two of them interrupt it. 20 seconds …",
        demo::callers()
    );
    let demo = demo::run(&beside("tandem"), &beside("gemini-sim"), &logs).map_err(|e| e.to_string())?;
    print!("\n{}\n", demo.table());
    let page = folder.join("demo.html");
    demo.write_audio(&folder.join(AUDIO))?;
    demo::write(&page, &demo.page(AUDIO))?;
    let figures = folder.join("demo.json");
    let json =
        serde_json::to_string_pretty(&serde_json::json!({ "good": demo.is_good(), "scenes": demo.scenes }));
    demo::write(&figures, &json.map_err(|e| e.to_string())?)?;
    println!(
        "report, to see and hear: {}   figures: {}   logs: {}",
        page.display(),
        figures.display(),
        logs.display()
    );
    if demo.is_good() {
        println!(
            "every call was good. With a real key and switch: GEMINI_API_KEY=… make run, then README.md, \"The first real call\""
        );
    } else {
        println!("some calls were not good; the logs say why");
    }
    Ok(demo.is_good())
}
