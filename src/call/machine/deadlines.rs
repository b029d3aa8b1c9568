//! When a call wants to be looked at again: one point in time for each reason there is.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the points in time.
//! Never decides one: whoever knows says it, after everything that happens to the call.
//! Invariant: a reason has one deadline or none, and the first of them all is the machine's.

use crate::base::Instant;

/// What is due then, in the order in which it is done where several things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// A command was not answered in time.
    Command,
    /// A tool has no result in time, or the model can be told one that it was not told.
    Tool,
    /// What was heard besides the caller's audio is complete.
    Heard,
    /// Who answers is to be decided.
    Offered,
    /// Nobody has said anything for too long.
    Silence,
    /// The lost leg does not come back.
    Leg,
    /// The call has lasted for as long as it may.
    MaxCall,
    /// What the session's link waits for.
    Link,
    /// The greeting may have been heard.
    Greeting,
    /// The announcement of a recording was heard.
    Announcement,
    /// The caller has heard nothing for too long of a model that waits for a tool.
    Earcon,
    /// The model's answer does not come.
    Answer,
    /// The leg may be sent to another relay.
    SendAway,
    /// How much was played is to be told ([`super::Machine::wants_played`]).
    Played,
}

impl Timer {
    /// All of them.
    pub(super) const ALL: [Self; 14] = [
        Self::Command,
        Self::Tool,
        Self::Heard,
        Self::Offered,
        Self::Silence,
        Self::Leg,
        Self::MaxCall,
        Self::Link,
        Self::Greeting,
        Self::Announcement,
        Self::Earcon,
        Self::Answer,
        Self::SendAway,
        Self::Played,
    ];
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Deadlines([Option<Instant>; Timer::ALL.len()]);

impl Deadlines {
    /// Sets a timer, or clears it.
    pub(super) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        self.0[timer as usize] = at;
    }

    /// Whether this one is due.
    pub(super) fn is_due(&self, timer: Timer, now: Instant) -> bool {
        self.0[timer as usize].is_some_and(|at| now >= at)
    }

    /// When the first one is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }
}
