//! The machine of one call: facts and a time in, orders and a next deadline out.
//!
//! Runs in: the control thread, and tests in virtual time: pure. Owns the call's session and what is known of it.
//! Never opens a socket, reads a clock or blocks.
//! Invariant: whatever the facts and their order, the machine closes leg and link, retires both media parts, and then
//! finishes exactly once with the outcome of what ended the call first.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::Instant;
use crate::call::agent::{Agent, CredentialView};
use crate::call::commands::{Commands, LegKind};
use crate::call::events::{Fact, LegEnd, Order, Part};
use crate::call::outcome::{Cause, Outcome};
use crate::call::session::{LinkState, Session};
use crate::codec::mod_audio_stream::{CallFields, LegClose, LegCloseCode};

mod control;
mod detached;
mod tools;

pub use control::ControlTerms;
use control::Heard;
use detached::Attachment;
use tools::Wish;

/// What happened in a call, counted for its record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallEvents {
    /// Turns in which the model spoke.
    pub turns: u64,
    /// Times that the caller interrupted.
    pub interruptions: u64,
    /// Tokens of the prompt side as the server last reported.
    pub prompt_tokens: u64,
    /// Tokens of the answer side as the server last reported.
    pub response_tokens: u64,
    /// Keys that the caller pressed.
    pub keys: u64,
    /// Commands that the switch carried out.
    pub commands_done: u64,
    /// Commands that were refused, failed or were never confirmed.
    pub commands_failed: u64,
    /// Times that a leg came back, or took over from one that was dead.
    pub reattachments: u64,
    /// Milliseconds for which the call had no leg.
    pub detached_ms: u64,
}

/// A phase of a call's life, as in the design's section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
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
    agent: Arc<Agent>,
    fields: CallFields,
    offered_at: Instant,
    answered_at: Option<Instant>,
    phase: Phase,
    session: Session,
    link_deadline: Option<Instant>,
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
    wish: Option<Wish>,
    hang_up_cause: Option<String>,
    events: CallEvents,
    orders: VecDeque<Order>,
}

impl Machine {
    /// A call that was admitted at `now`, to be answered by `agent`; asks at once for a link.
    pub fn new(now: Instant, agent: Arc<Agent>, fields: CallFields) -> Self {
        let mut machine = Self {
            agent,
            fields,
            offered_at: now,
            answered_at: None,
            phase: Phase::Dialing,
            session: Session::new(),
            link_deadline: None,
            outcome: None,
            leg_gone: false,
            attachment: Attachment::default(),
            dsp_retired: false,
            gemini_retired: false,
            leg: LegKind::default(),
            script: false,
            commands: Commands::default(),
            heard: Heard::default(),
            wish: None,
            hang_up_cause: None,
            events: CallEvents::default(),
            orders: VecDeque::new(),
        };
        machine.dial(now);
        machine
    }

    /// Takes a fact. Once the call has ended there are none.
    pub fn tell(&mut self, now: Instant, fact: Fact) {
        if self.phase == Phase::Ended {
            return;
        }
        match fact {
            Fact::Identified(fields) => self.fields = *fields,
            Fact::LinkConnected(link) => {
                if self.session.advance(link, LinkState::SettingUp) {
                    self.link_deadline = Some(now.plus_us(self.agent.terms.setup_timeout.as_micros() as u64));
                } else {
                    // Connected after it was given up.
                    self.orders.push_back(Order::CloseLink(link));
                }
            }
            Fact::SetupComplete(link) => {
                if self.session.advance(link, LinkState::Live) && self.phase == Phase::Dialing {
                    self.phase = Phase::Live;
                    self.answered_at = Some(now);
                    self.link_deadline = None;
                    if let Some(greeting) = self.agent.terms.greeting.clone() {
                        self.orders.push_back(Order::Prompt(link, greeting));
                    }
                }
            }
            Fact::TurnStarted(_) => self.events.turns += 1,
            Fact::Interrupted(_) => self.events.interruptions += 1,
            Fact::TurnComplete(_) | Fact::GoAway(..) | Fact::CallerSpoke(_) => {}
            Fact::Reported(report) => self.reported(now, report),
            Fact::Commanded(requester, command) => self.command(now, requester, command),
            Fact::CommandDone(number) => self.done(number),
            Fact::CommandFailed(number, error) => self.failed(number, error),
            Fact::KeyOnEventSocket(key) => self.key_on_event_socket(now, key),
            Fact::HungUp(cause) => self.hung_up(cause),
            Fact::ToolCalled(link, call) => self.tool_called(now, link, *call),
            Fact::ToolsCancelled(link, ids) if self.session.link() == Some(link) => {
                self.tools_cancelled(&ids)
            }
            Fact::ToolsCancelled(..) => {}
            Fact::AnsweringMachine => self.answering_machine(now),
            Fact::TokensUsed(_, prompt, response) => {
                self.events.prompt_tokens = prompt;
                self.events.response_tokens = response;
            }
            Fact::Resumable(link, handle) => self.session.resumable(link, handle),
            Fact::LinkGone(link, end) => {
                if self.session.advance(link, LinkState::None) {
                    self.close(Cause::Link(end));
                }
            }
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
    }

    /// Notices that time has passed.
    pub fn tick(&mut self, now: Instant) {
        self.tick_control(now);
        self.tick_detached(now);
        if self.own_deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if self.link_deadline.is_some_and(|deadline| now >= deadline) {
            let cause = match self.session.state() {
                LinkState::SettingUp => Cause::SetupTimeout,
                _ => Cause::DialTimeout,
            };
            self.close(cause);
        } else {
            self.close(Cause::MaxCall);
        }
    }

    /// When [`Machine::tick`] wants to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let own = self.own_deadline().into_iter();
        own.chain(self.control_deadline()).chain(self.detached_deadline()).min()
    }

