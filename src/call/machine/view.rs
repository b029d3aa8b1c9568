//! What may be seen of a call from outside its machine.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns nothing. Never changes anything.
//! Invariant: looking twice at one time shows the same.

use super::{CallEvents, Machine, Phase};
use crate::base::Instant;
use crate::call::agent::Agent;
use crate::call::leg::CallFields;
use crate::call::transcript::Transcript;

impl Machine {
    /// The phase. A call without a leg is [`Phase::Detached`] whatever its session does meanwhile.
    pub fn phase(&self) -> Phase {
        if self.detached_deadline().is_some() { Phase::Detached } else { self.phase }
    }

    /// Who answers.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// What is known of the call's identity.
    pub fn fields(&self) -> &CallFields {
        &self.fields
    }

    /// What was said so far.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// What was counted.
    pub fn events(&self) -> CallEvents {
        self.events
    }

    /// When the call was admitted.
    pub fn offered_at(&self) -> Instant {
        self.offered_at
    }

    /// When the model was first ready, if it ever was.
    pub fn answered_at(&self) -> Option<Instant> {
        self.answered_at
    }

    /// Whether there is a link whose setup was accepted: speech flows now.
    pub fn has_live_link(&self) -> bool {
        self.session.live().is_some()
    }

    /// With which cause the switch hung up, where the event socket said so.
    pub fn hang_up_cause(&self) -> Option<&str> {
        self.hang_up_cause.as_deref()
    }
}
