//! A WebSocket over a non-blocking stream, read to exhaustion and written without piling up.
//!
//! Runs in: the telephony and gemini threads. Owns the stream and tungstenite's state of the protocol (RFC 6455).
//! Never blocks; every size is bounded.
//! Invariant: [`Connection::is_idle`] is true exactly when everything sent so far has left for the kernel.

use std::io;

use tungstenite::protocol::{CloseFrame, Role, WebSocket, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, Utf8Bytes};

use crate::base::limits::WRITE_BACKLOG_BYTES;
use crate::net::outgoing::Outgoing;
use crate::net::stream::Stream;
use crate::net::texts::Texts;

/// What a read brought.
#[derive(Debug)]
pub enum Incoming<M = Message> {
    /// A message; on a WebSocket pings are answered already.
    Message(M),
    /// Nothing more until the poll reports the socket again.
    Drained,
    /// The bytes allowed for this pass are read. There may be more, of which no edge will tell.
    Paused,
    /// The connection is over and its socket can be dropped.
    Over(End),
}

impl<M> Incoming<M> {
    /// The same with what is made of the message.
    pub(crate) fn map<N>(self, make: impl FnOnce(M) -> N) -> Incoming<N> {
        match self {
            Self::Message(message) => Incoming::Message(make(message)),
            Self::Drained => Incoming::Drained,
            Self::Paused => Incoming::Paused,
            Self::Over(end) => Incoming::Over(end),
        }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Both sides have closed, or the peer closed after its close frame.
    Closed,
    /// The connection broke; what the system said.
    Dropped(String),
    /// A message or frame was longer than allowed.
    TooBig(String),
    /// The peer broke the protocol.
    Protocol(String),
}

/// tungstenite's limits for one connection.
pub fn limits(read_bytes: usize, message_bytes: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(read_bytes)
        // Nothing leaves before a flush, so that several messages of a pass cost one system call.
        .write_buffer_size(WRITE_BACKLOG_BYTES / 2)
        .max_write_buffer_size(WRITE_BACKLOG_BYTES)
        .max_message_size(Some(message_bytes))
        .max_frame_size(Some(message_bytes))
}

/// See the head of this file.
pub struct Connection {
    socket: WebSocket<Stream>,
    idle: bool,
}

impl Connection {
    /// A connection whose upgrade is complete, with the bytes that were read behind the upgrade.
    pub fn server(mut stream: Stream, mut behind_upgrade: Vec<u8>, config: WebSocketConfig) -> Self {
        let mut texts = Texts::default();
        texts.pass(&mut behind_upgrade);
        stream.tell_texts_with(texts);
        Self {
            socket: WebSocket::from_partially_read(stream, behind_upgrade, Role::Server, Some(config)),
            idle: true,
        }
    }

    /// A connection that tungstenite has upgraded.
    pub fn upgraded(socket: WebSocket<Stream>) -> Self {
        Self { socket, idle: true }
    }

    /// The stream below.
    pub fn stream(&mut self) -> &mut Stream {
        self.socket.get_mut()
    }

    /// Allows so many bytes to be read in this pass. A limit of messages alone would not do: tungstenite reads on
    /// through any number of frames that make no message, empty fragments for example.
    pub fn allow(&mut self, bytes: usize) {
        self.socket.get_mut().allow(bytes);
    }

    /// Passes on what the poll reported, see [`Stream::rearm`].
    pub fn rearm(&mut self, ending: bool) {
        self.socket.get_mut().rearm(ending);
    }

