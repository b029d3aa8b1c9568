//! The machine's part in legs that come back: a call whose leg is lost without a goodbye waits for it, whole.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns which connection the leg has, and since when it has none.
//! Never looks at the session: it may dial, resume and speak on meanwhile.
//! Invariant: what an older connection of the leg says is stale, and a call waits for its leg a limited time.

use std::time::Duration;

use super::Machine;
use crate::base::Instant;
use crate::call::events::{ConnectionNumber, LegEnd};
use crate::call::outcome::Cause;

/// How long a call waits after a goodbye: versions of mod_audio_stream up to 1.0.2 connect again after those too, within
/// milliseconds.
const AFTER_GOODBYE: Duration = Duration::from_millis(500);
/// A leg that is lost more often than this in one call is not waited for: something is broken that waiting does not heal.
const RETURNS_MAX: u64 = 1_000;

/// Where the leg stands.
#[derive(Debug)]
pub(super) struct Attachment {
    connection: ConnectionNumber,
    lost: Option<Lost>,
}

#[derive(Debug)]
struct Lost {
    end: LegEnd,
    since: Instant,
    until: Instant,
}

impl Default for Attachment {
    fn default() -> Self {
        Self { connection: 1, lost: None }
    }
}

impl Attachment {
    /// When the call gives the lost leg up.
    pub(super) fn given_up_at(&self) -> Option<Instant> {
        self.lost.as_ref().map(|lost| lost.until)
    }
}

impl Machine {
    /// Which connection of the leg the call has, or had last.
    pub fn leg_connection(&self) -> ConnectionNumber {
        self.attachment.connection
    }

    /// Whether a leg may take the call over now.
    pub fn takes_leg_back(&self) -> bool {
        !self.leg_gone && self.outcome.is_none()
    }

    /// Whether the leg is gone after a goodbye, and its call is held for a moment in case that it comes back.
    pub fn is_held(&self) -> bool {
        self.attachment.lost.as_ref().is_some_and(|lost| lost.end.is_goodbye())
    }

    /// A connection of the leg was lost, or closed with a goodbye after which it may come back.
    pub(super) fn leg_lost(&mut self, now: Instant, connection: ConnectionNumber, end: LegEnd) {
        let stale = connection != self.attachment.connection || self.attachment.lost.is_some();
        if stale || !self.takes_leg_back() {
            return;
        }
        self.leg_gone_under_commands(&end);
        match self.waits_for_leg(&end) {
            _ if self.outcome.is_some() => {}
            None => self.close(Cause::Leg(end)),
            Some(wait) => {
                self.shared.note(if end.is_goodbye() { "leg_held" } else { "leg_lost" });
                let until = now.plus(wait);
                self.attachment.lost = Some(Lost { end, since: now, until });
            }
        }
    }

    /// How long a leg that ended so is waited for.
    fn waits_for_leg(&self, end: &LegEnd) -> Option<Duration> {
        let wait = self.shared.terms().detached;
        let lost = self.shared.fields.uuid.is_none() || self.hang_up_cause.is_some();
        if lost
            || !self.leg.traits().comes_back
            || wait.is_zero()
            || self.shared.counts.reattachments >= RETURNS_MAX
        {
            return None;
        }
        match end {
            end if end.is_goodbye() => Some(wait.min(AFTER_GOODBYE)),
            // What a switch says that is in trouble.
            LegEnd::Closed(_) | LegEnd::Dropped(_) | LegEnd::Silent => Some(wait),
            LegEnd::HungUp | LegEnd::Protocol(_) | LegEnd::ByUs => None,
        }
    }

    /// The leg is back on another connection; the one before, if it was still there, is dead.
    pub(super) fn leg_returned(&mut self, now: Instant) {
        if !self.takes_leg_back() {
            return;
        }
        self.attachment.connection = self.attachment.connection.wrapping_add(1);
        self.shared.counts.reattachments += 1;
        self.shared.note("leg_back");
        match self.attachment.lost.take() {
            Some(lost) => self.shared.counts.detached_ms += now.since_ms(lost.since),
            None => self.leg_gone_under_commands(&LegEnd::Silent),
        }
    }

    /// The lost leg does not come back.
    pub(super) fn replaced(&mut self) {
        if let Some(lost) = self.attachment.lost.take() {
            self.close(Cause::Leg(lost.end));
        }
    }

    /// The switch hung the channel up.
    pub(super) fn hung_up(&mut self, cause: String) {
        self.shared.note_of("hung_up", &cause);
        self.hang_up_cause = Some(cause);
        self.replaced();
    }

    /// Whether the call waits for its leg.
    pub(super) fn is_detached(&self) -> bool {
        self.attachment.lost.is_some() && self.takes_leg_back()
    }

    /// Gives a leg up that did not come back.
    pub(super) fn give_up_leg(&mut self, now: Instant) {
        if let Some(lost) = self.attachment.lost.take() {
            self.shared.counts.detached_ms += now.since_ms(lost.since);
            self.close(Cause::Leg(lost.end));
        }
    }
}
