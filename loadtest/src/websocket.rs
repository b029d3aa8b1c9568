//! WebSocket framing of both sides (RFC 6455 section 5): the generator's masked frames out and unmasked ones in, the
//! simulator's the other way round.
//!
//! Runs in: a callgen worker and the simulator's thread; pure. Owns the bytes of an unfinished message. Never allocates per
//! frame once its vectors have grown, and never believes a length before it is checked against the longest message.
//! Invariant: whatever the bytes and however they are cut, reading ends in the same messages, or in one [`Violation`]; and
//! what [`append_frame`] writes is what libwsc (mod_audio_stream) writes, but for the random mask key.
//!
//! Why not tungstenite: it costs an allocation a message each way and its own buffer a call, which a generator that shares
//! two cores with what it measures must not; and the simulator has to delay pongs, and to send broken frames.

/// Longest message taken from the server: 60 s at 16 kHz in base64 is 2.6 MB; mod_audio_stream takes that.
pub const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Opcodes of RFC 6455 section 11.8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with the message begun before.
    Continuation = 0,
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// Ends the connection.
    Close = 8,
    /// Asks for a pong with the same payload.
    Ping = 9,
    /// Answers a ping.
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }
}

/// Appends the head of a frame of `length` payload bytes that begins with `first`, but for its mask key.
pub(crate) fn append_head(wire: &mut Vec<u8>, first: u8, is_masked: bool, length: u64) {
    let mask_bit = u8::from(is_masked) << 7;
    wire.push(first);
    match length {
        n @ 0..=125 => wire.push(mask_bit | n as u8),
        n @ 126..=0xffff => {
            wire.push(mask_bit | 126);
            wire.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            wire.push(mask_bit | 127);
            wire.extend_from_slice(&n.to_be_bytes());
        }
    }
}

/// Appends one final, masked frame to `wire`.
pub fn append_frame(wire: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask_key: [u8; 4]) {
    append_head(wire, 0x80 | opcode as u8, true, payload.len() as u64);
    wire.extend_from_slice(&mask_key);
    append_masked(wire, payload, mask_key);
}

/// Appends `payload` masked, or what was masked unmasked.
fn append_masked(wire: &mut Vec<u8>, payload: &[u8], mask_key: [u8; 4]) {
    let [a, b, c, d] = mask_key;
    let key = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (blocks, rest) = payload.as_chunks::<8>();
    for block in blocks {
        wire.extend_from_slice(&(u64::from_ne_bytes(*block) ^ key).to_ne_bytes());
    }
    wire.extend(rest.iter().zip(mask_key.iter().cycle()).map(|(byte, key)| byte ^ key));
}

/// What a peer may not send; the connection ends with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Violation {
    /// A reserved bit is set (no extension was offered).
    ReservedBits,
    /// An opcode that RFC 6455 does not define.
    UnknownOpcode,
    /// A server's frames are not masked, a client's are (section 5.1).
    Mask,
    /// A control frame of more than 125 bytes, or a fragment of one (section 5.5).
    BadControl,
    /// A continuation without a beginning, or a beginning inside a message.
    BadFragment,
    /// Longer than may be.
    TooLong,
}

impl Violation {
    /// The reason in words, of the generator.
    pub fn text(self) -> &'static str {
        match self {
            Self::ReservedBits => "the relay sent a frame with a reserved bit set",
            Self::UnknownOpcode => "the relay sent an unknown opcode",
            Self::Mask => "the relay sent a masked frame",
            Self::BadControl => "the relay sent a malformed control frame",
            Self::BadFragment => "the relay sent fragments out of order",
            Self::TooLong => "the relay sent a message longer than 16 MiB",
        }
    }
}

/// Finds whole messages in a peer's bytes.
#[derive(Debug)]
pub struct FrameReader {
    /// The peer is a client.
    is_masked: bool,
    message_bytes_max: usize,
    /// The payload of a masked frame.
    unmasked: Vec<u8>,
    /// Bytes of an unfinished frame.
    partial: Vec<u8>,
    /// Fragments of an unfinished message, and what it began as.
    message: Vec<u8>,
    began_as: Option<Opcode>,
}

/// A parsed frame header.
struct Header {
    opcode: Opcode,
    is_final: bool,
    payload_at: usize,
    payload_bytes: usize,
    mask_key: Option<[u8; 4]>,
}

