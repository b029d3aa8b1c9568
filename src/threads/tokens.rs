//! Bearer tokens for Vertex AI: from a command, from a file, or from the metadata server of a cloud.
//!
//! Runs in: the keeper thread, which it may block. Owns nothing.
//! Never logs, returns in an error or keeps anything that was printed, read or answered, but the token itself.
//! Invariant: no source holds the thread longer than its time-out, or makes it read more than a token may have.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use mio::unix::pipe::Receiver;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

use crate::base::Instant;
use crate::config::Secret;
use crate::net::http_client::{HttpAnswer, HttpClient, HttpRequest};
use crate::sync::Clock;
use crate::telemetry::conceal_fetched;

/// The most that a source may give; Google's tokens have about a kilobyte.
const BYTES_MAX: usize = 16 * 1024;
/// How long a command may take.
const COMMAND_MS_MAX: u64 = 20_000;
/// How long the metadata server may take: it is next door.
const METADATA_WITHIN: Duration = Duration::from_secs(5);
/// How often a wait looks whether the relay ends.
const SLICE: Duration = Duration::from_millis(100);
/// How long a token is taken to be good whose source does not say it: Google's are good for an hour.
const LIFE_UNSAID_MS: u64 = 3_600_000;
/// A token without a life may be near its end when it comes, so it is asked for often. gcloud gives the same one until
/// about four minutes before its end.
const COMMAND_AGAIN_MS: u64 = 180_000;
/// A file costs nothing to read.
const FILE_AGAIN_MS: u64 = 30_000;
/// Before this much of its life is left, a token with a longer life is replaced.
const LEFT_MS: u64 = 300_000;
/// No source is asked more often than this.
const AGAIN_MS_MIN: u64 = 5_000;

/// Where a credential's tokens come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TokenSource {
    /// What this prints, run by `sh -c`.
    Command(String),
    /// What this holds.
    File(PathBuf),
    /// The metadata server at this `host:port`.
    Metadata(String),
}

impl TokenSource {
    /// What an operator calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Command(_) => "token_command",
            Self::File(_) => "token_file",
            Self::Metadata(_) => "the metadata server",
        }
    }
}

/// A token that was fetched.
#[derive(Debug)]
pub(super) struct Fetched {
    pub(super) token: Secret,
    /// How long it is good.
    pub(super) life_ms: u64,
    /// When the next one is to be fetched, from now.
    pub(super) again_ms: u64,
}

/// Fetches a token, which may take [`COMMAND_MS_MAX`]; less when `stopped` is set.
///
/// # Errors
/// Why there is none and what to do, without anything that the source said.
pub(super) fn fetch(source: &TokenSource, clock: Clock, stopped: &AtomicBool) -> Result<Fetched, String> {
    let text = match source {
        TokenSource::Command(command) => run(command, clock, stopped),
        TokenSource::File(path) => read(path),
        TokenSource::Metadata(host) => ask_metadata(host),
    };
    let (token, life_ms) =
        text.and_then(|text| understand(&text)).map_err(|why| format!("{} {why}", source.name()))?;
    conceal_fetched(token.expose());
    let again_ms = match (life_ms, source) {
        (Some(life_ms), _) => renewal_ms(life_ms),
        (None, TokenSource::File(_)) => FILE_AGAIN_MS,
        (None, _) => COMMAND_AGAIN_MS,
    };
    Ok(Fetched { token, life_ms: life_ms.unwrap_or(LIFE_UNSAID_MS), again_ms: again_ms.max(AGAIN_MS_MIN) })
}

/// After how much of its life a token is replaced: 80 %, or when five minutes are left of a longer one.
fn renewal_ms(life_ms: u64) -> u64 {
    (life_ms / 5 * 4).max(life_ms.saturating_sub(LEFT_MS))
}

/// What the metadata server answers (RFC 6749 section 5.1), and what a command may print.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: Option<u64>,
}

/// The token and its life in milliseconds.
fn understand(text: &str) -> Result<(Secret, Option<u64>), String> {
    let text = text.trim();
    let (token, life_s) = if text.starts_with('{') {
        let answer: Answer = serde_json::from_str(text)
            .map_err(|_| "gave JSON without access_token (and expires_in, in seconds)".to_owned())?;
        (answer.access_token, answer.expires_in)
    } else {
        (text.to_owned(), None)
    };
    match token.as_str() {
        "" => Err("gave nothing".into()),
        token if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err("gave something that is no token: one line without spaces, or JSON".into())
        }
        token => Ok((Secret::new(token), life_s.map(|life_s| life_s.saturating_mul(1000)))),
    }
}

