//! Turns that go wrong: it notices that an answer does not come, and heals step by step.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns what the caller waits for, and since when.
//! Never acts while the caller speaks or hears the model, a tool is under way, or there is no live link; nor while the model
//! says that it is at work, for a limit of its own.
//! Invariant: each step is taken once until the model speaks again or calls a tool, which ends the waiting.

use super::shared::Shared;
use crate::base::Instant;
use crate::call::events::Fact;
use crate::call::transcript::Speaker;

/// A talkspurt with less speech is no utterance: the shortest "yes" is longer.
const UTTERANCE_MS: u64 = 150;
/// A talkspurt is told of when it has lasted for so long.
const ONSET_MS: u64 = 60;
/// How much more patient it becomes at most where the model had heard nothing that needed an answer: noise that was taken for
/// speech must not make it ask again and again.
const DOUBLINGS_MAX: u32 = 3;
/// What the model is told. It knows better than we whether there is anything to answer.
pub(super) const NUDGE: &str = "The caller is waiting in silence. If they said something that you have not answered, answer it now; \
                     otherwise ask briefly whether they are still there.";

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Tell the server that the stream pauses, so that it takes what it has heard as a turn.
    Commit,
    /// Tell the model in words.
    Nudge,
    /// Resume the session on another link.
    Rotate,
    /// Begin another session, which is told what was said.
    Fresh,
    /// The model does not answer: the call is given up.
    GiveUp,
}

/// Somebody waits for the model.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    next: Step,
    /// Any step was taken.
    healing: bool,
    /// The model has understood something of what the caller said.
    heard: bool,
    /// The model has spoken, and promised more.
    promised: bool,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    waiting: Option<Waiting>,
    /// Since when the caller says something that needs an answer.
    utterance_since: Option<Instant>,
    /// In the present turn of the model there was a reason to be silent, or it has spoken.
    turn_has_meaning: bool,
    doublings: u32,
    /// A tool is under way.
    tools: bool,
}

impl Watchdog {
    /// Takes notice of a fact, which is of the present link if it is of any, before it changes anything else.
    pub(super) fn take(&mut self, shared: &mut Shared, fact: &Fact) {
        let now = shared.now;
        match fact {
            Fact::CallerSpoke(true) => {
                let beside = shared.model_is_heard() || self.tools || shared.session.live().is_none();
                self.utterance_since = (!beside).then_some(now);
            }
            Fact::CallerSpoke(false) => self.caller_stopped(shared),
            Fact::TurnStarted(_) | Fact::ToolCalled(..) | Fact::WaitsForInput(_) => {
                // What it waits for itself, it waits for with a good reason.
                self.turn_has_meaning = true;
                self.answered(shared);
            }
            Fact::Transcribed(_, Speaker::Caller, _) => {
                if let Some(waiting) = &mut self.waiting {
                    // It was not swallowed: to commit it is of no use, and the model may be thinking.
                    (waiting.heard, waiting.since) = (true, now);
                    waiting.next = waiting.next.max(Step::Nudge);
                }
            }
            Fact::Interrupted(_) => {
                (self.turn_has_meaning, self.utterance_since) = (true, None);
                // What the caller interrupts with is to be answered.
                self.wait(now, Step::Nudge);
            }
            Fact::InProgress(_, in_progress) => {
                self.progress(now, *in_progress, shared.floor.at_work().is_some());
            }
            Fact::TurnComplete(_) if shared.floor.at_work().is_some() => {
                let promised = self.waiting.is_none();
                self.wait(now, Step::Nudge).promised |= promised;
            }
            Fact::TurnComplete(_) => {
                let empty = !std::mem::take(&mut self.turn_has_meaning);
                if empty && !self.tools {
                    shared.counts.empty_turns += 1;
                    shared.note("empty_turn");
                    self.wait(now, Step::Nudge);
                }
            }
            _ => {}
        }
    }

    /// Somebody begins to wait for the model, or waits anew.
    fn wait(&mut self, now: Instant, next: Step) -> &mut Waiting {
        let new = Waiting { since: now, next, healing: false, heard: false, promised: false };
        let waiting = self.waiting.get_or_insert(new);
        waiting.since = now;
        waiting.next = waiting.next.max(next);
        waiting
    }

    /// Somebody waits for the model to speak by itself: it is to greet the caller.
    pub(super) fn expect(&mut self, now: Instant) {
        self.wait(now, Step::Nudge);
    }