impl Default for FrameReader {
    /// Of what a server sends.
    fn default() -> Self {
        Self::new(false, MESSAGE_BYTES_MAX)
    }
}

impl FrameReader {
    fn new(is_masked: bool, message_bytes_max: usize) -> Self {
        let (unmasked, partial, message) = (Vec::new(), Vec::new(), Vec::new());
        Self { is_masked, message_bytes_max, unmasked, partial, message, began_as: None }
    }

    /// Of what a client sends, in messages up to this length.
    pub(crate) fn of_client(message_bytes_max: usize) -> Self {
        Self::new(true, message_bytes_max)
    }

    /// Takes `bytes` as they were read and calls `message` for each message and control frame completed.
    ///
    /// # Errors
    /// The first [`Violation`]; the connection is of no use afterwards.
    pub fn push(&mut self, bytes: &[u8], mut message: impl FnMut(Opcode, &[u8])) -> Result<(), Violation> {
        if self.partial.is_empty() {
            let used = self.frames(bytes, &mut message)?;
            self.partial.extend_from_slice(bytes.get(used..).unwrap_or(&[]));
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(bytes);
            let used = self.frames(&partial, &mut message)?;
            partial.drain(..used);
            self.partial = partial;
        }
        Ok(())
    }

    /// Handles the whole frames at the beginning of `bytes` and says how many bytes they were.
    fn frames(&mut self, bytes: &[u8], message: &mut impl FnMut(Opcode, &[u8])) -> Result<usize, Violation> {
        let mut used = 0;
        while let Some(rest) = bytes.get(used..)
            && let Some(header) = self.parse_header(rest)?
        {
            let end = header.payload_at + header.payload_bytes;
            let Some(payload) = rest.get(header.payload_at..end) else { break };
            used += end;
            match header.mask_key {
                None => self.frame(&header, payload, message)?,
                Some(key) => {
                    let mut unmasked = std::mem::take(&mut self.unmasked);
                    unmasked.clear();
                    append_masked(&mut unmasked, payload, key);
                    self.frame(&header, &unmasked, message)?;
                    self.unmasked = unmasked;
                }
            }
        }
        Ok(used)
    }

    fn frame(
        &mut self,
        header: &Header,
        payload: &[u8],
        message: &mut impl FnMut(Opcode, &[u8]),
    ) -> Result<(), Violation> {
        match header.opcode {
            Opcode::Close | Opcode::Ping | Opcode::Pong => message(header.opcode, payload),
            Opcode::Text | Opcode::Binary => {
                if self.began_as.is_some() {
                    return Err(Violation::BadFragment);
                }
                if header.is_final {
                    message(header.opcode, payload);
                } else {
                    self.began_as = Some(header.opcode);
                    self.message.clear();
                    self.message.extend_from_slice(payload);
                }
            }
            Opcode::Continuation => {
                let began_as = self.began_as.ok_or(Violation::BadFragment)?;
                if self.message.len() + payload.len() > self.message_bytes_max {
                    return Err(Violation::TooLong);
                }
                self.message.extend_from_slice(payload);
                if header.is_final {
                    self.began_as = None;
                    message(began_as, &self.message);
                }
            }
        }
        Ok(())
    }

