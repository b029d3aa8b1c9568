//! The machine's part in turns that go wrong: it notices that an answer does not come, and heals step by step.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns what the caller waits for, and since when.
//! Never acts while the caller speaks or hears the model, a tool is under way, or there is no live link; nor while the model
//! says that it is at work, for a limit of its own.
//! Invariant: each step is taken once until the model speaks again or calls a tool, which ends the waiting.

use super::Machine;
use crate::base::Instant;
use crate::call::events::{Fact, ModelOrder};
use crate::call::outcome::Cause;
use crate::call::transcript::Speaker;

/// A talkspurt with less speech is no utterance: the shortest "yes" is longer.
const UTTERANCE_MS: u64 = 150;
/// A talkspurt is told of when it has lasted for so long.
const ONSET_MS: u64 = 60;
/// How long after its last sound the caller still hears the model, on the way to their ear and back.
const ECHO_MS: u64 = 300;
/// How much more patient it becomes at most where the model had heard nothing that needed an answer: noise that was taken for
/// speech must not make it ask again and again.
const DOUBLINGS_MAX: u32 = 3;
/// What the model is told. It knows better than we whether there is anything to answer.
pub(super) const NUDGE: &str = "The caller is waiting in silence. If they said something that you have not answered, answer it now; \
                     otherwise ask briefly whether they are still there.";

/// What is done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
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
    caller_speaks: bool,
    /// Since when the caller says something that needs an answer.
    utterance_since: Option<Instant>,
    /// More of the model's audio will come.
    generating: bool,
    /// Since when.
    generating_since: Instant,
    /// When the model last said, or showed, that it is at work.
    at_work: Option<Instant>,
    /// In the present turn of the model there was a reason to be silent, or it has spoken.
    turn_has_meaning: bool,
    doublings: u32,
    /// A tool is under way.
    tools: bool,
    /// The result of a tool was given that the model is not to speak of.
    silent_answer: bool,
    /// When the caller has heard what was handed to the switch.
    heard_at: Instant,
}

impl Watchdog {
    /// The caller hears the model, or will in a moment.
    pub(super) fn model_is_heard(&self, now: Instant) -> bool {
        self.generating || now < self.heard_at.plus_ms(ECHO_MS)
    }

    /// When the caller will have heard what was handed to the switch.
    pub(super) fn heard_at(&self) -> Instant {
        self.heard_at
    }

    /// Somebody begins to wait for the model, or waits anew.
    fn wait(&mut self, now: Instant, next: Step) {
        let waiting = self.waiting.get_or_insert(Waiting {
            since: now,
            next,
            healing: false,
            heard: false,
            promised: false,
        });
        waiting.since = now;
        waiting.next = waiting.next.max(next);
    }

    /// Since when somebody waits for the model, or waits anew.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.waiting.as_ref().map(|waiting| waiting.since)
    }

    /// The link is left: what came on it comes no more, and what it still owed is owed by the next.
    pub(super) fn left(&mut self, now: Instant) {
        let owes = std::mem::take(&mut self.generating) | self.at_work.take().is_some();
        if owes {
            self.wait(now, Step::Nudge);
        }
    }

    /// The model says that it is at work, or not any more.
    fn progress(&mut self, now: Instant, in_progress: bool) {
        let before = std::mem::replace(&mut self.at_work, in_progress.then_some(now));
        let Some(waiting) = &mut self.waiting else { return };
        if in_progress {
            // It has heard what it works on.
            (waiting.heard, waiting.since) = (true, now);
            waiting.next = waiting.next.max(Step::Nudge);
        } else if before.is_some() {
            waiting.since = now;
            // What it said was all that it promised.
            if waiting.promised && self.turn_has_meaning {
                self.waiting = None;
            }
        }
    }

    /// The model does something. Returns whether that was our doing.
    fn answered(&mut self) -> bool {
        self.utterance_since = None;
        let Some(waiting) = self.waiting.take() else { return false };
        self.doublings = match waiting {
            Waiting { healing: false, .. } => 0,
            Waiting { heard: true, .. } => self.doublings,
            // A commit brought it: there was something to be answered.
            Waiting { next: Step::Nudge, .. } => self.doublings,
            _ => (self.doublings + 1).min(DOUBLINGS_MAX),
        };
        waiting.healing
    }
}

