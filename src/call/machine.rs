//! The machine of one call: facts and a time in, orders and a next deadline out.
//!
//! Runs in: the control thread, and tests in virtual time: pure. Owns the call's session and what is known of it.
//! Never opens a socket, reads a clock or blocks.
//! Invariant: whatever the facts and their order, the machine closes leg and link, retires both media parts, and then
//! finishes exactly once with the outcome of what ended the call first.

use std::sync::Arc;

use serde_json::json;

use crate::base::{Instant, LinkNumber};
use crate::call::agent::{Agent, CredentialView};
use crate::call::commands::{CommandError, CommandResult, Commands, Requester};
use crate::call::events::{Fact, LegEnd, LegOrder, ModelOrder, Order, Part, WorkerOrder};
use crate::call::leg::{CallFields, LegClose, LegCloseCode, LegKind};
use crate::call::model::{Asked, LinkEndKind, SessionResumption, SetupRequest, ToolCall};
use crate::call::outcome::{Cause, Outcome};
use crate::call::record::{CallEvent, RECORDING_FAILED};
use crate::call::session::LinkState;
use crate::call::tool::ToolFailure;
use crate::call::transcript::{Spoken, Transcript};
use crate::dsp::ListenTerms;

mod control;
mod counts;
mod deadlines;
mod detached;
mod ear;
mod fallback;
mod floor;
mod greeting;
mod history;
mod holds;
mod ledger;
mod limits;
mod links;
mod offered;
mod recording;
mod shared;
mod tools;
mod watchdog;
mod wish;

#[cfg(test)]
mod tests;

use control::Heard;
pub use control::{ControlTerms, DigitTerms};
pub use counts::CallEvents;
use deadlines::{Deadlines, Timer};
use detached::Attachment;
use ear::Playing;
use fallback::Farewell;
use greeting::Greeting;
use holds::{HoldReason, Holds};
pub use limits::Limits;
use links::Links;
use recording::Recording;
use shared::Shared;
use tools::{Called, Tools, functions};
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

/// See the head of this file.
#[derive(Debug)]
pub struct Machine {
    shared: Shared,
    deadlines: Deadlines,
    phase: Phase,
    links: Links,
    transcript: Transcript,
    /// The call is being given up.
    farewell: Option<Farewell>,
    /// The caller has been sent elsewhere.
    transferred: bool,
    outcome: Option<Outcome>,
    leg_gone: bool,
    attachment: Attachment,
    dsp_retired: bool,
    gemini_retired: bool,
    leg: LegKind,
    /// Our script said that it is there.
    script: bool,
    commands: Commands,
    heard: Heard,
    tools: Tools,
    /// The model wants the call's end, or the caller to be sent elsewhere.
    wish: Option<Wish>,
    holds: Holds,
    /// How the caller is listened to.
    listens: ListenTerms,
    watchdog: Watchdog,
    greeting: Greeting,
    recording: Recording,
    hang_up_cause: Option<String>,
    /// When the model first spoke.
    first_audio_at: Option<Instant>,
    /// Until when is waited for what decides who answers.
    offered_until: Option<Instant>,
    /// When the call began, in seconds since 1970; 0: not known.
    begun_s: u64,
}

impl Machine {
    /// A call that was admitted at `now`, to be answered by `agent`; asks at once for a link.
    pub fn new(now: Instant, agent: Arc<Agent>, fields: CallFields) -> Self {
        let mut machine = Self::unanswered(now, agent, fields);
        machine.begin(now);
        machine.settle();
        machine
    }

    fn unanswered(now: Instant, agent: Arc<Agent>, fields: CallFields) -> Self {
        Self {
            shared: Shared::new(now, agent, fields),
            deadlines: Deadlines::default(),
            phase: Phase::Dialing,
            links: Links::default(),
            transcript: Transcript::default(),
            farewell: None,
            transferred: false,
            outcome: None,
            leg_gone: false,
            attachment: Attachment::default(),
            dsp_retired: false,
            gemini_retired: false,
            leg: LegKind::default(),
            script: false,
            commands: Commands::default(),
            heard: Heard::default(),
            tools: Tools::default(),
            wish: None,
            holds: Holds::default(),
            listens: ListenTerms::default(),
            watchdog: Watchdog::default(),
            greeting: Greeting::default(),
            recording: Recording::default(),
            hang_up_cause: None,
            first_audio_at: None,
            offered_until: None,
            begun_s: 0,
        }
    }

