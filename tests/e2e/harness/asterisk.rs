//! Asterisk as chan_websocket's server, played by the test: it waits for the relay at `/media/ID`.
//!
//! Runs in: one thread that accepts, and the test's. Owns the listener until dropped.
//! Never answers by itself: the test says what becomes of each connection.
//! Invariant: every frame that it takes is masked, and none that it sends is (RFC 6455 section 5.1).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use tandem_loadtest::websocket::Opcode;

use super::{Leg, PATIENCE};

/// See the head of this file.
pub(crate) struct Asterisk {
    address: SocketAddr,
    connections: Receiver<TcpStream>,
    stopped: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Asterisk {
    /// Listens on a free port.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (accepted, connections) = channel();
        let stopped = Arc::new(AtomicBool::new(false));
        let acceptor = std::thread::spawn({
            let stopped = Arc::clone(&stopped);
            move || {
                while let Ok((socket, _)) = listener.accept() {
                    if stopped.load(Ordering::Acquire) || accepted.send(socket).is_err() {
                        break;
                    }
                }
            }
        });
        Self { address, connections, stopped, acceptor: Some(acceptor) }
    }

    /// The setting with which a relay uses it.
    pub(crate) fn setting(&self) -> String {
        format!("asterisk.media_url=ws://{}/media/", self.address)
    }

    /// Waits for a connection, and leaves its request unread.
    pub(crate) fn silent(&self) -> TcpStream {
        self.connections.recv_timeout(PATIENCE).expect("the relay connects")
    }

    /// Waits for a connection, and gives the head of its request.
    fn asked(&self) -> (TcpStream, String) {
        let mut socket = self.silent();
        socket.set_nodelay(true).expect("a TCP socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
        socket.set_write_timeout(Some(PATIENCE)).expect("a TCP socket");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("a whole request");
            head.push(byte[0]);
        }
        (socket, String::from_utf8(head).expect("ASCII"))
    }

    /// Waits for a connection, refuses it with this status line, and gives the first line of its request.
    pub(crate) fn refuse(&self, status: &str) -> String {
        let (mut socket, head) = self.asked();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        socket.write_all(answer.as_bytes()).expect("it is read");
        head.lines().next().unwrap_or_default().to_owned()
    }

    /// Waits for the connection of this id and takes it; `start` comes right behind the answer, in the same segment.
    pub(crate) fn take(&self, id: &str, start: &str) -> Leg {
        let (mut socket, head) = self.asked();
        assert_eq!(head.lines().next(), Some(format!("GET /media/{id} HTTP/1.1").as_str()));
        let header = |name: &str| {
            let mut headers = head.lines().filter_map(|line| line.split_once(": "));
            headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        assert_eq!(header("host"), Some(self.address.to_string().as_str()));
        let key = header("sec-websocket-key").expect("a key");
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        let mut answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: \
             {accept}\r\n\r\n"
        )
        .into_bytes();
        append_unmasked(&mut answer, Opcode::Text, start.as_bytes());
        socket.write_all(&answer).expect("it is read");
        Leg::upgraded(socket, Vec::new(), true)
    }
}

impl Drop for Asterisk {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the thread that accepts.
        _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        if let Some(acceptor) = self.acceptor.take() {
            _ = acceptor.join();
        }
    }
}

/// Appends one final frame as a server sends it.
pub(crate) fn append_unmasked(wire: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    wire.push(0x80 | opcode as u8);
    match payload.len() {
        n @ 0..=125 => wire.push(n as u8),
        n => {
            wire.push(126);
            wire.extend_from_slice(&u16::try_from(n).expect("a short message").to_be_bytes());
        }
    }
    wire.extend_from_slice(payload);
}

/// Takes the masks off a client's frames, which are shorter than 64 KiB.
#[derive(Default)]
pub(crate) struct MaskedFrames {
    partial: Vec<u8>,
}

impl MaskedFrames {
    /// The whole frames in what came so far, as a server would have sent them.
    pub(crate) fn unmask(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.partial.extend_from_slice(bytes);
        let mut unmasked = Vec::new();
        while let [first, second, rest @ ..] = self.partial.as_slice() {
            assert!(second & 0x80 != 0, "the relay is the client and sent a frame without a mask");
            let (key_at, length) = match (second & 0x7f, rest) {
                (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
                (126, _) => break,
                (127, _) => panic!("the relay sent more than 64 KiB in a frame"),
                (short, _) => (2, usize::from(short)),
            };
            let end = key_at + 4 + length;
            if self.partial.len() < end {
                break;
            }
            unmasked.extend_from_slice(&[*first, second & 0x7f]);
            unmasked.extend_from_slice(&self.partial[2..key_at]);
            let (key, payload) = self.partial[key_at..end].split_at(4);
            unmasked.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
            self.partial.drain(..end);
        }
        unmasked
    }
}
