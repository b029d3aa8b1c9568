//! What waits to be written to one socket: frames, and the events that happen when their last byte is written.
//!
//! Runs in: the simulator's thread: pure but for `flush`, which writes. Owns the bytes of one connection.
//! Invariant: bytes leave in the order in which they were put in; an event is told when the frame it belongs to has
//! left completely, with the time just before the write that took its last byte.

use std::{
    collections::VecDeque,
    io::{self, Write},
    time::Instant,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    config::Framing,
    event::What,
    fault::Fault,
    framing::{Kind, put_close, put_frame, put_head, put_masked_frame},
};

/// More than this unwritten means that the client does not read: its connection is dropped.
pub(super) const UNWRITTEN_BYTES_MAX: usize = 32 << 20;

const AUDIO_BEFORE: &[u8] =
    br#"{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm;rate=24000","data":""#;
const AUDIO_AFTER: &[u8] = br#""}}],"role":"model"}}}"#;

/// How a connection ends, once what is put in has been written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// With a close frame.
    Close {
        /// Its code.
        code: u16,
        /// Its reason.
        reason: String,
    },
    /// Without: the TCP connection ends.
    Drop,
    /// The TCP connection is reset.
    Reset,
}

/// The frames of one connection on their way out.
#[derive(Debug)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
    /// Where in `bytes` a frame ends, and what happens then.
    marks: VecDeque<(usize, What)>,
    framing: Framing,
    /// No JSON is sent any more.
    muted: bool,
    end: Option<End>,
    pcm: Vec<u8>,
}

impl Outbox {
    /// Nothing yet.
    pub(super) fn new(framing: Framing) -> Self {
        Self {
            bytes: Vec::new(),
            written: 0,
            marks: VecDeque::new(),
            framing,
            muted: false,
            end: None,
            pcm: Vec::new(),
        }
    }

    /// Puts bytes in as they are: HTTP answers.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Puts a server message in.
    pub(super) fn message(&mut self, message: &Value) {
        if self.muted {
            return;
        }
        let json = if self.framing.pretty { format!("{message:#}\n") } else { message.to_string() };
        self.payload(json.as_bytes());
    }

    fn payload(&mut self, json: &[u8]) {
        let kind = if self.framing.text { Kind::Text } else { Kind::Binary };
        if !self.framing.fragment || json.len() < 3 {
            return put_frame(&mut self.bytes, kind, json);
        }
        // Cut anywhere, inside characters too: only the whole text has to be UTF-8.
        let (first, rest) = json.split_at(json.len() / 3);
        let (second, third) = rest.split_at(rest.len() / 2);
        put_head(&mut self.bytes, kind, false, first.len() as u64);
        self.bytes.extend_from_slice(first);
        put_frame(&mut self.bytes, Kind::Ping, b"between");
        put_head(&mut self.bytes, Kind::Continuation, false, second.len() as u64);
        self.bytes.extend_from_slice(second);
        put_frame(&mut self.bytes, Kind::Continuation, third);
    }

    /// Puts a `modelTurn` with these samples at 24 kHz in. Nearly all messages are of this kind, so their JSON is
    /// written straight into the frame.
    pub(super) fn audio(&mut self, samples: &[i16]) {
        if self.muted {
            return;
        }
        self.pcm.clear();
        self.pcm.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        let base64_bytes = self.pcm.len().div_ceil(3) * 4;
        if self.framing.pretty || self.framing.fragment {
            let message =
                json!({"serverContent": {"modelTurn": {"role": "model", "parts": [inline_audio(samples)]}}});
            return self.message(&message);
        }
        let kind = if self.framing.text { Kind::Text } else { Kind::Binary };
        let length = AUDIO_BEFORE.len() + base64_bytes + AUDIO_AFTER.len();
        put_head(&mut self.bytes, kind, true, length as u64);
        self.bytes.extend_from_slice(AUDIO_BEFORE);
        let at = self.bytes.len();
        self.bytes.resize(at + base64_bytes, b'=');
        if let Some(place) = self.bytes.get_mut(at..) {
            STANDARD.encode_slice(&self.pcm, place).expect("the place has the size of the base64");
        }
        self.bytes.extend_from_slice(AUDIO_AFTER);
    }

    /// Puts a pong in.
    pub(super) fn pong(&mut self, payload: &[u8]) {
        put_frame(&mut self.bytes, Kind::Pong, payload);
    }

    /// Puts a close frame in.
    pub(super) fn close(&mut self, code: u16, reason: &str) {
        put_close(&mut self.bytes, code, reason);
    }

