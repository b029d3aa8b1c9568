//! A leg with its connection: what leaves and when, how it is closed, and how it ended.
//!
//! Runs in: the telephony thread. Owns the leg and its connection.
//! Never blocks. Invariant: a message leaves only when everything before it has left for the kernel.

use super::connection::LegConnection;
use super::leg::Leg;
use crate::base::Instant;
use crate::base::limits::CLOSE_TIMEOUT_MS;
use crate::call::events::{ConnectionNumber, LegEnd};
use crate::call::leg::{LegClose, LegCloseCode};
use crate::net::websocket::End;
use crate::telemetry::counters::Counters;

/// Nothing sent for this long is filled with a frame of silence, on a leg that needs it: half of what Asterisk's
/// `AudioSocket()` waits, so that a late look is early enough.
const KEEPALIVE_MS: u64 = 1_000;

/// See the head of this file.
pub(super) struct Socket {
    pub(super) leg: Leg,
    pub(super) connection: LegConnection,
    /// Which connection of the call's leg this is.
    pub(super) number: ConnectionNumber,
    pub(super) heard_at: Instant,
    /// When something was last sent.
    sent_at: Instant,
    pub(super) pinged: bool,
    /// Why the leg is being closed, and until when the switch may take to agree, or to end the connection.
    pub(super) closing: Option<(LegEnd, Instant)>,
    /// The code with which the switch closed.
    pub(super) closed_with: Option<u16>,
    /// Still to be read although no edge will come.
    pub(super) remembered: bool,
    /// When its next share is due.
    pub(super) next_share: Instant,
}

impl Socket {
    /// A leg that begins now.
    pub(super) fn new(leg: Leg, connection: LegConnection, number: ConnectionNumber, now: Instant) -> Self {
        Self {
            leg,
            connection,
            number,
            heard_at: now,
            sent_at: now,
            pinged: false,
            closing: None,
            closed_with: None,
            // Bytes behind the handshake, or inside TLS, come without an edge.
            remembered: true,
            next_share: now,
        }
    }

    /// Hands over what is due, one message at a time, so that a stalled switch leaves the rest where flushing reaches
    /// it.
    pub(super) fn write(&mut self, now: Instant) -> Result<(), End> {
        while self.may_write() {
            let Some(message) = self.leg.next_message() else { break };
            self.connection.send(message)?;
            self.sent_at = now;
        }
        Ok(())
    }

    /// Asks for a sign of life in the way that the switch bears. Returns whether there is one.
    pub(super) fn probe(&mut self) -> Result<bool, End> {
        match self.leg.probe() {
            Some(question) => self.connection.send(question).map(|()| true),
            None => Ok(false),
        }
    }

    /// Keeps a call alive in which nobody speaks.
    pub(super) fn keep_alive(&mut self, now: Instant) -> Result<(), End> {
        if now.since_ms(self.sent_at) >= KEEPALIVE_MS
            && self.may_write()
            && let Some(message) = self.leg.keepalive()
        {
            self.sent_at = now;
            self.connection.send(message)?;
        }
        Ok(())
    }

    fn may_write(&self) -> bool {
        self.connection.is_idle() && self.closing.is_none() && self.closed_with.is_none()
    }

    pub(super) fn start_close(&mut self, close: &LegClose, end: LegEnd, now: Instant) {
        if self.closing.is_none() {
            self.connection.close(close);
            self.closing = Some((end, now.plus_ms(CLOSE_TIMEOUT_MS)));
        }
    }

    /// The switch has said goodbye. As a server it also has to end the connection, which is not waited for for ever.
    pub(super) fn closed_by_peer(&mut self, code: u16, now: Instant) {
        self.closed_with = Some(code);
        if self.closing.is_none() {
            self.closing = Some((self.goodbye(code), now.plus_ms(CLOSE_TIMEOUT_MS)));
        }
    }

    /// What a close of the switch means.
    fn goodbye(&self, code: u16) -> LegEnd {
        match code {
            1000 if self.leg.hangs_up_by_closing() => LegEnd::HungUp,
            code => LegEnd::Closed(code),
        }
    }

    /// The last word to a peer with which there is nothing more to agree on: it is not waited for.
    fn say_close(&mut self, code: LegCloseCode, why: &str) {
        self.connection.close(&LegClose::new(code, why));
    }

    /// How the leg ended, given how its connection did.
    pub(super) fn ended(&mut self, end: End, counters: &Counters) -> LegEnd {
        if let Some((end, _)) = &self.closing {
            return end.clone();
        }
        match end {
            _ if self.closed_with.is_some() => self.goodbye(self.closed_with.unwrap_or(1005)),
            End::Closed if self.connection.ends_by_hanging_up() => LegEnd::HungUp,
            End::Closed => LegEnd::Closed(1005),
            End::Dropped(what) => LegEnd::Dropped(what),
            End::TooBig(what) => {
                counters.leg_messages_too_big.increment();
                self.say_close(LegCloseCode::MessageTooBig, "the message is longer than 64 KiB");
                LegEnd::Protocol(what)
            }
            End::Protocol(what) => {
                counters.leg_protocol_errors.increment();
                self.say_close(LegCloseCode::ProtocolError, &what);
                LegEnd::Protocol(what)
            }
        }
    }
}
