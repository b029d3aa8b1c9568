//! `callgen`: places calls as FreeSWITCH and Asterisk do, and reports what the callers heard.
//!
//! Runs in: its own process; the main thread reads arguments, shows progress and writes reports.
//! Invariant: exit status 0 only if all calls were good; 1 some failed or were refused, 2 wrong usage, 3 a void run.

use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use argh::FromArgs;
use tandem::base::SampleRate;
use tandem_loadtest::callgen::{
    Audio, Expect, Leg, Mix, Options, Playback, Progress, Report, RunError, Steps, args, html, knee,
    run_observed, table,
};

/// Place telephone calls as FreeSWITCH and Asterisk make them, and measure what the callers hear.
#[derive(FromArgs)]
struct Args {
    /// where the calls go: ws://HOST:PORT/PATH?QUERY; {uuid} and {n} stand for the call's
    #[argh(option)]
    url: String,
    /// how many calls (1)
    #[argh(option, default = "1")]
    calls: u32,
    /// how long each call talks; with --call-seconds how long the run lasts (10)
    #[argh(option, default = "10.0")]
    seconds: f64,
    /// raise the number of calls in these steps instead and measure each: 50,100,150
    #[argh(option)]
    steps: Option<String>,
    /// how long each step is measured, from a second after its last call was begun (10)
    #[argh(option, default = "10.0")]
    step_seconds: f64,
    /// find the most calls, up to this number, whose round trips stay short; one call in ten is analysed
    #[argh(option)]
    knee: Option<u32>,
    /// by how much round trips of those may be longer at p99 than those of 25 calls, in ms (20)
    #[argh(option, default = "20.0")]
    knee_added_ms: f64,
    /// churn: calls talk for 20 to 60 s and are followed by others until the run is over: 20..60
    #[argh(option, from_str_fn(range))]
    call_seconds: Option<(f64, f64)>,
    /// analyse one call in twenty, 1/20, all or none; the others send prepared frames and count what comes back (all)
    #[argh(option, from_str_fn(analyse))]
    analyse: Option<u32>,
    /// the share of the time in which calls that are not analysed talk: 40% (all of it)
    #[argh(option, from_str_fn(share))]
    talk: Option<f64>,
    /// decides the lengths of calls, talkspurts and pauses (1)
    #[argh(option, default = "1")]
    seed: u64,
    /// rate of the leg: 8000, 16000, 24000, 32000 or 48000 (16000)
    #[argh(option, default = "SampleRate::Hz16000", from_str_fn(rate))]
    rate: SampleRate,
    /// what callers say: marks, speech, tone or FILE.wav (marks for echo, else speech); noise or silence, of which
    /// nothing is analysed
    #[argh(option)]
    audio: Option<String>,
    /// what they expect: echo, parrot or answer (echo; parrot if --audio is given)
    #[argh(option, from_str_fn(expect))]
    expect: Option<Expect>,
    /// the calls' legs, in turns, commas between several: mod_audio_stream or mod_audio_stream:PLAYBACK, audio_fork,
    /// audiosocket, chan_websocket (mod_audio_stream)
    #[argh(option)]
    leg: Option<String>,
    /// how audio is to come with mod_audio_stream: binary, json or file (binary)
    #[argh(option, default = "Playback::Binary", from_str_fn(playback))]
    playback: Playback,
    /// what is sent: mono or stereo (mono)
    #[argh(option, default = "Mix::Mono", from_str_fn(mix))]
    mix: Mix,
    /// calls begun per second (50)
    #[argh(option, default = "50.0")]
    ramp: f64,
    /// speak over each answer and measure how long it goes on
    #[argh(switch)]
    barge_in: bool,
    /// connect and send nothing, for memory measurements
    #[argh(switch)]
    idle: bool,
    /// raw messages of the real sizes instead of WebSocket, for the null relay
    #[argh(switch)]
    floor: bool,
    /// an extra header of the upgrade request, Name:Value; may be repeated
    #[argh(option, from_str_fn(header))]
    header: Vec<(String, String)>,
    /// the metadata text; empty sends none (a JSON object with uuid, caller and called)
    #[argh(option)]
    metadata: Option<String>,
    /// silence before the first word or mark, in ms (500)
    #[argh(option, default = "500")]
    warmup_ms: u32,
    /// worker threads (one per 200 calls)
    #[argh(option, default = "0")]
    threads: usize,
    /// write the report as JSON to this file
    #[argh(option)]
    report: Option<PathBuf>,
    /// write the report as an HTML page to this file
    #[argh(option)]
    html: Option<PathBuf>,
    /// show progress even if standard error is no terminal
    #[argh(switch)]
    progress: bool,
    /// print nothing but failures
    #[argh(switch)]
    quiet: bool,
}

