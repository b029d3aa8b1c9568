//! The machine of one call: facts and a time in, orders and a next deadline out.
//!
//! Runs in: the control thread, and tests in virtual time: pure. Owns the parts that know what a call is made of, each with
//! private state, and composes them: here, and for what is asked for and for the end in two files beside.
//! Never opens a socket, reads a clock or blocks.
//! Invariant: whatever the facts and their order, the machine closes leg and link, retires both media parts, and then
//! finishes exactly once with the outcome of what ended the call first.

use std::sync::Arc;

use crate::base::{Instant, LinkNumber};
use crate::call::agent::Agent;
use crate::call::events::{Fact, ModelOrder, Order, WorkerOrder};
use crate::call::leg::CallFields;
use crate::call::outcome::{Cause, Outcome};
use crate::dsp::ListenTerms;

mod asked;
mod conversation;
mod counts;
mod deadlines;
mod ear;
mod earcon;
mod ending;
mod farewell;
mod floor;
mod greeting;
mod history;
mod holds;
mod keys;
mod ledger;
mod line;
mod recording;
mod sending;
mod shared;
mod tools;
mod view;
mod watchdog;
mod wish;

#[cfg(test)]
mod tests;

use conversation::Conversation;
pub use counts::CallEvents;
use deadlines::{Deadlines, Timer};
use earcon::Earcon;
use farewell::Farewell;
use greeting::Greeting;
use holds::{HoldReason, Holds};
use keys::Keys;
use line::Line;
use recording::Recording;
use sending::Sending;
use shared::Shared;
use tools::Tools;
use watchdog::{NUDGE, Step, Watchdog};
use wish::{Fate, Wish};

/// A phase of a call's life, as in the design's section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is not known yet who answers.
    Offered,
    /// The caller waits for the model.
    Dialing,
    /// Speech flows.
    Live,
    /// The leg was lost without a goodbye; session and queue wait for it.
    Detached,
    /// Both sides are being closed.
    Closing,
    /// Everything is let go; the outcome is out.
    Ended,
}

/// The same, with what only one phase has; whether the leg is there, the line knows.
#[derive(Debug)]
enum Stage {
    /// Until then is waited for what decides who answers, unless that was asked for already.
    Offered(Option<Instant>),
    Dialing,
    Live,
    Closing(Outcome),
    Ended,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Machine {
    shared: Shared,
    stage: Stage,
    deadlines: Deadlines,
    conversation: Conversation,
    watchdog: Watchdog,
    tools: Tools,
    /// The model wants the call's end, or the caller to be sent elsewhere.
    wish: Option<Wish>,
    line: Line,
    sending: Sending,
    keys: Keys,
    greeting: Greeting,
    earcon: Earcon,
    recording: Recording,
    holds: Holds,
    /// The call is being given up.
    farewell: Option<Farewell>,
    /// Which of the two media parts have let go of the call.
    retired: [bool; 2],
}

impl Machine {
    /// A call that was admitted at `now`, to be answered by `agent`; asks at once for a link.
    pub fn new(now: Instant, agent: Arc<Agent>, fields: CallFields) -> Self {
        let mut machine = Self::offered(now, agent, fields, now);
        machine.begin();
        machine.settle();
        machine
    }

    /// A call that was admitted at `now`, of which it is not known enough to say who answers. Until `until` more is waited
    /// for; then, and whenever more is known, it orders [`Order::ChooseAgent`]. `agent` has it meanwhile.
    pub fn offered(now: Instant, agent: Arc<Agent>, fields: CallFields, until: Instant) -> Self {
        let mut machine = Self {
            shared: Shared::new(now, agent, fields),
            stage: Stage::Offered(Some(until)),
            deadlines: Deadlines::default(),
            conversation: Conversation::default(),
            watchdog: Watchdog::default(),
            tools: Tools::default(),
            wish: None,
            line: Line::default(),
            sending: Sending::default(),
            keys: Keys::default(),
            greeting: Greeting::default(),
            earcon: Earcon::default(),
            recording: Recording::default(),
            holds: Holds::default(),
            farewell: None,
            retired: [false; 2],
        };
        machine.settle();
        machine
    }

    /// This agent answers.
    pub fn answer_with(&mut self, now: Instant, agent: Arc<Agent>) {
        if self.is_offered() {
            (self.shared.agent, self.shared.now) = (agent, now);
            self.begin();
            self.settle();
        }
    }

