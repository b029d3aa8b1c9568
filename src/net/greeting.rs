//! A TLS handshake with whoever has connected to us, a step at a time.
//!
//! Runs in: the tls thread (its steps, which are arithmetic of a millisecond); between them it lies with the accept thread. Owns
//! the socket. Never blocks, and never reads beyond what the handshake needs.
//! Invariant: after a step that has to wait, the socket has been read until it had no more.

use std::net::TcpStream;

use openssl::ssl::{HandshakeError, MidHandshakeSslStream, SslAcceptor};

use super::socket::Socket;
use super::stream::Stream;

/// See the head of this file.
pub(crate) enum Greeting {
    /// The peer's first byte is that of TLS.
    Begun(TcpStream),
    /// The peer has to say more.
    Middle(MidHandshakeSslStream<Socket>),
}

/// What a step led to.
pub(crate) enum Greeted {
    /// Wait for the socket.
    Wait(Greeting),
    /// The handshake is complete.
    Done(Stream),
    /// It failed; the connection is gone.
    Failed,
}

impl Greeting {
    /// Goes on as far as the socket allows.
    pub(crate) fn step(self, acceptor: &SslAcceptor) -> Greeted {
        let result = match self {
            Self::Begun(socket) => acceptor.accept(Socket::new(socket)),
            Self::Middle(middle) => middle.handshake(),
        };
        match result {
            Ok(stream) => Greeted::Done(Stream::accepted_tls(stream)),
            Err(HandshakeError::WouldBlock(middle)) => Greeted::Wait(Self::Middle(middle)),
            Err(HandshakeError::Failure(_) | HandshakeError::SetupFailure(_)) => Greeted::Failed,
        }
    }
}
