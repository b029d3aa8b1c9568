//! Who speaks and whose turn it is: both sides of a conversation, on the present link.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns who speaks and since when, and how far the model is with
//! its turn.
//! Invariant: an answer is under way from the model's first sound, call of a tool, or word that it is at work, until its turn is
//! complete and it says no more that it is at work.

use crate::base::Instant;
use crate::call::events::Fact;

/// How long behind a turn its handle may come.
const HANDLE_WITHIN_MS: u64 = 300;
/// How long the model may take to begin its answer; what it has not begun to answer by then needs none.
pub(super) const ANSWER_WITHIN_MS: u64 = 3_000;

/// Prompts that may wait for an answer.
const PROMPTS_MAX: usize = 8;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Floor {
    caller_speaks: bool,
    /// The caller has begun to speak since the model did.
    caller_spoke: bool,
    /// Since when the caller, or a prompt, may be waiting for an answer.
    asked_at: Option<Instant>,
    /// What the model was told and has not answered.
    prompts: Vec<String>,
    /// Since when the model generates: more of its audio will come.
    generating: Option<Instant>,
    /// It was waited for long enough.
    stalled: bool,
    /// The model's turn, in which it spoke, is not complete.
    speaks: bool,
    /// The model's turn, in which it called a tool, is not complete.
    calls: bool,
    /// When the model last said, or showed, that it is at work, whether or not a turn of it is complete.
    at_work: Option<Instant>,
    /// A link was left on which the model owed more than came.
    owes: bool,
    /// The turn is complete since then, and its handle has not come.
    over_at: Option<Instant>,
    /// Turns that are complete.
    turns: u64,
    /// When somebody last began or ended to speak; `None` before the model is ready.
    changed_at: Option<Instant>,
}

impl Floor {
    /// Takes notice of a fact, which is of the present link if it is of any.
    pub(super) fn take(&mut self, now: Instant, fact: &Fact) {
        match fact {
            Fact::CallerSpoke(begins) => {
                self.caller_speaks = *begins;
                self.caller_spoke |= *begins;
                // What ends without having begun since the model answers is the hangover of what it answers.
                self.asked_at = (!begins && self.caller_spoke).then_some(now);
                self.changed_at = self.changed_at.map(|_| now);
            }
            Fact::TurnStarted(_) => {
                (self.generating, self.stalled, self.speaks) = (Some(now), false, true);
                (self.over_at, self.asked_at, self.caller_spoke) = (None, None, false);
                self.prompts.clear();
                self.shows_work(now);
                self.changed_at = Some(now);
            }
            Fact::GenerationComplete(_) => {
                self.generating = None;
                self.shows_work(now);
            }
            Fact::ToolCalled(..) => self.calls = true,
            Fact::InProgress(_, in_progress) => self.progress(now, *in_progress),
            Fact::Interrupted(_) => {
                (self.generating, self.speaks, self.calls, self.at_work) = (None, false, false, None);
                self.caller_spoke |= self.caller_speaks;
                self.changed_at = Some(now);
            }
            Fact::TurnComplete(_) => {
                (self.generating, self.speaks, self.calls) = (None, false, false);
                self.shows_work(now);
                if self.at_work.is_none() {
                    self.over(now);
                }
                self.changed_at = Some(now);
            }
            _ => {}
        }
    }

    fn shows_work(&mut self, now: Instant) {
        self.at_work = self.at_work.map(|_| now);
    }

    fn over(&mut self, now: Instant) {
        self.over_at = Some(now);
        self.turns += 1;
    }

    /// The model is at work, or not any more.
    pub(super) fn progress(&mut self, now: Instant, in_progress: bool) {
        let before = std::mem::replace(&mut self.at_work, in_progress.then_some(now));
        if in_progress && before.is_none() {
            // It works on what the caller has said.
            self.caller_spoke = false;
        } else if before.is_some() && !self.is_open() {
            self.over(now);
        }
        self.changed_at = Some(now);
    }

    /// The model is ready, after it has heard nothing for so long.
    pub(super) fn ready(&mut self, now: Instant, gap_ms: u64) {
        self.changed_at = Some(self.changed_at.map_or(now, |at| at.plus_ms(gap_ms).min(now)));
    }

    /// The caller pressed a key, which is as good as a word.
    pub(super) fn key(&mut self, now: Instant) {
        self.changed_at = self.changed_at.map(|_| now);
    }

    /// The model is told something that it is to answer.
    pub(super) fn prompted(&mut self, now: Instant, text: &str) {
        self.asked_at = Some(now);
        if self.prompts.len() < PROMPTS_MAX {
            self.prompts.push(text.to_owned());
        }
    }

    /// What the model was told and has not answered.
    pub(super) fn take_prompts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.prompts)
    }

    /// The handle of the last turn has come.
    pub(super) fn handle_came(&mut self) {
        self.over_at = None;
    }

    /// What the model has not sent of its turn is not waited for any longer. Returns whether it was.
    pub(super) fn stalls(&mut self) -> bool {
        let expected = self.expects_more().is_some();
        self.stalled = true;
        expected
    }

    /// The link is left, on which something of the present answer may have been said. Returns whether that broke an answer off
    /// into which the caller has not spoken: that is what is to be answered then.
    pub(super) fn leave(&mut self, now: Instant, partly_said: bool) -> bool {
        let within = self.generating.is_some() || self.at_work.is_some() && partly_said;
        self.owes |= self.expects_more().is_some() || self.at_work.is_some();
        if self.model_speaks() {
            self.changed_at = Some(now);
        }
        (self.generating, self.speaks, self.calls) = (None, false, false);
        (self.at_work, self.over_at) = (None, None);
        within && !self.caller_spoke
    }

    /// Whether a link was left, since this was last asked, on which the model owed more than came.
    pub(super) fn take_owed(&mut self) -> bool {
        std::mem::take(&mut self.owes)
    }

    /// The caller speaks now.
    pub(super) fn caller_speaks(&self) -> bool {
        self.caller_speaks
    }

    /// The caller speaks now, and has begun to since the model did.
    pub(super) fn caller_speaks_anew(&self) -> bool {
        self.caller_speaks && self.caller_spoke
    }

    fn model_speaks(&self) -> bool {
        self.speaks || self.at_work.is_some()
    }

    /// Since when the model generates what is waited for.
    pub(super) fn expects_more(&self) -> Option<Instant> {
        self.generating.filter(|_| !self.stalled)
    }

    /// When the model last said, or showed, that it is at work, if it is.
    pub(super) fn at_work(&self) -> Option<Instant> {
        self.at_work
    }

    /// An answer is under way.
    pub(super) fn is_open(&self) -> bool {
        self.speaks || self.calls || self.at_work.is_some()
    }

    /// Turns that are complete.
    pub(super) fn turns(&self) -> u64 {
        self.turns
    }

    /// When somebody last began or ended to speak.
    pub(super) fn changed_at(&self) -> Instant {
        self.changed_at.unwrap_or_default()
    }

    /// Since when nobody speaks.
    pub(super) fn quiet_since(&self) -> Option<Instant> {
        self.changed_at.filter(|_| !self.caller_speaks && !self.model_speaks())
    }

    /// From when on nothing is under way, as far as can be said now.
    pub(super) fn pause_at(&self) -> Option<Instant> {
        if self.is_open() || self.generating.is_some() || self.caller_speaks {
            return None;
        }
        let handle = self.over_at.map(|at| at.plus_ms(HANDLE_WITHIN_MS));
        let answer = self.asked_at.map(|at| at.plus_ms(ANSWER_WITHIN_MS));
        Some(handle.max(answer).unwrap_or_default())
    }
}