    /// Nobody answers, for this reason.
    pub fn refuse(&mut self, reason: &str) {
        if self.is_offered() {
            self.close(Cause::Refused(reason.to_owned()));
            self.settle();
        }
    }

    /// The caller hears the greeting, and a link is asked for.
    fn begin(&mut self) {
        self.stage = Stage::Dialing;
        self.shared.keep_variables();
        let announcement = self.recording.begin(&mut self.shared);
        self.derive();
        for sound in announcement.into_iter().chain(self.shared.terms().greeting_sound.clone()) {
            self.shared.order_model(ModelOrder::Play(sound));
        }
        if self.shared.terms().turns.relay {
            self.shared.order_model(ModelOrder::TakeTurns);
        }
        self.conversation.dial(&mut self.shared);
    }

    /// Takes a fact. Once the call has ended there are none.
    pub fn tell(&mut self, now: Instant, fact: Fact) {
        if matches!(self.stage, Stage::Ended) {
            return;
        }
        self.shared.now = now;
        // News of an older link changes nothing of what is under way.
        let live = self.shared.session.live();
        if fact.link().is_none_or(|link| live == Some(link)) {
            self.watchdog.take(&mut self.shared, &fact);
            self.greeting.take(now, &fact);
            if self.wish.as_mut().is_some_and(|wish| wish.take(&self.shared, &fact)) {
                self.withdraw_wish();
            }
            self.shared.floor.take(now, &fact);
            self.conversation.take(&self.shared, &fact);
        }
        let interrupted = matches!(fact, Fact::Interrupted(_));
        match fact {
            Fact::Identified(fields) => {
                self.shared.fields = *fields;
                if self.is_offered() {
                    self.shared.order(Order::ChooseAgent { last: false });
                } else {
                    self.shared.keep_variables();
                }
            }
            Fact::LinkConnected(link) => self.conversation.connected(&mut self.shared, link),
            Fact::SetupComplete(link) => self.setup_complete(link),
            Fact::TurnStarted(_) => self.shared.turn_started(),
            Fact::TurnEndedBy(_, reason) => self.shared.note_of("turn_complete_reason", &reason),
            Fact::SentAgain(link, again) => self.conversation.sent_again(&self.shared, link, again),
            Fact::Interrupted(_) => {
                self.shared.counts.interruptions += 1;
                self.shared.note("barge_in");
            }
            Fact::Spoken(..)
            | Fact::Transcribed(..)
            | Fact::GenerationComplete(_)
            | Fact::InProgress(..)
            | Fact::WaitsForInput(_)
            | Fact::TurnComplete(_)
            | Fact::CallerSpoke(_) => {}
            Fact::GoAway(link, left) => {
                self.conversation.go_away(&mut self.shared, link, left.as_millis() as u64);
            }
            Fact::Reported(report) => self.reported(report),
            Fact::Commanded(requester, command) => self.command(requester, command),
            Fact::CommandDone(number) => self.command_answered(number, Ok(())),
            Fact::CommandFailed(number, error) => self.command_answered(number, Err(error)),
            // Where our script is, it reports keys, and the event socket would repeat them.
            Fact::KeyOnEventSocket(key) if !self.line.is_scripted(&self.shared) => self.key(key),
            Fact::KeyOnEventSocket(_) => {}
            Fact::HungUp(cause) => {
                self.shared.note_of("hung_up", &cause);
                self.line.hung_up(cause);
                self.replaced();
            }
            Fact::ToolCalled(link, call) => self.tool_called(link, call),
            Fact::ToolsCancelled(link, ids) => self.tools_cancelled(link, &ids),
            Fact::ToolDone(number, result) => self.tools.done(&mut self.shared, number, result),
            Fact::AnsweringMachine => self.keys.answering_machine(&mut self.shared),
            Fact::TokensUsed(_, tokens) => {
                self.shared.counts.tokens.add(tokens);
                let limit = self.shared.terms().limits.tokens;
                if limit.is_some_and(|limit| self.shared.counts.tokens.total() >= limit) {
                    self.close(Cause::TokenLimit);
                }
            }
            Fact::Resumable(link, handle) => {
                let awaits_tools = self.awaits_tools();
                self.conversation.resumable(&mut self.shared, link, handle, awaits_tools);
            }
            Fact::LinkGone(link, end) if self.shared.session.link() == Some(link) => {
                if let Some(cause) = self.conversation.lost(&mut self.shared, Cause::Link(end)) {
                    self.give_up(cause);
                }
            }
            Fact::LinkGone(link, _) | Fact::LinkClosed(link) => {
                self.conversation.closed(&mut self.shared, link);
            }
            Fact::LegLost(connection, end) => self.leg_lost(connection, end),
            Fact::LegReturned => self.leg_returned(),
            Fact::Replaced => self.replaced(),
            Fact::Moved => self.close(Cause::Moved),
            Fact::UuidInUse => self.close(Cause::UuidInUse),
            Fact::LegGone(end) => self.leg_gone(end),
            Fact::SpeechOverflow => self.close(Cause::SpeechOverflow),
            Fact::SendAway(wanted) => self.sending.want(self.shared.now, wanted),
            Fact::ShutDown => self.close(Cause::ShutDown),
            Fact::Retired(part) => {
                self.retired[part as usize] = true;
                self.finish();
            }
        }
        self.tools.look_at_turns(&self.shared, interrupted);
        self.settle();
    }

