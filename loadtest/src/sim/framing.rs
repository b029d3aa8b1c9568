//! WebSocket messages of the server's side (RFC 6455 section 5): a client's messages in, server frames out, faulty ones too.
//!
//! Runs in: the simulator's thread: pure. Owns the messages that wait. Never touches a socket.
//! Invariant: whatever the bytes and however they are cut, reading ends in messages or in one `Violation`; a length
//! in a header reserves nothing.

use std::collections::VecDeque;

use crate::websocket::{self, Opcode, append_frame, append_head};

/// The longest client message that is accepted: far above what the API is sent, far below what hurts.
pub(super) const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A whole text or binary message, unmasked.
    Message(Vec<u8>),
    /// A ping with its payload.
    Ping(Vec<u8>),
    /// A close frame: its code (1005 where it is empty) and reason.
    Close(u16, String),
}

/// A breach of the protocol: the close code and reason to end the connection with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// 1002, 1007 or 1009.
    pub code: u16,
    /// What was wrong.
    pub reason: &'static str,
}

const fn violation(code: u16, reason: &'static str) -> Violation {
    Violation { code, reason }
}

impl From<websocket::Violation> for Violation {
    fn from(what: websocket::Violation) -> Self {
        match what {
            websocket::Violation::ReservedBits => {
                violation(1002, "reserved bits set, no extension was agreed")
            }
            websocket::Violation::UnknownOpcode => violation(1002, "a reserved opcode"),
            websocket::Violation::Mask => violation(1002, "a client frame without a mask"),
            websocket::Violation::BadControl => {
                violation(1002, "a control frame that is fragmented or too long")
            }
            websocket::Violation::BadFragment => {
                violation(1002, "a continuation of nothing, or a new message inside a fragmented one")
            }
            websocket::Violation::TooLong => violation(1009, "message too big"),
        }
    }
}

/// Cuts a byte stream into messages.
#[derive(Debug)]
pub(super) struct FrameReader {
    frames: websocket::FrameReader,
    ready: VecDeque<Incoming>,
    violation: Option<Violation>,
}

impl Default for FrameReader {
    fn default() -> Self {
        let frames = websocket::FrameReader::of_client(MESSAGE_BYTES_MAX);
        Self { frames, ready: VecDeque::new(), violation: None }
    }
}

impl FrameReader {
    /// Takes bytes from the socket.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let Self { frames, ready, violation } = self;
        if violation.is_some() {
            return;
        }
        let read = frames.push(bytes, |opcode, payload| {
            if violation.is_none() {
                match incoming(opcode, payload) {
                    Ok(incoming) => ready.extend(incoming),
                    Err(wrong) => *violation = Some(wrong),
                }
            }
        });
        if let Err(wrong) = read {
            violation.get_or_insert(wrong.into());
        }
    }

    /// The next message, or `None` until more bytes come.
    ///
    /// # Errors
    /// [`Violation`] where the client broke the protocol; the connection has to end.
    pub(super) fn next_message(&mut self) -> Result<Option<Incoming>, Violation> {
        match (self.ready.pop_front(), &self.violation) {
            (None, Some(wrong)) => Err(wrong.clone()),
            (next, _) => Ok(next),
        }
    }
}

fn incoming(opcode: Opcode, payload: &[u8]) -> Result<Option<Incoming>, Violation> {
    match opcode {
        Opcode::Text if std::str::from_utf8(payload).is_err() => {
            Err(violation(1007, "a text message that is not UTF-8"))
        }
        Opcode::Text | Opcode::Binary => Ok(Some(Incoming::Message(payload.to_vec()))),
        Opcode::Close => close(payload).map(Some),
        Opcode::Ping => Ok(Some(Incoming::Ping(payload.to_vec()))),
        Opcode::Pong | Opcode::Continuation => Ok(None),
    }
}

fn close(payload: &[u8]) -> Result<Incoming, Violation> {
    match payload.split_first_chunk::<2>() {
        None if payload.is_empty() => Ok(Incoming::Close(1005, String::new())),
        None => Err(violation(1002, "a close frame of one byte")),
        Some((code, reason)) => match std::str::from_utf8(reason) {
            Ok(reason) => Ok(Incoming::Close(u16::from_be_bytes(*code), reason.to_owned())),
            Err(_) => Err(violation(1007, "a close reason that is not UTF-8")),
        },
    }
}

/// The opcodes that the simulator sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// A fragment after the first.
    Continuation = 0x0,
    /// UTF-8.
    Text = 0x1,
    /// Bytes: what the real service sends its JSON in.
    Binary = 0x2,
    /// Reserved: no server may send it.
    Reserved = 0x3,
    /// Closing.
    Close = 0x8,
    /// Asking for a pong.
    Ping = 0x9,
    /// Answering a ping.
    Pong = 0xA,
}