fn read(path: &Path) -> Result<String, String> {
    let problem = |error: io::Error| format!("cannot be read: {}: {error}", path.display());
    text_of(File::open(path).map_err(problem)?.take(BYTES_MAX as u64 + 1)).map_err(problem)?
}

/// Everything, if it is no more than a token may have.
fn text_of(mut from: impl Read) -> io::Result<Result<String, String>> {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes)?;
    Ok(text(bytes))
}

fn text(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() > BYTES_MAX {
        return Err(format!("gave more than {BYTES_MAX} bytes, which is no token"));
    }
    String::from_utf8(bytes).map_err(|_| "gave something that is no text".into())
}

fn ask_metadata(host: &str) -> Result<String, String> {
    const PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
    let remedy = "does the relay run on Google Cloud, and has the machine a service account?";
    let flavor = (HeaderName::from_static("metadata-flavor"), HeaderValue::from_static("Google"));
    let request = HttpRequest {
        method: Method::GET,
        url: format!("http://{host}{PATH}"),
        headers: vec![flavor],
        body: None,
        timeout: METADATA_WITHIN,
    };
    match HttpClient::new(None).ask(request) {
        Ok(HttpAnswer { status: 200, body, .. }) => text(body),
        Ok(answer) => Err(format!("at {host} answered with status {}; {remedy}", answer.status)),
        Err(problem) => Err(format!("at {host}: {problem}; {remedy}")),
    }
}

fn run(command: &str, clock: Clock, stopped: &AtomicBool) -> Result<String, String> {
    let hint = "run it by hand as the relay's user";
    let deadline = clock.now().plus_ms(COMMAND_MS_MAX);
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // It may say more than it should.
        .stderr(Stdio::null())
        // So that what it has started ends with it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let printed = printed(&mut child, clock, deadline, stopped);
    let status = printed.and_then(|printed| Ok((printed, ended(&mut child, clock, deadline, stopped)?)));
    let outcome = match status {
        Ok((printed, status)) if status.success() => text(printed),
        Ok((_, status)) => Err(format!("ended with {status}; {hint}")),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(format!("took longer than {} s; {hint}", COMMAND_MS_MAX / 1000))
        }
        Err(error) => Err(format!("failed: {error}; {hint}")),
    };
    if outcome.is_err() {
        // Whatever of it still runs; where nothing does, there is nothing to kill.
        if let Ok(group) = i32::try_from(child.id())
            && let Some(group) = Pid::from_raw(group)
        {
            _ = kill_process_group(group, Signal::KILL);
        }
        _ = child.wait();
    }
    outcome
}

