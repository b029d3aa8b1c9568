//! The short sound that tells the caller that a tool is at work for which the model waits: without it they hear nothing at all.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns how long the silence is that it ends.
//! Never has it played while the caller speaks or hears anything, or once the model need not wait.
//! Invariant: it is played after a silence, and again after a longer one, which begins with its end.

use super::shared::Shared;
use crate::base::Instant;
use crate::call::events::ModelOrder;

/// The silence before it is played. A tool that answers sooner is none to wait for.
const AFTER_MS: u64 = 700;
/// The silence between it and the next.
const AGAIN_MS: u64 = 3_000;

/// See the head of this file: the silence, if the model waits for a tool.
#[derive(Debug, Default)]
pub(super) struct Earcon(Option<Silence>);

/// Nothing is heard since then, unless somebody has spoken.
#[derive(Debug)]
struct Silence {
    since: Instant,
    ends_after_ms: u64,
}

impl Earcon {
    /// Whether the model waits for a tool now.
    pub(super) fn look(&mut self, now: Instant, waits: bool) {
        match &self.0 {
            Some(_) if !waits => self.0 = None,
            None if waits => self.0 = Some(Silence { since: now, ends_after_ms: AFTER_MS }),
            _ => {}
        }
    }

    /// When to play it.
    pub(super) fn deadline(&self, shared: &Shared) -> Option<Instant> {
        let silence = self.0.as_ref().filter(|_| !shared.floor.caller_speaks())?;
        let since = silence.since.max(shared.ear.heard_at()).max(shared.floor.changed_at());
        Some(since.plus_ms(silence.ends_after_ms))
    }

    /// Plays it.
    pub(super) fn play(&mut self, shared: &mut Shared) {
        let Some(sound) = shared.terms().earcon.clone() else { return };
        self.0 = Some(Silence { since: shared.now.plus(sound.duration()), ends_after_ms: AGAIN_MS });
        shared.order_model(ModelOrder::Play(sound));
    }
}
