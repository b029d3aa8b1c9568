//! The machine's part in call control: which way a command takes, what its answer means, what the model is told.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the keys that the caller pressed and that the model was
//! not told of yet.
//! Invariant: each command is answered once, before the call is finished at the latest.

use std::time::Duration;

use super::{Machine, Phase};
use crate::base::command::{ChannelName, Command, CommandKind, Context, Destination, Transfer, VariableName};
use crate::base::{Instant, LegReport};
use crate::call::commands::{CommandError, CommandResult, Requester, UnderWay};
use crate::call::events::{EventSocketOrder, LegEnd, LegOrder, Order};
use crate::call::leg::{LegKind, OrderNumber, Way};
use crate::call::outcome::{Cause, Party};
use crate::call::tool::ToolFailure;

/// How soon a model that was not ready is tried again.
const TRY_AGAIN_MS: u64 = 500;
/// Keys of which the model is told at once; what is typed beyond them before the pause is ignored.
const KEYS_MAX: usize = 32;

/// What of the configuration call control needs.
#[derive(Debug, Clone, Default)]
pub struct ControlTerms {
    /// There is an event socket.
    pub event_socket: bool,
    /// Variables that may be set beside those beginning with `tandem_`.
    pub variables: Vec<VariableName>,
    /// Contexts into which a call may be transferred over the event socket.
    pub transfer_contexts: Vec<Context>,
    /// The model is told which keys the caller presses.
    pub tell_keys: bool,
    /// A key that the caller presses stops the agent's speech.
    pub keys_interrupt: bool,
    /// When what the caller typed is complete.
    pub digits: DigitTerms,
    /// The model may end the call.
    pub model_may_end: bool,
    /// Where the model may transfer the call to.
    pub model_destinations: Vec<Destination>,
}

/// When the keys that a caller pressed are complete, and the model is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DigitTerms {
    /// When no other has followed for this long.
    pub pause: Duration,
    /// Or when this key is pressed, which ends them and is not one of them.
    pub terminator: Option<char>,
}

impl Default for DigitTerms {
    fn default() -> Self {
        Self { pause: Duration::from_millis(1_500), terminator: None }
    }
}

/// What was heard besides the caller's audio and waits to be told to the model.
#[derive(Debug, Default)]
pub(super) struct Heard {
    keys: String,
    machine: bool,
    machine_told: bool,
    pub(super) due: Option<Instant>,
}

impl Machine {
    /// Says what is on the line; without it, a relative of mod_audio_stream. Commands are numbered from behind
    /// `numbers_from`, which is another for each call: a script remembers the numbers that it carried out for as long as
    /// its channel lives, and the channel's stream may end and begin again, which is another call here.
    pub fn set_leg(&mut self, kind: LegKind, numbers_from: OrderNumber) {
        self.leg = kind;
        self.commands.number_from(numbers_from);
        self.seed(numbers_from.into());
    }

    /// The leg has said what it is, after it was taken for something else.
    pub fn revise_leg(&mut self, kind: LegKind) {
        self.leg = kind;
    }

    /// What is on the line.
    pub fn leg_kind(&self) -> LegKind {
        self.leg
    }

    /// Takes a command.
    pub(super) fn command(&mut self, now: Instant, requester: Requester, command: Command) {
        match self.send(now, &requester, command) {
            Ok(()) => {}
            Err(error) => self.answer(requester, Err(error)),
        }
    }

