//! An ear for a test call: waits for mod_audio_stream to connect, and listens until somebody speaks.
//!
//! Runs in: the main thread of `tandem doctor`. Owns a listening socket and one connection. Never part of a running relay.
//! Invariant: it takes nobody who does not know the name that it was given, and none of its waits is without a deadline.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::{Message, WebSocket};

use crate::base::Instant;
use crate::sync::Clock;

/// The shortest wait of a socket, for which zero would be for ever.
const SHORTEST: Duration = Duration::from_millis(10);
/// Samples of 20 ms at 8 kHz.
const FRAME_SAMPLES: usize = 160;
/// The mean of a frame that is speech and no noise of a line, -44 dBFS.
const LOUD: u64 = 200;
/// Frames that make speech, with pauses between them or not: 200 ms, longer than a click. A busy switch leaves holes.
const LOUD_FRAMES: usize = 10;

/// See the head of this file.
pub(crate) struct Ear {
    listener: TcpListener,
    name: String,
    clock: Clock,
}

/// What an ear heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EarHeard {
    /// Somebody spoke, so long after it was connected.
    Speech(Duration),
    /// Nobody did, as long as it listened.
    Silence,
    /// The call was over after so long, and nobody had spoken.
    Ended(Duration),
    /// The module did not connect.
    NotReached,
}

impl Ear {
    /// Listens on a free port of every address, for whoever asks for the path `/NAME`.
    ///
    /// # Errors
    /// Those of binding.
    pub(crate) fn open(name: &str, clock: Clock) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, name: name.to_owned(), clock })
    }

    /// Its port.
    ///
    /// # Errors
    /// That the system does not say.
    pub(crate) fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Waits for the module, which sends mono audio at 8 kHz, and listens.
    pub(crate) fn listen(&self, connects_within: Duration, lasting: Duration) -> EarHeard {
        let Some(mut leg) = self.connected(connects_within) else { return EarHeard::NotReached };
        let begun = self.clock.now();
        let passed = || self.clock.now().since(begun);
        let (mut samples, mut loud) = (Vec::new(), 0);
        while passed() < lasting {
            _ = leg.get_ref().set_read_timeout(Some(Duration::from_millis(100)));
            match leg.read() {
                Ok(Message::Binary(bytes)) => {
                    samples.extend(bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])));
                    for frame in samples.chunks_exact(FRAME_SAMPLES) {
                        let sum: u64 = frame.iter().map(|sample| u64::from(sample.unsigned_abs())).sum();
                        loud += usize::from(sum / FRAME_SAMPLES as u64 >= LOUD);
                        if loud >= LOUD_FRAMES {
                            return EarHeard::Speech(passed());
                        }
                    }
                    let rest = samples.len() - samples.len() % FRAME_SAMPLES;
                    samples.drain(..rest);
                }
                Ok(Message::Close(_)) => return EarHeard::Ended(passed()),
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return EarHeard::Ended(passed()),
            }
        }
        EarHeard::Silence
    }

    fn connected(&self, within: Duration) -> Option<WebSocket<TcpStream>> {
        let deadline = self.clock.now().plus(within);
        let mut poll = Poll::new().ok()?;
        let source = self.listener.as_raw_fd();
        poll.registry().register(&mut SourceFd(&source), Token(0), Interest::READABLE).ok()?;
        let mut events = Events::with_capacity(1);
        while self.clock.now() < deadline {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    if let Some(leg) = self.let_in(socket, deadline) {
                        return Some(leg);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    _ = poll.poll(&mut events, Some(deadline.since(self.clock.now())));
                }
                Err(_) => return None,
            }
        }
        None
    }

    fn let_in(&self, socket: TcpStream, deadline: Instant) -> Option<WebSocket<TcpStream>> {
        let left = deadline.since(self.clock.now()).max(SHORTEST);
        socket.set_nonblocking(false).and_then(|()| socket.set_read_timeout(Some(left))).ok()?;
        let path = format!("/{}", self.name);
        #[expect(
            clippy::result_large_err,
            reason = "the type is tungstenite's: a refusal is a whole response"
        )]
        let check = |request: &Request, response: Response| match request.uri().path() == path {
            true => Ok(response),
            false => Err(ErrorResponse::new(None)),
        };
        tungstenite::accept_hdr(socket, check).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::Bytes;

    /// What an ear hears of a caller who sends these frames of 20 ms and hangs up.
    fn heard(path: &str, frames: &[i16]) -> EarHeard {
        let ear = Ear::open("a-name", Clock::new()).expect("a free port");
        let port = ear.port().expect("bound");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let socket = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
                let Ok((mut leg, _)) = tungstenite::client(format!("ws://127.0.0.1:{port}/{path}"), socket)
                else {
                    return;
                };
                for level in frames {
                    let samples: Vec<u8> = std::iter::repeat_n(*level, FRAME_SAMPLES)
                        .flat_map(|sample| sample.to_le_bytes())
                        .collect();
                    _ = leg.send(Message::Binary(Bytes::from(samples)));
                }
                _ = leg.close(None);
                while leg.read().is_ok() {}
            });
            ear.listen(Duration::from_millis(500), Duration::from_secs(10))
        })
    }

    #[test]
    fn speech_is_loud_for_a_while() {
        assert!(matches!(heard("a-name", &[900, 0, -900].repeat(5)), EarHeard::Speech(_)));
        assert!(matches!(heard("a-name", &[0, 900, -900, 900, 900, 0]), EarHeard::Ended(_)), "a click");
        assert!(matches!(heard("a-name", &[100; 50]), EarHeard::Ended(_)), "the noise of a line");
        assert_eq!(heard("another-name", &[900; 50]), EarHeard::NotReached);
    }
}
