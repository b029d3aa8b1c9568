//! A call that is being given up: what the caller still hears, and where they go then.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns why the call is given up, until that is its outcome.
//! Invariant: a call that is given up ends, whether or not its switch plays or transfers; not while its caller speaks,
//! unless they never stop.

use std::time::Duration;

use super::ear::Playing;
use super::shared::Shared;
use crate::base::Instant;
use crate::base::command::{Command, HangUpCause, Transfer};
use crate::call::events::ModelOrder;
use crate::call::outcome::Cause;
use crate::config::Fallback;

/// How long the model's last words before the sound may take, which is behind them.
const WORDS_WITHIN: Duration = Duration::from_secs(20);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Farewell {
    cause: Cause,
    /// Until when the sound has been heard in any case, whoever speaks.
    until: Instant,
    /// `None`: heard.
    playing: Option<Playing>,
}

impl Farewell {
    /// There is no use in another link: the caller hears the agent's last words.
    pub(super) fn begin(shared: &mut Shared, cause: Cause) -> Self {
        shared.counts.given_up = true;
        shared.note("given_up");
        let Some(sound) = shared.terms().fallback_sound.clone() else {
            return Self { cause, until: shared.now, playing: None };
        };
        let until = shared.now.plus(sound.duration() + WORDS_WITHIN);
        shared.order_model(ModelOrder::Play(sound));
        Self { cause, until, playing: Some(Playing::new(shared.now)) }
    }

    /// Whether the caller has heard it.
    pub(super) fn is_heard(&self) -> bool {
        self.playing.is_none()
    }

    /// When to look at what was played.
    pub(super) fn look_at(&self) -> Option<Instant> {
        self.playing.as_ref().map(Playing::look_at)
    }

    /// So many samples have been handed to the switch so far, which the caller has heard unless they are `unheard`. Returns
    /// whether they have now heard all of it.
    pub(super) fn played(&mut self, shared: &Shared, samples: u64, unheard: bool) -> bool {
        let Some(playing) = &mut self.playing else { return false };
        let heard = playing.is_over(shared.now, samples, unheard);
        let over = heard && !shared.floor.caller_speaks() || shared.now >= self.until;
        if over {
            self.playing = None;
        }
        over
    }

    /// What the switch is told then.
    pub(super) fn command(shared: &Shared) -> Option<Command> {
        match shared.terms().fallback.clone() {
            Fallback::Switch => None,
            Fallback::HangUp => Some(Command::HangUp(HangUpCause::temporary_failure())),
            Fallback::Transfer(to) => Some(Command::Transfer(Transfer { to, dialplan: None, context: None })),
        }
    }

    /// Why the call is given up.
    pub(super) fn into_cause(self) -> Cause {
        self.cause
    }
}
