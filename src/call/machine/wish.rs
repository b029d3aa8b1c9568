//! The model's wish to hang up or to transfer the call, which waits until the caller has heard what was said before it.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns what speaks for and against it.
//! Never ends a call while its caller speaks, or while the model may be about to answer what they said.
//! Invariant: a wish is carried out, withdrawn with a word to the model, or taken back by it; and that within a minute.

use std::time::Duration;

use super::ear::Playing;
use super::floor::ANSWER_WITHIN_MS;
use super::shared::Shared;
use crate::base::command::{Command, CommandKind};
use crate::base::{Instant, LegReport, LinkNumber};
use crate::call::events::Fact;
use crate::call::model::{Asked, ToolCall};
use crate::call::transcript::Speaker;

/// A wish is carried out after so long, whatever is heard: a model that took it for a caller's words would have answered
/// them, so it is noise, or a model that does not come to an end.
const WITHIN: Duration = Duration::from_secs(60);

/// How much later than the hangover is over a talkspurt's end may be told.
const TOLD_MS: u64 = 100;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) link: LinkNumber,
    pub(super) call: Box<ToolCall>,
    pub(super) command: Command,
    since: Instant,
    playing: Playing,
    /// What was said before it has been heard.
    heard: bool,
    /// The caller has begun to speak, or pressed a key, since the model said the last that it wants them to hear.
    caller_spoke: bool,
    /// Until when the model may begin to answer that.
    answer_by: Instant,
}

/// What becomes of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It waits.
    Waits,
    /// The caller goes on: the model may wish so again.
    Withdrawn,
    /// It is to be carried out.
    Due,
}

impl Wish {
    /// The model wishes the call's end, or to send the caller elsewhere.
    pub(super) fn new(shared: &Shared, link: LinkNumber, call: Box<ToolCall>, command: Command) -> Self {
        let now = shared.now;
        // Whoever speaks while the model does says something new; else the wish is the answer to what they say.
        let caller_spoke = shared.floor.caller_speaks_anew() && shared.model_is_heard();
        let (playing, answer_by) = (Playing::new(now), now);
        Self { link, call, command, since: now, playing, heard: false, caller_spoke, answer_by }
    }

    /// The model calls again: where it wishes the call's end, or to send the caller elsewhere, it has heard what the caller
    /// said meanwhile, and stays with it.
    pub(super) fn is_repeated(&mut self, now: Instant, call: &ToolCall) {
        if wishes(call) {
            (self.caller_spoke, self.answer_by) = (false, now);
        }
    }

    /// Takes notice of what speaks against it, before the fact, which is of the present link if it is of any, changes anything
    /// else. Returns whether the caller goes on, so that it is withdrawn.
    pub(super) fn take(&mut self, shared: &Shared, fact: &Fact) -> bool {
        let (now, terms) = (shared.now, shared.terms());
        match fact {
            Fact::CallerSpoke(begins) => {
                let hangover_ms = u64::from(terms.turns.listen.hangover_ms);
                // What ends now was spoken until a hangover ago.
                self.caller_spoke |= *begins || now.since_ms(self.since) > hangover_ms + TOLD_MS;
                if self.caller_spoke {
                    self.answer_by = now.plus_ms(ANSWER_WITHIN_MS);
                }
                false
            }
            Fact::Reported(LegReport::Dtmf(_)) | Fact::KeyOnEventSocket(_) if terms.control.tell_keys => {
                self.caller_spoke = true;
                self.answer_by = now.plus(terms.control.digits.pause).plus_ms(ANSWER_WITHIN_MS);
                false
            }
            Fact::Transcribed(_, Speaker::Caller, _) => {
                if self.caller_spoke {
                    // It was understood, and what was understood is answered.
                    self.answer_by = now.plus_ms(ANSWER_WITHIN_MS);
                }
                false
            }
            Fact::Interrupted(_) => true,
            // The model answers the caller. Without a word of theirs it is the goodbye that goes on.
            Fact::TurnStarted(_) | Fact::InProgress(_, true) => self.caller_spoke,
            Fact::ToolCalled(_, call) => self.caller_spoke && !wishes(call),
            _ => false,
        }
    }

    /// When to look at what was played.
    pub(super) fn look_at(&self) -> Instant {
        self.playing.look_at()
    }

    /// So many samples have been handed to the switch so far, which the caller has heard unless they are `unheard`.
    pub(super) fn played(&mut self, shared: &Shared, samples: u64, unheard: bool) -> Fate {
        let now = shared.now;
        // A server that does not end a turn in between: what is said now that the goodbye was heard answers the caller.
        let goes_on = self.heard && self.caller_spoke && self.playing.has_more(samples);
        let heard = self.playing.is_over(now, samples, unheard);
        self.heard |= heard;
        let answered = !shared.floor.caller_speaks() && now >= self.answer_by;
        if goes_on {
            Fate::Withdrawn
        } else if heard && answered || now.since(self.since) >= WITHIN {
            Fate::Due
        } else {
            Fate::Waits
        }
    }

    /// What the model is told of a wish that is withdrawn.
    pub(super) fn why_withdrawn(&self) -> String {
        let done = if self.command.kind() == CommandKind::Transfer { "transferred" } else { "ended" };
        format!(
            "the call was not {done}, because the caller went on speaking. Answer what they say; if it was only a goodbye, or \
             when there is nothing left to say, call {} again",
            self.call.name
        )
    }
}

/// Whether a call of the model wishes the end of the telephone call, or to send the caller elsewhere.
fn wishes(call: &ToolCall) -> bool {
    matches!(&call.asked, Ok(Asked::Command(command)) if command.kind().ends_the_call())
}