fn rate(text: &str) -> Result<SampleRate, String> {
    let rate = text.parse().ok().and_then(SampleRate::from_hz);
    rate.ok_or_else(|| format!("{text:?} is no rate of a leg; write 8000, 16000, 24000, 32000 or 48000"))
}

fn range(text: &str) -> Result<(f64, f64), String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    match (least.parse(), most.parse()) {
        (Ok(least), Ok(most)) => Ok((least, most)),
        _ => Err(format!("{text:?} is no range of seconds; write 20..60")),
    }
}

fn analyse(text: &str) -> Result<u32, String> {
    match text {
        "all" => Ok(1),
        "none" => Ok(0),
        _ => text
            .strip_prefix("1/")
            .and_then(|number| number.parse().ok())
            .filter(|number| *number > 0)
            .ok_or_else(|| format!("{text:?} is none of all, none and a share such as 1/20")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    percent.map(|percent| percent / 100.0).ok_or_else(|| format!("{text:?} is no share; write 40%"))
}

fn expect(text: &str) -> Result<Expect, String> {
    match text {
        "echo" => Ok(Expect::Echo),
        "parrot" => Ok(Expect::Parrot),
        "answer" => Ok(Expect::Answer),
        _ => Err(format!("{text:?} is none of echo, parrot and answer")),
    }
}

fn playback(text: &str) -> Result<Playback, String> {
    Playback::parse(text)
}

fn mix(text: &str) -> Result<Mix, String> {
    match text {
        "mono" | "mixed" => Ok(Mix::Mono),
        "stereo" => Ok(Mix::Stereo),
        _ => Err(format!("{text:?} is neither mono nor stereo")),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or_else(|| format!("{text:?} has no colon; write Name:Value"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

impl Args {
    fn options(&self) -> Result<Options, String> {
        let audio = match self.audio.as_deref() {
            None => None,
            Some("marks") => Some(Audio::Marks),
            Some("speech") => Some(Audio::Speech),
            Some("tone") => Some(Audio::Tone),
            Some("noise") => Some(Audio::Noise),
            Some("silence") => Some(Audio::Silence),
            Some(path) if path.to_ascii_lowercase().ends_with(".wav") => Some(Audio::Wav(path.into())),
            Some(other) => {
                return Err(format!(
                    "--audio {other:?} is none of marks, speech, tone, noise, silence and FILE.wav"
                ));
            }
        };
        let expect = self.expect.unwrap_or(match audio {
            None | Some(Audio::Marks | Audio::Noise | Audio::Silence) => Expect::Echo,
            Some(_) => Expect::Parrot,
        });
        let audio = audio.unwrap_or(if expect == Expect::Echo { Audio::Marks } else { Audio::Speech });
        let steps = self.steps.as_deref().map(|text| Steps::parse(text, self.step_seconds)).transpose()?;
        let is_line = matches!(audio, Audio::Noise | Audio::Silence);
        Ok(Options {
            dialogue: None,
            steps,
            call_seconds: self.call_seconds,
            analyse: self.analyse.unwrap_or(if self.knee.is_some() { 10 } else { u32::from(!is_line) }),
            talk: self.talk,
            seed: self.seed,
            url: self.url.clone(),
            calls: self.calls,
            seconds: self.seconds,
            rate: self.rate,
            audio,
            expect,
            playback: self.playback,
            legs: self.leg.as_deref().map_or(Ok(Vec::new()), |text| Leg::list(text, self.playback))?,
            mix: self.mix,
            ramp_per_s: self.ramp,
            barge_in: self.barge_in,
            idle: self.idle,
            floor: self.floor,
            headers: self.header.clone(),
            metadata: self.metadata.clone(),
            warmup_ms: self.warmup_ms,
            keep_audio: false,
            threads: self.threads,
        })
    }
}

fn main() -> ExitCode {
    env_logger::init();
    let args: Args = match args::parse("callgen") {
        Ok(args) => args,
        Err(status) => return status.into(),
    };
    args::raise_file_limit();
    let options = match args.options() {
        Ok(options) => options,
        Err(text) => return usage(&text),
    };
    if let Some(calls_max) = args.knee {
        return find_knee(&args, &options, calls_max).into();
    }
    let report = match observe(options, args.progress || (std::io::stderr().is_terminal() && !args.quiet)) {
        Ok(report) => report,
        Err(RunError::Usage(text)) => return usage(&text),
        Err(e) => {
            eprintln!("callgen: {e}");
            return 1.into();
        }
    };
    if !args.quiet || report.exit_status() != 0 {
        print!("{}", table::table(&report));
    }
    let mut status = report.exit_status();
    if let Some(path) = &args.report {
        let json = serde_json::to_string_pretty(&report).map_err(std::io::Error::other);
        status = status.max(write(path, json));
    }
    if let Some(path) = &args.html {
        status = status.max(write(path, Ok(html::page(&report))));
    }
    status.into()
}

/// Searches the knee, and writes what was found as JSON.
fn find_knee(args: &Args, options: &Options, calls_max: u32) -> u8 {
    let limits = knee::Limits { calls_max, added_p99_ms: args.knee_added_ms };
    let mut probe = |calls| knee::probe(options, calls, args.step_seconds);
    let knee = match knee::find(&limits, &mut probe, &mut |line| eprintln!("{line}")) {
        Ok(knee) => knee,
        Err(RunError::Usage(text)) => {
            usage(&text);
            return args::EXIT_USAGE;
        }
        Err(e) => {
            eprintln!("callgen: {e}");
            return 1;
        }
    };
    println!("knee                       {} calls; more: {}", knee.calls, knee.limited_by);
    let json = serde_json::to_string_pretty(&knee).map_err(std::io::Error::other);
    let written = args.report.as_ref().map_or(0, |path| write(path, json));
    written.max(u8::from(knee.calls == 0))
}

fn usage(text: &str) -> ExitCode {
    eprintln!("callgen: {text}\nRun callgen --help for the options.");
    args::EXIT_USAGE.into()
}

/// Runs the calls in another thread and shows where they stand once a second, if `show`.
fn observe(options: Options, show: bool) -> Result<Report, RunError> {
    let progress = Arc::new(Progress::default());
    if !show {
        return run_observed(options, &progress);
    }
    let (sender, receiver) = channel();
    let observed = Arc::clone(&progress);
    let runner = std::thread::spawn(move || {
        // The receiver lives until a result has come.
        let _ = sender.send(run_observed(options, &observed));
    });
    let began = Instant::now();
    let result = loop {
        match receiver.recv_timeout(Duration::from_secs(1)) {
            Ok(result) => break result,
            Err(RecvTimeoutError::Timeout) => {
                let line = table::progress_line(&progress, began.elapsed().as_secs());
                // A line that cannot be shown is no reason to stop.
                let _ = writeln!(std::io::stderr(), "{line}");
            }
            Err(RecvTimeoutError::Disconnected) => {
                let source = std::io::Error::other("the run panicked");
                break Err(RunError::Io { doing: "running calls", source });
            }
        }
    };
    drop(runner.join());
    result
}

/// Writes `text` to `path`, with its folders; says why it could not, and gives the exit status.
fn write(path: &Path, text: std::io::Result<String>) -> u8 {
    let written = text.and_then(|text| {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, text)
    });
    match written {
        Ok(()) => 0,
        Err(e) => {
            eprintln!(
                "callgen: cannot write the report {}: {e}; the table above is all there is",
                path.display()
            );
            1
        }
    }
}
