//! A proxy's connection, which says first whose it is.
//!
//! Runs in: the accept thread. Owns nothing between steps. Never reads a byte behind the header, which may be TLS.
//! Invariant: only a connection from `listen.proxy_from` comes here, and it goes no further without a header.

use std::io::{self, Read};
use std::net::TcpStream;

use super::{Handshake, Next, Stage, Step};
use crate::base::Instant;
use crate::call::leg::LegSocket;
use crate::codec::proxy::{self, HEADER_BYTES, Header};
use crate::net::stream::Stream;
use crate::telemetry::{RefusalReason, Refused};

/// Whoever is not believed must not be able to say who they are.
pub(super) const UNEXPECTED_HEADER: Refused<'static> = (
    RefusalReason::BadRequest,
    "a PROXY header where none is expected: only from listen.proxy_from, and once",
);

impl Handshake {
    /// Refuses whoever the proxy has named.
    pub(crate) fn refuse_named(&mut self, now: Instant, refused: Refused<'static>) -> Step {
        let Some(Stage::FirstByte(socket)) = self.stage.take() else { return Step::Over };
        match self.refuse_as(now, Stream::plain(socket), LegSocket::WebSocket, refused) {
            Next::Done(step) => step,
            _ => Step::Over,
        }
    }

    /// Reads the proxy's header and no byte of what follows, which may be TLS.
    pub(super) fn proxy(&mut self, now: Instant, mut socket: TcpStream) -> io::Result<Next> {
        let mut piece = [0; HEADER_BYTES];
        let seen = match socket.peek(&mut piece) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Next::Wait(Stage::Proxy(socket)));
            }
            Err(error) => return Err(error),
        };
        self.spoken = true;
        match proxy::parse(&piece[..seen]) {
            Header::Complete(length, source) => {
                // They are there, and nobody else reads.
                socket.read_exact(&mut piece[..length])?;
                self.stage = Some(Stage::FirstByte(socket));
                Ok(Next::Done(Step::Named(source)))
            }
            Header::More => Ok(Next::Wait(Stage::Proxy(socket))),
            Header::Wrong => {
                let why = "a connection from listen.proxy_from that does not begin with a PROXY header \
                           (HAProxy: send-proxy or send-proxy-v2)";
                let refused = (RefusalReason::BadRequest, why);
                Ok(self.refuse_as(now, Stream::plain(socket), LegSocket::WebSocket, refused))
            }
        }
    }
}
