//! The leg of a call: what is on it, whether it is there, and what its switch is told.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns which connection the leg has and since when it has none, and
//! the commands that are not answered.
//! Never looks at the session: it may dial, resume and speak on meanwhile.
//! Invariant: what an older connection of the leg says is stale, and a call waits for its leg a limited time; each command is
//! answered once.

use std::time::Duration;

use super::shared::Shared;
use crate::base::Instant;
use crate::base::command::{ChannelName, Command, CommandKind, Transfer};
use crate::call::commands::{CommandError, CommandResult, Commands, Requester, UnderWay};
use crate::call::events::{ConnectionNumber, EventSocketOrder, LegEnd, LegOrder, Order};
use crate::call::leg::{LegKind, Way};

/// How long a call waits after a goodbye: versions of mod_audio_stream up to 1.0.2 connect again after those too, within
/// milliseconds.
const AFTER_GOODBYE: Duration = Duration::from_millis(500);
/// A leg that is lost more often than this in one call is not waited for: something is broken that waiting does not heal.
const RETURNS_MAX: u64 = 1_000;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Line {
    kind: LegKind,
    /// Our script said that it is there.
    script: bool,
    connection: ConnectionNumber,
    lost: Option<Lost>,
    gone: bool,
    hang_up_cause: Option<String>,
    /// Those that are not answered.
    pub(super) commands: Commands,
}

/// A leg that may come back.
#[derive(Debug)]
struct Lost {
    end: LegEnd,
    since: Instant,
    until: Instant,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            kind: LegKind::default(),
            script: false,
            connection: 1,
            lost: None,
            gone: false,
            hang_up_cause: None,
            commands: Commands::default(),
        }
    }
}

impl Line {
    /// Says what is on the line.
    pub(super) fn set_kind(&mut self, kind: LegKind) {
        self.kind = kind;
    }

    /// What is on the line.
    pub(super) fn kind(&self) -> LegKind {
        self.kind
    }

    /// Our script says that it is there.
    pub(super) fn script_is_there(&mut self) {
        self.script = true;
    }

    /// Whether our script is there: it said so itself, or in the URL that it made.
    pub(super) fn is_scripted(&self, shared: &Shared) -> bool {
        self.script || shared.fields.script == Some(true)
    }

    /// Which connection of the leg the call has, or had last.
    pub(super) fn connection(&self) -> ConnectionNumber {
        self.connection
    }

    /// Whether its thread has let go of the leg.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// Its thread has let go of the leg. Returns whether it had not before.
    pub(super) fn goes(&mut self) -> bool {
        !std::mem::replace(&mut self.gone, true)
    }

    /// How the leg was lost, where the call waits for it.
    pub(super) fn lost(&self) -> Option<&LegEnd> {
        self.lost.as_ref().map(|lost| &lost.end)
    }

    /// When the call gives the lost leg up.
    pub(super) fn given_up_at(&self) -> Option<Instant> {
        self.lost.as_ref().map(|lost| lost.until)
    }

    /// Whether this connection of the leg is the one that the call has.
    pub(super) fn has(&self, connection: ConnectionNumber) -> bool {
        connection == self.connection && self.lost.is_none() && !self.gone
    }

    /// The connection was lost, or closed with a goodbye after which it may come back. Returns how it ended if it is not waited
    /// for.
    pub(super) fn lose(&mut self, shared: &mut Shared, end: LegEnd) -> Option<LegEnd> {
        let Some(wait) = self.waits_for_leg(shared, &end) else { return Some(end) };
        match &end {
            // It was noted when it was done.
            LegEnd::SentAway => {}
            end if end.is_goodbye() => shared.note("leg_held"),
            _ => shared.note("leg_lost"),
        }
        self.lost = Some(Lost { end, since: shared.now, until: shared.now.plus(wait) });
        None
    }

    /// Whether the leg connects again, here or elsewhere, when we close it for that.
    pub(super) fn can_be_sent_away(&self, shared: &Shared) -> bool {
        let traits = self.kind.traits();
        let connects_again = traits.has_script && self.is_scripted(shared)
            || traits.connects_again
            || shared.fields.again == Some(true);
        let is_there = self.lost.is_none() && !self.gone && self.commands.is_empty();
        connects_again && is_there && self.waits_for_leg(shared, &LegEnd::SentAway).is_some()
    }

    /// How long a leg that ended so is waited for.
    fn waits_for_leg(&self, shared: &Shared, end: &LegEnd) -> Option<Duration> {
        let wait = shared.terms().detached;
        let cannot = shared.fields.uuid.is_none() || self.hang_up_cause.is_some();
        let too_often = shared.counts.reattachments >= RETURNS_MAX;
        if cannot || !self.kind.traits().comes_back || wait.is_zero() || too_often {
            return None;
        }
        match end {
            end if end.is_goodbye() => Some(wait.min(AFTER_GOODBYE)),
            // What a switch says that is in trouble.
            LegEnd::Closed(_) | LegEnd::Dropped(_) | LegEnd::Silent => Some(wait),
            LegEnd::SentAway => Some(wait),
            LegEnd::HungUp | LegEnd::Protocol(_) | LegEnd::ByUs => None,
        }
    }

