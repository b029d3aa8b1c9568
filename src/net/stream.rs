//! A non-blocking byte stream, with or without TLS, that knows when reading on is pointless, or more than its share.
//!
//! Runs in: the dial, accept, telephony and gemini threads. Owns a socket, which whoever made it has set non-blocking.
//! Invariant: once registered, a plain socket is empty after a read that brought less than was asked for (epoll(7), "the
//! read/write I/O space is exhausted"), so the next read says `WouldBlock` without a system call until
//! [`Stream::rearm`]; and no more is read than [`Stream::allow`] allowed, whatever reads, and however often it tries.

use std::cell::RefCell;
use std::io::{self, IoSliceMut, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use native_tls::TlsStream;
use openssl::ssl::SslStream;

use super::texts::Texts;

enum Transport {
    Plain(TcpStream),
    // TLS cannot change its inner stream, so all kinds hold std's and are registered by descriptor.
    Tls(Box<TlsStream<TcpStream>>),
    AcceptedTls(Box<SslStream<TcpStream>>),
}

/// See the head of this file.
pub struct Stream {
    transport: Transport,
    /// A poll reports new bytes, so that a read may be left out.
    registered: bool,
    drained: bool,
    ending: bool,
    /// Bytes that may still be read in this pass.
    allowance: usize,
    /// A read was refused because the allowance was used up.
    cut_short: bool,
    /// What a read brought beyond the room that it was given, from `spilled_taken` on.
    spilled: Vec<u8>,
    spilled_taken: usize,
    /// Which messages are texts, on a WebSocket.
    texts: Option<Box<Texts>>,
}

/// tungstenite offers the room that its buffer happens to have left, often a few bytes; with this much more, one system
/// call fetches the message and proves that the socket is empty.
const SPILL_BYTES: usize = 4096;

thread_local! {
    /// One for all sockets of a thread: what a read leaves in it is taken out at once. Made for each read, it would be
    /// filled with zeros each time.
    static SPILL: RefCell<[u8; SPILL_BYTES]> = const { RefCell::new([0; SPILL_BYTES]) };
}

impl Stream {
    /// A stream without TLS.
    pub fn plain(socket: TcpStream) -> Self {
        Self::new(Transport::Plain(socket))
    }

    /// A stream whose TLS handshake we have begun, and which is complete.
    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self::new(Transport::Tls(Box::new(stream)))
    }

    /// A stream whose TLS handshake the peer has begun, and which is complete.
    pub fn accepted_tls(stream: SslStream<TcpStream>) -> Self {
        Self::new(Transport::AcceptedTls(Box::new(stream)))
    }

    fn new(transport: Transport) -> Self {
        Self {
            transport,
            registered: false,
            drained: false,
            ending: false,
            allowance: usize::MAX,
            cut_short: false,
            spilled: Vec::new(),
            spilled_taken: 0,
            texts: None,
        }
    }

    /// Tells texts from binary messages from here on, with `texts`; all of them are read as binary messages.
    pub(super) fn tell_texts_with(&mut self, texts: Texts) {
        self.texts = Some(Box::new(texts));
    }

    /// Which messages were texts.
    pub(super) fn texts(&mut self) -> Option<&mut Texts> {
        self.texts.as_deref_mut()
    }

    /// Gives out what an earlier read brought too much.
    fn take_spilled(&mut self, into: &mut [u8]) -> usize {
        let waiting = &self.spilled[self.spilled_taken..];
        let n = waiting.len().min(into.len());
        into[..n].copy_from_slice(&waiting[..n]);
        self.spilled_taken += n;
        if self.spilled_taken == self.spilled.len() {
            self.spilled.clear();
            self.spilled_taken = 0;
        }
        n
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_ref(),
            Transport::AcceptedTls(stream) => stream.get_ref(),
        }
    }

    /// Registers the socket with a poll, edge-triggered, for reading and writing.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&self.socket().as_raw_fd()), token, interest)?;
        // The poll reports anew whatever is there already.
        (self.registered, self.drained, self.ending) = (true, false, false);
        Ok(())
    }

    /// Takes the socket away from a poll, for another one.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.socket().as_raw_fd()))
    }

    /// Allows so many bytes to be read from now on; without it, reads are not limited. Beyond it a read says
    /// `WouldBlock` and [`Stream::is_cut_short`] tells that it was for this reason.
    pub fn allow(&mut self, bytes: usize) {
        self.allowance = bytes;
        self.cut_short = false;
    }

    /// Whether a read was refused since the last [`Stream::allow`] although the peer may have sent more, of which no
    /// edge will tell.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// Says that the poll reported the socket readable; `ending` that the peer has closed its side, so that the end of
    /// the stream is behind the last byte and a short read proves nothing.
    pub fn rearm(&mut self, ending: bool) {
        self.drained = false;
        self.ending |= ending;
    }

    /// The peer's address.
    ///
    /// # Errors
    /// Those of `getpeername`: the peer is gone.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket().peer_addr()
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.read_bytes(into)?;
        if let Some(texts) = &mut self.texts {
            texts.pass(&mut into[..n]);
        }
        Ok(n)
    }
}