    /// Says when the call began, in seconds since 1970, for the instructions that name it.
    pub fn set_begun(&mut self, begun_s: u64) {
        self.begun_s = begun_s;
    }

    /// Takes a fact. Once the call has ended there are none.
    pub fn tell(&mut self, now: Instant, fact: Fact) {
        if self.phase == Phase::Ended {
            return;
        }
        self.shared.now = now;
        // News of an older link changes nothing of what is under way.
        let live = self.shared.session.live();
        if fact.link().is_none_or(|link| live == Some(link)) {
            self.watchdog.take(&mut self.shared, live.is_some(), &fact);
            self.greeting.take(now, &fact);
            if self.wish.as_mut().is_some_and(|wish| wish.take(&self.shared, &fact) == Fate::Withdrawn) {
                self.withdraw_wish();
            }
            self.shared.floor.take(now, &fact);
            self.write_down(&fact);
        }
        match fact {
            Fact::Identified(fields) => self.identified(*fields),
            Fact::LinkConnected(link) => self.link_connected(now, link),
            Fact::SetupComplete(link) => self.setup_complete(now, link),
            Fact::TurnStarted(_) => {
                self.shared.counts.turns += 1;
                self.first_audio_at.get_or_insert(now);
            }
            Fact::TurnEndedBy(_, reason) => self.shared.note_of("turn_complete_reason", &reason),
            Fact::SentAgain(link, again) => self.sent_again(link, again),
            Fact::Interrupted(_) => {
                self.shared.counts.interruptions += 1;
                self.shared.note("barge_in");
                self.tools.look_at_turns(&self.shared, true);
            }
            Fact::Spoken(..)
            | Fact::Transcribed(..)
            | Fact::GenerationComplete(_)
            | Fact::InProgress(..)
            | Fact::WaitsForInput(_)
            | Fact::TurnComplete(_)
            | Fact::CallerSpoke(_) => {}
            Fact::GoAway(link, left) => self.go_away(now, link, left.as_millis() as u64),
            Fact::Reported(report) => self.reported(now, report),
            Fact::Commanded(requester, command) => self.command(now, requester, command),
            Fact::CommandDone(number) => self.done(number),
            Fact::CommandFailed(number, error) => self.failed(number, error),
            Fact::KeyOnEventSocket(key) => self.key_on_event_socket(now, key),
            Fact::HungUp(cause) => self.hung_up(cause),
            Fact::ToolCalled(link, call) => self.tool_called(link, call),
            Fact::ToolsCancelled(link, ids) if self.shared.session.link() == Some(link) => {
                for call in self.tools.cancelled(&mut self.shared, link, &ids) {
                    _ = self.wish.take_if(|wish| wish.call.asks_the_same(&call));
                    self.commands.take_back(|_, asked| asked.asks_the_same(&call));
                }
            }
            Fact::ToolsCancelled(..) => {}
            Fact::ToolDone(number, result) => self.tools.done(&mut self.shared, number, result),
            Fact::AnsweringMachine => self.answering_machine(now),
            Fact::TokensUsed(_, tokens) => {
                self.shared.counts.tokens.add(tokens);
                let limit = self.shared.terms().limits.tokens;
                if limit.is_some_and(|limit| self.shared.counts.tokens.total() >= limit) {
                    self.close(Cause::TokenLimit);
                }
            }
            Fact::Resumable(link, handle) => self.resumable(link, handle),
            Fact::LinkGone(link, end) if self.shared.session.link() == Some(link) => {
                self.link_lost(now, Cause::Link(end));
            }
            Fact::LinkGone(link, _) | Fact::LinkClosed(link) => self.link_closed(now, link),
            Fact::LegLost(connection, end) => self.leg_lost(now, connection, end),
            Fact::LegReturned => self.leg_returned(now),
            Fact::Replaced => self.replaced(),
            Fact::Moved => self.close(Cause::Moved),
            Fact::UuidInUse => self.close(Cause::UuidInUse),
            Fact::LegGone(end) => {
                if !self.leg_gone {
                    self.leg_gone = true;
                    self.leg_gone_under_commands(&end);
                    self.close(Cause::Leg(end));
                    self.retire();
                    self.finish();
                }
            }
            Fact::SpeechOverflow => self.close(Cause::SpeechOverflow),
            Fact::ShutDown => self.close(Cause::ShutDown),
            Fact::Retired(part) => {
                match part {
                    Part::Dsp => self.dsp_retired = true,
                    Part::Gemini => self.gemini_retired = true,
                }
                self.finish();
            }
        }
        self.tools.look_at_turns(&self.shared, false);
        self.settle();
    }

