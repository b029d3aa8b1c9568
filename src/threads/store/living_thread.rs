//! The living thread: writes rows of the calls that live here, and makes records of those whose relay is dead.
//!
//! Runs in: one thread, which may wait for the database for as long as that takes: nobody waits for this thread without a
//! deadline. Owns a connection of its own, and what of the living calls is not written yet.
//! Never keeps a call from anything: a database that is away is counted, and no more.
//! Invariant: what is written of a call is what was told last, and nothing is written of it behind its end.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{debug, warn};

use super::database::{Database, StoreError, transaction};
use super::living::{self, LEFT_MAX, OwnRelay};
use super::living_door::LivingOrder;
use super::place::DatabasePlace;
use super::relays::Relays;
use super::writer::connected;
use crate::base::{Instant, RecordId};
use crate::call::CallDetail;
use crate::call::living::LivingCall;
use crate::call::record::{CallEvent, RECORDING_FAILED, RecordingFile};
use crate::sync::Clock;
use crate::telemetry::Counters;

/// What comes within this time is written together.
const TOGETHER_MS: u64 = 100;
/// Between two signs of life, and between two looks at the others'.
const BEAT_MS: u64 = 1_000;
/// Between two attempts to reach the database: at first and at most.
const RETRY_MS: (u64, u64) = (250, 5_000);
/// A call whose recording is not on this machine is left for so long to a relay that has it.
const ELSEWHERE_MS: u64 = 60_000;

/// What is found of a recording whose relay is dead.
#[derive(Debug, Clone, PartialEq)]
pub enum LeftRecording {
    /// Nothing here.
    None,
    /// Somebody writes it still: that relay lives.
    Open,
    /// A file, which is whole now.
    Closed(RecordingFile),
}

/// Finds the recording of a call and closes its file.
pub type Recordings = Box<dyn FnMut(RecordId) -> LeftRecording + Send>;

/// What the thread is built from.
pub struct LivingParts {
    /// What it is told.
    pub orders: Receiver<LivingOrder>,
    /// The database.
    pub place: DatabasePlace,
    /// Which relay this is.
    pub own: OwnRelay,
    /// A relay is dead that has shown no life for so long; and no leg comes back to its calls any more.
    pub dead_after: Duration,
    /// Finds recordings.
    pub recordings: Recordings,
    /// The process's counters.
    pub counters: Arc<Counters>,
    /// The clock.
    pub clock: Clock,
}

/// See the head of this file.
pub struct Living {
    parts: LivingParts,
    connection: Option<Box<dyn Database>>,
    /// What of each call is to be written.
    pending: BTreeMap<RecordId, LivingCall>,
    over: BTreeSet<RecordId>,
    /// Calls that have a row.
    there: BTreeSet<RecordId>,
    beats: u64,
    beat_at: Instant,
    write_at: Option<Instant>,
    retry_at: Instant,
    pause_ms: u64,
    relays: Relays,
}

impl Living {
    /// The thread's state before it begins.
    pub fn new(parts: LivingParts) -> Self {
        let now = parts.clock.now();
        Self {
            parts,
            connection: None,
            pending: BTreeMap::new(),
            over: BTreeSet::new(),
            there: BTreeSet::new(),
            beats: 0,
            beat_at: now,
            write_at: None,
            retry_at: now,
            pause_ms: RETRY_MS.0,
            relays: Relays::default(),
        }
    }

    /// Serves until nothing can come any more.
    ///
    /// # Errors
    /// None: trouble with the database is counted.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let now = self.parts.clock.now();
            let due = self.write_at.map_or(self.beat_at, |at| at.min(self.beat_at)).max(self.retry_at);
            if now >= due {
                self.pass(now);
                continue;
            }
            match self.parts.orders.recv_timeout(due.since(now)) {
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.end();
        Ok(())
    }

    fn take(&mut self, order: LivingOrder) {
        match order {
            LivingOrder::Is(call) => match self.pending.get_mut(&call.id) {
                Some(waiting) => waiting.update(*call),
                None => _ = self.pending.insert(call.id, *call),
            },
            LivingOrder::Over(id) => {
                self.pending.remove(&id);
                // The rows of others are none of ours, and most short calls have none.
                if self.there.contains(&id) {
                    self.over.insert(id);
                }
            }
        }
        if self.write_at.is_none() && !(self.pending.is_empty() && self.over.is_empty()) {
            self.write_at = Some(self.parts.clock.now().plus_ms(TOGETHER_MS));
        }
    }