impl Stream {
    fn read_bytes(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.spilled.is_empty() {
            return Ok(self.take_spilled(into));
        }
        if self.drained {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.allowance == 0 {
            self.cut_short = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let share = into.len().min(self.allowance);
        let into = &mut into[..share];
        let read = match &mut self.transport {
            Transport::Plain(socket) if self.registered => SPILL.with_borrow_mut(|spill| {
                let spill = &mut spill[..SPILL_BYTES.min(self.allowance - share)];
                let asked = into.len() + spill.len();
                let read = socket.read_vectored(&mut [IoSliceMut::new(into), IoSliceMut::new(spill)]);
                self.drained = match &read {
                    Ok(n) => *n < asked && !self.ending && *n > 0,
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                };
                if let Ok(n) = read
                    && n > into.len()
                {
                    self.spilled.extend_from_slice(&spill[..n - into.len()]);
                }
                read
            }),
            Transport::Plain(socket) => socket.read(into),
            Transport::Tls(stream) => stream.read(into),
            Transport::AcceptedTls(stream) => stream.read(into),
        };
        let n = read?;
        self.allowance -= n.min(self.allowance);
        Ok(n.min(into.len()))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
            Transport::AcceptedTls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.flush(),
            Transport::Tls(stream) => stream.flush(),
            Transport::AcceptedTls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use mio::Poll;

    use super::*;

    /// A connection whose far end is registered with the poll.
    fn pair() -> (TcpStream, Stream, Poll) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let mut stream = Stream::plain(listener.accept().expect("connected").0);
        let poll = Poll::new().expect("a descriptor");
        stream.register(poll.registry(), Token(0)).expect("open");
        (near, stream, poll)
    }

    #[test]
    fn a_short_read_is_the_last_until_the_poll_reports_more() {
        let (mut near, mut stream, _poll) = pair();
        near.write_all(b"abc").expect("connected");
        let mut into = [0; 8];
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
        near.write_all(b"def").expect("connected");
        assert_eq!(stream.read(&mut into).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        stream.rearm(false);
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
    }

    #[test]
    fn without_a_poll_that_would_report_more_every_read_asks_the_socket() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let mut near = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        let mut stream = Stream::plain(listener.accept().expect("connected").0);
        let mut into = [0; 8];
        for piece in [b"abc", b"def"] {
            near.write_all(piece).expect("connected");
            assert_eq!(stream.read(&mut into).expect("readable"), 3);
        }
    }

    #[test]
    fn registering_forgets_what_was_known_of_the_end() {
        let (mut near, mut stream, poll) = pair();
        stream.rearm(true);
        poll.registry().deregister(&mut SourceFd(&stream.socket().as_raw_fd())).expect("registered");
        stream.register(poll.registry(), Token(1)).expect("open");
        near.write_all(b"abc").expect("connected");
        let mut into = [0; 8];
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
        assert_eq!(stream.read(&mut into).unwrap_err().kind(), io::ErrorKind::WouldBlock, "no system call");
    }

    #[test]
    fn the_end_of_the_stream_is_seen_behind_a_short_read() {
        let (mut near, mut stream, _poll) = pair();
        near.write_all(b"abc").expect("connected");
        drop(near);
        stream.rearm(true);
        let mut into = [0; 8];
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
        assert_eq!(stream.read(&mut into).expect("the end"), 0);
    }

    #[test]
    fn no_more_than_the_allowance_is_read_and_the_rest_is_not_forgotten() {
        let (mut near, mut stream, _poll) = pair();
        near.write_all(b"abcdefgh").expect("connected");
        stream.allow(5);
        let mut into = [0; 4];
        assert_eq!(stream.read(&mut into).expect("readable"), 4);
        assert_eq!(stream.read(&mut into).expect("one is left"), 1);
        assert!(!stream.is_cut_short());
        assert_eq!(stream.read(&mut into).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(stream.is_cut_short());
        stream.allow(5);
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
        assert!(!stream.is_cut_short());
    }
}