    /// Since when somebody waits for the model, or waits anew.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.since)
    }

    /// A link is live: what was waited for on an older one is waited for on this one, from now on.
    pub(super) fn wait_anew(&mut self, now: Instant) {
        if let Some(waiting) = &mut self.waiting {
            waiting.since = now;
        }
    }

    /// Behind everything that happens: whether a tool is under way. Behind the last one the model is to speak, unless that was
    /// answered silently; and what it owed on a link that was left, it owes on the next.
    pub(super) fn settle(&mut self, shared: &mut Shared, tools: bool, silently: impl FnOnce() -> bool) {
        if std::mem::replace(&mut self.tools, tools) && !tools {
            if silently() {
                self.turn_has_meaning = true;
            } else {
                self.expect(shared.now);
            }
        }
        if shared.floor.take_owed() {
            self.expect(shared.now);
        }
    }

    /// The model says that it is at work, or not any more.
    fn progress(&mut self, now: Instant, in_progress: bool, before: bool) {
        let Some(waiting) = &mut self.waiting else { return };
        if in_progress {
            // It has heard what it works on.
            (waiting.heard, waiting.since) = (true, now);
            waiting.next = waiting.next.max(Step::Nudge);
        } else if before {
            waiting.since = now;
            // What it said was all that it promised.
            if waiting.promised && self.turn_has_meaning {
                self.waiting = None;
            }
        }
    }

    fn caller_stopped(&mut self, shared: &Shared) {
        let (now, turns) = (shared.now, &shared.terms().turns);
        let least_ms = UTTERANCE_MS + u64::from(turns.listen.hangover_ms);
        if self.utterance_since.take().is_some_and(|since| now.since_ms(since) + ONSET_MS >= least_ms) {
            let first = if turns.relay { Step::Nudge } else { Step::Commit };
            self.wait(now, first).promised = false;
        } else {
            self.wait_anew(now);
        }
    }

    /// The model does something.
    fn answered(&mut self, shared: &mut Shared) {
        self.utterance_since = None;
        let Some(waiting) = self.waiting.take() else { return };
        self.doublings = match waiting {
            Waiting { healing: false, .. } => 0,
            Waiting { heard: true, .. } => self.doublings,
            // A commit brought it: there was something to be answered.
            Waiting { next: Step::Nudge, .. } => self.doublings,
            _ => (self.doublings + 1).min(DOUBLINGS_MAX),
        };
        if waiting.healing {
            shared.counts.healed += 1;
            shared.note("watchdog_healed");
        }
    }

    /// When the next step is due on a live link; `None` while nobody waits, or it is not the model that is waited for.
    pub(super) fn deadline(&self, shared: &Shared) -> Option<Instant> {
        let turns = &shared.terms().turns;
        let patience = turns.answer_within?;
        // Nobody has heard the model while the relay had no processor.
        let heard_at = shared.ear.heard_at().max(shared.starved_until.unwrap_or_default());
        let floor = &shared.floor;
        if floor.caller_speaks() || self.tools {
            return None;
        }
        if let Some(since) = floor.at_work() {
            return Some(since.max(heard_at).plus(patience.max(turns.progress_within)));
        }
        if let Some(since) = floor.expects_more() {
            // The caller has heard all that came, and the rest does not come.
            return Some(since.max(heard_at).plus(patience));
        }
        let waiting = self.waiting.as_ref()?;
        let doublings = if waiting.next <= Step::Nudge { self.doublings } else { 0 };
        Some(waiting.since.max(heard_at).plus(patience.saturating_mul(1 << doublings)))
    }

    /// The time is over: says what is to be done, if somebody waits.
    pub(super) fn step(&mut self, shared: &mut Shared) -> Option<Step> {
        let now = shared.now;
        if shared.floor.at_work().is_some() {
            // It has not said for long that it still is.
            shared.note("progress_overdue");
            shared.floor.progress(now, false);
        }
        if shared.floor.stalls() {
            self.wait(now, Step::Nudge);
        }
        let waiting = self.waiting.as_mut()?;
        let step = waiting.next;
        (waiting.since, waiting.healing) = (now, true);
        let counts = &mut shared.counts;
        let (count, noted, next) = match step {
            Step::Commit => (&mut counts.commits, "watchdog_commit", Step::Nudge),
            Step::Nudge => (&mut counts.nudges, "watchdog_nudge", Step::Rotate),
            Step::Rotate => (&mut counts.watchdog_resumptions, "watchdog_resumption", Step::Fresh),
            Step::Fresh => (&mut counts.watchdog_sessions, "watchdog_session", Step::GiveUp),
            Step::GiveUp => {
                self.waiting = None;
                return Some(step);
            }
        };
        *count += 1;
        shared.note(noted);
        waiting.next = next;
        Some(step)
    }
}
