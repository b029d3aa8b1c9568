//! Texts of a WebSocket that are not UTF-8: read as far as they go, where RFC 6455 section 8.1 would have the connection end.
//!
//! Runs in: the dial, telephony and gemini threads. Owns where in a frame the stream of bytes is, and which messages are
//! texts. Never keeps a byte of a payload.
//! Invariant: the bytes are those that came, but for the opcode of texts, which becomes that of binary messages: tungstenite
//! checks the one and passes the other on.
//!
//! A caller's name in Latin-1 is no reason to hang up on the caller.

use std::collections::VecDeque;

const FINAL: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
/// The head of a frame at its longest: two bytes, eight of length, four of mask (RFC 6455 section 5.2).
const HEAD_BYTES_MAX: usize = 14;
/// What ends the answer to an upgrade.
const HEAD_END: &[u8; 4] = b"\r\n\r\n";

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Texts {
    /// Bytes of the end of the upgrade's answer that have come, while it is being read.
    upgrade: Option<usize>,
    head: [u8; HEAD_BYTES_MAX],
    head_len: usize,
    /// Bytes of the present frame's payload that are still to come.
    payload: u64,
    /// Bytes of a close frame's code that are still to come, and the code so far, with its mask.
    close_left: usize,
    close_code: u16,
    /// Messages that have begun, and the numbers of those among them that are texts and were not given out.
    begun: u64,
    texts: VecDeque<u64>,
    given: u64,
    /// The present frame ends its message.
    ends_message: bool,
    /// No byte has come since the end of a message.
    is_between: bool,
    /// Messages that are whole, those of control among them, less those that were taken.
    whole: u64,
}

impl Texts {
    /// Of a connection whose upgrade is still to be answered.
    pub(super) fn behind_upgrade() -> Self {
        Self { upgrade: Some(0), ..Self::default() }
    }

    /// Whoever reads messages out of the bytes that came has taken one.
    pub(super) fn taken(&mut self) {
        self.whole = self.whole.saturating_sub(1);
    }

    /// Whether every byte that came belongs to a message that was taken.
    pub(super) fn holds_nothing(&self) -> bool {
        self.is_between && self.whole == 0
    }

    /// Looks at bytes as they come, in whatever pieces, and changes the opcodes of texts.
    pub(super) fn pass(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(rest) = bytes.get_mut(at..).filter(|rest| !rest.is_empty()) {
            at += if self.payload > 0 {
                let n = usize::try_from(self.payload).unwrap_or(usize::MAX).min(rest.len());
                self.read_close_code(&rest[..n]);
                self.payload -= n as u64;
                if self.payload == 0 {
                    self.frame_ends();
                }
                n
            } else {
                self.byte(&mut rest[0]);
                1
            };
        }
    }

    fn byte(&mut self, byte: &mut u8) {
        match &mut self.upgrade {
            Some(matched) => {
                let goes_on = HEAD_END.get(*matched) == Some(byte);
                *matched = if goes_on { *matched + 1 } else { usize::from(*byte == b'\r') };
                if *matched == HEAD_END.len() {
                    self.upgrade = None;
                }
            }
            None => self.head_byte(byte),
        }
    }