    /// Puts one of the broken or unusual frames in; faults that are no frames do nothing here.
    pub(super) fn faulty(&mut self, fault: &Fault) {
        let out = &mut self.bytes;
        match fault {
            Fault::Garbage => put_frame(out, Kind::Binary, b"{\"serverContent\":{\"modelTurn\":"),
            Fault::InvalidUtf8 => put_frame(out, Kind::Text, b"{\"serverContent\":{\"text\":\"\xff\xfe\"}}"),
            Fault::WrongOpcode => put_frame(out, Kind::Reserved, b"{}"),
            Fault::Masked => put_masked_frame(out, b"{\"serverContent\":{}}"),
            Fault::Announce(bytes) => put_head(out, Kind::Binary, true, *bytes),
            Fault::Ping => put_frame(out, Kind::Ping, b"are you there?"),
            Fault::Huge(bytes) => {
                let padding = "x".repeat(*bytes);
                self.message(&json!({"serverContent": {"notInTheSpecification": padding}}));
            }
            Fault::UnknownFields => self.message(&json!({
                "serverContent": {"notInTheSpecification": {"deep": [1, null, {"er": true}]}},
                "alsoUnknown": "value",
                "unknownNumber": 1e300,
            })),
            _ => {}
        }
    }

    /// Marks the end of what is in so far: when it has been written, this has happened.
    pub(super) fn mark(&mut self, what: What) {
        if !self.muted {
            self.marks.push_back((self.bytes.len(), what));
        }
    }

    /// From now on no JSON is sent.
    pub(super) fn mute(&mut self) {
        self.muted = true;
    }

    /// Ends the connection after what is in. The first end counts.
    pub(super) fn end(&mut self, end: End) {
        self.end.get_or_insert(end);
    }

    /// Whether an end is due.
    pub(super) fn is_ending(&self) -> bool {
        self.end.is_some()
    }

    /// Takes the end that is due.
    pub(super) fn take_end(&mut self) -> Option<End> {
        self.end.take()
    }

    /// Bytes that wait.
    pub(super) fn unwritten(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Writes until nothing is left or the socket takes no more, and tells of what happened.
    ///
    /// # Errors
    /// The socket's, `WouldBlock` excepted.
    pub(super) fn flush(
        &mut self,
        socket: &mut impl Write,
        mut happened: impl FnMut(Instant, What),
    ) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            let before = if self.marks.is_empty() { None } else { Some(Instant::now()) };
            match socket.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            while self.marks.front().is_some_and(|(end, _)| *end <= self.written) {
                if let (Some(at), Some((_, what))) = (before, self.marks.pop_front()) {
                    happened(at, what);
                }
            }
        }
        self.bytes.clear();
        self.written = 0;
        // A burst leaves a large allocation behind; a thousand sessions should not keep it.
        if self.bytes.capacity() > 256 << 10 {
            self.bytes.shrink_to(16 << 10);
        }
        Ok(())
    }
}

/// A part of a `modelTurn` with these samples at 24 kHz.
pub(super) fn inline_audio(samples: &[i16]) -> Value {
    let pcm: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    json!({"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": STANDARD.encode(pcm)}})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(outbox: &mut Outbox) -> Vec<u8> {
        let mut bytes = Vec::new();
        outbox.flush(&mut bytes, |_, _| {}).unwrap();
        bytes
    }

    fn payload(frame: &[u8]) -> Value {
        let head = match frame[1] {
            126 => 4,
            127 => 10,
            _ => 2,
        };
        serde_json::from_slice(&frame[head..]).unwrap()
    }

    #[test]
    fn audio_written_straight_into_the_frame_is_what_a_json_tree_would_give() {
        for count in [0, 1, 2, 3, 480, 960] {
            let samples: Vec<i16> = (0..count).map(|n: i16| n.wrapping_mul(257)).collect();
            let mut fast = Outbox::new(Framing::default());
            fast.audio(&samples);
            let mut slow = Outbox::new(Framing::default());
            slow.message(&json!({"serverContent": {"modelTurn": {"role": "model", "parts": [inline_audio(&samples)]}}}));
            let (fast, slow) = (written(&mut fast), written(&mut slow));
            assert_eq!((fast[0], fast.len()), (0x82, slow.len()));
            assert_eq!(payload(&fast), payload(&slow));
        }
    }

    #[test]
    fn an_event_is_told_when_its_last_byte_is_written() {
        struct Slow(Vec<u8>, usize);
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let count = bytes.len().min(std::mem::take(&mut self.1));
                if count == 0 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                self.0.extend_from_slice(&bytes[..count]);
                Ok(count)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut outbox = Outbox::new(Framing::default());
        outbox.raw(b"0123");
        outbox.mark(What::GoAway);
        outbox.raw(b"4567");
        let mut socket = Slow(Vec::new(), 3);
        let told = |outbox: &mut Outbox, socket: &mut Slow| {
            let mut count = 0;
            outbox.flush(socket, |_, _| count += 1).unwrap();
            count
        };
        assert_eq!(told(&mut outbox, &mut socket), 0);
        socket.1 = 1;
        assert_eq!(told(&mut outbox, &mut socket), 1);
        assert_eq!(outbox.unwritten(), 4);
        socket.1 = 10;
        assert_eq!(told(&mut outbox, &mut socket), 0);
        assert_eq!((socket.0.as_slice(), outbox.unwritten()), (&b"01234567"[..], 0));
    }
}
