//! Legs without a connection, and connections that come to them: a leg that was lost keeps its call's audio until the
//! switch is back or control gives it up.
//!
//! Runs in: the telephony thread. Owns nothing of its own.
//! Invariant: the ends of a call's rings are with its leg, which is either at a socket or among the lost.

use mio::Token;

use super::Telephony;
use super::socket::Socket;
use crate::base::{CallId, Instant};
use crate::call::Fact;
use crate::call::events::LegEnd;
use crate::call::leg::{LegClose, LegCloseCode};
use crate::threads::messages::{ControlInput, ReturnedLeg};

impl Telephony {
    /// The switch is back: its leg goes on where it was. Of a connection that it may still have, nothing is heard.
    pub(super) fn take_back(&mut self, returned: ReturnedLeg, now: Instant) {
        let ReturnedLeg { id, number, connection, fields, kind, .. } = returned;
        let Some(mut connection) = connection else { return };
        let slot = id.slot as usize;
        let leg = match self.lost.iter().position(|leg| leg.id() == id) {
            Some(at) => Some(self.lost.swap_remove(at)),
            None => self.sockets.take(id).map(|dead| dead.leg),
        };
        let Some(mut leg) = leg else {
            // The call ended meanwhile.
            connection.close(&LegClose::new(LegCloseCode::Normal, "the call is over"));
            return;
        };
        if let Err(error) = connection.stream().register(self.parts.poll.registry(), Token(slot)) {
            self.tell(id, Fact::LegLost(number, LegEnd::Dropped(error.to_string())));
            self.lost.push(leg);
            return;
        }
        leg.reconnected(kind, fields, now);
        self.sockets.put(Box::new(Socket::new(leg, connection, number, now)));
    }

    /// Gives the connection of a leg to another call, perhaps of another shard.
    pub(super) fn move_leg(&mut self, from: CallId, to: CallId) {
        // If it is gone, control has been told how.
        let Some(mut socket) = self.sockets.take(from) else { return };
        let peer = socket.connection.stream().peer_addr();
        let away = socket.connection.stream().deregister(self.parts.poll.registry());
        if let Ok(peer) = away.and(peer) {
            let (kind, fields) = socket.leg.opened();
            let connection = Some(socket.connection);
            let returned = ReturnedLeg { id: to, number: 0, peer, connection, fields, kind };
            self.parts.control.send(ControlInput::Returned(Box::new(returned)));
        }
        self.tell(from, Fact::LegGone(LegEnd::ByUs));
    }

    /// Asks a switch for a sign of life, where its protocol has a question for it.
    pub(super) fn ping(&mut self, id: CallId) {
        if let Some(socket) = self.sockets.get_mut(id) {
            let pinged = socket.probe().map(|_| ());
            self.give_up_on_error(id.slot as usize, pinged);
        }
    }

    /// Lets go of a lost leg that is not waited for any more.
    pub(super) fn let_go_of_lost(&mut self, id: CallId) {
        if let Some(at) = self.lost.iter().position(|leg| leg.id() == id) {
            self.lost.swap_remove(at);
            self.tell(id, Fact::LegGone(LegEnd::ByUs));
        }
    }
}
