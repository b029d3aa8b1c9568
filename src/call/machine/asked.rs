//! What is asked of a call: commands, and what its switch reports of them; tools, the model's wish to end it, a text for the model,
//! a pause of its recording.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns nothing: the parts do.
//! Invariant: each command is answered once, before the call is finished at the latest.

use serde_json::json;

use super::tools::Called;
use super::{Fate, Machine, Phase, Wish};
use crate::base::command::{Command, CommandKind};
use crate::base::{Instant, LegReport, LinkNumber};
use crate::call::commands::{CommandError, CommandResult, Requester, UnderWay};
use crate::call::events::{ModelOrder, Order};
use crate::call::leg::OrderNumber;
use crate::call::model::{Asked, ToolCall};
use crate::call::outcome::{Cause, Party};
use crate::call::tool::ToolFailure;

impl Machine {
    /// Puts a text to the model, so that it speaks; again, if its link is lost before it does.
    ///
    /// # Errors
    /// That the call is over, or that there is no link now that could be asked.
    pub fn put(&mut self, now: Instant, text: String) -> CommandResult {
        if self.is_over() {
            return Err(CommandError::Ended);
        }
        if !self.has_live_link() {
            return Err(CommandError::NotSent("the model is not connected at this moment"));
        }
        self.shared.now = now;
        self.shared.prompt(text);
        self.settle();
        Ok(())
    }

    /// Pauses the recording, or goes on with it; to ask for what is so already is no mistake.
    ///
    /// # Errors
    /// Where there is none, or none any more.
    pub fn pause_recording(&mut self, paused: bool) -> CommandResult {
        if self.is_over() {
            return Err(CommandError::Ended);
        }
        if !self.is_recorded().0 {
            return Err(CommandError::NotRecorded);
        }
        self.recording.pause(&mut self.shared, paused);
        Ok(())
    }

    /// Takes a command.
    pub(super) fn command(&mut self, requester: Requester, command: Command) {
        let kind = command.kind();
        let to = match &command {
            Command::Transfer(transfer) => Some(transfer.to.clone()),
            _ => None,
        };
        let sent = match self.is_over() {
            true => Err(CommandError::Ended),
            false => self.line.send(&mut self.shared, &requester, command),
        };
        match sent {
            Ok(true) => {
                self.shared.transfer_to = to;
                self.close(Cause::Ordered(kind, asked_by(&requester)));
            }
            Ok(false) => {}
            Err(error) => self.answer(requester, Err(error)),
        }
    }

    /// A command was carried out, or was not.
    pub(super) fn command_answered(&mut self, number: OrderNumber, result: CommandResult) {
        if let Some(command) = self.line.commands.answered(number) {
            self.became(command, result);
            self.finish();
        }
    }

    /// Gives up commands whose time is over.
    pub(super) fn give_up_commands(&mut self) {
        while let Some(command) = self.line.commands.overdue(self.shared.now) {
            let error = CommandError::Unconfirmed("the switch did not answer within 5 seconds");
            self.became(command, Err(error));
            self.finish();
        }
    }

    /// What became of a command.
    pub(super) fn became(&mut self, command: UnderWay, result: CommandResult) {
        if result.is_ok() && command.kind.ends_the_call() {
            self.shared.transferred = command.kind == CommandKind::Transfer;
            // A bug of mod_audio_stream stays on a channel that is transferred: closing the leg takes it off.
            self.close(Cause::Ordered(command.kind, asked_by(&command.requester)));
        }
        self.answer(command.requester, result);
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
        match &requester {
            Requester::Model(link, call) if !self.is_over() => {
                let said = result.clone().map(|()| "done".into());
                let said = said.map_err(|error| ToolFailure::Failed(error.to_string()));
                self.tools.answer(&mut self.shared, *link, call, said);
            }
            // What a call that is given up was to be told; it ends all the same.
            Requester::Relay if result.is_err() => self.end_farewell(),
            _ => {}
        }
        self.shared.order(Order::Answer(requester, result));
    }

