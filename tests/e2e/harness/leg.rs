//! A switch's side of a call, byte for byte under the test's control: upgrade, frames out, everything that comes back
//! with the time of its arrival.
//!
//! Runs in: the test's thread (sends) and one that reads. Owns the socket. Never paces by itself: [`Leg::speak`] does
//! when asked. Invariant: pings and closes are answered as mod_audio_stream answers them, unless the test wants it mute.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tandem_loadtest::callgen::clock::Random;
use tandem_loadtest::callgen::handshake::{Answer, Target, answer, request};
use tandem_loadtest::callgen::message::{ServerText, read_text};
use tandem_loadtest::websocket::{FrameReader, Opcode, append_frame};

use super::asterisk::{MaskedFrames, append_unmasked};
use super::{PATIENCE, Relay};

/// The key of RFC 6455 section 1.3; any 16 bytes do.
const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// Real time between two frames of [`Leg::speak`].
const FRAME: Duration = Duration::from_millis(20);

/// What the relay said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Audio in a binary message.
    Binary(Vec<i16>),
    /// Audio in a `streamAudio` text at this rate.
    Json(u32, Vec<i16>),
    /// Audio of file playback: turn, chunk, samples.
    File(u64, u64, Vec<i16>),
    /// Any other text.
    Text(String),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame: code (1005 for none) and reason.
    Close(u16, String),
    /// The end of the connection.
    End,
}

impl Told {
    /// The samples in it.
    pub(crate) fn samples(&self) -> &[i16] {
        match self {
            Self::Binary(samples) | Self::Json(_, samples) | Self::File(_, _, samples) => samples,
            _ => &[],
        }
    }

    /// Whether the switch is told to forget what it was handed.
    pub(crate) fn is_clear(&self) -> bool {
        matches!(self, Self::Text(text) if ["clearAudio", "killAudio", "FLUSH_MEDIA"].iter().any(|word| text.contains(word)))
    }
}

#[derive(Default)]
struct Ear {
    told: Mutex<Vec<(Instant, Told)>>,
    changed: Condvar,
}

impl Ear {
    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, Told)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One leg.
pub(crate) struct Leg {
    mouth: Arc<Mouth>,
    ear: Arc<Ear>,
    reader: Option<JoinHandle<()>>,
}

/// The sending side, shared with the thread that answers pings.
struct Mouth {
    stream: TcpStream,
    random: Mutex<Random>,
    /// Neither pings nor closes are answered.
    mute: AtomicBool,
    closed: AtomicBool,
    /// The relay has connected to the switch, which is the WebSocket's server.
    is_server: bool,
    /// A server that does not end the connection behind a close.
    lingers: AtomicBool,
}

impl Mouth {
    fn send(&self, opcode: Opcode, payload: &[u8]) {
        self.send_all(opcode, [payload].into_iter());
    }

    /// Sends messages in one write. A relay that has gone is noticed by what it told last.
    fn send_all<'a>(&self, opcode: Opcode, payloads: impl Iterator<Item = &'a [u8]>) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wire = Vec::new();
        payloads.for_each(|payload| match self.is_server {
            true => append_unmasked(&mut wire, opcode, payload),
            false => append_frame(&mut wire, opcode, payload, random.mask_key()),
        });
        _ = (&self.stream).write_all(&wire);
    }
}

impl Leg {
    /// Calls the relay; `target` is path and query.
    pub(crate) fn call(relay: &Relay, target: &str) -> Self {
        Self::call_with(relay, target, &[])
    }

    /// Calls the relay with more headers.
    pub(crate) fn call_with(relay: &Relay, target: &str, headers: &[(&str, &str)]) -> Self {
        Self::try_call(relay.address(), target, headers).unwrap_or_else(|answer| panic!("refused: {answer}"))
    }

    /// Calls, and gives what was answered in place of a 101, head and body.
    pub(crate) fn try_call(
        address: SocketAddr,
        target: &str,
        headers: &[(&str, &str)],
    ) -> Result<Self, String> {
        let stream = connect(address)?;
        let to = Target { authority: address.to_string(), path: target.to_owned(), addr: address };
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        (&stream).write_all(&request(&to, WEBSOCKET_KEY, &headers)).map_err(|error| error.to_string())?;
        upgrade(&stream, WEBSOCKET_KEY).map(|(_, behind)| Self::upgraded(stream, behind, false))
    }

    /// Sends `wire`, which begins with a recorded upgrade request whose key is `key`, and gives the head of the answer.
    pub(crate) fn replay(relay: &Relay, wire: &[u8], key: &str) -> (String, Self) {
        let stream = connect(relay.address()).expect("the relay listens");
        (&stream).write_all(wire).expect("the relay takes what a switch sends");
        match upgrade(&stream, key) {
            Ok((head, behind)) => (head, Self::upgraded(stream, behind, false)),
            Err(answer) => panic!("refused: {answer}"),
        }
    }

