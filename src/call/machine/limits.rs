//! The machine's part in the limits of an agent: tokens, and silence.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the sum of the tokens, and since when nothing was said.
//! Invariant: silence is counted while the model is ready and neither side speaks, and at no other time.

use std::time::Duration;

use super::{Machine, Phase};
use crate::base::Instant;
use crate::call::outcome::Cause;

/// How much a call may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Tokens, those of each turn's context and answer added up.
    pub tokens: Option<u64>,
    /// How long neither side says anything.
    pub silence: Option<Duration>,
}

/// How much a call has had.
#[derive(Debug, Default)]
pub(super) struct Spent {
    tokens: u64,
    caller_speaks: bool,
    model_speaks: bool,
    /// Since when nobody speaks; `None` while somebody does, and before the model is ready.
    quiet_since: Option<Instant>,
}

impl Machine {
    /// The server counts a turn's tokens.
    pub(super) fn tokens_used(&mut self, prompt: u64, response: u64) {
        self.spent.tokens = self.spent.tokens.saturating_add(prompt).saturating_add(response);
        if self.agent.terms.limits.tokens.is_some_and(|limit| self.spent.tokens >= limit) {
            self.close(Cause::TokenLimit);
        }
    }

    /// The caller began or ended a talkspurt, or pressed a key, which is both.
    pub(super) fn caller_is_heard(&mut self, now: Instant, speaks: bool) {
        self.spent.caller_speaks = speaks;
        self.spent.quiet_since = self.spent.quiet_since.map(|_| now);
    }

    /// The model began or ended a turn.
    pub(super) fn model_is_heard(&mut self, now: Instant, speaks: bool) {
        self.spent.model_speaks = speaks;
        self.spent.quiet_since = Some(now);
    }

    /// When the caller has been silent for too long.
    pub(super) fn silence_deadline(&self) -> Option<Instant> {
        let quiet = self.phase == Phase::Live && !self.spent.caller_speaks && !self.spent.model_speaks;
        let since = self.spent.quiet_since.filter(|_| quiet && self.outcome.is_none())?;
        Some(since.plus(self.agent.terms.limits.silence?))
    }

    /// Ends the call if it was quiet for too long.
    pub(super) fn tick_limits(&mut self, now: Instant) {
        if self.silence_deadline().is_some_and(|deadline| now >= deadline) {
            self.close(Cause::CallerSilent);
        }
    }
}
