//! Probes: one connection each, blocking, to see what answers at the other end and how fast.
//!
//! Runs in: the main thread of `tandem doctor`. Owns its connections. Never part of a running relay.
//! Invariant: no probe outlives its deadline by more than the resolution of a name, and none reads more than it says.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use http::uri::InvalidUri;
use tungstenite::{Bytes, ClientRequestBuilder, Message};

use crate::base::Instant;
use crate::call::model::{LinkEnd, SetupRequest};
use crate::codec::Provider;
use crate::codec::esl;
use crate::config::Secret;
use crate::net::dial::{DialError, Dialer, Target};
use crate::net::own_server;
use crate::net::websocket::Incoming;
use crate::sync::Clock;

/// Bytes of an answer that are read at most.
const ANSWER_BYTES_MAX: usize = 16 * 1024;
/// How long a read of a link blocks before the deadline is looked at again.
const LOOK: Duration = Duration::from_millis(100);

/// What came back for a request.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// The first line, without its end; lossy where it is no text.
    pub first_line: String,
    /// The whole answer, head and body as far as it came.
    pub text: String,
    /// From connecting to the end of the head.
    pub took: Duration,
}

impl Answer {
    /// The HTTP status, if it is HTTP.
    pub(crate) fn status(&self) -> Option<u16> {
        self.first_line.strip_prefix("HTTP/1.1 ")?.split(' ').next()?.parse().ok()
    }
}