    /// Sends recorded bytes as they are.
    pub(crate) fn wire(&self, bytes: &[u8]) {
        _ = (&self.mouth.stream).write_all(bytes);
    }

    /// Sends a recorded close frame as it is, and gives code and reason of the answer.
    pub(crate) fn close_with(&self, wire: &[u8]) -> (u16, String) {
        self.mouth.closed.store(true, Ordering::Release);
        self.wire(wire);
        self.closed()
    }

    /// A leg whose upgrade is complete, with what came behind it.
    pub(super) fn upgraded(stream: TcpStream, behind: Vec<u8>, is_server: bool) -> Self {
        stream.set_read_timeout(None).expect("a TCP socket");
        let mouth = Arc::new(Mouth {
            stream,
            random: Mutex::new(Random::new()),
            mute: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            is_server,
            lingers: AtomicBool::new(false),
        });
        let ear = Arc::new(Ear::default());
        let reader = std::thread::spawn({
            let (mouth, ear) = (Arc::clone(&mouth), Arc::clone(&ear));
            move || listen(&mouth, &ear, &behind)
        });
        Self { mouth, ear, reader: Some(reader) }
    }

    /// From now on pings and closes are not answered.
    pub(crate) fn mute(&self) {
        self.mouth.mute.store(true, Ordering::Release);
    }

    /// From now on the connection is not ended behind a close, where that is the switch's to do.
    pub(crate) fn linger(&self) {
        self.mouth.lingers.store(true, Ordering::Release);
    }

    /// Sends a text message.
    pub(crate) fn text(&self, text: &str) {
        self.mouth.send(Opcode::Text, text.as_bytes());
    }

    /// Sends a text message whose bytes need be no UTF-8.
    pub(crate) fn text_of(&self, bytes: &[u8]) {
        self.mouth.send(Opcode::Text, bytes);
    }

    /// Sends a ping.
    pub(crate) fn ping(&self, payload: &[u8]) {
        self.mouth.send(Opcode::Ping, payload);
    }

    /// Sends audio at once, in messages of `samples_per_message`.
    pub(crate) fn audio(&self, samples: &[i16], samples_per_message: usize) {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        self.mouth.send_all(Opcode::Binary, bytes.chunks(samples_per_message * 2));
    }

    /// Sends audio in real time, a message of `samples_per_frame` every 20 ms from `from` on, and returns when the last
    /// one was due.
    pub(crate) fn speak(&self, samples: &[i16], samples_per_frame: usize, from: Instant) -> Instant {
        let mut due = from;
        for frame in samples.chunks(samples_per_frame) {
            // The pace is what is being played, not a wait for something to happen.
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            self.audio(frame, samples_per_frame);
            due += FRAME;
        }
        due
    }

    /// Everything that the relay has told, with the time of arrival.
    pub(crate) fn told(&self) -> Vec<(Instant, Told)> {
        self.ear.lock().clone()
    }

    /// Every sample heard so far.
    pub(crate) fn samples(&self) -> Vec<i16> {
        self.ear.lock().iter().flat_map(|(_, told)| told.samples().iter().copied()).collect()
    }

