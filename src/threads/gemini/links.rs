//! The beginning and the end of a link at its thread: taking one that was connected, prompting on it, closing it.
//!
//! Runs in: the gemini thread. Owns nothing of its own.
//! Invariant: a link that is taken is read at once, and one that is closed has a deadline.

use mio::Token;
use tungstenite::Message;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;

use super::{Gemini, Link};
use crate::base::limits::CLOSE_TIMEOUT_MS;
use crate::base::{CallId, Instant, LinkNumber};
use crate::call::Fact;
use crate::call::model::{LinkEnd, LinkEndKind};
use crate::codec::gemini::close;
use crate::net::websocket::{Connection, End};
use crate::threads::messages::ControlInput;

impl Gemini {
    pub(super) fn connected(
        &mut self,
        id: CallId,
        number: LinkNumber,
        mut connection: Connection,
        setup: &str,
        now: Instant,
    ) {
        if self.calls.get_mut(id).is_none_or(|call| number <= call.closed()) {
            // The call is over, or has given this link up while it was being connected; the socket closes here.
            return;
        }
        let entry = self.links.vacant_entry();
        let key = entry.key();
        let token = Token(key);
        let ready = connection.queue(Message::text(setup)).and_then(|()| connection.flush()).and_then(|()| {
            connection
                .stream()
                .register(self.parts.poll.registry(), token)
                .map_err(|error| End::Dropped(error.to_string()))
        });
        if let Err(end) = ready {
            self.tell(id, Fact::LinkGone(number, link_end(end)));
            return;
        }
        entry.insert(Link {
            connection,
            call: id,
            number,
            garbage: 0,
            close_by: None,
            closed_by_us: false,
            // TLS or tungstenite may hold bytes already for which no edge will come.
            ready: true,
            greedy: false,
            next_share: now,
        });
        self.ready.push(key);
        if let Some(of_call) = self.link_keys.get_mut(id.slot as usize) {
            *of_call = key;
        }
        if let Some(call) = self.calls.get_mut(id) {
            call.connected(number);
        }
        self.tell(id, Fact::LinkConnected(number));
    }

    pub(super) fn find_link(&mut self, id: CallId, number: LinkNumber) -> Option<usize> {
        self.links.iter().find(|(_, link)| link.call == id && link.number == number).map(|(key, _)| key)
    }

    /// Sends a message to the model, if the link is still there.
    pub(super) fn say(&mut self, id: CallId, number: LinkNumber, message: String) {
        if let Some(key) = self.find_link(id, number)
            && let Some(link) = self.links.get_mut(key)
        {
            // A failed connection says so at its next read.
            _ = link.connection.queue(Message::text(message));
            _ = link.connection.flush();
        }
    }

    pub(super) fn close_link(&mut self, id: CallId, number: LinkNumber, now: Instant) {
        self.parts.due.mark(id.slot as usize);
        let sent_again = self.calls.get_mut(id).and_then(|call| call.close(number, &mut self.pool));
        sent_again.into_iter().for_each(|fact| self.tell(id, fact));
        if let Some(key) = self.find_link(id, number)
            && let Some(link) = self.links.get_mut(key)
        {
            link.start_close(now);
            closing(&mut self.close_by, link);
        }
    }

    /// Drops links whose closing handshake takes too long.
    pub(super) fn expire_closing(&mut self, now: Instant) {
        if self.close_by.is_none_or(|by| now < by) {
            return;
        }
        self.close_by = None;
        let (control, greedy) = (&mut self.parts.control, &mut self.greedy);
        self.links.retain(|key, link| {
            let expired = link.close_by.is_some_and(|by| now >= by);
            if expired {
                greedy.retain(|&of| of != key);
                if link.closed_by_us {
                    control.send(ControlInput::Fact(link.call, Fact::LinkClosed(link.number)));
                }
            } else {
                closing(&mut self.close_by, link);
            }
            !expired
        });
    }

    /// Lets go of a link whose connection is over.
    pub(super) fn drop_link(&mut self, key: usize, end: End) {
        let Some(link) = self.links.try_remove(key) else { return };
        if link.greedy {
            self.greedy.retain(|&of| of != key);
        }
        match &end {
            End::TooBig(_) => self.parts.counters.link_messages_too_big.increment(),
            End::Protocol(_) => self.parts.counters.link_protocol_errors.increment(),
            End::Closed | End::Dropped(_) => {}
        }
        if link.closed_by_us {
            return self.tell(link.call, Fact::LinkClosed(link.number));
        }
        if link.close_by.is_some() {
            return;
        }
        self.link_gone(link.call, link.number, link_end(end));
    }

    pub(super) fn link_gone(&mut self, id: CallId, number: LinkNumber, end: LinkEnd) {
        if let Some(call) = self.calls.get_mut(id)
            && call.link() == number
        {
            self.parts.due.mark(id.slot as usize);
            let spoken = call.spoken();
            let sent_again = call.disconnected(&mut self.pool, end.kind == LinkEndKind::InvalidArgument);
            self.tell(id, Fact::Spoken(number, spoken));
            sent_again.into_iter().for_each(|fact| self.tell(id, fact));
        }
        self.tell(id, Fact::LinkGone(number, end));
    }
}

/// Notes until when a link that is closing may take.
pub(super) fn closing(first: &mut Option<Instant>, link: &Link) {
    *first = [*first, link.close_by].into_iter().flatten().min();
}

impl Link {
    pub(super) fn start_close(&mut self, now: Instant) {
        if self.close_by.is_none() {
            self.connection.close(CloseFrame { code: CloseCode::Normal, reason: "".into() });
            self.closed_by_us = true;
            self.close_by = Some(now.plus_ms(CLOSE_TIMEOUT_MS));
        }
    }
}

fn link_end(end: End) -> LinkEnd {
    match end {
        End::Closed => close::end_of_close(None, b""),
        End::Dropped(what) => LinkEnd::dropped(&what),
        End::TooBig(what) | End::Protocol(what) => LinkEnd::protocol(&what),
    }
}