    fn send(&mut self, now: Instant, requester: &Requester, command: Command) -> CommandResult {
        if self.outcome.is_some() {
            return Err(CommandError::Ended);
        }
        if let Command::SetVariable(name, _) = &command
            && !name.is_allowed_by(&self.shared.terms().control.variables)
        {
            return Err(CommandError::VariableNotAllowed(name.clone()));
        }
        let way = self.way_of(command.kind())?;
        // Our script has a list of its own, and what the configuration says is the operator's.
        if let (Way::EventSocket, Command::Transfer(Transfer { context: Some(context), .. })) =
            (way, &command)
            && matches!(requester, Requester::Api(_))
            && !self.shared.terms().control.transfer_contexts.contains(context)
        {
            return Err(CommandError::ContextNotAllowed(context.clone()));
        }
        if way == Way::InBand && self.phase() == Phase::Detached {
            return Err(CommandError::NotSent("the leg was lost and has not come back yet"));
        }
        let (number, send_by) =
            self.commands.begin(now, requester, &command, way).ok_or(CommandError::TooMany)?;
        match (way, self.channel()) {
            (Way::InBand, _) => self.shared.order(Order::Leg(LegOrder::Command(number, command))),
            (Way::EventSocket, Some(channel)) => {
                self.shared.order(Order::EventSocket(EventSocketOrder { number, channel, command, send_by }));
            }
            (Way::CloseLeg, _) => self.close(Cause::Ordered(CommandKind::HangUp, asked_by(requester))),
            // The way was chosen because there is a channel.
            (Way::EventSocket, None) => {}
        }
        Ok(())
    }

    /// The way that a command of this kind can take.
    pub(super) fn way_of(&self, kind: CommandKind) -> Result<Way, CommandError> {
        let traits = self.leg.traits();
        let event_socket = self.shared.terms().control.event_socket;
        if traits.has_script && self.is_scripted() {
            return Ok(Way::InBand);
        }
        if traits.has_event_socket && event_socket && self.channel().is_some() {
            return Ok(Way::EventSocket);
        }
        let ways = traits.ways;
        match ways.iter().find(|(able, _)| *able == kind) {
            Some((_, way)) => Ok(*way),
            None => {
                let leg = match (traits.has_script, event_socket) {
                    (false, _) => traits.name,
                    (true, true) => "a mod_audio_stream leg that did not say its UUID, without our script,",
                    (true, false) => {
                        "a mod_audio_stream leg without our script, and without an event socket,"
                    }
                };
                let can = ways.iter().map(|(able, _)| *able).collect();
                Err(CommandError::Unable { kind, leg, can })
            }
        }
    }

    /// Whether our script is there: it said so itself, or in the URL that it made.
    fn is_scripted(&self) -> bool {
        self.script || self.shared.fields.script == Some(true)
    }

    fn channel(&self) -> Option<ChannelName> {
        ChannelName::new(self.shared.fields.uuid.as_deref()?).ok()
    }

    /// Takes what the switch, or our script in it, reports.
    pub(super) fn reported(&mut self, now: Instant, report: LegReport) {
        match report {
            LegReport::Hello { .. } => self.script = true,
            LegReport::Playing(_) => {}
            LegReport::Unheard => self.shared.note("unheard"),
            LegReport::Unplayed(why) => self.shared.note_of("unplayed", why.explanation()),
            LegReport::Gaps { late, ms } => {
                self.shared.counts.switch_gaps += u64::from(late);
                self.shared.counts.switch_gap_ms += u64::from(ms);
            }
            LegReport::Dtmf(key) => self.key(now, key),
            LegReport::Done(number) => self.done(number),
            LegReport::Failed { id, why } => self.failed(id, CommandError::Refused(why)),
        }
    }

    /// A command was carried out.
    pub(super) fn done(&mut self, number: OrderNumber) {
        if let Some(command) = self.commands.answered(number) {
            self.carried_out(command);
            self.finish();
        }
    }

    /// A command was not carried out.
    pub(super) fn failed(&mut self, number: OrderNumber, error: CommandError) {
        if let Some(command) = self.commands.answered(number) {
            self.answer(command.requester, Err(error));
            self.finish();
        }
    }

    fn carried_out(&mut self, command: UnderWay) {
        if command.kind.ends_the_call() {
            self.transferred = command.kind == CommandKind::Transfer;
            // A bug of mod_audio_stream stays on a channel that is transferred: closing the leg takes it off.
            self.close(Cause::Ordered(command.kind, asked_by(&command.requester)));
        }
        self.answer(command.requester, Ok(()));
    }

