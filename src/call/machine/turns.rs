//! The machine's part in turn taking: how the caller is listened to, and the greeting that they cannot interrupt.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns how far the greeting has come.
//! Invariant: the caller's speech is kept back for the greeting once, from the moment at which the model is asked to greet until
//! the caller has heard it, or the time for it is over; kept, not dropped.

use super::Machine;
use super::holds::HoldReason;
use crate::base::Instant;
use crate::call::events::{Fact, Order};
use crate::dsp::ListenTerms;

/// How long after the last sound of the greeting its end may still be on its way.
const HEARD_MS: u64 = 300;

/// A greeting that is protected.
#[derive(Debug)]
pub(super) struct Greeting {
    until: Instant,
    began_at: Option<Instant>,
    generated_at: Option<Instant>,
    look_at: Instant,
}

impl Machine {
    /// Says how the caller is listened to, where that is not as every call begins.
    pub(super) fn begin_turns(&mut self) {
        self.listen();
        if self.agent.terms.turns.relay {
            self.orders.push_back(Order::TakeTurns);
        }
    }

    /// Says how the caller is listened to from now on, where that has changed.
    pub(super) fn listen(&mut self) {
        let listen = self.agent.terms.turns.listen;
        // A cough must not pause what speech cannot interrupt.
        let local_barge_in = listen.local_barge_in && !self.is_protected();
        let listen = ListenTerms { local_barge_in, ..listen };
        if listen != self.listens {
            self.listens = listen;
            self.orders.push_back(Order::Listen(listen));
        }
    }

    /// What the caller hears, or is about to hear, is not to be interrupted.
    fn is_protected(&self) -> bool {
        let turns = &self.agent.terms.turns;
        let to_come = turns.protect_greeting.is_some() && self.answered_at.is_none();
        to_come || self.holds.has(HoldReason::Greeting) || self.holds.has(HoldReason::Announcement)
    }

    /// The model is asked to greet the caller now.
    pub(super) fn protect_greeting(&mut self, now: Instant) {
        if let Some(limit) = self.agent.terms.turns.protect_greeting {
            let until = now.plus(limit);
            self.greeting = Some(Greeting { until, began_at: None, generated_at: None, look_at: until });
            self.hold(HoldReason::Greeting, true);
        }
    }

    /// Notes how far the greeting has come.
    pub(super) fn watch_greeting(&mut self, now: Instant, fact: &Fact) {
        let Some(greeting) = &mut self.greeting else { return };
        match fact {
            Fact::TurnStarted(_) => _ = greeting.began_at.get_or_insert(now),
            Fact::GenerationComplete(_) | Fact::TurnComplete(_) if greeting.began_at.is_some() => {
                greeting.generated_at.get_or_insert(now);
                greeting.look_at = now.plus_ms(HEARD_MS).min(greeting.until);
            }
            // Whatever interrupted it, it is over.
            Fact::Interrupted(_) | Fact::LegGone(_) => self.greeting_is_over(),
            _ => {}
        }
    }

    /// When to look whether the greeting was heard.
    pub(super) fn greeting_deadline(&self) -> Option<Instant> {
        self.greeting.as_ref().map(|greeting| greeting.look_at).filter(|_| self.outcome.is_none())
    }

    /// Looks whether the greeting was heard.
    pub(super) fn tick_greeting(&mut self, now: Instant) {
        let heard_at = self.watchdog.heard_at();
        let Some(greeting) = self.greeting.as_mut().filter(|greeting| now >= greeting.look_at) else {
            return;
        };
        // Until the first of it is handed to the switch, the time is that of something else.
        let playing = greeting.began_at.is_some_and(|began_at| heard_at <= began_at);
        let heard = !playing && now >= heard_at.plus_ms(HEARD_MS);
        if now >= greeting.until || greeting.generated_at.is_some() && heard {
            self.greeting_is_over();
        } else {
            greeting.look_at = heard_at.max(now).plus_ms(HEARD_MS).min(greeting.until);
        }
    }

    fn greeting_is_over(&mut self) {
        self.greeting = None;
        self.hold(HoldReason::Greeting, false);
        self.listen();
    }
}