    /// The next message.
    pub fn read(&mut self) -> Incoming {
        if self.has_nothing() {
            return Incoming::Drained;
        }
        let read = self.socket.read();
        if matches!(read, Ok(_) | Err(Error::Utf8(_)))
            && let Some(texts) = self.socket.get_mut().texts()
        {
            texts.taken();
        }
        match read {
            Ok(Message::Binary(bytes)) if self.socket.get_mut().texts().is_some_and(Texts::is_text) => {
                Incoming::Message(text_of(bytes))
            }
            Ok(message) => {
                if matches!(message, Message::Ping(_) | Message::Close(_)) {
                    // The answer is queued inside tungstenite and leaves with the next flush.
                    _ = self.flush();
                }
                Incoming::Message(message)
            }
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                if self.socket.get_ref().is_cut_short() { Incoming::Paused } else { Incoming::Drained }
            }
            // Of texts, only the reason of a close is checked, whose code tells what it means.
            Err(Error::Utf8(_)) => {
                let code = self.socket.get_mut().texts().map_or(1005, |texts| texts.close_code());
                let frame = CloseFrame { code: code.into(), reason: "".into() };
                self.close(frame.clone());
                Incoming::Message(Message::Close(Some(frame)))
            }
            Err(error) => Incoming::Over(end_of(error)),
        }
    }

    /// Whether neither the socket nor tungstenite has anything, which tungstenite would find out by filling its buffer with
    /// zeros and asking. In a closing handshake it is always asked: it has an end to tell.
    fn has_nothing(&mut self) -> bool {
        self.idle
            && self.socket.can_write()
            && self.socket.get_ref().is_drained()
            && self.socket.get_mut().texts().is_some_and(|texts| texts.holds_nothing())
    }

    /// Sends a text of a client at once, past tungstenite; nothing once the closing handshake has begun. What the kernel
    /// does not take leaves with the next [`Connection::flush`].
    ///
    /// # Errors
    /// How the connection ended.
    pub fn send_text(&mut self, outgoing: &mut Outgoing, text: &[u8]) -> Result<(), End> {
        if !self.socket.can_write() {
            return Ok(());
        }
        if !self.idle {
            // What waits in tungstenite goes first.
            self.queue(Message::Text(Utf8Bytes::try_from(text.to_vec()).unwrap_or_default()))?;
            return self.flush();
        }
        let sent = self.socket.get_mut().send(outgoing.text(text));
        self.idle = sent.map_err(|error| End::Dropped(error.to_string()))?;
        Ok(())
    }

    /// Queues a message, to leave with the next [`Connection::flush`].
    ///
    /// # Errors
    /// How the connection ended, a backlog beyond the limit included.
    pub fn queue(&mut self, message: Message) -> Result<(), End> {
        self.idle = false;
        self.socket.write(message).or_else(|error| self.outcome(Err(error)))
    }

    /// Sends what is queued, as far as the kernel takes it now; to be called again when the poll reports the socket
    /// writable.
    ///
    /// # Errors
    /// How the connection ended.
    pub fn flush(&mut self) -> Result<(), End> {
        let result = self.socket.flush();
        self.outcome(result)
    }

    /// Whether everything sent has left for the kernel.
    pub fn is_idle(&self) -> bool {
        self.idle
    }

    /// Starts the closing handshake; reading goes on until [`Incoming::Over`].
    pub fn close(&mut self, frame: CloseFrame) {
        let result = self.socket.close(Some(frame));
        // A connection that is already broken says so at the next read.
        _ = self.outcome(result);
        _ = self.flush();
    }

    fn outcome(&mut self, result: Result<(), Error>) -> Result<(), End> {
        match result {
            Ok(()) => self.idle = true,
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => self.idle = false,
            // Writing after a close is ours to have known: the close is reported by the next read.
            Err(Error::Protocol(tungstenite::error::ProtocolError::SendAfterClosing)) => {}
            Err(error) => return Err(end_of(error)),
        }
        Ok(())
    }
}

