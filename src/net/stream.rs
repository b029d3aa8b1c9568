//! A non-blocking byte stream, with or without TLS, that knows when reading on is pointless.
//!
//! Runs in: the accept, telephony and gemini threads. Owns a socket.
//! Never blocks once [`Stream::set_nonblocking`] was called.
//! Invariant: after a read that brought less than was asked for, a plain socket is empty (epoll(7), "the read/write I/O
//! space is exhausted"), so the next read says `WouldBlock` without a system call until [`Stream::rearm`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use native_tls::TlsStream;

enum Transport {
    Plain(TcpStream),
    // native-tls cannot change its inner stream, so both kinds hold std's and are registered by descriptor.
    Tls(Box<TlsStream<TcpStream>>),
}

/// See the head of this file.
pub struct Stream {
    transport: Transport,
    drained: bool,
    ending: bool,
}

impl Stream {
    /// A stream without TLS.
    pub fn plain(socket: TcpStream) -> Self {
        Self { transport: Transport::Plain(socket), drained: false, ending: false }
    }

    /// A stream whose TLS handshake is complete.
    pub fn tls(stream: TlsStream<TcpStream>) -> Self {
        Self { transport: Transport::Tls(Box::new(stream)), drained: false, ending: false }
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match &self.transport {
            Transport::Plain(socket) => socket,
            Transport::Tls(stream) => stream.get_ref(),
        }
    }

    /// Switches the socket to non-blocking reads and writes.
    ///
    /// # Errors
    /// Those of `fcntl`.
    pub fn set_nonblocking(&self) -> io::Result<()> {
        self.socket().set_nonblocking(true)
    }

    /// Registers the socket with a poll, edge-triggered, for reading and writing.
    ///
    /// # Errors
    /// Those of `epoll_ctl`.
    pub fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut SourceFd(&self.socket().as_raw_fd()), token, interest)
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
        match &mut self.transport {
            Transport::Plain(_) if self.drained => Err(io::ErrorKind::WouldBlock.into()),
            Transport::Plain(socket) => {
                let read = socket.read(into);
                self.drained = match &read {
                    Ok(n) => *n < into.len() && !self.ending && *n > 0,
                    Err(error) => error.kind() == io::ErrorKind::WouldBlock,
                };
                read
            }
            Transport::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.write(bytes),
            Transport::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.transport {
            Transport::Plain(socket) => socket.flush(),
            Transport::Tls(stream) => stream.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("listening");
        (near, Stream::plain(listener.accept().expect("connected").0))
    }

    #[test]
    fn a_short_read_is_the_last_until_the_poll_reports_more() {
        let (mut near, mut stream) = pair();
        near.write_all(b"abc").expect("connected");
        let mut into = [0; 8];
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
        near.write_all(b"def").expect("connected");
        assert_eq!(stream.read(&mut into).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        stream.rearm(false);
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
    }

    #[test]
    fn the_end_of_the_stream_is_seen_behind_a_short_read() {
        let (mut near, mut stream) = pair();
        near.write_all(b"abc").expect("connected");
        drop(near);
        stream.rearm(true);
        let mut into = [0; 8];
        assert_eq!(stream.read(&mut into).expect("readable"), 3);
        assert_eq!(stream.read(&mut into).expect("the end"), 0);
    }
}