    /// The header at the beginning of `bytes`; `None` when more bytes are needed.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Header>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Violation::UnknownOpcode)?;
        if (second & 0x80 != 0) != self.is_masked {
            return Err(Violation::Mask);
        }
        let is_final = first & 0x80 != 0;
        let (payload_at, length) = match second & 0x7f {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (10, u64::from_be_bytes(*length)),
                None => return Ok(None),
            },
            n => (2, u64::from(n)),
        };
        if opcode as u8 >= 8 && (!is_final || length > 125) {
            return Err(Violation::BadControl);
        }
        match usize::try_from(length) {
            Ok(payload_bytes) if payload_bytes <= self.message_bytes_max => {
                let mask_key = match self.is_masked.then(|| bytes.get(payload_at..)?.first_chunk::<4>()) {
                    Some(None) => return Ok(None),
                    key => key.flatten().copied(),
                };
                let payload_at = payload_at + mask_key.map_or(0, |key| key.len());
                Ok(Some(Header { opcode, is_final, payload_at, payload_bytes, mask_key }))
            }
            _ => Err(Violation::TooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tungstenite::protocol::{Role, WebSocket};
    use tungstenite::{Message, protocol::frame::coding::Data, protocol::frame::coding::OpCode};

    #[test]
    fn frames_of_every_length_form_are_understood_by_an_independent_server() {
        let mut wire = Vec::new();
        let lengths = [0usize, 1, 7, 8, 125, 126, 127, 640, 65_535, 65_536, 100_001];
        let payload = |n: usize| (0..n).map(|i| (i * 7 + n) as u8).collect::<Vec<u8>>();
        for (i, n) in lengths.iter().enumerate() {
            append_frame(&mut wire, Opcode::Binary, &payload(*n), [i as u8, 0x9c, 3, 0xff]);
        }
        let mut server = WebSocket::from_raw_socket(Duplex(wire), Role::Server, None);
        for n in lengths {
            assert_eq!(server.read().expect("a frame"), Message::binary(payload(n)));
        }
    }

    #[test]
    fn a_captured_frame_of_the_real_module_is_reproduced_byte_for_byte() {
        // The metadata frame of a real FreeSWITCH 1.10.12 call: header, mask key, first masked bytes.
        let captured = [0x81, 0xdf, 0x7c, 0x99, 0xb7, 0x4a, 0x07, 0xbb, 0xd2, 0x3c, 0x19, 0xf7, 0xc3, 0x68];
        let text = concat!(
            r#"{"event":"start","uuid":"2a162ce6-b85c-45d4-a03d-ffd4286da520","#,
            r#""caller":"lab1","called":"1000"}"#
        );
        let mut wire = Vec::new();
        append_frame(&mut wire, Opcode::Text, text.as_bytes(), [0x7c, 0x99, 0xb7, 0x4a]);
        assert_eq!(wire[..captured.len()], captured);
        assert_eq!(wire.len(), 2 + 4 + 95);
    }

    #[test]
    fn any_chunking_gives_the_same_messages() {
        let mut wire = Vec::new();
        let mut server = WebSocket::from_raw_socket(Duplex(Vec::new()), Role::Server, None);
        let big = vec![9u8; 70_000];
        for message in [Message::text("{}"), Message::binary(vec![1; 640]), Message::Ping(vec![5].into())] {
            server.send(message).expect("memory takes all");
        }
        for (is_final, code, part) in
            [(false, Data::Binary, &big[..40_000]), (true, Data::Continue, &big[40_000..])]
        {
            let frame =
                tungstenite::protocol::frame::Frame::message(part.to_vec(), OpCode::Data(code), is_final);
            server.send(Message::Frame(frame)).expect("memory takes all");
        }
        wire.append(&mut server.get_mut().0);
        let mut whole = Vec::new();
        FrameReader::default()
            .push(&wire, |op, payload| whole.push((op, payload.to_vec())))
            .expect("well formed");
        assert_eq!(whole.len(), 4);
        assert_eq!(whole.last(), Some(&(Opcode::Binary, big)));
        for chunk in [1, 2, 3, 5, 64, 643, 4096] {
            let (mut reader, mut got) = (FrameReader::default(), Vec::new());
            for bytes in wire.chunks(chunk) {
                reader.push(bytes, |op, payload| got.push((op, payload.to_vec()))).expect("well formed");
            }
            assert!(got == whole, "chunks of {chunk}");
        }
    }

    #[test]
    fn what_a_server_may_not_send_is_named() {
        for (bytes, violation) in [
            (&[0xc2u8, 0][..], Violation::ReservedBits),
            (&[0x83, 0], Violation::UnknownOpcode),
            (&[0x82, 0x80, 1, 2, 3, 4], Violation::Mask),
            (&[0x89, 126, 0, 126], Violation::BadControl),
            (&[0x09, 0], Violation::BadControl),
            (&[0x80, 0], Violation::BadFragment),
            (&[0x82, 127, 0x7f, 0, 0, 0, 0, 0, 0, 0], Violation::TooLong),
        ] {
            assert_eq!(FrameReader::default().push(bytes, |_, _| {}), Err(violation));
        }
    }

    /// Reads what is there, keeps what is written.
    struct Duplex(Vec<u8>);
    impl std::io::Read for Duplex {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let n = into.len().min(self.0.len());
            into[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }
    impl std::io::Write for Duplex {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
