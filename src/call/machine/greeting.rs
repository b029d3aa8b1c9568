//! The greeting that the caller cannot interrupt.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns how far the greeting has come.
//! Invariant: it lasts from the moment at which the model is asked to greet until the caller has heard it, or the time for it is
//! over; and there is one.

use std::time::Duration;

use super::ear::Ear;
use crate::base::Instant;
use crate::call::events::Fact;

/// How long after the last sound of the greeting its end may still be on its way.
const HEARD_MS: u64 = 300;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Greeting(Option<Protected>);

#[derive(Debug)]
struct Protected {
    until: Instant,
    began_at: Option<Instant>,
    generated: bool,
    look_at: Instant,
}

impl Greeting {
    /// The model is asked to greet the caller, who cannot interrupt it for so long.
    pub(super) fn begin(&mut self, now: Instant, limit: Duration) {
        let until = now.plus(limit);
        self.0 = Some(Protected { until, began_at: None, generated: false, look_at: until });
    }

    /// Whether it is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// Takes notice of how far it has come.
    pub(super) fn take(&mut self, now: Instant, fact: &Fact) {
        let Some(greeting) = &mut self.0 else { return };
        match fact {
            Fact::TurnStarted(_) => _ = greeting.began_at.get_or_insert(now),
            Fact::GenerationComplete(_) | Fact::TurnComplete(_) if greeting.began_at.is_some() => {
                greeting.generated = true;
                greeting.look_at = now.plus_ms(HEARD_MS).min(greeting.until);
            }
            // Whatever interrupted it, it is over.
            Fact::Interrupted(_) | Fact::LegGone(_) => self.0 = None,
            _ => {}
        }
    }

    /// When to look whether it was heard.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.as_ref().map(|greeting| greeting.look_at)
    }

    /// Looks whether it was heard.
    pub(super) fn look(&mut self, now: Instant, ear: &Ear) {
        let heard_at = ear.heard_at();
        let Some(greeting) = &mut self.0 else { return };
        // Until the first of it is handed to the switch, the time is that of something else.
        let playing = greeting.began_at.is_some_and(|began_at| heard_at <= began_at);
        let heard = !playing && now >= heard_at.plus_ms(HEARD_MS);
        if now >= greeting.until || greeting.generated && heard {
            self.0 = None;
        } else {
            greeting.look_at = heard_at.max(now).plus_ms(HEARD_MS).min(greeting.until);
        }
    }
}