    /// Notices that time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.shared.now = now;
        for timer in Timer::ALL {
            if self.deadlines.is_due(timer, now) {
                self.fire(now, timer);
                self.settle();
            }
        }
    }

    /// When [`Machine::tick`] wants to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Does what is due.
    fn fire(&mut self, now: Instant, timer: Timer) {
        match timer {
            Timer::Command => self.give_up_commands(now),
            Timer::Tool => self.tools.tick(&mut self.shared),
            Timer::Heard => self.tell_heard(now),
            Timer::Offered => self.choose_at_last(),
            Timer::Silence => self.close(Cause::CallerSilent),
            Timer::Leg => self.give_up_leg(now),
            Timer::MaxCall => self.close(Cause::MaxCall),
            Timer::Link => self.tick_links(now),
            Timer::Greeting => self.greeting.look(now, &self.shared.ear),
            Timer::Announcement => self.recording.announced(),
            Timer::Answer => self.heal(now),
            // Whoever ticks has told it before.
            Timer::Played => {}
        }
    }

    /// When this is due, as things stand.
    fn due(&self, timer: Timer) -> Option<Instant> {
        match timer {
            Timer::Command => self.commands.deadline(),
            _ if self.outcome.is_some() => None,
            Timer::Tool => self.tools.deadline(&self.shared),
            Timer::Heard => self.heard.due,
            Timer::Offered => self.offered_until,
            Timer::Silence if self.phase != Phase::Live || !self.has_live_link() => None,
            Timer::Silence => {
                Some(self.shared.floor.quiet_since()?.plus(self.shared.terms().limits.silence?))
            }
            Timer::Leg => self.attachment.given_up_at(),
            Timer::MaxCall => Some(self.shared.offered_at.plus(self.shared.terms().max_call)),
            Timer::Link => self.links_deadline(),
            Timer::Greeting => self.greeting.deadline(),
            Timer::Announcement => self.recording.announced_at(),
            Timer::Answer if self.has_live_link() => self.watchdog.deadline(&self.shared),
            Timer::Answer => None,
            Timer::Played => {
                let farewell = self.farewell.as_ref().and_then(|farewell| farewell.playing.as_ref());
                self.wish.as_ref().map(Wish::look_at).or(farewell.map(Playing::look_at))
            }
        }
    }

    /// Draws what follows by itself from whatever has happened: behind everything that changes the machine.
    fn settle(&mut self) {
        let awaits_tools = self.awaits_tools();
        self.watchdog.tools(self.shared.now, awaits_tools, || self.tools.take_silence());
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
        if self.outcome.is_some() {
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
        let turns = &self.shared.terms().turns;
        let greeting_to_come = turns.protect_greeting.is_some() && self.shared.answered_at.is_none();
        let protected = greeting_to_come || self.is_heard_to_its_end();
        // A cough must not pause what speech cannot interrupt.
        let local_barge_in = turns.listen.local_barge_in && !protected;
        let listens = ListenTerms { local_barge_in, ..turns.listen };
        if self.listens != listens && self.phase != Phase::Offered {
            self.listens = listens;
            self.shared.order(Order::Dsp(WorkerOrder::Listen(listens)));
        }
    }

    /// Whether the caller hears, or is about to hear, what nothing may interrupt.
    fn is_heard_to_its_end(&self) -> bool {
        self.greeting.is_under_way() || self.recording.announced_at().is_some()
    }

    /// A key was pressed: it stops what the agent says, but for what is to be heard to its end.
    fn key_interrupts(&mut self) {
        let protected = self.is_heard_to_its_end() || self.farewell.is_some();
        if self.shared.terms().control.keys_interrupt && self.outcome.is_none() && !protected {
            self.shared.order_model(ModelOrder::StopSpeech);
        }
    }

    /// Whether the model waits for a tool, or the switch for the caller to have heard the model's goodbye: a link that can
    /// choose should not be renewed now.
    pub fn awaits_tools(&self) -> bool {
        self.wish.is_some() || self.tools.any_waits() || self.commands.any_of_the_model()
    }

    /// The model calls a tool.
    fn tool_called(&mut self, link: LinkNumber, call: Box<ToolCall>) {
        if self.shared.session.link() != Some(link) {
            return;
        }
        let now = self.shared.now;
        let able = match &call.asked {
            Ok(Asked::Command(command)) => self.way_of(command.kind()).map(|_| ()),
            _ => Ok(()),
        };
        match self.tools.called(&mut self.shared, link, call, able) {
            Called::Nothing => {}
            Called::Again(call) => self.wish.iter_mut().for_each(|wish| wish.is_repeated(now, &call)),
            Called::Command(call, command) if command.kind().ends_the_call() => {
                if let Some(wish) = &mut self.wish {
                    wish.is_repeated(now, &call);
                    let why = "the call is being ended or transferred already".to_owned();
                    return self.tools.refuse(&mut self.shared, link, call, why);
                }
                self.tools.begin_command(link, call.clone());
                self.wish = Some(Wish::new(&self.shared, link, call, command));
            }
            Called::Command(call, command) => {
                self.tools.begin_command(link, call.clone());
                self.command(now, Requester::Model(link, call), command);
            }
            Called::PauseRecording(call, paused) => {
                let result = self.pause_recording(paused).map(|()| json!({"paused": paused}));
                let result = result.map_err(|error| ToolFailure::Failed(error.to_string()));
                self.tools.answer_call(&mut self.shared, link, call, result);
            }
            Called::GiveUp => self.give_up(now, Cause::ToolLimit),
        }
    }

    /// The caller goes on: the model may wish so again.
    fn withdraw_wish(&mut self) {
        if let Some(wish) = self.wish.take() {
            self.shared.note_of("tool_withdrawn", &wish.call.name);
            let why = Err(ToolFailure::Failed(wish.why_withdrawn()));
            self.tools.answer(&mut self.shared, wish.link, &wish.call, why);
        }
    }

    /// Whether [`Machine::played`] is wanted in the next pass.
    pub fn wants_played(&self, now: Instant) -> bool {
        self.deadlines.is_due(Timer::Played, now)
    }

    /// So many samples have been handed to the switch so far.
    pub fn played(&mut self, now: Instant, samples: u64) {
        self.shared.now = now;
        self.farewell_played(now, samples);
        // What waits for a lost leg, or because playout pauses for the caller, has not been heard.
        let unheard = self.phase() == Phase::Detached || now < self.shared.ear.heard_at();
        let fate = self.wish.as_mut().map(|wish| wish.played(&self.shared, samples, unheard));
        match fate {
            Some(Fate::Withdrawn) => self.withdraw_wish(),
            Some(Fate::Due) => {
                if let Some(wish) = self.wish.take() {
                    self.command(now, Requester::Model(wish.link, wish.call), wish.command);
                }
            }
            Some(Fate::Waits) | None => {}
        }
        self.settle();
    }

    /// Nobody is left to be answered.
    fn drop_tools(&mut self) {
        self.wish = None;
        self.tools.drop_all(&mut self.shared);
    }

    /// Does what the watchdog has found to be due.
    fn heal(&mut self, now: Instant) {
        match (self.watchdog.step(&mut self.shared), self.shared.session.live()) {
            (Some(Step::Commit), Some(link)) => self.shared.order_model(ModelOrder::Commit(link)),
            (Some(Step::Nudge), _) => self.shared.prompt(NUDGE.to_owned()),
            (Some(Step::Rotate), _) => self.leave(now),
            (Some(Step::Fresh), _) => self.fresh(now),
            (Some(Step::GiveUp), _) => self.give_up(now, Cause::ModelSilent),
            (Some(Step::Commit) | None, _) => {}
        }
    }

    /// What must be so between any two things that happen.
    fn check_invariants(&self) {
        let ended = self.phase == Phase::Ended;
        let over = self.outcome.is_some();
        assert_eq!(over, ended || self.phase == Phase::Closing, "a call that closes has an outcome");
        assert!(!ended || self.deadline().is_none(), "nothing is due when all is over");
        assert!(
            !ended || self.leg_gone && self.dsp_retired && self.gemini_retired,
            "somebody has the call still"
        );
        assert!(!over || self.wish.is_none() && !self.tools.any_waits(), "nobody is left to be answered");
        assert!(
            !over || self.shared.session.link().is_none() && self.farewell.is_none(),
            "the model is let go"
        );
        assert_eq!(
            self.phase == Phase::Offered,
            self.shared.session.last() == 0 && !over,
            "who answers dials"
        );
    }

    /// The next order, in the order in which they are to be carried out.
    pub fn next_order(&mut self) -> Option<Order> {
        self.shared.next_order()
    }

    /// What the next link is asked for, for the credential with which it was connected.
    pub fn setup(&mut self, credential: &CredentialView<'_>) -> SetupRequest {
        let handle = self.handle_for(credential.number);
        let setup = self.shared.agent.setup_for(&self.shared.fields, self.begun_s);
        let mut setup = setup.for_credential(credential.model_prefix);
        if handle.is_none() && self.shared.answered_at.is_some() {
            self.tell_what_was_said(&mut setup);
        }
        setup.resumption = Some(SessionResumption { handle });
        setup.functions = functions(self.shared.terms(), |kind| self.way_of(kind).is_ok());
        setup
    }

    /// Puts a text to the model, so that it speaks; again, if its link is lost before it does.
    ///
    /// # Errors
    /// That the call is over, or that there is no link now that could be asked.
    pub fn put(&mut self, now: Instant, text: String) -> CommandResult {
        if self.outcome.is_some() {
            return Err(CommandError::Ended);
        }
        if !self.has_live_link() {
            return Err(CommandError::NotSent("the model is not connected at this moment"));
        }
        self.shared.now = now;
        self.shared.now = now;
        self.shared.prompt(text);
        self.settle();
        self.settle();
        Ok(())
    }

    /// The phase. A call without a leg is [`Phase::Detached`] whatever its session does meanwhile.
    pub fn phase(&self) -> Phase {
        if self.is_detached() { Phase::Detached } else { self.phase }
    }

    /// Who answers.
    pub fn agent(&self) -> &Agent {
        &self.shared.agent
    }

    /// What is known of the call's identity.
    pub fn fields(&self) -> &CallFields {
        &self.shared.fields
    }

    /// What was said so far.
    pub fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    /// What was counted.
    pub fn events(&self) -> CallEvents {
        self.shared.counts
    }

    /// When the call was admitted.
    pub fn offered_at(&self) -> Instant {
        self.shared.offered_at
    }

    /// When the model was first ready, if it ever was.
    pub fn answered_at(&self) -> Option<Instant> {
        self.shared.answered_at
    }

    /// Whether there is a link whose setup was accepted: speech flows now.
    pub fn has_live_link(&self) -> bool {
        self.shared.session.live().is_some()
    }

    /// With which cause the switch hung up, where the event socket said so.
    pub fn hang_up_cause(&self) -> Option<&str> {
        self.hang_up_cause.as_deref()
    }

    /// What happened, in its order.
    pub fn history(&self) -> Vec<CallEvent> {
        self.shared.history()
    }

    /// When the model first spoke, if it ever did.
    pub fn first_audio_at(&self) -> Option<Instant> {
        self.first_audio_at
    }

    fn setup_complete(&mut self, now: Instant, link: LinkNumber) {
        if self.shared.session.link() != Some(link) {
            return;
        }
        self.link_live(now, link);
        self.watchdog.wait_anew(now);
        if self.phase == Phase::Dialing {
            self.phase = Phase::Live;
            self.shared.answered_at = Some(now);
            self.shared.note("answered");
            if let Some(greeting) = self.shared.agent.greeting_for(&self.shared.fields, self.begun_s) {
                self.shared.prompt(greeting);
                self.watchdog.expect(now);
                if let Some(limit) = self.shared.terms().turns.protect_greeting {
                    self.greeting.begin(now, limit);
                }
            }
        }
    }

    /// What was handed to the switch will have been heard at this time, as the dsp worker says.
    pub fn hears_until(&mut self, now: Instant, at: Instant) {
        self.shared.now = now;
        self.shared.ear.hears_until(now, at);
        self.settle();
    }

    /// Whether the call is recorded, were it not for a disk that is full, and whether that pauses now.
    pub fn is_recorded(&self) -> (bool, bool) {
        (self.phase != Phase::Offered && self.shared.terms().record, self.recording.is_paused())
    }

    /// The recording cannot be written from here on; the call goes on.
    pub fn recording_failed(&mut self, now: Instant, why: &str) {
        self.shared.now = now;
        self.shared.note_of(RECORDING_FAILED, why);
        self.settle();
    }

    /// Pauses the recording, or goes on with it; to ask for what is so already is no mistake.
    ///
    /// # Errors
    /// Where there is none, or none any more.
    pub fn pause_recording(&mut self, paused: bool) -> CommandResult {
        if self.outcome.is_some() {
            return Err(CommandError::Ended);
        }
        if !self.is_recorded().0 {
            return Err(CommandError::NotRecorded);
        }
        self.recording.pause(&mut self.shared, paused);
        Ok(())
    }

    /// Notes what was said on the present link.
    fn write_down(&mut self, fact: &Fact) {
        let now_ms = self.shared.now_ms();
        match fact {
            Fact::TurnStarted(_) => {
                self.links.spoken = Spoken::default();
                self.transcript.model_began(now_ms);
            }
            Fact::Spoken(_, spoken) => {
                self.links.spoken = *spoken;
                self.transcript.model_spoke(*spoken);
            }
            Fact::Transcribed(_, speaker, text) => self.transcript.transcribed(now_ms, *speaker, text),
            Fact::TurnComplete(_) => self.transcript.model_ended(now_ms),
            Fact::Interrupted(_) => self.transcript.interrupted(now_ms, self.links.spoken),
            Fact::CallerSpoke(begins) => self.transcript.caller_spoke(now_ms, *begins),
            _ => {}
        }
    }

    /// Begins the end, once: the first cause is the outcome.
    fn close(&mut self, cause: Cause) {
        if self.outcome.is_some() {
            return;
        }
        self.phase = Phase::Closing;
        self.drop_tools();
        // What made us give the call up, not what then happened first.
        let outcome = Outcome::of(self.farewell.take().map_or(cause, |farewell| farewell.cause));
        if let Some(link) = self.shared.session.link() {
            self.shared.order_model(ModelOrder::CloseLink(link));
        }
        self.shared.session.without_link(LinkState::None);
        if !self.leg_gone {
            self.shared.order(Order::Leg(LegOrder::Close(self.leg_close(&outcome))));
        }
        self.outcome = Some(outcome);
    }

    fn retire(&mut self) {
        self.shared.order(Order::Dsp(WorkerOrder::Retire));
        self.shared.order_model(ModelOrder::Retire);
    }

    fn finish(&mut self) {
        let let_go = self.leg_gone && self.dsp_retired && self.gemini_retired;
        if let_go && self.commands.is_empty() && self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            let outcome = self.outcome.clone().unwrap_or(Outcome::of(Cause::Leg(LegEnd::ByUs)));
            self.shared.order(Order::Finish(outcome));
        }
    }

    /// What the switch is told, so that the script beside it can tell what to do (docs/control.md): 1000 where the call is
    /// over as it should be, 1008 where it was refused or given up and nothing comes of another attempt, 1011 where we
    /// failed it and another call may succeed. mod_audio_stream understands all of them.
    fn leg_close(&self, outcome: &Outcome) -> LegClose {
        let no_credential =
            matches!(&outcome.cause, Cause::Link(end) if end.kind == LinkEndKind::NoCredential);
        let code = match &outcome.cause {
            Cause::Refused(reason) => return LegClose::new(LegCloseCode::PolicyViolation, reason),
            _ if !outcome.is_failure() || self.is_settled() => LegCloseCode::Normal,
            Cause::UuidInUse => LegCloseCode::PolicyViolation,
            _ if self.shared.counts.given_up || no_credential => LegCloseCode::PolicyViolation,
            _ => LegCloseCode::InternalError,
        };
        LegClose::new(code, outcome.label())
    }
}