    fn setup_complete(&mut self, link: LinkNumber) {
        if self.shared.session.link() != Some(link) || self.shared.session.live().is_some() {
            return;
        }
        let now = self.shared.now;
        self.tools.resumed(now, self.conversation.resumed_from());
        self.conversation.live(&mut self.shared, link, self.watchdog.waits_since());
        self.watchdog.wait_anew(now);
        if matches!(self.stage, Stage::Dialing) {
            self.stage = Stage::Live;
            self.shared.answered_at = Some(now);
            self.shared.note("answered");
            if let Some(greeting) = self.shared.greeting() {
                self.shared.prompt(greeting);
                self.watchdog.expect(now);
                if let Some(limit) = self.shared.terms().turns.protect_greeting {
                    self.greeting.begin(now, limit);
                }
            }
        }
    }

    /// Leaves the present link for another one that goes on with the conversation.
    pub fn rotate(&mut self, now: Instant) {
        self.shared.now = now;
        self.conversation.leave(&mut self.shared);
        self.settle();
    }

    /// Does what the watchdog has found to be due.
    fn heal(&mut self) {
        match self.watchdog.step(&mut self.shared) {
            None => {}
            Some(Step::Commit) => {
                if let Some(link) = self.shared.session.live() {
                    self.shared.order_model(ModelOrder::Commit(link));
                }
            }
            Some(Step::Nudge) => self.shared.prompt(NUDGE.to_owned()),
            Some(Step::Rotate) => self.conversation.leave(&mut self.shared),
            Some(Step::Fresh) => self.conversation.leave_for_anew(&mut self.shared),
            Some(Step::GiveUp) => self.give_up(Cause::ModelSilent),
        }
    }

    /// Notices that time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.shared.now = now;
        for timer in Timer::ALL {
            if self.deadlines.is_due(timer, now) {
                self.fire(timer);
                self.settle();
            }
        }
    }