    /// Writes what waits, shows that it lives, and looks at the others.
    fn pass(&mut self, now: Instant) {
        let done = self.write().and_then(|()| match now >= self.beat_at {
            true => self.look(now),
            false => Ok(()),
        });
        if now >= self.beat_at {
            self.beat_at = now.plus_ms(BEAT_MS);
        }
        match done {
            Ok(()) => self.pause_ms = RETRY_MS.0,
            Err(StoreError::Away(why)) => {
                self.parts.counters.live_rows_put_off.add(self.pending.len() as u64);
                debug!("rows of living calls cannot be written: {why}");
                self.connection = None;
                self.retry_at = self.parts.clock.now().plus_ms(self.pause_ms);
                self.pause_ms = (self.pause_ms * 2).min(RETRY_MS.1);
            }
            Err(StoreError::Refused(why)) => {
                warn!("the database does not take the rows of living calls: {why}");
                self.pending.clear();
                self.write_at = None;
            }
        }
    }

    fn write(&mut self) -> Result<(), StoreError> {
        let database = match &mut self.connection {
            Some(database) => database,
            none => none.insert(connected(&self.parts.place)?),
        };
        self.beats += 1;
        let (own, pending, over, beats) = (&self.parts.own, &self.pending, &self.over, self.beats);
        transaction(database.as_mut(), |database| {
            living::beat(database, own, beats)?;
            pending.values().try_for_each(|call| living::write(database, own, call))?;
            over.iter().try_for_each(|id| living::over(database, own, *id))
        })?;
        self.parts.counters.live_rows_written.add(self.pending.len() as u64);
        self.there.extend(self.pending.keys());
        self.pending.clear();
        for id in std::mem::take(&mut self.over) {
            self.there.remove(&id);
        }
        self.write_at = None;
        Ok(())
    }

    /// Looks whether all relays live, and makes records of the calls of those that do not.
    fn look(&mut self, now: Instant) -> Result<(), StoreError> {
        let Some(database) = &mut self.connection else { return Ok(()) };
        let mut found = living::relays(database.as_mut())?;
        let own = self.parts.own.id.to_string();
        found.retain(|(relay, _)| *relay != own);
        for (relay, still_ms) in self.relays.look(now, found, self.parts.dead_after.as_millis() as u64) {
            self.bury(&relay, still_ms)?;
        }
        Ok(())
    }

    /// Makes records of the calls of a dead relay.
    fn bury(&mut self, relay: &str, still_ms: u64) -> Result<(), StoreError> {
        let Some(database) = &mut self.connection else { return Ok(()) };
        let left = living::left_by(database.as_mut(), relay)?;
        let (mut buried, all) = (0, left.len() < LEFT_MAX);
        for call in left {
            let recording = match call.recorded {
                true => (self.parts.recordings)(call.id),
                false => LeftRecording::None,
            };
            let long_enough = still_ms >= self.parts.dead_after.as_millis() as u64 + ELSEWHERE_MS;
            let (kept, missing) = match recording {
                // It was stopped, and goes on some time.
                LeftRecording::Open => return Ok(()),
                LeftRecording::Closed(file) => (Some(file), false),
                LeftRecording::None if call.recorded && !long_enough => continue,
                LeftRecording::None => (None, call.recorded),
            };
            let finish = |detail: &mut CallDetail| {
                detail.record.recording = kept;
                if missing {
                    let at_ms = (detail.record.duration_s * 1000.0) as u64;
                    let why =
                        Some("its relay died, and its file is not on the machine that made this record");
                    let (kind, detail_of) = (RECORDING_FAILED.to_owned(), why.map(str::to_owned));
                    detail.events.push(CallEvent { at_ms, kind, detail: detail_of });
                }
            };
            buried += u64::from(living::bury(database.as_mut(), relay, &call, finish)?);
        }
        if buried > 0 {
            self.parts.counters.dead_relay_calls.add(buried);
            warn!(
                "a relay died: {buried} of its calls have a record now, with the outcome relay_died (relay {relay})"
            );
        }
        if all { living::forget(database.as_mut(), relay) } else { Ok(()) }
    }

    /// Leaves nothing behind but rows of calls whose records are not in the database.
    fn end(&mut self) {
        let ended = self.write().and_then(|()| match &mut self.connection {
            Some(database) => living::forget(database.as_mut(), &self.parts.own.id.to_string()),
            None => Ok(()),
        });
        if let Err(why) = ended {
            debug!("rows of living calls are left behind: {why}");
        }
    }
}
