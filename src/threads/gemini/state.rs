//! What the server says of its own state, as facts.
//!
//! Runs in: the gemini thread: pure. Owns nothing.
//! Invariant: what a message says of the end of a turn is told ahead of that end.

use crate::base::LinkNumber;
use crate::call::Fact;
use crate::codec::gemini::server::{InteractionStatus, ServerMessage, TurnCompleteReason};

/// Tells what a message says. Returns whether the model is at work, if it says so.
pub(super) fn tell(
    link: LinkNumber,
    message: &ServerMessage<'_>,
    fact: &mut impl FnMut(Fact),
) -> Option<bool> {
    let (status, reason) = (&message.interaction_status, &message.turn_complete_reason);
    let in_progress = match status {
        Some(InteractionStatus::InProgress) => Some(true),
        Some(InteractionStatus::Idle | InteractionStatus::WaitingForInput) => Some(false),
        // What a newer server means by another word cannot be guessed.
        Some(InteractionStatus::Other(_)) | None => None,
    };
    if let Some(in_progress) = in_progress {
        fact(Fact::InProgress(link, in_progress));
    }
    let waits = message.waiting_for_input
        || *status == Some(InteractionStatus::WaitingForInput)
        || *reason == Some(TurnCompleteReason::NeedMoreInput);
    if waits {
        fact(Fact::WaitsForInput(link));
    }
    if let Some(reason) = reason.as_ref().filter(|_| message.turn_complete) {
        fact(Fact::TurnEndedBy(link, reason.label()));
    }
    in_progress
}