    fn own_deadline(&self) -> Option<Instant> {
        if self.outcome.is_some() {
            return None;
        }
        let max_call = self.offered_at.plus_us(self.agent.terms.max_call.as_micros() as u64);
        Some(self.link_deadline.map_or(max_call, |link| link.min(max_call)))
    }

    /// The next order, in the order in which they are to be carried out.
    pub fn next_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// The phase. A call without a leg is [`Phase::Detached`] whatever its session does meanwhile.
    pub fn phase(&self) -> Phase {
        if self.detached_deadline().is_some() { Phase::Detached } else { self.phase }
    }

    /// The setup message of the next link, for the credential with which it was connected.
    pub fn setup(&mut self, _credential: &CredentialView<'_>) -> String {
        self.agent.setup.to_json()
    }

    /// Who answers.
    pub fn agent(&self) -> &Agent {
        &self.agent
    }

    /// What is known of the call's identity.
    pub fn fields(&self) -> &CallFields {
        &self.fields
    }

    /// What was counted.
    pub fn events(&self) -> CallEvents {
        self.events
    }

    /// When the call was admitted.
    pub fn offered_at(&self) -> Instant {
        self.offered_at
    }

    /// When the model was first ready, if it ever was.
    pub fn answered_at(&self) -> Option<Instant> {
        self.answered_at
    }

    /// With which cause the switch hung up, where the event socket said so.
    pub fn hang_up_cause(&self) -> Option<&str> {
        self.hang_up_cause.as_deref()
    }

    fn dial(&mut self, now: Instant) {
        let link = self.session.dial();
        self.link_deadline = Some(now.plus_us(self.agent.terms.dial_timeout.as_micros() as u64));
        self.orders.push_back(Order::Dial(link));
    }

    /// Begins the end, once: the first cause is the outcome.
    fn close(&mut self, cause: Cause) {
        if self.outcome.is_some() {
            return;
        }
        self.phase = Phase::Closing;
        self.wish = None;
        self.link_deadline = None;
        let outcome = Outcome::of(cause);
        if let Some(link) = self.session.link() {
            self.session.advance(link, LinkState::None);
            self.orders.push_back(Order::CloseLink(link));
        }
        if !self.leg_gone {
            self.orders.push_back(Order::CloseLeg(leg_close(&outcome)));
        }
        self.outcome = Some(outcome);
    }

    fn retire(&mut self) {
        self.orders.push_back(Order::Retire(Part::Dsp));
        self.orders.push_back(Order::Retire(Part::Gemini));
    }

    fn finish(&mut self) {
        let let_go = self.leg_gone && self.dsp_retired && self.gemini_retired;
        if let_go && self.commands.is_empty() && self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            let outcome = self.outcome.clone().unwrap_or(Outcome::of(Cause::Leg(LegEnd::ByUs)));
            self.orders.push_back(Order::Finish(outcome));
        }
    }
}

/// What the switch is told: 1000 where the call is over as it should be, 1011 where we failed it, so that the script
/// beside the switch can tell. mod_audio_stream understands both.
fn leg_close(outcome: &Outcome) -> LegClose {
    if outcome.cause == Cause::UuidInUse {
        LegClose::new(LegCloseCode::PolicyViolation, outcome.label())
    } else if outcome.is_failure() {
        LegClose::new(LegCloseCode::InternalError, outcome.label())
    } else {
        LegClose::new(LegCloseCode::Normal, outcome.label())
    }
}
