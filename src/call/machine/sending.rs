//! A leg that is sent to another relay because this one is to end: it is closed at a pause, with a code after which whoever
//! connected it connects it again.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns whether it is to be, and was.
//! Never sends a leg away of which nobody is known to connect it again, nor while a tool, a command or the goodbye is under way.
//! Invariant: a leg is sent away once for each time that it is wanted, so that one that comes back, because there is no other
//! relay, stays.

use std::time::Duration;

use super::Machine;
use crate::base::Instant;
use crate::call::events::{LegOrder, Order};
use crate::call::leg::{LegClose, LegCloseCode};

/// In a call that never pauses for so long, it is done in the middle of what is said.
const WITHIN: Duration = Duration::from_secs(60);

/// What the leg is told, and the dialplan that asks.
pub(crate) const SENT_AWAY: &str = "sent_away";

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) enum Sending {
    /// The leg stays.
    #[default]
    Stays,
    /// It is to be sent away, since then.
    Wanted(Instant),
    /// It was.
    Sent,
}

impl Sending {
    /// The leg is to be sent away, or not any more.
    pub(super) fn want(&mut self, now: Instant, wanted: bool) {
        match (wanted, &self) {
            (false, _) => *self = Self::Stays,
            (true, Self::Stays) => *self = Self::Wanted(now),
            (true, _) => {}
        }
    }
}

impl Machine {
    /// When the leg may be sent away, as things stand; `live` says whether the model hears the caller.
    pub(super) fn may_be_sent_at(&self, live: bool) -> Option<Instant> {
        let Sending::Wanted(since) = self.sending else { return None };
        let free = self.farewell.is_none() && !self.awaits_tools() && !self.is_heard_to_its_end();
        if !live || !free || !self.line.can_be_sent_away(&self.shared) {
            return None;
        }
        let pause = self.shared.floor.pause_at().map(|at| at.max(self.shared.ear.is_free_at()));
        let at_the_latest = since.plus(WITHIN);
        Some(pause.map_or(at_the_latest, |at| at.min(at_the_latest)).max(since))
    }

    /// Sends it.
    pub(super) fn send_away(&mut self) {
        self.sending = Sending::Sent;
        self.shared.note(SENT_AWAY);
        let close = LegClose::new(LegCloseCode::GoingAway, SENT_AWAY);
        self.shared.order(Order::Leg(LegOrder::SendAway(close)));
    }
}
