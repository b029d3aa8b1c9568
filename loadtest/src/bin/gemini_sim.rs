//! `gemini-sim`: the Gemini Live API as a server on this machine. Arguments in, [`Simulator`] out.
//!
//! Runs in: the main thread, which only waits. Owns the arguments. Never handles a message.
//! Invariant: what it prints on standard output is one line, the address; everything else goes to standard error.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    process::ExitCode,
};

use argh::{EarlyExit, FromArgs};
use tandem::base::units::SampleRate;
use tandem_loadtest::{
    sim::{Framing, Scheduled, SimConfig, Simulator, TlsPem, Voice, read_script},
    speech::read_wav,
};

/// The Gemini Live API as a server: for tests, load tests and demonstrations without a key.
#[derive(FromArgs)]
#[argh(note = "Faults, by --fault or in a script file {{\"faults\": [\"...\"]}}, are written
FAULT@MOMENT[+MS][#CONNECTIONS]. +MS: so long after the moment. Connections are counted from 1: #2, #1-6; #new are those
whose setup has no handle, #resumed the others; without any a fault happens on every one.

Moments:
  upgrade         the HTTP request is complete
  setup           the setup was accepted, setupComplete is due
  resume, resume2 the same for a setup with a valid handle (every one, the second one of a conversation)
  5s, 300ms       so long after setupComplete
  speech, speech2 the caller is heard to begin to speak
  turn, turn2     a turn is about to begin (every turn; the second)
  turn2.mid       half of its audio is sent
  turn2.end       its turnComplete is sent
  tool-call       tool calls are sent
  tool-response   they are answered, the turn is about to go on

Faults:
  http:STATUS         refuse the upgrade (at upgrade)
  delay:MS            let it happen later; at turn.mid a pause in the audio
  silence             send nothing any more; at turn, tool-response: swallow the turn
  drop, reset         end the TCP connection without a close frame, by FIN or RST
  close:CODE[:REASON] close
  garbage, invalid-utf8, wrong-opcode, masked
                      a frame that no server may send
  huge:BYTES          a valid message of this size
  announce:BYTES      the head of a frame of this length and nothing after it
  unknown-fields      a message with fields that the specification does not know
  ping                a ping
  late-pongs:MS       answer pings this late from now on
  go-away:MS          goAway with so much time left, then close 1008
  go-away:MS:silent   goAway, and from then on nothing, no close either
  no-handles          sessionResumptionUpdate without a handle from now on
  forget              accept the handle, and know nothing of the conversation (at resume)
  replay-transcripts  send the last turn's transcriptions again (at resume)
  carry-on            go on with the turn that the last connection's end cut off (at resume)
  replay-limit:MS     close 1007 on audio so far ahead of real time from now on
  ageing:MS           turns come later by this for each minute heard, without contextWindowCompression
  swallow:MS          no answer to talkspurts shorter than this, nor to the one that follows; audioStreamEnd commits
  bundle              audio, transcription and turnComplete in one message (at turn)
  pace:FACTOR         this turn so many times faster than real time (at turn)
  empty-turn          turnComplete without audio (at turn, tool-response)
  uninterruptible     speech does not cut this turn off (at turn)
  start-again         once interrupted, the same turn begins again as the next (at turn)
  interrupt           interrupted although nobody spoke (at turn.mid)
  tool:NAME[:JSON]    call a declared function: before the audio at turn, also at turn.mid and turn.end
  cancel-tools        cancel the pending calls although nobody spoke (at tool-call)
  tool-audio:CODE[:REASON]
                      close on audio while a blocking call is pending, from now on")]
struct Arguments {
    /// where to listen, HOST:PORT; port 0 lets the system choose (default 127.0.0.1:0)
    #[argh(option, default = "\"127.0.0.1:0\".to_owned()")]
    listen: String,

    /// what the model says: parrot repeats the caller's last talkspurt, echo returns each chunk at once, answer speaks a
    /// sentence after the caller stops, receptionist another one each time (default parrot)
    #[argh(option, default = "Voice::Parrot", from_str_fn(voice))]
    voice: Voice,

    /// a WAV file, 24 or 16 kHz, for --voice answer or receptionist instead of what is bundled
    #[argh(option)]
    answer: Option<PathBuf>,

    /// how many times faster than real time audio is sent; 0 is all at once, below 1 is slower (default 4)
    #[argh(option, default = "4.0", from_str_fn(burst))]
    burst: f64,

    /// milliseconds of audio in a message, 1 to 1000 (default 40)
    #[argh(option, default = "40", from_str_fn(chunk_ms))]
    chunk_ms: u32,

    /// silence in milliseconds that ends a talkspurt, unless the setup says (default 500)
    #[argh(option, default = "500")]
    hangover_ms: u32,

    /// the only API key that is accepted (default: any)
    #[argh(option)]
    api_key: Option<String>,

    /// sessions that one key may have at a time; one more is closed with 1011 at its setup (default: no limit)
    #[argh(option)]
    sessions_per_key: Option<usize>,

    /// refuse one session too many with 429 at the upgrade instead
    #[argh(switch)]
    quota_at_upgrade: bool,

    /// certificate chain, PEM: listen with TLS
    #[argh(option)]
    tls_cert: Option<PathBuf>,

    /// private key, PEM (PKCS#8)
    #[argh(option)]
    tls_key: Option<PathBuf>,

    /// something that goes wrong, FAULT@MOMENT; may be given several times
    #[argh(option)]
    fault: Vec<Scheduled>,

    /// a JSON file of faults
    #[argh(option)]
    script: Option<PathBuf>,

    /// call a declared function in a turn, NAME@TURN; may be given several times
    #[argh(option, from_str_fn(tool_call))]
    tool_call: Vec<Scheduled>,

    /// append every client message to this file, one JSON object a line
    #[argh(option)]
    record: Option<PathBuf>,

    /// send JSON in text frames instead of binary ones
    #[argh(switch)]
    text_frames: bool,

    /// send JSON with line breaks and indentation
    #[argh(switch)]
    pretty: bool,

    /// send each message in three frames
    #[argh(switch)]
    fragment: bool,

    /// no WebSocket, no JSON: bare messages of the same sizes, to measure the floor
    #[argh(switch)]
    floor: bool,
}

fn voice(text: &str) -> Result<Voice, String> {
    match text {
        "parrot" => Ok(Voice::Parrot),
        "echo" => Ok(Voice::Echo),
        "answer" => Ok(Voice::Answer),
        "receptionist" => Ok(Voice::Receptionist),
        _ => Err(format!("there is no voice {text:?}: choose parrot, echo, answer or receptionist")),
    }
}

fn burst(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(burst) if burst.is_finite() && (burst == 0.0 || burst >= 0.01) => Ok(burst),
        _ => Err(format!("{text:?} is no burst: 0, or at least 0.01")),
    }
}