/// Appends the head of an unmasked frame of `length` payload bytes.
pub(super) fn put_head(out: &mut Vec<u8>, kind: Kind, is_final: bool, length: u64) {
    append_head(out, if is_final { 0x80 } else { 0 } | kind as u8, false, length);
}

/// Appends a whole unmasked frame.
pub(super) fn put_frame(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    put_head(out, kind, true, payload.len() as u64);
    out.extend_from_slice(payload);
}

/// Appends a binary frame masked as if a client had sent it, which a client must refuse (RFC 6455 section 5.1).
pub(super) fn put_masked_frame(out: &mut Vec<u8>, payload: &[u8]) {
    append_frame(out, Opcode::Binary, payload, [0x11, 0x22, 0x33, 0x44]);
}

/// Appends a close frame; the reason is cut to the 123 bytes that fit, at a character's boundary. 1005 and 1006 mean
/// "no code" and make an empty frame.
pub(super) fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    if matches!(code, 1005 | 1006) {
        return put_frame(out, Kind::Close, &[]);
    }
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(cut_reason(reason).as_bytes());
    put_frame(out, Kind::Close, &payload);
}

/// The part of a close reason that fits into a frame.
pub(super) fn cut_reason(reason: &str) -> &str {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_masked_frame(&mut out, payload);
        out[0] = first;
        out
    }

    fn read_all(bytes: &[u8], cut: usize) -> Result<Vec<Incoming>, Violation> {
        let mut reader = FrameReader::default();
        let mut all = Vec::new();
        for piece in bytes.chunks(cut) {
            reader.push(piece);
            while let Some(incoming) = reader.next_message()? {
                all.push(incoming);
            }
        }
        Ok(all)
    }

    #[test]
    fn messages_are_the_same_however_the_bytes_are_cut() {
        let mut bytes = Vec::new();
        let long: Vec<u8> = (0..70_000_u32).map(|n| n as u8).collect();
        bytes.extend(client_frame(0x82, &long));
        bytes.extend(client_frame(0x01, "gr\u{fc}".as_bytes()));
        bytes.extend(client_frame(0x89, b"still there?"));
        bytes.extend(client_frame(0x80, b"ezi"));
        bytes.extend(client_frame(0x8a, b"pong"));
        bytes.extend(client_frame(0x88, &[]));
        bytes.extend(client_frame(0x88, b"\x03\xe8bye"));
        let expected = vec![
            Incoming::Message(long),
            Incoming::Ping(b"still there?".to_vec()),
            Incoming::Message("gr\u{fc}ezi".as_bytes().to_vec()),
            Incoming::Close(1005, String::new()),
            Incoming::Close(1000, "bye".to_owned()),
        ];
        for cut in [1, 2, 3, 7, 1000, bytes.len()] {
            assert_eq!(read_all(&bytes, cut).as_ref(), Ok(&expected), "cut into pieces of {cut}");
        }
    }

    #[test]
    fn breaches_of_the_protocol_have_their_codes() {
        let unmasked = b"\x82\x01a".to_vec();
        let huge = b"\x82\xff\x00\x00\x00\x00\x40\x00\x00\x00\x01\x02\x03\x04".to_vec();
        let endless = b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02\x03\x04".to_vec();
        let ping_in_parts = client_frame(0x09, b"x");
        let two_first_parts = [client_frame(0x01, b"a"), client_frame(0x81, b"b")].concat();
        for (bytes, code) in [
            (unmasked, 1002),
            (huge, 1009),
            (endless, 1009),
            (client_frame(0x83, b"x"), 1002),
            (client_frame(0xc2, b"x"), 1002),
            (client_frame(0x80, b"x"), 1002),
            (ping_in_parts, 1002),
            (two_first_parts, 1002),
            (client_frame(0x81, b"\xff"), 1007),
            (client_frame(0x88, b"\x03"), 1002),
            (client_frame(0x89, &[0; 126]), 1002),
        ] {
            assert_eq!(read_all(&bytes, 5).unwrap_err().code, code, "{bytes:?}");
        }
    }

    #[test]
    fn fragments_cannot_add_up_beyond_the_limit() {
        let part = client_frame(0x02, &vec![b' '; MESSAGE_BYTES_MAX / 2 + 1]);
        let mut rest = part.clone();
        rest[0] = 0x80;
        assert_eq!(read_all(&[part, rest].concat(), 1 << 20).unwrap_err().code, 1009);
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        assert_eq!(cut_reason(&"\u{e9}".repeat(80)).len(), 122);
        let mut out = Vec::new();
        put_close(&mut out, 1011, "why");
        assert_eq!(out, b"\x88\x05\x03\xf3why");
    }
}
