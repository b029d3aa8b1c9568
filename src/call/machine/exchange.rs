//! What is under way between caller and model on the present link.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns whose turn it is, and what the model was told and has not
//! answered.
//! Invariant: an exchange is open from the model's first sound, or its word that it is at work, until its turn is complete
//! and it says no more that it is at work.

use crate::base::Instant;
use crate::call::transcript::Spoken;

/// How long behind a turn its handle may come.
const HANDLE_WITHIN_MS: u64 = 300;
/// How long the model may take to begin its answer; what it has not begun to answer by then needs none.
pub(super) const ANSWER_WITHIN_MS: u64 = 3_000;
/// Prompts that may wait for an answer.
const PROMPTS_MAX: usize = 8;

/// What is under way between caller and model.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// The model is speaking: more of its audio will come.
    generating: bool,
    /// The model's turn has begun and is not complete.
    open: bool,
    /// The model says that it is at work, whether or not a turn of it is complete.
    in_progress: bool,
    /// The turn is complete since then, and its handle has not come.
    over_at: Option<Instant>,
    caller_speaks: bool,
    /// The caller has begun to speak since the model did.
    caller_spoke: bool,
    /// Since when the caller, or a prompt, may be waiting for an answer.
    asked_at: Option<Instant>,
    /// What the model was told as text and has not answered.
    prompts: Vec<String>,
    /// Turns that are complete.
    turns: u64,
    /// How much of the present turn was received and waits, when last told.
    pub(super) spoken: Spoken,
}

impl Exchange {
    /// From when on nothing is under way, as far as can be said now.
    pub(super) fn pause_at(&self) -> Option<Instant> {
        if self.is_open() || self.generating || self.caller_speaks {
            return None;
        }
        let handle = self.over_at.map(|at| at.plus_ms(HANDLE_WITHIN_MS));
        let answer = self.asked_at.map(|at| at.plus_ms(ANSWER_WITHIN_MS));
        Some(handle.max(answer).unwrap_or_default())
    }

    /// The caller speaks now.
    pub(super) fn caller_speaks(&self) -> bool {
        self.caller_speaks
    }

    /// The caller speaks now, and has begun to since the model did.
    pub(super) fn caller_speaks_anew(&self) -> bool {
        self.caller_speaks && self.caller_spoke
    }

    /// The model says that it is at work.
    pub(super) fn is_in_progress(&self) -> bool {
        self.in_progress
    }

    /// An answer is under way.
    pub(super) fn is_open(&self) -> bool {
        self.open || self.in_progress
    }

    /// Turns that are complete.
    pub(super) fn turns(&self) -> u64 {
        self.turns
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

    /// The link is left. Returns whether that broke an answer off: the model was speaking, or still at work on an answer of
    /// which something had been said, and the caller has not begun to speak since, which is what is to be answered then.
    pub(super) fn left(&mut self, partly_said: bool) -> bool {
        let within = self.generating || self.in_progress && partly_said;
        (self.generating, self.open, self.in_progress, self.over_at) = (false, false, false, None);
        within && !self.caller_spoke
    }

    pub(super) fn turn_started(&mut self) {
        *self = Self {
            generating: true,
            open: true,
            in_progress: self.in_progress,
            caller_speaks: self.caller_speaks,
            turns: self.turns,
            ..Self::default()
        };
    }

    pub(super) fn generation_complete(&mut self) {
        self.generating = false;
    }

    pub(super) fn tool_called(&mut self) {
        self.open = true;
    }

    pub(super) fn interrupted(&mut self) {
        (self.generating, self.open, self.in_progress) = (false, false, false);
        self.caller_spoke |= self.caller_speaks;
    }

    pub(super) fn turn_complete(&mut self, now: Instant) {
        (self.generating, self.open) = (false, false);
        if !self.in_progress {
            self.over(now);
        }
    }

    /// The model says that it is at work, or not any more. Returns whether an answer is under way.
    pub(super) fn progress(&mut self, now: Instant, in_progress: bool) -> bool {
        let before = std::mem::replace(&mut self.in_progress, in_progress);
        if in_progress && !before {
            // It works on what the caller has said.
            self.caller_spoke = false;
        } else if before && !self.is_open() {
            self.over(now);
        }
        self.is_open()
    }

    fn over(&mut self, now: Instant) {
        self.over_at = Some(now);
        self.turns += 1;
    }

    pub(super) fn caller_spoke(&mut self, now: Instant, begins: bool) {
        self.caller_speaks = begins;
        self.caller_spoke |= begins;
        // What ends without having begun since the model answers is the hangover of what it answers.
        self.asked_at = (!begins && self.caller_spoke).then_some(now);
    }
}