    /// Waits until `find` finds what it looks for in all that was told so far.
    pub(crate) fn until<T>(&self, what: &str, find: impl Fn(&[(Instant, Told)]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut told = self.ear.lock();
        loop {
            if let Some(found) = find(&told) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let over = left.is_zero() || told.last().is_some_and(|(_, last)| *last == Told::End);
            assert!(!over, "the relay did not tell {what}, but last {:?}", last_words(&told));
            told = self.ear.changed.wait_timeout(told, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until at least so many samples have been heard, and gives all of them.
    pub(crate) fn hear(&self, samples: usize) -> Vec<i16> {
        self.until(&format!("{samples} samples"), |told| {
            let count: usize = told.iter().map(|(_, told)| told.samples().len()).sum();
            (count >= samples).then_some(())
        });
        self.samples()
    }

    /// Hangs up as the module does, and gives code and reason of the relay's answer, which must be followed by the end
    /// of the connection.
    pub(crate) fn hang_up(&self) -> (u16, String) {
        self.mouth.closed.store(true, Ordering::Release);
        let mut payload = 1000u16.to_be_bytes().to_vec();
        payload.extend_from_slice(b"Normal closure");
        self.mouth.send(Opcode::Close, &payload);
        self.closed()
    }

    /// Waits for the relay's close frame and the end of the connection; gives code and reason.
    pub(crate) fn closed(&self) -> (u16, String) {
        self.until("a close frame and the end of the connection", |told| match told {
            [.., (_, Told::Close(code, reason)), (_, Told::End)] => Some((*code, reason.clone())),
            _ => None,
        })
    }

    /// Ends the connection without a word.
    pub(crate) fn drop_connection(&self) {
        _ = self.mouth.stream.shutdown(Shutdown::Both);
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        self.drop_connection();
        if let Some(reader) = self.reader.take() {
            _ = reader.join();
        }
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string())?;
    stream.set_nodelay(true).expect("a TCP socket");
    stream.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("a TCP socket");
    Ok(stream)
}

/// Reads the answer to an upgrade: its head, and what came behind it; or the whole of a refusal.
fn upgrade(mut stream: &TcpStream, key: &str) -> Result<(String, Vec<u8>), String> {
    let mut head = Vec::new();
    let mut piece = [0; 2048];
    loop {
        match answer(&head, key) {
            Answer::Upgraded(used) => {
                let behind = head.split_off(used);
                return Ok((String::from_utf8_lossy(&head).into_owned(), behind));
            }
            Answer::Incomplete => {}
            Answer::Refused(why) => {
                _ = stream.read_to_end(&mut head);
                return Err(format!("{why}: {}", String::from_utf8_lossy(&head)));
            }
        }
        match stream.read(&mut piece) {
            Ok(0) => return Err("the connection ended before the 101".into()),
            Ok(n) => head.extend_from_slice(&piece[..n]),
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn listen(mouth: &Mouth, ear: &Ear, behind: &[u8]) {
    let mut frames = FrameReader::default();
    let mut masked = MaskedFrames::default();
    let mut hear = |bytes: &[u8]| {
        let at = Instant::now();
        let unmasked = if mouth.is_server { masked.unmask(bytes) } else { bytes.to_vec() };
        frames.push(&unmasked, |opcode, payload| {
            react(mouth, opcode, payload);
            ear.lock().push((at, understand(opcode, payload)));
            ear.changed.notify_all();
        })
    };
    let mut piece = [0; 16 * 1024];
    let mut result = hear(behind);
    while result.is_ok() {
        match (&mouth.stream).read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(n) => result = hear(&piece[..n]),
        }
    }
    if let Err(violation) = result {
        ear.lock().push((Instant::now(), Told::Text(format!("PROTOCOL: {}", violation.text()))));
    }
    ear.lock().push((Instant::now(), Told::End));
    ear.changed.notify_all();
}

fn react(mouth: &Mouth, opcode: Opcode, payload: &[u8]) {
    if mouth.mute.load(Ordering::Acquire) {
        return;
    }
    match opcode {
        Opcode::Ping => mouth.send(Opcode::Pong, payload),
        Opcode::Close if !mouth.closed.swap(true, Ordering::AcqRel) => {
            mouth.send(Opcode::Close, payload.get(..2).unwrap_or_default());
        }
        _ => {}
    }
    // RFC 6455 section 7.1.1: the server ends the connection first, as Asterisk does.
    match opcode {
        Opcode::Close if mouth.is_server && !mouth.lingers.load(Ordering::Acquire) => {
            _ = mouth.stream.shutdown(Shutdown::Both)
        }
        _ => {}
    }
}

fn understand(opcode: Opcode, payload: &[u8]) -> Told {
    let samples = |bytes: &[u8]| {
        let (pairs, rest) = bytes.as_chunks::<2>();
        assert!(rest.is_empty(), "half a sample");
        pairs.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
    };
    match opcode {
        Opcode::Binary | Opcode::Continuation => Told::Binary(samples(payload)),
        Opcode::Text => {
            let mut audio = Vec::new();
            match read_text(payload, &mut audio) {
                ServerText::StreamAudio { turn: Some(turn), chunk: Some(chunk), .. } => {
                    Told::File(turn, chunk, samples(&audio))
                }
                ServerText::StreamAudio { rate_hz, .. } => Told::Json(rate_hz, samples(&audio)),
                _ => Told::Text(String::from_utf8_lossy(payload).into_owned()),
            }
        }
        Opcode::Ping => Told::Ping(payload.to_vec()),
        Opcode::Pong => Told::Pong(payload.to_vec()),
        Opcode::Close => match payload.split_first_chunk::<2>() {
            Some((code, reason)) => {
                Told::Close(u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned())
            }
            None => Told::Close(1005, String::new()),
        },
    }
}

fn last_words(told: &[(Instant, Told)]) -> Vec<String> {
    let brief = |told: &Told| match told {
        Told::Binary(samples) => format!("{} samples", samples.len()),
        Told::Json(rate_hz, samples) => format!("{} samples in JSON at {rate_hz} Hz", samples.len()),
        Told::File(turn, chunk, samples) => format!("turn {turn} chunk {chunk}: {} samples", samples.len()),
        other => format!("{other:?}"),
    };
    told.iter().rev().take(12).map(|(_, told)| brief(told)).collect()
}
