//! A switch that misbehaves: raw sockets, hand-made requests and frames.
//!
//! Runs in: the test's threads. Owns its sockets. Invariant: every read and write ends within [`PATIENCE`].

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::PATIENCE;

/// The token that the tests' relays want.
pub(crate) const TOKEN: &str = "a-token-of-the-hostile-tests";

/// Opcodes of RFC 6455 section 5.2.
pub(crate) const CONTINUATION: u8 = 0;
/// A text frame.
pub(crate) const TEXT: u8 = 1;
/// A binary frame.
pub(crate) const BINARY: u8 = 2;
/// A close frame.
pub(crate) const CLOSE: u8 = 8;
/// A ping.
pub(crate) const PING: u8 = 9;

/// A frame, right or wrong in any part.
#[derive(Clone)]
pub(crate) struct Frame {
    /// The first byte: FIN, three reserved bits, opcode.
    pub first: u8,
    /// Whether it is masked, as a client's must be.
    pub masked: bool,
    /// What follows the head.
    pub payload: Vec<u8>,
    /// What the head says of its length, where it lies.
    pub length: Option<u64>,
}

impl Frame {
    /// A frame as it should be.
    pub(crate) fn new(opcode: u8, payload: impl Into<Vec<u8>>) -> Self {
        Self { first: 0x80 | opcode, masked: true, payload: payload.into(), length: None }
    }

    /// The same, with more to come.
    pub(crate) fn unfinished(mut self) -> Self {
        self.first &= 0x7f;
        self
    }

    /// Its bytes. The mask is zero, which leaves the payload readable and is as good as any.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let length = self.length.unwrap_or(self.payload.len() as u64);
        let mask_bit = if self.masked { 0x80 } else { 0 };
        let mut bytes = vec![self.first];
        match length {
            0..=125 => bytes.push(mask_bit | length as u8),
            126..=0xffff => {
                bytes.push(mask_bit | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(mask_bit | 127);
                bytes.extend(length.to_be_bytes());
            }
        }
        if self.masked {
            bytes.extend([0; 4]);
        }
        bytes.extend(&self.payload);
        bytes
    }
}

/// A close frame's payload.
pub(crate) fn close_payload(code: u16, reason: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], reason].concat()
}

/// Connects from an address of this machine.
pub(crate) fn connect_from(source: Ipv4Addr, relay: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect_timeout(&relay.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A request that the relay accepts, with more headers (each with its line's end).
pub(crate) fn request(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: relay\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}

/// A request with the token.
pub(crate) fn good_request() -> String {
    request("/", &format!("Authorization: Bearer {TOKEN}\r\n"))
}

/// Closes with a reset instead of an end.
pub(crate) fn reset(stream: TcpStream) {
    // A connection that is gone already needs no reset.
    _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// Everything up to the end of the connection, however it ends.
pub(crate) fn read_all(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(n) = stream.read(&mut piece) {
        if n == 0 {
            break;
        }
        all.extend_from_slice(&piece[..n]);
    }
    all
}

/// The head of an HTTP answer.
pub(crate) fn read_head(mut stream: &TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A leg whose upgrade was answered with 101.
pub(crate) fn call(source: Ipv4Addr, relay: SocketAddr) -> TcpStream {
    let mut stream = connect_from(source, relay).expect("the relay listens");
    stream.write_all(good_request().as_bytes()).expect("the relay reads");
    let head = read_head(&stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

/// The code and the reason of the first close frame in what the relay sent; frames of a server are not masked.
pub(crate) fn close_in(mut bytes: &[u8]) -> Option<(u16, String)> {
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match second & 0x7f {
            126 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
            127 => (u64::from_be_bytes(rest.get(..8)?.try_into().ok()?) as usize, rest.get(8..)?),
            short => (usize::from(short), rest),
        };
        let payload = rest.get(..length)?;
        if first & 0xf == CLOSE {
            let code = u16::from_be_bytes([*payload.first()?, *payload.get(1)?]);
            return Some((code, String::from_utf8_lossy(&payload[2..]).into_owned()));
        }
        bytes = &rest[length..];
    }
    None
}

/// A leg that sends silence in real time until the relay closes or the time is over; the close that it was sent.
pub(crate) fn talk_until_closed(mut stream: TcpStream, for_at_most: Duration) -> Option<(u16, String)> {
    let silence = Frame::new(BINARY, vec![0; 640]).bytes();
    stream.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket");
    let by = std::time::Instant::now() + for_at_most;
    let mut heard = Vec::new();
    let mut piece = [0; 16 * 1024];
    while std::time::Instant::now() < by {
        match stream.read(&mut piece) {
            Ok(0) => break,
            // Audio is not kept, but a close frame comes last and is short.
            Ok(n) => heard = [&heard[..], &piece[..n]].concat(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if stream.write_all(&silence).is_err() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    close_in(&heard)
}
