//! A non-blocking TCP connection, plain or inside TLS.
//!
//! Runs in: the simulator's thread. Owns the socket. Never blocks.
//! Invariant: reading and writing give `WouldBlock` until the TLS handshake is complete; each call drives it on.

use std::{
    io::{self, Read, Write},
    time::Duration,
};

use mio::{Interest, Registry, Token, net::TcpStream};
use native_tls::{HandshakeError, MidHandshakeTlsStream, TlsAcceptor, TlsStream};

/// One accepted connection.
#[derive(Debug)]
pub(super) enum Socket {
    /// No TLS.
    Plain(TcpStream),
    /// TLS that is being agreed on; `None` only while a call is in progress.
    Handshaking(Option<Box<MidHandshakeTlsStream<TcpStream>>>),
    /// TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Takes an accepted connection: no delay for small messages, registered for reading and writing.
    ///
    /// # Errors
    /// The system's, and those of a TLS handshake that fails with the first bytes.
    pub(super) fn accept(
        mut stream: TcpStream,
        registry: &Registry,
        token: Token,
        tls: Option<&TlsAcceptor>,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        match tls {
            None => Ok(Self::Plain(stream)),
            Some(acceptor) => Self::handshaken(acceptor.accept(stream)),
        }
    }

    fn handshaken(result: Result<TlsStream<TcpStream>, HandshakeError<TcpStream>>) -> io::Result<Self> {
        match result {
            Ok(stream) => Ok(Self::Tls(Box::new(stream))),
            Err(HandshakeError::WouldBlock(middle)) => Ok(Self::Handshaking(Some(Box::new(middle)))),
            Err(HandshakeError::Failure(error)) => Err(io::Error::other(error)),
        }
    }

    /// Drives the handshake on; `WouldBlock` while it waits for the client.
    fn established(&mut self) -> io::Result<()> {
        if let Self::Handshaking(middle) = self {
            let middle = middle.take().ok_or(io::ErrorKind::NotConnected)?;
            *self = Self::handshaken(middle.handshake())?;
        }
        match self {
            Self::Handshaking(_) => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(()),
        }
    }

    /// Whether a read that fills less than its space has emptied the socket. Inside TLS it has not: a record may be
    /// left.
    pub(super) const fn short_read_means_empty(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Makes the coming drop a reset (RST) instead of an orderly end (FIN).
    pub(super) fn reset_on_drop(&self) {
        let stream = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
            Self::Handshaking(_) => return,
        };
        // A failure means that the socket is dead already.
        let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

impl Read for Socket {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        self.established()?;
        match self {
            Self::Plain(stream) => stream.read(space),
            Self::Tls(stream) => stream.read(space),
            Self::Handshaking(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.established()?;
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Handshaking(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
