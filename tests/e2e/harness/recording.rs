//! The bytes that a real switch sent on one connection, taken apart at the frames' borders.
//!
//! Runs in: the tests' threads. Owns the bytes. Never changes one: what is replayed is what was recorded.
//! Invariant: head and frames together are the whole file.

use std::ops::Range;
use std::path::Path;

use tungstenite::Message;
use tungstenite::protocol::{Role, WebSocket};

/// One recorded frame.
pub(crate) struct Frame {
    /// Where it lies in the file.
    pub wire: Range<usize>,
    /// What it says, as an independent implementation reads it.
    pub message: Message,
}

/// One connection.
pub(crate) struct Recording {
    bytes: Vec<u8>,
    head: usize,
    /// The frames behind the upgrade request.
    pub frames: Vec<Frame>,
}

impl Recording {
    /// Reads `tests/data/freeswitch/FILE`.
    pub(crate) fn read(file: &str) -> Self {
        Self::of("freeswitch", file)
    }

    /// Reads `tests/data/SWITCH/FILE`.
    pub(crate) fn of(switch: &str, file: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(switch).join(file);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("an upgrade request") + 4;
        let mut frames = Vec::new();
        let mut at = head;
        while at < bytes.len() {
            let wire = at..at + frame_length(&bytes[at..]);
            // Each frame by itself: none of the recorded messages is fragmented.
            let mut socket = WebSocket::from_raw_socket(Once(&bytes[wire.clone()]), Role::Server, None);
            let message = socket.read().expect("a whole frame");
            at = wire.end;
            frames.push(Frame { wire, message });
        }
        Self { bytes, head, frames }
    }

    /// The upgrade request.
    pub(crate) fn head(&self) -> &[u8] {
        &self.bytes[..self.head]
    }

    /// Its `Sec-WebSocket-Key`.
    pub(crate) fn key(&self) -> String {
        let head = std::str::from_utf8(self.head()).expect("ASCII");
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        let key = lines.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
        key.expect("a key").1.trim().to_owned()
    }

    /// Everything before the close frame, the request included.
    pub(crate) fn before_close(&self) -> &[u8] {
        &self.bytes[..self.close().map_or(self.bytes.len(), |close| close.wire.start)]
    }

    /// The bytes of one frame.
    pub(crate) fn wire(&self, frame: &Frame) -> &[u8] {
        &self.bytes[frame.wire.clone()]
    }

    /// The close frame, if the switch said goodbye.
    pub(crate) fn close(&self) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.message.is_close())
    }

    /// The pings.
    pub(crate) fn pings(&self) -> Vec<Vec<u8>> {
        let pings = self.frames.iter().filter_map(|frame| match &frame.message {
            Message::Ping(payload) => Some(payload.to_vec()),
            _ => None,
        });
        pings.collect()
    }

    /// The audio, every channel as it was sent.
    pub(crate) fn samples(&self) -> Vec<i16> {
        let audio = self.frames.iter().filter(|frame| frame.message.is_binary());
        let bytes: Vec<u8> = audio.flat_map(|frame| frame.message.clone().into_data()).collect();
        bytes.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair)).collect()
    }
}

/// Head and payload of the frame at the beginning of `bytes` (RFC 6455 section 5.2); recorded frames are masked and
/// shorter than 64 KiB.
fn frame_length(bytes: &[u8]) -> usize {
    assert!(bytes[1] & 0x80 != 0, "a switch masks its frames");
    match bytes[1] & 0x7f {
        126 => 8 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        short => 6 + usize::from(short),
    }
}

/// Reads what is there, swallows what is written.
struct Once<'a>(&'a [u8]);

impl std::io::Read for Once<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(into)
    }
}

impl std::io::Write for Once<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
