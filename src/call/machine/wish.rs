//! The machine's part in the model's wish to hang up or to transfer the call, which waits until the caller has heard what
//! was said before it.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns that wish, and how far playout was when last told.
//! Never ends a call while its caller speaks, or while the model may be about to answer what they said.
//! Invariant: a wish is carried out, withdrawn with a word to the model, or taken back by it; and that within a minute.

use std::time::Duration;

use super::ear::Playing;
use super::floor::ANSWER_WITHIN_MS;
use super::{Machine, Phase, Timer};
use crate::base::command::{Command, CommandKind};
use crate::base::{Instant, LegReport, LinkNumber};
use crate::call::commands::Requester;
use crate::call::events::Fact;
use crate::call::model::{Asked, ToolCall};
use crate::call::tool::ToolFailure;
use crate::call::transcript::Speaker;

/// A wish is carried out after so long, whatever is heard: a model that took it for a caller's words would have answered
/// them, so it is noise, or a model that does not come to an end.
const WITHIN: Duration = Duration::from_secs(60);

/// How much later than the hangover is over a talkspurt's end may be told.
const TOLD_MS: u64 = 100;

/// A wish that waits.
#[derive(Debug)]
pub(super) struct Wish {
    link: LinkNumber,
    call: Box<ToolCall>,
    command: Command,
    since: Instant,
    playing: Playing,
    /// What was said before it has been heard.
    heard: bool,
    /// The caller has begun to speak, or pressed a key, since the model said the last that it wants them to hear.
    caller_spoke: bool,
    /// Until when the model may begin to answer that.
    answer_by: Instant,
}

impl Machine {
    /// The model wishes the call's end, or to send the caller elsewhere.
    pub(super) fn wish(&mut self, now: Instant, link: LinkNumber, call: Box<ToolCall>, command: Command) {
        if self.wish.is_some() {
            self.wish_stays(now, &call);
            let why = "the call is being ended or transferred already".to_owned();
            return self.answer_call(link, call, Err(ToolFailure::NotAsked(why)));
        }
        self.tools.ledger.begin(link, call.clone(), None, None);
        // Whoever speaks while the model does says something new; else the wish is the answer to what they say.
        let caller_spoke = self.shared.floor.caller_speaks_anew() && self.shared.model_is_heard();
        let (playing, answer_by) = (Playing::new(now), now);
        self.wish =
            Some(Wish { link, call, command, since: now, playing, heard: false, caller_spoke, answer_by });
    }

    /// The model calls again: where it wishes the call's end, or to send the caller elsewhere, it has heard what the caller
    /// said meanwhile, and stays with it.
    pub(super) fn wish_stays(&mut self, now: Instant, call: &ToolCall) {
        let wishes = matches!(&call.asked, Ok(Asked::Command(command)) if command.kind().ends_the_call());
        if let Some(wish) = self.wish.as_mut().filter(|_| wishes) {
            (wish.caller_spoke, wish.answer_by) = (false, now);
        }
    }

    /// Whether a wish waits.
    pub(super) fn has_wish(&self) -> bool {
        self.wish.is_some()
    }

    /// The model takes back what it asked for with such a call.
    pub(super) fn wish_cancelled(&mut self, call: &ToolCall) {
        _ = self.wish.take_if(|wish| wish.call.asks_the_same(call));
    }

    /// Notices what speaks against the wish, before the fact changes anything else.
    pub(super) fn watch_wish(&mut self, now: Instant, fact: &Fact) {
        let live = self.session.live();
        let hangover_ms = u64::from(self.shared.agent.terms.turns.listen.hangover_ms);
        let keys = &self.shared.agent.terms.control;
        let Some(wish) = &mut self.wish else { return };
        let withdrawn = match fact {
            Fact::CallerSpoke(begins) => {
                // What ends now was spoken until a hangover ago.
                wish.caller_spoke |= *begins || now.since_ms(wish.since) > hangover_ms + TOLD_MS;
                if wish.caller_spoke {
                    wish.answer_by = now.plus_ms(ANSWER_WITHIN_MS);
                }
                false
            }
            Fact::Reported(LegReport::Dtmf(_)) | Fact::KeyOnEventSocket(_) if keys.tell_keys => {
                wish.caller_spoke = true;
                wish.answer_by = now.plus(keys.digits.pause).plus_ms(ANSWER_WITHIN_MS);
                false
            }
            Fact::Transcribed(link, Speaker::Caller, _) if live == Some(*link) => {
                if wish.caller_spoke {
                    // It was understood, and what was understood is answered.
                    wish.answer_by = now.plus_ms(ANSWER_WITHIN_MS);
                }
                false
            }
            Fact::Interrupted(link) => live == Some(*link),
            // The model answers the caller. Without a word of theirs it is the goodbye that goes on.
            Fact::TurnStarted(link) | Fact::InProgress(link, true) => {
                live == Some(*link) && wish.caller_spoke
            }
            Fact::ToolCalled(link, call) => {
                let again =
                    matches!(&call.asked, Ok(Asked::Command(command)) if command.kind().ends_the_call());
                live == Some(*link) && wish.caller_spoke && !again
            }
            _ => false,
        };
        if withdrawn {
            self.withdraw_wish();
        }
    }

    /// The caller goes on: the model may wish so again.
    fn withdraw_wish(&mut self) {
        if let Some(wish) = self.wish.take() {
            let (name, done) = (&wish.call.name, done(wish.command.kind()));
            self.shared.note_of("tool_withdrawn", name);
            let why = format!(
                "the call was not {done}, because the caller went on speaking. Answer what they say; if it was only a \
                 goodbye, or when there is nothing left to say, call {name} again"
            );
            self.answer_tool(wish.link, &wish.call, Err(ToolFailure::Failed(why)));
        }
    }

    /// Whether [`Machine::played`] is wanted in the next pass.
    pub fn wants_played(&self, now: Instant) -> bool {
        self.deadlines.is_due(Timer::Played, now)
    }

    /// Playout, where something waits until the caller has heard it.
    pub(super) fn playing(&self) -> Option<&Playing> {
        let farewell = self.farewell.as_ref().and_then(|farewell| farewell.playing.as_ref());
        self.wish.as_ref().map(|wish| &wish.playing).or(farewell)
    }

    /// So many samples have been handed to the switch so far.
    pub fn played(&mut self, now: Instant, samples: u64) {
        self.shared.now = now;
        self.farewell_played(now, samples);
        self.wish_played(now, samples);
        self.settle();
    }

    fn wish_played(&mut self, now: Instant, samples: u64) {
        // What waits for a lost leg, or because playout pauses for the caller, has not been heard.
        let unheard = self.phase() == Phase::Detached || now < self.shared.ear.heard_at();
        let caller_speaks = self.shared.floor.caller_speaks();
        let Some(wish) = &mut self.wish else { return };
        // A server that does not end a turn in between: what is said now that the goodbye was heard answers the caller.
        let goes_on = wish.heard && wish.caller_spoke && wish.playing.has_more(samples);
        let heard = wish.playing.is_over(now, samples, unheard);
        wish.heard |= heard;
        let answered = !caller_speaks && now >= wish.answer_by;
        if goes_on {
            self.withdraw_wish();
        } else if (heard && answered || now.since(wish.since) >= WITHIN)
            && let Some(wish) = self.wish.take()
        {
            self.command(now, Requester::Model(wish.link, wish.call), wish.command);
        }
    }
}

fn done(kind: CommandKind) -> &'static str {
    if kind == CommandKind::Transfer { "transferred" } else { "ended" }
}