impl Machine {
    /// What was handed to the switch will have been heard at this time, as the dsp worker says.
    pub fn hears_until(&mut self, now: Instant, at: Instant) {
        // It may be a pause without an end in sight; whoever wants to know asks again.
        self.watchdog.heard_at = at.min(now.plus_ms(1_000));
        self.shared.now = now;
        self.settle();
    }

    /// Takes notice of a fact, before it changes anything else.
    pub(super) fn watch(&mut self, now: Instant, fact: &Fact) {
        let live = self.session.live();
        let tools = self.awaits_tools();
        let dog = &mut self.watchdog;
        if let Some(at_work) = &mut dog.at_work
            && matches!(fact, Fact::TurnStarted(_) | Fact::GenerationComplete(_) | Fact::TurnComplete(_))
        {
            *at_work = now;
        }
        match fact {
            Fact::CallerSpoke(true) => {
                dog.caller_speaks = true;
                let beside = dog.model_is_heard(now) || tools || live.is_none();
                dog.utterance_since = (!beside).then_some(now);
            }
            Fact::CallerSpoke(false) => self.caller_stopped(now),
            Fact::TurnStarted(link) if live == Some(*link) => {
                (dog.generating, dog.turn_has_meaning) = (true, true);
                dog.generating_since = now;
                self.model_answers();
            }
            Fact::GenerationComplete(link) if live == Some(*link) => dog.generating = false,
            Fact::Transcribed(link, Speaker::Caller, _) if live == Some(*link) => {
                if let Some(waiting) = &mut dog.waiting {
                    // It was not swallowed: to commit it is of no use, and the model may be thinking.
                    (waiting.heard, waiting.since) = (true, now);
                    waiting.next = waiting.next.max(Step::Nudge);
                }
            }
            Fact::ToolCalled(link, _) if live == Some(*link) => {
                dog.turn_has_meaning = true;
                self.model_answers();
            }
            Fact::Interrupted(link) if live == Some(*link) => {
                (dog.generating, dog.turn_has_meaning) = (false, true);
                (dog.utterance_since, dog.at_work) = (None, None);
                // What the caller interrupts with is to be answered.
                dog.wait(now, Step::Nudge);
            }
            Fact::InProgress(link, in_progress) if live == Some(*link) => dog.progress(now, *in_progress),
            Fact::WaitsForInput(link) if live == Some(*link) => {
                // It is the model that waits, and for a good reason.
                dog.turn_has_meaning = true;
                self.model_answers();
            }
            Fact::TurnComplete(link) if live == Some(*link) && dog.at_work.is_some() => {
                dog.generating = false;
                let promised = dog.waiting.is_none();
                dog.wait(now, Step::Nudge);
                dog.waiting.iter_mut().for_each(|waiting| waiting.promised |= promised);
            }
            Fact::TurnComplete(link) if live == Some(*link) => {
                dog.generating = false;
                let empty = !std::mem::take(&mut dog.turn_has_meaning);
                if empty && !tools {
                    self.shared.counts.empty_turns += 1;
                    self.shared.note("empty_turn");
                    dog.wait(now, Step::Nudge);
                }
            }
            _ => {}
        }
    }

    fn caller_stopped(&mut self, now: Instant) {
        let hangover_ms = u64::from(self.shared.agent.terms.turns.listen.hangover_ms);
        let first = if self.shared.agent.terms.turns.relay { Step::Nudge } else { Step::Commit };
        let dog = &mut self.watchdog;
        dog.caller_speaks = false;
        let spoken = dog.utterance_since.take();
        if spoken.is_some_and(|since| now.since_ms(since) + ONSET_MS >= UTTERANCE_MS + hangover_ms) {
            dog.wait(now, first);
            dog.waiting.iter_mut().for_each(|waiting| waiting.promised = false);
        } else if let Some(waiting) = &mut dog.waiting {
            waiting.since = now;
        }
    }

