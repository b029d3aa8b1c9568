//! What happened in a call, counted for its record and its line in the log.
//!
//! Runs in: anywhere: pure. Owns plain numbers.
//! Invariant: only grows.

use crate::call::model::{LinkEndKind, Tokens};
use crate::call::outcome::Cause;

/// What happened in a call, counted for its record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallEvents {
    /// Turns in which the model spoke.
    pub turns: u64,
    /// Times that the caller heard silence because speech came too late for the switch's player, as the switch says.
    pub switch_gaps: u64,
    /// Milliseconds of those.
    pub switch_gap_ms: u64,
    /// Times that the caller interrupted.
    pub interruptions: u64,
    /// Tokens that are billed.
    pub tokens: Tokens,
    /// Keys that the caller pressed.
    pub keys: u64,
    /// Commands that the switch carried out.
    pub commands_done: u64,
    /// Commands that were refused, failed or were never confirmed.
    pub commands_failed: u64,
    /// Calls of tools by the model.
    pub tools_called: u64,
    /// Of them, those that repeated one before and were answered by it.
    pub tools_repeated: u64,
    /// Of them, those that came too often and were refused.
    pub tools_refused: u64,
    /// Calls of tools that were answered with an error, but for those that timed out.
    pub tools_failed: u64,
    /// Calls of tools that had no result in time.
    pub tools_timed_out: u64,
    /// Calls of tools that the model took back.
    pub tools_cancelled: u64,
    /// Turns of the model that were complete without a word, for no reason that is known.
    pub empty_turns: u64,
    /// Times that the server was told to take what it had heard as a turn, because no answer came.
    pub commits: u64,
    /// Times that the model was told in words that the caller waits.
    pub nudges: u64,
    /// Times that a link was left because the model did not answer.
    pub watchdog_resumptions: u64,
    /// Times that the conversation was begun anew because the model did not answer.
    pub watchdog_sessions: u64,
    /// Times that the model answered after such a step.
    pub healed: u64,
    /// Times that the server announced the end of a link.
    pub go_aways: u64,
    /// Links that went on with the conversation.
    pub resumptions: u64,
    /// Links with a new conversation, told of the old one.
    pub fresh_sessions: u64,
    /// Links that did not come about: not connected, or their setup not accepted.
    pub failed_attempts: u64,
    /// The longest time without a link in the call, in milliseconds.
    pub gap_ms_max: u64,
    /// All times without a link together, in milliseconds.
    pub gap_ms_total: u64,
    /// Times that a leg came back, or took over from one that was dead.
    pub reattachments: u64,
    /// Milliseconds for which the call had no leg.
    pub detached_ms: u64,
    /// Answers in the middle of which a link was lost.
    pub broken_off: u64,
    /// There was no use in another link.
    pub given_up: bool,
    link_ends: [u16; LinkEndKind::ALL.len()],
}

impl CallEvents {
    /// Notes how a link ended that we did not close.
    pub(super) fn link_failed(&mut self, cause: &Cause) {
        if let Cause::Link(end) = cause
            && let Some(count) = self.link_ends.get_mut(end.kind as usize)
        {
            *count = count.saturating_add(1);
        }
    }

    /// How links ended that we did not close, and how often, without those that never happened.
    pub fn link_ends(&self) -> impl Iterator<Item = (LinkEndKind, u16)> {
        LinkEndKind::ALL.into_iter().zip(self.link_ends).filter(|(_, count)| *count > 0)
    }
}
