//! What the living thread is told of the calls that run, so that they have a record if this relay dies.
//!
//! Runs in: the control thread. Owns when each call is told of again. Never waits for a database.
//! Invariant: a call is told of from its offer until its end, and then that it is over, which comes last.

use std::collections::BTreeSet;

use super::record::record_of;
use super::{Call, Control};
use crate::base::{CallId, Instant, RecordId};
use crate::call::living::{LivingCall, Piece};
use crate::call::{Cause, Outcome};
use crate::threads::store::LivingDoor;

/// How often a call is told of: a thousand calls cost the database two hundred small updates a second.
const EVERY_MS: u64 = 5_000;
/// When it is told again where there was no room.
const AGAIN_MS: u64 = 1_000;
/// Turns at the end of a transcript that may still change, or get one before them.
const TURNS_AGAIN: usize = 6;

/// See the head of this file.
pub(super) struct LivingCalls {
    door: Option<LivingDoor>,
    due: BTreeSet<(Instant, CallId)>,
}

/// What was told of a call.
#[derive(Default)]
pub(super) struct Told {
    turns: usize,
    events: usize,
}

impl LivingCalls {
    /// Nothing is told of calls without a door.
    pub(super) fn new(door: Option<LivingDoor>) -> Self {
        Self { door, due: BTreeSet::new() }
    }

    /// A call begins.
    pub(super) fn begin(&mut self, now: Instant, id: CallId) {
        if self.door.is_some() {
            self.due.insert((now, id));
        }
    }

    /// A call is over, and its record is on its way.
    pub(super) fn over(&mut self, id: RecordId) {
        if let Some(door) = &mut self.door {
            door.over(id);
        }
    }

    /// When there is something to tell.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|&(at, _)| at)
    }
}

impl Control {
    /// Tells of the calls whose time it is.
    pub(super) fn tell_of_living(&mut self, now: Instant) {
        let Self { living: LivingCalls { door: Some(door), due }, calls, .. } = self else { return };
        door.flush();
        while let Some(&(at, id)) = due.first()
            && at <= now
        {
            due.pop_first();
            // It may have ended since.
            let Some(call) = calls.get_mut(id) else { continue };
            let living = call.living(now);
            let told = Told { turns: living.turns.end(), events: living.events.end() };
            let again_ms = match door.tell(Box::new(living)) {
                true => {
                    call.told = told;
                    EVERY_MS
                }
                false => AGAIN_MS,
            };
            due.insert((now.plus_ms(again_ms), id));
        }
    }
}

impl Call {
    /// How it is at `now`, with what has come since it was told of.
    fn living(&self, now: Instant) -> LivingCall {
        let outcome = Outcome::of(Cause::RelayDied);
        let detail = record_of(now, self, &outcome, &self.shared.tally.snapshot());
        // Turns are counted from the first that there was, which may be gone.
        let gone = self.machine.transcript().dropped() as usize;
        let from = self.told.turns.saturating_sub(TURNS_AGAIN).max(gone);
        let turns = detail.transcript.into_iter().skip(from - gone).collect();
        let events = detail.events.into_iter().skip(self.told.events).collect();
        LivingCall {
            id: self.record_id,
            record: detail.record,
            recorded: self.tap.is_recorded(),
            turns: Piece { from, items: turns },
            events: Piece { from: self.told.events, items: events },
        }
    }
}