    /// The model says that it is at work, or not any more: the exchange is open as long.
    pub(super) fn progress(&mut self, now: Instant, in_progress: bool) {
        let open = self.links.exchange.progress(now, in_progress);
        // Its silence is not that of a call in which nobody has anything to say.
        self.model_is_heard(now, open);
    }

    fn model_answers(&mut self) {
        if self.watchdog.answered() {
            self.shared.counts.healed += 1;
            self.shared.note("watchdog_healed");
        }
    }

    /// The model was asked to greet the caller.
    pub(super) fn greeting_is_due(&mut self, now: Instant) {
        self.watchdog.wait(now, Step::Nudge);
    }

    /// The model is given the result of a tool that it is not to speak of.
    pub(super) fn answers_silently(&mut self) {
        self.watchdog.silent_answer = true;
    }

    /// Notices that the last tool was answered.
    pub(super) fn watch_tools(&mut self, now: Instant) {
        let tools = self.awaits_tools();
        let dog = &mut self.watchdog;
        if dog.tools && !tools {
            if std::mem::take(&mut dog.silent_answer) {
                dog.turn_has_meaning = true;
            } else {
                dog.wait(now, Step::Nudge);
            }
        }
        dog.tools = tools;
    }

    /// A link is live: what was waited for on an older one is waited for on this one, from now on.
    pub(super) fn wait_anew(&mut self, now: Instant) {
        if let Some(waiting) = &mut self.watchdog.waiting {
            waiting.since = now;
        }
    }

    /// When the next step is due; `None` while nobody waits, or it is not the model that is waited for.
    pub(super) fn watchdog_deadline(&self) -> Option<Instant> {
        let patience = self.shared.agent.terms.turns.answer_within?;
        let dog = &self.watchdog;
        let waits = !dog.caller_speaks && !self.awaits_tools();
        if !waits || self.session.live().is_none() || self.outcome.is_some() {
            return None;
        }
        if let Some(since) = dog.at_work {
            let patience = patience.max(self.shared.agent.terms.turns.progress_within);
            return Some(since.max(dog.heard_at).plus(patience));
        }
        if dog.generating {
            // The caller has heard all that came, and the rest does not come.
            return Some(dog.generating_since.max(dog.heard_at).plus(patience));
        }
        let waiting = dog.waiting.as_ref()?;
        let doublings = if waiting.next <= Step::Nudge { dog.doublings } else { 0 };
        Some(waiting.since.max(dog.heard_at).plus(patience.saturating_mul(1 << doublings)))
    }

    /// Takes the next step.
    pub(super) fn heal(&mut self, now: Instant) {
        if self.watchdog.at_work.take().is_some() {
            // It has not said for long that it still is.
            self.shared.note("progress_overdue");
            self.progress(now, false);
        }
        if std::mem::take(&mut self.watchdog.generating) {
            self.watchdog.wait(now, Step::Nudge);
        }
        let (Some(link), Some(waiting)) = (self.session.live(), &mut self.watchdog.waiting) else { return };
        let step = waiting.next;
        (waiting.since, waiting.healing) = (now, true);
        match step {
            Step::Commit => {
                waiting.next = Step::Nudge;
                self.shared.counts.commits += 1;
                self.shared.note("watchdog_commit");
                self.shared.order_model(ModelOrder::Commit(link));
            }
            Step::Nudge => {
                waiting.next = Step::Rotate;
                self.shared.counts.nudges += 1;
                self.shared.note("watchdog_nudge");
                self.prompt(now, NUDGE.to_owned());
            }
            Step::Rotate => {
                waiting.next = Step::Fresh;
                self.shared.counts.watchdog_resumptions += 1;
                self.shared.note("watchdog_resumption");
                self.leave(now);
            }
            Step::Fresh => {
                waiting.next = Step::GiveUp;
                self.shared.counts.watchdog_sessions += 1;
                self.shared.note("watchdog_session");
                self.fresh(now);
            }
            Step::GiveUp => {
                self.watchdog.waiting = None;
                self.give_up(now, Cause::ModelSilent);
            }
        }
    }
}