    fn answer(&mut self, requester: Requester, result: CommandResult) {
        match &result {
            Ok(()) => {
                self.shared.counts.commands_done += 1;
                self.shared.note("command_done");
            }
            Err(error) => {
                self.shared.counts.commands_failed += 1;
                self.shared.note_of("command_failed", &error.to_string());
            }
        }
        if let Requester::Model(link, call) = &requester
            && self.outcome.is_none()
        {
            let said = result.clone().map(|()| "done".into());
            let said = said.map_err(|error| ToolFailure::Failed(error.to_string()));
            self.tools.answer(&mut self.shared, *link, call, said);
        }
        if requester == Requester::Relay {
            self.relay_answered(&result);
        }
        self.shared.order(Order::Answer(requester, result));
    }

    /// The leg is gone, and with it whatever would be said over its socket. What went over the event socket is still
    /// answered there, or has its deadline.
    pub(super) fn leg_gone_under_commands(&mut self, end: &LegEnd) {
        // A connection that was lost is no hang-up: the caller may still be there, and our script come back.
        if matches!(end, LegEnd::HungUp | LegEnd::Closed(_) | LegEnd::ByUs) {
            while let Some(command) = self.commands.hang_up() {
                self.carried_out(command);
            }
        }
        while let Some(command) = self.commands.take(Way::CloseLeg) {
            self.carried_out(command);
        }
        while let Some(command) = self.commands.take(Way::InBand) {
            self.answer(
                command.requester,
                Err(CommandError::Unconfirmed("the leg ended before it was reported")),
            );
        }
    }

    /// Gives up commands whose time is over.
    pub(super) fn give_up_commands(&mut self, now: Instant) {
        while let Some(command) = self.commands.overdue(now) {
            let error = CommandError::Unconfirmed("the switch did not answer within 5 seconds");
            self.answer(command.requester, Err(error));
            self.finish();
        }
    }

    /// The caller pressed a key, as the leg or the event socket says. Where our script is, it reports keys, and the event
    /// socket would repeat them.
    pub(super) fn key_on_event_socket(&mut self, now: Instant, key: char) {
        if !self.is_scripted() {
            self.key(now, key);
        }
    }

    fn key(&mut self, now: Instant, key: char) {
        self.shared.counts.keys += 1;
        self.shared.note("key");
        self.shared.floor.key(now);
        self.key_interrupts();
        if self.shared.terms().control.tell_keys && self.outcome.is_none() {
            let digits = self.shared.terms().control.digits;
            let ended = digits.terminator == Some(key);
            if !ended && self.heard.keys.len() < KEYS_MAX {
                self.heard.keys.push(key);
            }
            // The terminator by itself is something that the caller may mean, too.
            if ended && self.heard.keys.is_empty() {
                self.heard.keys.push(key);
            }
            let pause = if ended { Duration::ZERO } else { digits.pause };
            self.heard.due = Some(now.plus(pause));
            self.tell_heard(now);
        }
    }

    /// An answering machine was recognised.
    pub(super) fn answering_machine(&mut self, now: Instant) {
        if !self.heard.machine_told {
            self.heard.machine = true;
            self.heard.machine_told = true;
            self.shared.note("answering_machine");
            self.heard.due.get_or_insert(now);
            self.tell_heard(now);
        }
    }

    pub(super) fn tell_heard(&mut self, now: Instant) {
        if self.outcome.is_some() || self.heard.due.is_none_or(|due| now < due) {
            return;
        }
        if self.shared.session.live().is_none() {
            // Nobody to be told yet.
            self.heard.due = Some(now.plus_ms(TRY_AGAIN_MS));
            return;
        };
        self.heard.due = None;
        if std::mem::take(&mut self.heard.machine) {
            let text = "An answering machine has taken this call: its tone was just heard.";
            self.shared.prompt(text.into());
        }
        if !self.heard.keys.is_empty() {
            let keys = std::mem::take(&mut self.heard.keys);
            let text = format!("The caller has pressed these keys of the telephone: {keys}");
            self.shared.prompt(text);
        }
    }
}

/// Who is said to have ended the call.
fn asked_by(requester: &Requester) -> Party {
    match requester {
        Requester::Api(_) => Party::Us,
        Requester::Model(..) | Requester::TakenBack(_) => Party::Model,
        Requester::Relay => Party::Us,
    }
}