/// Sends `request` and reads the answer's head, or what comes within the time; over TLS where the file of the certificate of a
/// server of ours is given.
///
/// # Errors
/// Those of connecting and writing; an answer that does not come is `TimedOut`.
pub(crate) fn ask(
    address: SocketAddr,
    certificate: Option<&Path>,
    request: &[u8],
    within: Duration,
    clock: Clock,
) -> io::Result<Answer> {
    let begun = clock.now();
    let mut socket = own_server::connect(address, certificate, within)?;
    socket.write_all(request)?;
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    let whole = |bytes: &[u8]| bytes.windows(4).any(|end| end == b"\r\n\r\n");
    while !whole(&bytes) && bytes.len() < ANSWER_BYTES_MAX {
        socket.socket().set_read_timeout(Some(left(clock, begun, within)?))?;
        match socket.read(&mut piece) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(piece.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) if bytes.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let first_line = text.lines().next().unwrap_or_default().to_owned();
    Ok(Answer { first_line, text, took: clock.now().since(begun) })
}

/// Time left of `within` since `begun`, never zero, which would mean for ever.
fn left(clock: Clock, begun: Instant, within: Duration) -> io::Result<Duration> {
    let passed = clock.now().since(begun);
    match within.checked_sub(passed) {
        Some(left) if !left.is_zero() => Ok(left),
        _ => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Why Gemini does not take a call.
#[derive(Debug)]
pub(crate) enum LinkProblem {
    /// No connection.
    Dial(DialError),
    /// The connection ended, with this cause, before `setupComplete`.
    Ended(LinkEnd),
    /// No `setupComplete` in time.
    Silent,
}

/// Connects a link, sends the setup and waits until the model accepts it.
///
/// # Errors
/// What came in its place.
pub(crate) fn link(
    dialer: &Dialer,
    target: &Target,
    (provider, setup): (Provider, &SetupRequest),
    within: Duration,
    clock: Clock,
) -> Result<Duration, LinkProblem> {
    let begun = clock.now();
    let deadline = begun.plus(within);
    let mut connection = dialer.connect(target, deadline).map_err(LinkProblem::Dial)?;
    let broken = |what: &str| LinkProblem::Ended(LinkEnd::dropped(what));
    let socket = connection.stream().socket();
    let blocking = socket.set_nonblocking(false).and_then(|()| socket.set_read_timeout(Some(LOOK)));
    blocking.map_err(|error| broken(&error.to_string()))?;
    connection
        .queue(Message::text(provider.setup(setup)))
        .and_then(|()| connection.flush())
        .map_err(|end| broken(&format!("{end:?}")))?;
    while clock.now() < deadline {
        connection.rearm(false);
        connection.allow(ANSWER_BYTES_MAX);
        match connection.read() {
            Incoming::Message(Message::Close(frame)) => {
                let (code, reason) =
                    frame.map_or((None, String::new()), |f| (Some(f.code.into()), f.reason.to_string()));
                return Err(LinkProblem::Ended(provider.end_of_close(code, reason.as_bytes())));
            }
            Incoming::Message(message) => {
                if provider.accepts(&message.into_data()) {
                    return Ok(clock.now().since(begun));
                }
            }
            Incoming::Drained | Incoming::Paused => {}
            Incoming::Over(end) => return Err(broken(&format!("{end:?}"))),
        }
    }
    Err(LinkProblem::Silent)
}

/// A blocking client of FreeSWITCH's event socket, for questions.
pub(crate) struct EventSocket {
    socket: TcpStream,
    decoder: esl::Decoder,
    clock: Clock,
    within: Duration,
}

/// Why the event socket cannot be used.
#[derive(Debug)]
pub(crate) enum EventSocketProblem {
    /// TCP did not connect, or the connection broke.
    Io(io::Error),
    /// The address of this machine is not on the switch's list (`apply-inbound-acl`).
    Rejected,
    /// The password is wrong.
    Password,
    /// What answers is no event socket.
    Unknown(String),
}

impl From<io::Error> for EventSocketProblem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl EventSocket {
    /// Connects and presents the password; each later question has `within` as well.
    ///
    /// # Errors
    /// Which step failed.
    pub(crate) fn connect(
        address: SocketAddr,
        password: &str,
        within: Duration,
        clock: Clock,
    ) -> Result<Self, EventSocketProblem> {
        let socket = TcpStream::connect_timeout(&address, within)?;
        let mut this = Self { socket, decoder: esl::Decoder::default(), clock, within };
        match this.next()? {
            esl::Message::AuthRequest => {}
            esl::Message::Rejected => return Err(EventSocketProblem::Rejected),
            other => return Err(EventSocketProblem::Unknown(format!("it began with {other:?}"))),
        }
        let line = esl::authenticate(password).ok_or(EventSocketProblem::Password)?;
        this.socket.write_all(line.as_bytes())?;
        match this.next()? {
            esl::Message::Reply(text) if text.starts_with("+OK") => Ok(this),
            esl::Message::Reply(_) => Err(EventSocketProblem::Password),
            other => Err(EventSocketProblem::Unknown(format!("it answered {other:?} to the password"))),
        }
    }

    /// The answer to an API command. `line` is ours, never a peer's text.
    ///
    /// # Errors
    /// The connection broke, or nothing came in time.
    pub(crate) fn api(&mut self, line: &str) -> Result<String, EventSocketProblem> {
        self.socket.write_all(format!("api {line}\n\n").as_bytes())?;
        loop {
            match self.next()? {
                esl::Message::ApiResponse(text) => return Ok(text.trim().to_owned()),
                esl::Message::Disconnect => {
                    return Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<esl::Message, EventSocketProblem> {
        let begun = self.clock.now();
        let mut piece = [0; 4096];
        loop {
            match self.decoder.next_message() {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(error) => return Err(EventSocketProblem::Unknown(error.to_string())),
            }
            self.socket.set_read_timeout(Some(left(self.clock, begun, self.within)?))?;
            match self.socket.read(&mut piece) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(n) => self.decoder.push(piece.get(..n).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What became of a call made for a test.
#[derive(Debug, Clone, Default)]
pub(crate) struct TestCall {
    /// From connecting to the 101.
    pub upgraded: Duration,
    /// From the 101 to the first audio.
    pub first_audio: Option<Duration>,
    /// Bytes of audio heard, as they came.
    pub audio_bytes: usize,
    /// The close frame, if the relay ended the call: code and reason.
    pub closed: Option<(u16, String)>,
}

/// Calls as mod_audio_stream would (mono, 16 kHz, binary playback) and speaks `words` in frames of 20 ms, silence
/// around them, until `lasting` is over or audio has come back.
///
/// # Errors
/// A text: no connection, or the relay refused the call.
pub(crate) fn call(
    address: SocketAddr,
    certificate: Option<&Path>,
    path: &str,
    token: Option<&Secret>,
    words: &[i16],
    lasting: Duration,
    clock: Clock,
) -> Result<TestCall, String> {
    const FRAME: usize = 320;
    let begun = clock.now();
    let socket = own_server::connect(address, certificate, lasting).map_err(|error| error.to_string())?;
    let prepared = socket.socket().set_read_timeout(Some(lasting));
    prepared.map_err(|error| error.to_string())?;
    let url = format!("ws://{address}{path}").parse().map_err(|error: InvalidUri| error.to_string())?;
    let mut request = ClientRequestBuilder::new(url);
    if let Some(token) = token {
        request = request.with_header("Authorization", format!("Bearer {}", token.expose()));
    }
    let (mut leg, _) = tungstenite::client::client(request, socket).map_err(|error| match error {
        tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response)) => {
            let body = response.body().as_deref().unwrap_or_default();
            format!("HTTP status {}: {}", response.status().as_u16(), String::from_utf8_lossy(body).trim())
        }
        tungstenite::HandshakeError::Failure(error) => error.to_string(),
        tungstenite::HandshakeError::Interrupted(_) => "no answer in time".to_owned(),
    })?;
    let up = clock.now();
    let mut call = TestCall { upgraded: up.since(begun), ..TestCall::default() };
    let mut due = up;
    let mut frames = words.chunks(FRAME);
    while clock.now().since(up) < lasting {
        let now = clock.now();
        if now >= due {
            let frame = frames.next().unwrap_or_default();
            let mut bytes: Vec<u8> = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            bytes.resize(FRAME * 2, 0);
            if leg.send(Message::Binary(Bytes::from(bytes))).is_err() {
                break;
            }
            due = due.plus_ms(20);
            continue;
        }
        // The wait for the next frame is the wait for the relay's words.
        let wait = due.since(now).max(Duration::from_millis(1));
        _ = leg.get_ref().socket().set_read_timeout(Some(wait));
        match leg.read() {
            Ok(Message::Binary(audio)) => {
                call.first_audio.get_or_insert(clock.now().since(up));
                call.audio_bytes += audio.len();
            }
            Ok(Message::Close(frame)) => {
                call.closed = frame.map(|frame| (frame.code.into(), frame.reason.to_string()));
                break;
            }
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        if call.audio_bytes >= FRAME * 2 * 25 {
            break;
        }
    }
    _ = leg.close(None);
    _ = leg.flush();
    Ok(call)
}