    fn head_byte(&mut self, byte: &mut u8) {
        if self.head_len == 0 {
            self.is_between = false;
            self.ends_message = *byte & FINAL != 0;
            match *byte & OPCODE {
                TEXT => {
                    self.texts.push_back(self.begun);
                    self.begun += 1;
                    *byte = *byte & !OPCODE | BINARY;
                }
                BINARY => self.begun += 1,
                _ => {}
            }
        }
        self.head[self.head_len] = *byte;
        self.head_len += 1;
        let is_masked = self.head[1] & 0x80 != 0;
        let length_bytes = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if self.head_len < 2 || self.head_len < 2 + length_bytes + if is_masked { 4 } else { 0 } {
            return;
        }
        self.payload = match length_bytes {
            0 => u64::from(self.head[1] & 0x7f),
            n => self.head[2..2 + n].iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        if self.head[0] & OPCODE == CLOSE && self.payload >= 2 {
            self.close_left = 2;
            let mask =
                if is_masked { [self.head[2 + length_bytes], self.head[3 + length_bytes]] } else { [0; 2] };
            self.close_code = u16::from_be_bytes(mask);
        }
        self.head_len = 0;
        if self.payload == 0 {
            self.frame_ends();
        }
    }

    fn frame_ends(&mut self) {
        self.is_between = self.ends_message;
        self.whole += u64::from(self.ends_message);
    }

    fn read_close_code(&mut self, payload: &[u8]) {
        for byte in payload.iter().take(self.close_left) {
            self.close_left -= 1;
            self.close_code ^= u16::from(*byte) << (8 * self.close_left);
        }
    }

    /// Whether the next message that is given out as a binary one is a text.
    pub(super) fn is_text(&mut self) -> bool {
        let number = self.given;
        self.given += 1;
        let is_text = self.texts.front() == Some(&number);
        if is_text {
            self.texts.pop_front();
        }
        is_text
    }

    /// The code of the last close frame, whose reason may be no text.
    pub(super) fn close_code(&self) -> u16 {
        if self.close_code == 0 { 1005 } else { self.close_code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame with its head as RFC 6455 has it.
    fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let bit = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(bit | short as u8),
            long => {
                bytes.push(bit | 126);
                bytes.extend((long as u16).to_be_bytes());
            }
        }
        let key = mask.unwrap_or_default();
        bytes.extend_from_slice(if mask.is_some() { &key } else { &[] });
        bytes.extend(payload.iter().enumerate().map(|(n, byte)| byte ^ key[n % 4]));
        bytes
    }

    #[test]
    fn the_code_of_a_close_is_read_though_its_reason_is_no_text() {
        for mask in [None, Some([1, 2, 3, 4])] {
            let mut texts = Texts::default();
            let mut bytes = frame(0x88, b"\x03\xe8J\xf6rg", mask);
            let before = bytes.clone();
            bytes.chunks_mut(1).for_each(|piece| texts.pass(piece));
            assert_eq!((texts.close_code(), bytes == before), (1000, true));
        }
        assert_eq!(Texts::default().close_code(), 1005);
    }

    #[test]
    fn frames_begin_behind_the_answer_to_the_upgrade() {
        let mut texts = Texts::behind_upgrade();
        let mut bytes = b"HTTP/1.1 101 X\r\nA: b\r\n\r\r\n\r\n".to_vec();
        let head = bytes.len();
        bytes.extend(frame(0x81, b"MEDIA_START", None));
        texts.pass(&mut bytes);
        assert_eq!(bytes[head], 0x82);
        assert!(texts.is_text() && !texts.is_text());
    }

    #[test]
    fn nothing_is_held_exactly_where_every_message_is_whole_and_taken() {
        let mut texts = Texts::default();
        assert!(!texts.holds_nothing(), "what came behind the upgrade is not known to be nothing");
        // A text, an empty one, one of two pieces with a ping between them, and a ping.
        let frames: [&[u8]; 6] = [
            &frame(0x81, b"abc", None),
            &frame(0x81, b"", Some([1; 4])),
            &frame(0x01, b"ab", None),
            &frame(0x89, b"?", None),
            &frame(0x80, &[b'c'; 200], None),
            &frame(0x89, b"", None),
        ];
        for (number, frame) in frames.into_iter().enumerate() {
            let mut bytes = frame.to_vec();
            let last = bytes.len() - 1;
            for (at, byte) in bytes.chunks_mut(1).enumerate() {
                texts.pass(byte);
                assert!(!texts.holds_nothing(), "byte {at} of frame {number}");
                if at == last && number != 2 {
                    texts.taken();
                }
            }
            // Behind the ping an unfinished message is open; tungstenite has it whole.
            assert_eq!(texts.holds_nothing(), number != 2, "behind frame {number}");
        }
    }

    proptest! {
        #[test]
        fn texts_are_told_from_audio_however_the_bytes_are_cut(
            messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 1_usize..4), 1..20),
            pings in any::<bool>(),
            mask in any::<Option<[u8; 4]>>(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            for (is_text, payload, fragments) in &messages {
                let opcode = if *is_text { TEXT } else { BINARY };
                let size = (payload.len() / fragments).max(1);
                let pieces: Vec<&[u8]> = if payload.is_empty() { vec![&[]] } else { payload.chunks(size).collect() };
                for (n, piece) in pieces.iter().enumerate() {
                    let last = if n + 1 == pieces.len() { 0x80 } else { 0 };
                    bytes.extend(frame(last | if n == 0 { opcode } else { 0 }, piece, mask));
                    expected.extend(frame(last | if n == 0 { BINARY } else { 0 }, piece, mask));
                    if pings {
                        bytes.extend(frame(0x89, b"?", mask));
                        expected.extend(frame(0x89, b"?", mask));
                    }
                }
            }
            let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            places.extend([0, bytes.len()]);
            places.sort_unstable();
            let mut texts = Texts::default();
            for ends in places.windows(2) {
                texts.pass(&mut bytes[ends[0]..ends[1]]);
            }
            prop_assert_eq!(bytes, expected);
            let told: Vec<bool> = messages.iter().map(|_| texts.is_text()).collect();
            prop_assert_eq!(told, messages.iter().map(|(is_text, ..)| *is_text).collect::<Vec<_>>());
        }
    }
}