/// What a command prints until it closes its output, a little more than a token may have at most.
fn printed(child: &mut Child, clock: Clock, deadline: Instant, stopped: &AtomicBool) -> io::Result<Vec<u8>> {
    let Some(stdout) = child.stdout.take() else { return Ok(Vec::new()) };
    let mut pipe = Receiver::from(stdout);
    pipe.set_nonblocking(true)?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1);
    poll.registry().register(&mut pipe, Token(0), Interest::READABLE)?;
    let mut bytes = Vec::new();
    let mut piece = [0; 2048];
    loop {
        match pipe.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(n) => {
                bytes.extend_from_slice(&piece[..n]);
                if bytes.len() > BYTES_MAX {
                    return Ok(bytes);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let slice = left(clock, deadline, stopped)?;
                match poll.poll(&mut events, Some(slice)) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// How a command ended that has closed its output.
fn ended(child: &mut Child, clock: Clock, deadline: Instant, stopped: &AtomicBool) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(left(clock, deadline, stopped)?.min(Duration::from_millis(5)));
    }
}

fn left(clock: Clock, deadline: Instant, stopped: &AtomicBool) -> io::Result<Duration> {
    let left = deadline.since(clock.now());
    if stopped.load(Ordering::Acquire) {
        return Err(io::Error::other("the relay ends"));
    }
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left.min(SLICE)) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    fn fetched(source: &TokenSource) -> Result<Fetched, String> {
        fetch(source, Clock::new(), &AtomicBool::new(false))
    }

    fn of_command(command: &str) -> Result<Fetched, String> {
        fetched(&TokenSource::Command(command.into()))
    }

    #[test]
    fn a_command_may_print_a_token_alone_or_with_its_life() {
        let plain = of_command("echo ya29.plain").expect("a token");
        assert_eq!((plain.token.expose(), plain.life_ms, plain.again_ms), ("ya29.plain", 3_600_000, 180_000));
        let json = r#"printf '{"access_token":"%s","expires_in":1000,"token_type":"Bearer"}' ya29.json"#;
        let told = of_command(json).expect("a token");
        assert_eq!((told.token.expose(), told.life_ms, told.again_ms), ("ya29.json", 1_000_000, 800_000));
    }

    #[test]
    fn an_hour_is_renewed_five_minutes_before_its_end_and_nothing_more_often_than_every_five_seconds() {
        assert_eq!(renewal_ms(3_600_000), 3_300_000);
        assert_eq!(renewal_ms(600_000), 480_000);
        let brief = of_command(r#"echo '{"access_token":"t","expires_in":1}'"#).expect("a token");
        assert_eq!((brief.life_ms, brief.again_ms), (1000, AGAIN_MS_MIN));
    }

    #[test]
    fn a_command_that_fails_is_named_without_what_it_said() {
        for (command, why) in [
            ("echo ya29.secret; exit 3", "ended with exit status: 3"),
            ("echo ya29.secret >&2", "gave nothing"),
            ("echo 'ya29.secret and more'", "no token"),
            ("printf '{\"token\":\"ya29.secret\"}'", "without access_token"),
            ("head -c 20000 /dev/zero | tr '\\0' s", "more than 16384 bytes"),
            ("/no/such/program", "ended with exit status: 127"),
        ] {
            let error = of_command(command).expect_err(command);
            assert!(error.starts_with("token_command ") && error.contains(why), "{command}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_all_that_it_started_when_the_relay_ends() {
        let stopped = AtomicBool::new(true);
        let source = TokenSource::Command("sleep 1000 & sleep 1000".into());
        let error = fetch(&source, Clock::new(), &stopped).expect_err("it is ended");
        assert!(error.contains("the relay ends"), "{error}");
    }

    #[test]
    fn a_file_is_read_and_a_missing_one_named() {
        let path = std::env::temp_dir().join(format!("tandem-token-{}", std::process::id()));
        std::fs::write(&path, "ya29.file\n").expect("a place for temporary files");
        let token = fetched(&TokenSource::File(path.clone())).expect("a token");
        assert_eq!((token.token.expose(), token.again_ms), ("ya29.file", FILE_AGAIN_MS));
        std::fs::remove_file(&path).expect("it is there");
        let error = fetched(&TokenSource::File(path)).expect_err("it is gone");
        assert!(error.starts_with("token_file cannot be read"), "{error}");
    }

    #[test]
    fn the_metadata_server_is_asked_as_google_s_libraries_ask_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in ["200 OK", "404 Not Found"] {
                let (mut socket, _) = listener.accept().expect("the relay comes");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    socket.read_exact(&mut byte).expect("a request");
                    request.push(byte[0]);
                }
                let body = r#"{"access_token":"ya29.metadata","expires_in":3599,"token_type":"Bearer"}"#;
                let length = body.len();
                let head =
                    format!("HTTP/1.1 {answer}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                socket.write_all(format!("{head}{body}").as_bytes()).expect("it listens");
                asked.push(String::from_utf8(request).expect("ASCII"));
            }
            asked
        });
        let source = TokenSource::Metadata(address.to_string());
        let token = fetched(&source).expect("a token");
        assert_eq!((token.token.expose(), token.life_ms), ("ya29.metadata", 3_599_000));
        let error = fetched(&source).expect_err("refused");
        assert!(error.contains("status 404") && !error.contains("ya29"), "{error}");
        let asked = server.join().expect("no panic");
        let path = "GET /computeMetadata/v1/instance/service-accounts/default/token HTTP/1.1\r\n";
        assert!(
            asked[0].starts_with(path) && asked[0].to_lowercase().contains("metadata-flavor: google\r\n"),
            "{asked:?}"
        );
    }
}
