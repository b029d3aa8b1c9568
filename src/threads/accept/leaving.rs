//! The end of the door: refusing all that comes, or leaving it to the next relay.
//!
//! Runs in: the accept thread. Owns nothing. Never closes the door of its own: whoever comes is told that the relay ends.
//! Invariant: a connection that was accepted from an inherited socket is answered as ever, and one that was not is left in
//! the queue for whoever is given the socket next, so that neither is refused because a relay ends.

use log::warn;

use super::Acceptor;
use crate::threads::messages::{ControlInput, Drain};

impl Acceptor {
    /// Takes no new calls any more; those that there are may finish. `None`: takes them again, which a relay whose sockets
    /// were left to others is not asked for.
    pub(super) fn drain(&mut self, drain: Option<Drain>) {
        self.leaving = drain;
        if drain.is_none() {
            self.parts.control.send(ControlInput::Drain(None));
        } else if self.parts.inherited {
            for listener in self.parts.listeners.drain(..) {
                if let Err(problem) = listener.leave(self.parts.poll.registry()) {
                    warn!("a listening socket cannot be left to the next relay: {problem}");
                }
            }
        }
    }

    /// Has control end once it cannot be offered a call any more that was accepted before.
    pub(super) fn leave(&mut self) {
        let done =
            !self.parts.inherited || self.handshakes.iter().all(|(_, handshake)| handshake.is_refused());
        if let Some(drain) = self.leaving.take_if(|_| done) {
            self.parts.control.send(ControlInput::Drain(Some(drain)));
        }
    }
}
