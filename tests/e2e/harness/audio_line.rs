//! Asterisk's side of an AudioSocket, byte for byte under the test's control: UUID, frames out, everything that comes
//! back with the time and the end of each read.
//!
//! Runs in: the test's thread (sends) and one that reads. Owns the socket. Never paces by itself: [`AudioLine::speak`]
//! does when asked. Invariant: what is heard is noted as it came, so that a torn frame can be told from a whole one.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::PATIENCE;

const FRAME: Duration = Duration::from_millis(20);

/// A frame of the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// When its last byte was read.
    pub at: Instant,
    /// Its kind.
    pub kind: u8,
    /// Its payload.
    pub payload: Vec<u8>,
}

#[derive(Default)]
struct Ear {
    frames: Vec<Heard>,
    /// Reads that ended within a frame.
    torn_reads: usize,
    over: bool,
}

#[derive(Default)]
struct Shared {
    ear: Mutex<Ear>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Ear> {
        self.ear.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line.
pub(crate) struct AudioLine {
    stream: TcpStream,
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
}

impl AudioLine {
    /// Connects and sends `first`, which usually begins with a UUID.
    pub(crate) fn open(address: SocketAddr, first: &[u8]) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("the relay listens");
        stream.set_nodelay(true).expect("a TCP socket");
        (&stream).write_all(first).expect("the relay takes what Asterisk sends");
        let shared = Arc::new(Shared::default());
        let reader = std::thread::spawn({
            let (mut stream, shared) = (stream.try_clone().expect("a descriptor"), Arc::clone(&shared));
            move || listen(&mut stream, &shared)
        });
        Self { stream, shared, reader: Some(reader) }
    }

    /// Calls with this UUID.
    pub(crate) fn call(address: SocketAddr, uuid: [u8; 16]) -> Self {
        Self::open(address, &frame(0x01, &uuid))
    }

    /// Sends bytes as they are.
    pub(crate) fn wire(&self, bytes: &[u8]) {
        _ = (&self.stream).write_all(bytes);
    }

    /// Sends frames of `kind` in real time, one of so many samples every 20 ms from `from` on; returns when the next is due.
    pub(crate) fn speak(
        &self,
        kind: u8,
        samples: &[i16],
        samples_per_frame: usize,
        from: Instant,
    ) -> Instant {
        let mut due = from;
        for piece in samples.chunks(samples_per_frame) {
            // The pace is what is being played, not a wait for something to happen.
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let payload: Vec<u8> = piece.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            self.wire(&frame(kind, &payload));
            due += FRAME;
        }
        due
    }

    /// Everything that the relay has sent.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.shared.lock().frames.clone()
    }

    /// Reads that ended within a frame, so that its payload came apart from its head.
    pub(crate) fn torn_reads(&self) -> usize {
        self.shared.lock().torn_reads
    }

    /// Whether the relay has ended the connection.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.lock().over
    }

    /// Waits until `find` finds what it looks for in all that was heard so far.
    pub(crate) fn until<T>(&self, what: &str, find: impl Fn(&[Heard]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut ear = self.shared.lock();
        loop {
            if let Some(found) = find(&ear.frames) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let kinds: Vec<u8> = ear.frames.iter().rev().take(9).map(|frame| frame.kind).collect();
            assert!(!left.is_zero() && !ear.over, "the relay did not send {what}, but last {kinds:x?}");
            ear = self.shared.changed.wait_timeout(ear, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end of the connection, and gives all frames.
    pub(crate) fn ended(&self) -> Vec<Heard> {
        let deadline = Instant::now() + PATIENCE;
        let mut ear = self.shared.lock();
        while !ear.over {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the relay did not end the connection");
            ear = self.shared.changed.wait_timeout(ear, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        ear.frames.clone()
    }

    /// Waits until the relay hangs up, or the connection is over.
    pub(crate) fn let_go(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut ear = self.shared.lock();
        while !ear.over && !ear.frames.iter().any(|frame| frame.kind == 0x00) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the relay did not let go of the line");
            ear = self.shared.changed.wait_timeout(ear, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Hangs up as Asterisk does: nothing more is sent.
    pub(crate) fn hang_up(&self) {
        _ = self.stream.shutdown(Shutdown::Write);
    }
}

impl Drop for AudioLine {
    fn drop(&mut self) {
        _ = self.stream.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            _ = reader.join();
        }
    }
}

/// A complete frame.
pub(crate) fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn listen(stream: &mut TcpStream, shared: &Shared) {
    let mut piece = vec![0; 256 * 1024];
    let mut unread: Vec<u8> = Vec::new();
    while let Ok(n @ 1..) = stream.read(&mut piece) {
        let at = Instant::now();
        unread.extend_from_slice(&piece[..n]);
        let mut ear = shared.lock();
        while let Some((&[kind, high, low], rest)) = unread.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes([high, low]));
            let Some(payload) = rest.get(..length) else { break };
            ear.frames.push(Heard { at, kind, payload: payload.to_vec() });
            unread.drain(..3 + length);
        }
        ear.torn_reads += usize::from(!unread.is_empty());
        shared.changed.notify_all();
    }
    shared.lock().over = true;
    shared.changed.notify_all();
}