    /// Does what is due.
    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Command => self.give_up_commands(),
            Timer::Tool => self.tools.tick(&mut self.shared),
            Timer::Heard => self.keys.tell(&mut self.shared),
            Timer::Offered => {
                self.stage = Stage::Offered(None);
                self.shared.order(Order::ChooseAgent { last: true });
            }
            Timer::Silence => self.close(Cause::CallerSilent),
            Timer::Leg => self.give_up_leg(),
            Timer::MaxCall => self.close(Cause::MaxCall),
            Timer::Link => {
                if let Some(cause) = self.conversation.tick(&mut self.shared) {
                    self.give_up(cause);
                }
            }
            Timer::Greeting => self.greeting.look(self.shared.now, &self.shared.ear),
            Timer::Announcement => self.recording.announced(),
            Timer::Earcon => self.earcon.play(&mut self.shared),
            Timer::Answer => self.heal(),
            Timer::SendAway => self.send_away(),
            // Whoever ticks has told it before.
            Timer::Played => {}
        }
    }

    /// When this is due, as things stand.
    fn due(&self, timer: Timer) -> Option<Instant> {
        // Where somebody else is waited for.
        let excused = |at| self.shared.excused(at);
        let live = matches!(self.stage, Stage::Live) && self.has_live_link();
        match (timer, &self.stage) {
            (Timer::Command, _) => self.line.commands.deadline().map(excused),
            (_, Stage::Closing(_) | Stage::Ended) => None,
            (Timer::Offered, Stage::Offered(until)) => *until,
            (Timer::Offered, _) => None,
            (Timer::Tool, _) => self.tools.deadline(&self.shared),
            (Timer::Heard, _) => self.keys.deadline(),
            (Timer::Silence | Timer::Answer, _) if !live => None,
            (Timer::Silence, _) => {
                let quiet_since = self.shared.floor.quiet_since()?;
                Some(excused(quiet_since.plus(self.shared.terms().limits.silence?)))
            }
            (Timer::Leg, _) => self.line.given_up_at().map(excused),
            (Timer::MaxCall, _) => Some(self.shared.offered_at.plus(self.shared.terms().max_call)),
            (Timer::Link, _) => self.conversation.deadline(&self.shared, self.awaits_tools()),
            (Timer::Greeting, _) => self.greeting.deadline(),
            (Timer::Announcement, _) => self.recording.announced_at(),
            (Timer::Earcon, _) => self.earcon.deadline(&self.shared),
            (Timer::Answer, _) => self.watchdog.deadline(&self.shared),
            (Timer::SendAway, _) => self.may_be_sent_at(live),
            (Timer::Played, _) => {
                let farewell = self.farewell.as_ref().and_then(Farewell::look_at);
                self.wish.as_ref().map(Wish::look_at).or(farewell)
            }
        }
    }

    /// Draws what follows by itself from whatever has happened: behind everything that changes the machine.
    fn settle(&mut self) {
        let awaits_tools = self.awaits_tools();
        self.watchdog.settle(&mut self.shared, awaits_tools, || self.tools.take_silence());
        self.derive();
        for timer in Timer::ALL {
            self.deadlines.set(timer, self.due(timer));
        }
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// Says what follows of the present state alone: whether the model hears the caller, and how they are listened to.
    fn derive(&mut self) {
        if self.is_over() || self.is_offered() {
            return;
        }
        let held = self.holds.update(|reason| match reason {
            HoldReason::Announcement => self.recording.announced_at().is_some(),
            HoldReason::Greeting => self.greeting.is_under_way(),
            HoldReason::Tool => self.tools.holds(self.shared.session.link()),
        });
        if let Some(held) = held {
            self.shared.order_model(ModelOrder::HoldUplink(held));
        }
        let silent = self.shared.terms().earcon.is_some() && self.farewell.is_none();
        self.earcon.look(self.shared.now, silent && self.tools.keep_waiting(self.shared.session.live()));
        let turns = &self.shared.terms().turns;
        let greeting_to_come = turns.protect_greeting.is_some() && self.shared.answered_at.is_none();
        // A cough must not pause what speech cannot interrupt.
        let local_barge_in = turns.listen.local_barge_in && !greeting_to_come && !self.is_heard_to_its_end();
        if let Some(listens) = self.holds.listen(ListenTerms { local_barge_in, ..turns.listen }) {
            self.shared.order(Order::Dsp(WorkerOrder::Listen(listens)));
        }
    }

    /// What must be so between any two things that happen.
    fn check_invariants(&self) {
        let over = self.is_over();
        let session = &self.shared.session;
        if matches!(self.stage, Stage::Ended) {
            assert!(self.deadline().is_none(), "nothing is due when all is over");
            assert!(self.line.is_gone() && self.retired == [true; 2], "somebody has the call still");
            assert!(self.line.commands.is_empty(), "somebody waits for what became of a command");
        }
        assert!(!over || session.link().is_none(), "the model is let go");
        assert!(!over || self.farewell.is_none(), "a call that closes is given up no more");
        assert!(!over || self.wish.is_none() && !self.tools.any_waits(), "nobody is left to be answered");
        assert!(over || !self.line.is_gone(), "a call without a leg closes");
        assert!(over || self.is_offered() == (session.last() == 0), "who answers dials");
        assert!(
            session.live().is_none() || self.shared.answered_at.is_some(),
            "speech flows in a call that is answered"
        );
        assert!(self.wish.is_none() || self.tools.any_waits(), "a wish has a call that waits");
        assert!(self.farewell.is_none() || session.link().is_none(), "who is given up has no model");
    }
}
