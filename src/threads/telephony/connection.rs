//! The connection of a leg: a WebSocket or an AudioSocket, behind one face.
//!
//! Runs in: the telephony thread; made in the accept and dial threads. Owns the connection. Never blocks.
//! Invariant: a message of an AudioSocket leg is one complete frame, head included, in a binary message.

use tungstenite::Message;
use tungstenite::protocol::{CloseFrame, WebSocketConfig};

use crate::base::limits::{LEG_MESSAGE_BYTES, LEG_READ_BYTES};
use crate::call::leg::{LegClose, LegKind, LegSocket};
use crate::codec::audiosocket::Frame;
use crate::net::audiosocket::AudioSocketConnection;
use crate::net::stream::Stream;
use crate::net::websocket::{self, Connection, End, Incoming};

/// What a switch sends.
pub(super) enum Sent {
    /// A message of a WebSocket.
    Message(Message),
    /// A frame of an AudioSocket.
    Frame(Frame),
}

/// See the head of this file.
pub enum LegConnection {
    /// A WebSocket, of which the switch is the client or, where the relay has connected to it, the server.
    WebSocket(Connection),
    /// An AudioSocket.
    AudioSocket(AudioSocketConnection),
}

/// The limits of a leg's WebSocket.
pub(crate) fn leg_limits() -> WebSocketConfig {
    websocket::limits(LEG_READ_BYTES, LEG_MESSAGE_BYTES)
}

impl LegConnection {
    /// A connection of a switch whose handshake is complete, with the bytes that came behind it.
    pub(crate) fn accepted(kind: LegKind, stream: Stream, behind: Vec<u8>) -> Self {
        match kind.traits().socket {
            LegSocket::WebSocket => Self::WebSocket(Connection::server(stream, behind, leg_limits())),
            LegSocket::AudioSocket => Self::AudioSocket(AudioSocketConnection::new(stream, &behind)),
        }
    }

    /// The stream below.
    pub(super) fn stream(&mut self) -> &mut Stream {
        match self {
            Self::WebSocket(connection) => connection.stream(),
            Self::AudioSocket(connection) => connection.stream(),
        }
    }

    /// See [`Stream::allow`].
    pub(super) fn allow(&mut self, bytes: usize) {
        self.stream().allow(bytes);
    }

    /// See [`Stream::rearm`].
    pub(super) fn rearm(&mut self, ending: bool) {
        self.stream().rearm(ending);
    }

    /// The next message or frame.
    pub(super) fn read(&mut self) -> Incoming<Sent> {
        match self {
            Self::WebSocket(connection) => connection.read().map(Sent::Message),
            Self::AudioSocket(connection) => connection.read().map(Sent::Frame),
        }
    }

    /// Sends a message, as far as the kernel takes it now.
    ///
    /// # Errors
    /// How the connection ended.
    pub(super) fn send(&mut self, message: Message) -> Result<(), End> {
        match self {
            Self::WebSocket(connection) => {
                connection.queue(message)?;
                connection.flush()
            }
            Self::AudioSocket(connection) => connection.send(message.into_data()),
        }
    }

    /// Goes on with what the kernel did not take.
    ///
    /// # Errors
    /// How the connection ended.
    pub(super) fn flush(&mut self) -> Result<(), End> {
        match self {
            Self::WebSocket(connection) => connection.flush(),
            Self::AudioSocket(connection) => connection.flush(),
        }
    }

    /// Whether everything sent has left for the kernel.
    pub(super) fn is_idle(&self) -> bool {
        match self {
            Self::WebSocket(connection) => connection.is_idle(),
            Self::AudioSocket(connection) => connection.is_idle(),
        }
    }

    /// Says goodbye; reading goes on until [`Incoming::Over`].
    pub(super) fn close(&mut self, close: &LegClose) {
        match self {
            Self::WebSocket(connection) => {
                let frame = CloseFrame { code: close.code().code().into(), reason: close.reason().into() };
                connection.close(frame);
            }
            Self::AudioSocket(connection) => connection.hang_up(),
        }
    }

    /// Whether the end of the connection is the switch's way to hang up.
    pub(super) fn ends_by_hanging_up(&self) -> bool {
        matches!(self, Self::AudioSocket(_))
    }
}
