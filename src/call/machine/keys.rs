//! What is heard besides the caller's audio, and is told to the model in words: keys, and an answering machine.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns what the model was not told of yet.
//! Invariant: the model is told once, when what the caller types is complete and it is ready.

use std::time::Duration;

use super::shared::Shared;
use crate::base::Instant;

/// How soon a model that was not ready is tried again.
const TRY_AGAIN_MS: u64 = 500;
/// Keys of which the model is told at once; what is typed beyond them before the pause is ignored.
const KEYS_MAX: usize = 32;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Keys {
    keys: String,
    machine: bool,
    machine_told: bool,
    due: Option<Instant>,
}

impl Keys {
    /// The caller pressed a key.
    pub(super) fn press(&mut self, shared: &mut Shared, key: char) {
        if !shared.terms().control.tell_keys {
            return;
        }
        let digits = shared.terms().control.digits;
        let ended = digits.terminator == Some(key);
        // The terminator by itself is something that the caller may mean, too.
        if !ended && self.keys.len() < KEYS_MAX || ended && self.keys.is_empty() {
            self.keys.push(key);
        }
        self.due = Some(shared.now.plus(if ended { Duration::ZERO } else { digits.pause }));
        self.tell(shared);
    }

    /// An answering machine was recognised.
    pub(super) fn answering_machine(&mut self, shared: &mut Shared) {
        if !std::mem::replace(&mut self.machine_told, true) {
            self.machine = true;
            shared.note("answering_machine");
            self.due.get_or_insert(shared.now);
            self.tell(shared);
        }
    }

    /// When to tell the model.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Tells the model what is complete.
    pub(super) fn tell(&mut self, shared: &mut Shared) {
        if self.due.is_none_or(|due| shared.now < due) {
            return;
        }
        if shared.session.live().is_none() {
            // Nobody to be told yet.
            self.due = Some(shared.now.plus_ms(TRY_AGAIN_MS));
            return;
        };
        self.due = None;
        if std::mem::take(&mut self.machine) {
            shared.prompt("An answering machine has taken this call: its tone was just heard.".to_owned());
        }
        if !self.keys.is_empty() {
            let keys = std::mem::take(&mut self.keys);
            shared.prompt(format!("The caller has pressed these keys of the telephone: {keys}"));
        }
    }
}
