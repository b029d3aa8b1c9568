//! The machine's part in giving a call up: what the caller still hears, and where the call goes then.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns why the call is given up, until that is its outcome.
//! Invariant: a call that is given up ends, whether or not its switch plays or transfers.

use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use crate::base::Instant;
use crate::base::command::{Command, CommandKind, HangUpCause, Transfer};
use crate::call::commands::{CommandResult, Requester, Way};
use crate::call::events::Order;
use crate::call::outcome::Cause;
use crate::call::session::LinkState;
use crate::config::Fallback;

/// Nothing was handed to the switch for this long: the caller has heard all.
const QUIET: Duration = Duration::from_millis(800);
/// How often that is looked at.
const LOOK_MS: u64 = 100;
/// How long the model's last words before the sound may take, which is behind them.
const WORDS_WITHIN: Duration = Duration::from_secs(20);

/// A call that is being given up.
#[derive(Debug)]
pub(super) struct Farewell {
    pub(super) cause: Cause,
    /// Until when the sound has been heard in any case.
    until: Instant,
    played: u64,
    played_at: Instant,
    /// `None`: heard.
    look_at: Option<Instant>,
}

impl Machine {
    /// There is no use in another link: the caller hears the agent's last words and is transferred, or hung up on.
    pub(super) fn give_up(&mut self, now: Instant, cause: Cause) {
        if self.outcome.is_some() || self.farewell.is_some() {
            return;
        }
        self.events.given_up = true;
        self.history.note("given_up");
        if let Some(link) = self.session.link() {
            self.orders.push_back(Order::CloseLink(link));
        }
        self.session.without_link(LinkState::None);
        self.drop_tools();
        let sound = self.agent.terms.fallback_sound.clone().filter(|_| !self.leg_gone);
        let until = now.plus(sound.as_ref().map_or(Duration::ZERO, |sound| sound.duration() + WORDS_WITHIN));
        let look_at = sound.is_some().then(|| now.plus_ms(LOOK_MS));
        self.farewell = Some(Farewell { cause, until, played: 0, played_at: now, look_at });
        match sound {
            Some(sound) => self.orders.push_back(Order::Play(Arc::clone(&sound))),
            None => self.said_farewell(now),
        }
    }

    /// So many samples have been handed to the switch so far.
    pub(super) fn farewell_played(&mut self, now: Instant, samples: u64) {
        let unheard = now < self.watchdog.heard_at();
        let Some(farewell) = &mut self.farewell else { return };
        if farewell.look_at.is_none() {
            return;
        }
        if samples != farewell.played || unheard {
            (farewell.played, farewell.played_at) = (samples, now);
        }
        farewell.look_at = Some(now.plus_ms(LOOK_MS));
        if now.since(farewell.played_at) >= QUIET || now >= farewell.until {
            farewell.look_at = None;
            self.said_farewell(now);
        }
    }

    /// When to look at what was played.
    pub(super) fn farewell_deadline(&self) -> Option<Instant> {
        self.farewell.as_ref().and_then(|farewell| farewell.look_at).filter(|_| self.outcome.is_none())
    }

    fn said_farewell(&mut self, now: Instant) {
        let command = match self.agent.terms.fallback.clone() {
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
        self.transferred || (self.events.given_up && self.agent.terms.fallback == Fallback::HangUp)
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