fn chunk_ms(text: &str) -> Result<u32, String> {
    text.parse()
        .ok()
        .filter(|ms| (1..=1_000).contains(ms))
        .ok_or_else(|| format!("{text:?} is no chunk length: 1 to 1000 milliseconds"))
}

fn tool_call(text: &str) -> Result<Scheduled, String> {
    let (name, turn) = text.rsplit_once('@').ok_or_else(|| format!("{text:?}: write NAME@TURN"))?;
    format!("tool:{name}@turn{turn}").parse().map_err(|error| format!("{error}"))
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let given: Vec<String> = std::env::args().skip(1).flat_map(split_equals).collect();
    if given.iter().any(|argument| argument == "--version") {
        println!("gemini-sim {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let arguments = match Arguments::from_args(&["gemini-sim"], &given) {
        Ok(arguments) => arguments,
        Err(EarlyExit { output, status: Ok(()) }) => {
            println!("{output}");
            return ExitCode::SUCCESS;
        }
        Err(EarlyExit { output, .. }) => {
            eprintln!("{output}");
            return ExitCode::from(2);
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gemini-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

/// argh knows `--name value` only; people also write `--name=value`.
fn split_equals(argument: String) -> Vec<String> {
    match argument.split_once('=') {
        Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
        _ => vec![argument],
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let mut simulator = Simulator::start(configuration(arguments)?)?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "gemini-sim listening on {}", simulator.url())?;
    stdout.flush()?;
    drop(stdout);
    simulator.wait();
    Err("the event loop ended".into())
}

fn configuration(arguments: Arguments) -> Result<SimConfig, Box<dyn Error>> {
    let read =
        |path: &PathBuf| fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()));
    let mut faults = arguments.fault;
    faults.extend(arguments.tool_call);
    if let Some(path) = &arguments.script {
        faults.extend(read_script(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?);
    }
    let tls = match (&arguments.tls_cert, &arguments.tls_key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(TlsPem { certificate: read(certificate)?, key: read(key)? }),
        _ => return Err("--tls-cert and --tls-key go together".into()),
    };
    let answer = match &arguments.answer {
        None => None,
        Some(path) => Some(answer(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))?),
    };
    Ok(SimConfig {
        listen: resolve(&arguments.listen)?,
        voice: arguments.voice,
        burst: arguments.burst,
        chunk_ms: arguments.chunk_ms,
        hangover_ms: arguments.hangover_ms,
        answer,
        api_key: arguments.api_key,
        sessions_per_key: arguments.sessions_per_key,
        quota_at_upgrade: arguments.quota_at_upgrade,
        tls,
        floor: arguments.floor,
        framing: Framing {
            text: arguments.text_frames,
            pretty: arguments.pretty,
            fragment: arguments.fragment,
        },
        faults,
        record: arguments.record,
        events: false,
        ..SimConfig::default()
    })
}

fn resolve(listen: &str) -> Result<SocketAddr, String> {
    listen
        .to_socket_addrs()
        .map_err(|error| format!("--listen {listen:?}: {error}; write HOST:PORT"))?
        .next()
        .ok_or_else(|| format!("--listen {listen:?}: the name has no address"))
}

fn answer(file: &[u8]) -> Result<Vec<i16>, String> {
    let wav = read_wav(file).map_err(|error| error.to_string())?;
    match wav.rate {
        SampleRate::Hz24000 => Ok(wav.left()),
        SampleRate::Hz16000 => Ok(tandem_loadtest::sim::upsampled(&wav.left())),
        other => Err(format!(
            "the rate is {other}, not 16000 or 24000 Hz; convert it with: sox IN -r 24000 OUT.wav"
        )),
    }
}
