//! How a call ends: its leg is lost or gone, it is given up, it closes, and all is let go.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns nothing: the parts do.
//! Invariant: the first cause is the outcome, and nothing is ordered behind the last order, which has it.

use super::{Farewell, Machine, Stage};
use crate::base::command::CommandKind;
use crate::call::commands::Requester;
use crate::call::events::{ConnectionNumber, LegEnd, LegOrder, ModelOrder, Order, WorkerOrder};
use crate::call::leg::{LegClose, LegCloseCode, Next, Way};
use crate::call::model::LinkEndKind;
use crate::call::outcome::{Cause, Outcome};
use crate::config::Fallback;

impl Machine {
    /// A connection of the leg was lost, or closed with a goodbye after which it may come back.
    pub(super) fn leg_lost(&mut self, connection: ConnectionNumber, end: LegEnd) {
        if self.is_over() || !self.line.has(connection) {
            return;
        }
        self.leg_ended(&end);
        if !self.is_over()
            && let Some(end) = self.line.lose(&mut self.shared, end)
        {
            self.close(Cause::Leg(end));
        }
    }

    /// The leg is back on another connection; the one before, if it was still there, is dead.
    pub(super) fn leg_returned(&mut self) {
        if self.takes_leg_back() && self.line.comes_back(&mut self.shared) {
            self.leg_ended(&LegEnd::Silent);
        }
    }

    /// The lost leg does not come back.
    pub(super) fn replaced(&mut self) {
        if let Some(end) = self.line.is_replaced() {
            self.close(Cause::Leg(end));
        }
    }

    /// Gives a leg up that did not come back.
    pub(super) fn give_up_leg(&mut self) {
        if let Some(end) = self.line.waited(&mut self.shared) {
            self.close(Cause::Leg(end));
        }
    }

    /// The leg's thread has let go of it.
    pub(super) fn leg_gone(&mut self, end: LegEnd) {
        if self.line.goes() {
            self.leg_ended(&end);
            self.close(Cause::Leg(end));
            self.shared.order(Order::Dsp(WorkerOrder::Retire));
            self.shared.order_model(ModelOrder::Retire);
            self.finish();
        }
    }

    /// The leg ended, and with it some commands.
    fn leg_ended(&mut self, end: &LegEnd) {
        for (command, result) in self.line.ended(end) {
            self.became(command, result);
        }
    }

    /// There is no use in another link: the caller hears the agent's last words and is transferred, or hung up on.
    pub(super) fn give_up(&mut self, cause: Cause) {
        if self.is_over() || self.farewell.is_some() {
            return;
        }
        self.let_go_of_model();
        let farewell = Farewell::begin(&mut self.shared, cause);
        let heard = farewell.is_heard();
        self.farewell = Some(farewell);
        if heard {
            self.said_farewell();
        }
    }

    /// The caller has heard the agent's last words.
    pub(super) fn said_farewell(&mut self) {
        // The close of the leg comes in any case.
        let can = |kind, way: &Way| *way != Way::CloseLeg || kind == CommandKind::Transfer;
        let way_of = |kind| self.line.way_of(&self.shared, kind);
        match Farewell::command(&self.shared) {
            Some(command) if way_of(command.kind()).is_ok_and(|way| can(command.kind(), &way)) => {
                self.command(Requester::Relay, command);
            }
            _ => self.end_farewell(),
        }
    }

    pub(super) fn end_farewell(&mut self) {
        if let Some(farewell) = self.farewell.take() {
            self.close(farewell.into_cause());
        }
    }

    fn let_go_of_model(&mut self) {
        self.wish = None;
        self.tools.drop_all(&mut self.shared);
        self.conversation.end(&mut self.shared);
    }

    /// Begins the end, once: the first cause is the outcome.
    pub(super) fn close(&mut self, cause: Cause) {
        if self.is_over() {
            return;
        }
        self.let_go_of_model();
        // What made us give the call up, not what then happened first.
        let outcome = Outcome::of(self.farewell.take().map_or(cause, Farewell::into_cause));
        if !self.line.is_gone() {
            self.shared.order(Order::Leg(LegOrder::Close(self.leg_close(&outcome))));
        }
        self.stage = Stage::Closing(outcome);
    }

    /// Gives the call's outcome out, once all has been let go.
    pub(super) fn finish(&mut self) {
        if self.line.is_gone()
            && self.retired == [true; 2]
            && self.line.commands.is_empty()
            && let Stage::Closing(outcome) = &self.stage
        {
            self.shared.order(Order::Finish(outcome.clone()));
            self.stage = Stage::Ended;
        }
    }

    /// What whoever connected the leg does with the caller when the leg has been closed so.
    pub fn next(&self, close: &LegClose) -> Next {
        let cause = match &self.stage {
            Stage::Closing(outcome) => Some(&outcome.cause),
            _ => None,
        };
        match (&self.shared.transfer_to, cause, close.code()) {
            (Some(to), ..) => Next::Transfer(to.clone()),
            // Another relay goes on, or this one when it is started again.
            (None, Some(Cause::ShutDown), _)
            | (None, _, LegCloseCode::GoingAway | LegCloseCode::InternalError) => Next::Again,
            (None, _, LegCloseCode::Normal) => Next::HangUp,
            (None, ..) => Next::Fallback,
        }
    }

    /// What the switch is told, so that the script beside it can tell what to do (docs/control.md): 1000 where the call is
    /// over as it should be, 1008 where it was refused or given up and nothing comes of another attempt, 1011 where we
    /// failed it and another call may succeed. mod_audio_stream understands all of them.
    fn leg_close(&self, outcome: &Outcome) -> LegClose {
        let no_credential =
            matches!(&outcome.cause, Cause::Link(end) if end.kind == LinkEndKind::NoCredential);
        let given_up = self.shared.counts.given_up;
        // A call that was given up is over for its switch too, which has nothing to send the caller to.
        let settled = self.shared.transferred || given_up && self.shared.terms().fallback == Fallback::HangUp;
        let code = match &outcome.cause {
            Cause::Refused(reason) => return LegClose::new(LegCloseCode::PolicyViolation, reason),
            Cause::Leg(LegEnd::SentAway) => LegCloseCode::GoingAway,
            _ if !outcome.is_failure() || settled => LegCloseCode::Normal,
            Cause::UuidInUse => LegCloseCode::PolicyViolation,
            _ if given_up || no_credential => LegCloseCode::PolicyViolation,
            _ => LegCloseCode::InternalError,
        };
        LegClose::new(code, outcome.label())
    }
}