/// The text that these bytes are, with U+FFFD in the place of what is not UTF-8.
fn text_of(bytes: Bytes) -> Message {
    match std::str::from_utf8(&bytes) {
        Ok(_) => Message::Text(Utf8Bytes::try_from(bytes).unwrap_or_default()),
        Err(_) => Message::text(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn end_of(error: Error) -> End {
    match error {
        Error::ConnectionClosed | Error::AlreadyClosed => End::Closed,
        Error::Io(error) => End::Dropped(error.to_string()),
        Error::Tls(error) => End::Dropped(error.to_string()),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
            End::Dropped("the connection ended without a closing handshake".into())
        }
        Error::Capacity(error) => End::TooBig(error.to_string()),
        Error::WriteBufferFull(_) => End::Dropped("the peer takes nothing more".into()),
        other => End::Protocol(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;

    /// A client of ours, registered with a poll, and tungstenite as its server, which blocks.
    fn pair(poll: &mio::Poll) -> (Connection, WebSocket<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let far = listener.accept().expect("connected").0;
        near.set_nonblocking(true).expect("a socket");
        let mut stream = Stream::plain(near);
        stream.tell_texts_with(Texts::default());
        stream.register(poll.registry(), mio::Token(0)).expect("open");
        let socket = WebSocket::from_raw_socket(stream, Role::Client, Some(limits(4096, 1 << 20)));
        (Connection::upgraded(socket), WebSocket::from_raw_socket(far, Role::Server, None))
    }

    /// Reads until the message has come.
    fn next(connection: &mut Connection) -> Message {
        loop {
            match connection.read() {
                Incoming::Message(message) => return message,
                Incoming::Drained => {
                    thread::yield_now();
                    connection.rearm(false);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn behind_a_message_that_was_all_there_is_nothing_is_asked_for_more() {
        let poll = mio::Poll::new().expect("a descriptor");
        let (mut connection, mut server) = pair(&poll);
        for text in ["a", "b", "c"] {
            server.send(Message::text(text)).expect("connected");
            assert_eq!(next(&mut connection), Message::text(text));
            let asked = connection.stream().asked;
            assert!(matches!(connection.read(), Incoming::Drained));
            assert_eq!(connection.stream().asked, asked);
        }
        // A piece of a message is not all there is, and the rest is found.
        let large = "d".repeat(20_000);
        server.send(Message::text(large.clone())).expect("connected");
        assert_eq!(next(&mut connection), Message::text(large));
        server.close(None).expect("connected");
        assert!(matches!(next(&mut connection), Message::Close(None)));
        assert!(matches!(server.read(), Ok(Message::Close(_))));
        drop(server);
        let over = std::iter::from_fn(|| {
            connection.rearm(true);
            Some(connection.read())
        });
        let over = over.into_iter().find(|incoming| !matches!(incoming, Incoming::Drained));
        assert!(matches!(over, Some(Incoming::Over(End::Closed))), "{over:?}");
    }

    #[test]
    fn texts_past_tungstenite_keep_their_place_among_its_messages_however_little_the_kernel_takes() {
        let poll = mio::Poll::new().expect("a descriptor");
        let (mut connection, mut server) = pair(&poll);
        let mut outgoing = Outgoing::default();
        let mut sent = Vec::new();
        while connection.is_idle() {
            let text = format!("{}-{}", sent.len(), "x".repeat(sent.len() * 1_000 % 70_000));
            connection.send_text(&mut outgoing, text.as_bytes()).expect("connected");
            sent.push(text);
        }
        // Behind a text that is stuck halfway: a pong, a message of tungstenite's, a text again, and the close.
        server.send(Message::Ping("?".into())).expect("connected");
        assert!(matches!(next(&mut connection), Message::Ping(_)));
        connection.queue(Message::text("queued")).expect("connected");
        connection.send_text(&mut outgoing, b"sent").expect("connected");
        connection.close(CloseFrame { code: 1000.into(), reason: "".into() });
        connection.send_text(&mut outgoing, b"too late").expect("it is left out");
        let reader = thread::spawn(move || {
            let mut came = Vec::new();
            while let Ok(message) = server.read() {
                came.push(message);
            }
            came
        });
        while !connection.is_idle() {
            connection.flush().expect("connected");
            thread::yield_now();
        }
        let came = reader.join().expect("no panic");
        let mut texts =
            came.iter().filter_map(|message| message.to_text().ok().filter(|_| message.is_text()));
        assert!(sent.iter().all(|text| texts.next() == Some(text)));
        assert_eq!(texts.collect::<Vec<_>>(), ["queued", "sent"]);
        assert!(came.iter().any(Message::is_pong) && came.last().is_some_and(Message::is_close));
    }
}