    /// Takes what the switch, or our script in it, reports.
    pub(super) fn reported(&mut self, report: LegReport) {
        match report {
            LegReport::Hello { .. } => self.line.script_is_there(),
            LegReport::Playing(_) => {}
            LegReport::Unheard => self.shared.note("unheard"),
            LegReport::Unplayed(why) => self.shared.note_of("unplayed", why.explanation()),
            LegReport::Gaps { late, ms } => {
                self.shared.counts.switch_gaps += u64::from(late);
                self.shared.counts.switch_gap_ms += u64::from(ms);
            }
            LegReport::Dtmf(key) => self.key(key),
            LegReport::Done(number) => self.command_answered(number, Ok(())),
            LegReport::Failed { id, why } => self.command_answered(id, Err(CommandError::Refused(why))),
        }
    }

    /// The caller pressed a key: it stops what the agent says, but for what is to be heard to its end.
    pub(super) fn key(&mut self, key: char) {
        self.shared.counts.keys += 1;
        self.shared.note("key");
        self.shared.floor.key(self.shared.now);
        if self.is_over() {
            return;
        }
        let protected = self.is_heard_to_its_end() || self.farewell.is_some();
        if self.shared.terms().control.keys_interrupt && !protected {
            self.shared.order_model(ModelOrder::StopSpeech);
        }
        self.keys.press(&mut self.shared, key);
    }

    /// The model calls a tool.
    pub(super) fn tool_called(&mut self, link: LinkNumber, call: Box<ToolCall>) {
        if self.shared.session.link() != Some(link) {
            return;
        }
        let now = self.shared.now;
        let able = match &call.asked {
            Ok(Asked::Command(command)) => self.line.way_of(&self.shared, command.kind()).map(|_| ()),
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
                self.command(Requester::Model(link, call), command);
            }
            Called::PauseRecording(call, paused) => {
                let result = self.pause_recording(paused).map(|()| json!({"paused": paused}));
                let result = result.map_err(|error| ToolFailure::Failed(error.to_string()));
                self.tools.answer_call(&mut self.shared, link, call, result);
            }
            Called::GiveUp => self.give_up(Cause::ToolLimit),
        }
    }

    /// The model takes calls of tools back.
    pub(super) fn tools_cancelled(&mut self, link: LinkNumber, ids: &[String]) {
        if self.shared.session.link() != Some(link) {
            return;
        }
        for call in self.tools.cancelled(&mut self.shared, link, ids) {
            _ = self.wish.take_if(|wish| wish.call.asks_the_same(&call));
            self.line.commands.take_back(&call);
        }
    }

    /// The caller goes on: the model may wish so again.
    pub(super) fn withdraw_wish(&mut self) {
        if let Some(wish) = self.wish.take() {
            self.shared.note_of("tool_withdrawn", &wish.call.name);
            let why = Err(ToolFailure::Failed(wish.why_withdrawn()));
            self.tools.answer(&mut self.shared, wish.link, &wish.call, why);
        }
    }

    /// So many samples have been handed to the switch so far.
    pub fn played(&mut self, now: Instant, samples: u64) {
        self.shared.now = now;
        // What waits for a lost leg, or because playout pauses for the caller, has not been heard.
        let unheard = self.phase() == Phase::Detached || now < self.shared.ear.heard_at();
        if self.farewell.as_mut().is_some_and(|farewell| farewell.played(&self.shared, samples, unheard)) {
            self.said_farewell();
        }
        match self.wish.as_mut().map(|wish| wish.played(&self.shared, samples, unheard)) {
            Some(Fate::Withdrawn) => self.withdraw_wish(),
            Some(Fate::Due) => {
                if let Some(wish) = self.wish.take() {
                    self.command(Requester::Model(wish.link, wish.call), wish.command);
                }
            }
            Some(Fate::Waits) | None => {}
        }
        self.settle();
    }
}

/// Who is said to have ended the call.
fn asked_by(requester: &Requester) -> Party {
    match requester {
        Requester::Api(_) | Requester::Relay => Party::Us,
        Requester::Model(..) | Requester::TakenBack(_) => Party::Model,
    }
}
