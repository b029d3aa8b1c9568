//! The machine's part in giving a call up: what the caller still hears, and where the call goes then.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns why the call is given up, until that is its outcome.
//! Invariant: a call that is given up ends, whether or not its switch plays or transfers; not while its caller speaks,
//! unless they never stop.

use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use super::ear::Playing;
use crate::base::Instant;
use crate::base::command::{Command, CommandKind, HangUpCause, Transfer};
use crate::call::commands::{CommandResult, Requester};
use crate::call::events::ModelOrder;
use crate::call::leg::Way;
use crate::call::outcome::Cause;
use crate::call::session::LinkState;
use crate::config::Fallback;

/// How long the model's last words before the sound may take, which is behind them.
const WORDS_WITHIN: Duration = Duration::from_secs(20);

/// A call that is being given up.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) cause: Cause,
    /// Until when the sound has been heard in any case, whoever speaks.
    until: Instant,
    /// `None`: heard.
    pub(super) playing: Option<Playing>,
}

impl Machine {
    /// There is no use in another link: the caller hears the agent's last words and is transferred, or hung up on.
    pub(super) fn give_up(&mut self, now: Instant, cause: Cause) {
        if self.outcome.is_some() || self.farewell.is_some() {
            return;
        }
        self.shared.counts.given_up = true;
        self.shared.note("given_up");
        if let Some(link) = self.shared.session.link() {
            self.shared.order_model(ModelOrder::CloseLink(link));
        }
        self.shared.session.without_link(LinkState::None);
        self.drop_tools();
        let sound = self.shared.terms().fallback_sound.clone().filter(|_| !self.leg_gone);
        let until = now.plus(sound.as_ref().map_or(Duration::ZERO, |sound| sound.duration() + WORDS_WITHIN));
        let playing = sound.is_some().then(|| Playing::new(now));
        self.farewell = Some(Farewell { cause, until, playing });
        match sound {
            Some(sound) => self.shared.order_model(ModelOrder::Play(Arc::clone(&sound))),
            None => self.said_farewell(now),
        }
    }

    /// So many samples have been handed to the switch so far.
    pub(super) fn farewell_played(&mut self, now: Instant, samples: u64) {
        let unheard = now < self.shared.ear.heard_at();
        let caller_speaks = self.shared.floor.caller_speaks();
        let Some(farewell) = &mut self.farewell else { return };
        let Some(playing) = &mut farewell.playing else { return };
        let heard = playing.is_over(now, samples, unheard);
        if heard && !caller_speaks || now >= farewell.until {
            farewell.playing = None;
            self.said_farewell(now);
        }
    }

    fn said_farewell(&mut self, now: Instant) {
        let command = match self.shared.terms().fallback.clone() {
            Fallback::Switch => None,
            Fallback::HangUp => Some(Command::HangUp(HangUpCause::temporary_failure())),
            Fallback::Transfer(to) => Some(Command::Transfer(Transfer { to, dialplan: None, context: None })),
        };
        match command {
            Some(command) if self.can_be_ordered(command.kind()) => {
                self.command(now, Requester::Relay, command);
            }
            _ => self.end_farewell(),
        }
    }

    /// Whether there is more of a way than the close of the leg, which comes in any case.
    fn can_be_ordered(&self, kind: CommandKind) -> bool {
        self.way_of(kind).is_ok_and(|way| way != Way::CloseLeg)
    }

    /// Whether a call that was given up is over for its switch too, which has nothing to send the caller to.
    pub(super) fn is_settled(&self) -> bool {
        self.transferred || (self.shared.counts.given_up && self.shared.terms().fallback == Fallback::HangUp)
    }

    /// The order of a call that is given up was, or was not, carried out; then the call ends all the same.
    pub(super) fn relay_answered(&mut self, result: &CommandResult) {
        if result.is_err() {
            self.end_farewell();
        }
    }

    fn end_farewell(&mut self) {
        if let Some(farewell) = self.farewell.take() {
            self.close(farewell.cause);
        }
    }
}