    /// The leg is back on another connection. Returns whether the one before had not been lost: it is dead.
    pub(super) fn comes_back(&mut self, shared: &mut Shared) -> bool {
        self.connection = self.connection.wrapping_add(1);
        shared.counts.reattachments += 1;
        shared.note("leg_back");
        self.waited(shared).is_none()
    }

    /// The lost leg is waited for no longer. Returns how it ended.
    pub(super) fn waited(&mut self, shared: &mut Shared) -> Option<LegEnd> {
        let lost = self.lost.take()?;
        shared.counts.detached_ms += shared.now.since_ms(lost.since);
        Some(lost.end)
    }

    /// Another leg has the lost one's call. Returns how it ended.
    pub(super) fn is_replaced(&mut self) -> Option<LegEnd> {
        self.lost.take().map(|lost| lost.end)
    }

    /// The switch hung the channel up.
    pub(super) fn hung_up(&mut self, cause: String) {
        self.hang_up_cause = Some(cause);
    }

    /// With which cause the switch hung up, where the event socket said so.
    pub(super) fn hang_up_cause(&self) -> Option<&str> {
        self.hang_up_cause.as_deref()
    }

    /// Has the switch told something. Returns whether the leg is to be closed for it, which is all that its protocol has.
    pub(super) fn send(
        &mut self,
        shared: &mut Shared,
        requester: &Requester,
        command: Command,
    ) -> Result<bool, CommandError> {
        if let Command::SetVariable(name, _) = &command
            && !name.is_allowed_by(&shared.terms().control.variables)
        {
            return Err(CommandError::VariableNotAllowed(name.clone()));
        }
        let way = self.way_of(shared, command.kind())?;
        // Our script has a list of its own, and what the configuration says is the operator's.
        if let (Way::EventSocket, Command::Transfer(Transfer { context: Some(context), .. })) =
            (way, &command)
            && matches!(requester, Requester::Api(_))
            && !shared.terms().control.transfer_contexts.contains(context)
        {
            return Err(CommandError::ContextNotAllowed(context.clone()));
        }
        if let (Way::CloseLeg, Command::Transfer(Transfer { context: Some(_), .. })) = (way, &command) {
            return Err(CommandError::Refused(
                "the dialplan that is asked next has a context of its own".into(),
            ));
        }
        if way == Way::InBand && self.lost.is_some() {
            return Err(CommandError::NotSent("the leg was lost and has not come back yet"));
        }
        let begun = self.commands.begin(shared.now, requester, &command, way);
        let (number, send_by) = begun.ok_or(CommandError::TooMany)?;
        match (way, channel(shared)) {
            (Way::InBand, _) => shared.order(Order::Leg(LegOrder::Command(number, command))),
            (Way::EventSocket, Some(channel)) => {
                shared.order(Order::EventSocket(EventSocketOrder { number, channel, command, send_by }));
            }
            // The way was chosen because there is a channel.
            (Way::CloseLeg, _) | (Way::EventSocket, None) => {}
        }
        Ok(way == Way::CloseLeg)
    }

    /// The way that a command of this kind can take.
    pub(super) fn way_of(&self, shared: &Shared, kind: CommandKind) -> Result<Way, CommandError> {
        let traits = self.kind.traits();
        let event_socket = shared.terms().control.event_socket;
        if traits.has_script && self.is_scripted(shared) {
            return Ok(Way::InBand);
        }
        if traits.has_event_socket && event_socket && channel(shared).is_some() {
            return Ok(Way::EventSocket);
        }
        let ways = traits.ways;
        // A dialplan that goes round asks where to.
        if kind == CommandKind::Transfer
            && shared.fields.again == Some(true)
            && ways.contains(&(CommandKind::HangUp, Way::CloseLeg))
        {
            return Ok(Way::CloseLeg);
        }
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

    /// The leg ended so, and with it whatever would be said over its socket. What went over the event socket is still
    /// answered there, or has its deadline. Returns the commands that this answers.
    pub(super) fn ended(&mut self, end: &LegEnd) -> Vec<(UnderWay, CommandResult)> {
        // A connection that was lost is no hang-up: the caller may still be there, and our script come back.
        let is_hang_up = matches!(end, LegEnd::HungUp | LegEnd::Closed(_) | LegEnd::ByUs);
        let done = |command: &UnderWay| {
            command.way == Way::CloseLeg || is_hang_up && command.kind == CommandKind::HangUp
        };
        let mut answered = Vec::new();
        while let Some(command) = self.commands.take(done) {
            answered.push((command, Ok(())));
        }
        while let Some(command) = self.commands.take(|command| command.way == Way::InBand) {
            let why = "the leg ended before it was reported";
            answered.push((command, Err(CommandError::Unconfirmed(why))));
        }
        answered
    }
}

fn channel(shared: &Shared) -> Option<ChannelName> {
    ChannelName::new(shared.fields.uuid.as_deref()?).ok()
}
