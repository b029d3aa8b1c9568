//! The store thread: keeps records until the database has them, in memory while it takes them, else on disk.
//!
//! Runs in: one store thread, which waits for records, for the database thread's answers with a deadline, and for the disk.
//! Owns the records that are not in the database, and the spool. Never waits for the database.
//! Invariant: records are delivered in the order in which they came; a record is forgotten when the database has it, when
//! it is in the spool, or when it was counted as failed, and not before.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, select};
use log::{error, info, warn};

use super::spool::{self, Spool};
use super::status::{StoreState, StoreStatus};
use super::writer::{Batch, Written};
use crate::base::Instant;
use crate::call::CallDetail;
use crate::sync::Clock;
use crate::telemetry::Counters;

/// A batch: records, and bytes of what was said in them.
const BATCH_RECORDS: usize = 100;
const BATCH_BYTES: usize = 2 << 20;
/// Records in memory, and their bytes; more are spooled.
const MEMORY_RECORDS: usize = 1_000;
const MEMORY_BYTES: usize = 16 << 20;
/// A database that has not answered for this long is slow: records wait on disk.
const SLOW_MS: u64 = 2_000;
/// Between two attempts to reach the database: at first and at most.
const RETRY_MS: (u64, u64) = (250, 5_000);
/// Between two attempts to write to a disk that did not take it.
const DISK_RETRY_MS: u64 = 1_000;
/// For how long the end waits for the database; what is not written then is spooled.
const END_WITHIN_MS: u64 = 5_000;
/// The longest rest.
const REST: Duration = Duration::from_secs(60);

/// Records that the database thread has.
struct InFlight {
    batch: Batch,
    since: Instant,
    /// Where the spool is when they are delivered; `None`: they are in memory alone.
    of_spool: Option<spool::Batch>,
}

/// See the head of this file.
pub struct Store {
    parts: StoreParts,
    /// Records in memory.
    waiting: VecDeque<CallDetail>,
    waiting_bytes: usize,
    in_flight: Option<InFlight>,
    /// When the database was found to be away, by the wall clock, and what it said.
    away: Option<(u64, String)>,
    /// When the disk did not take records, by the wall clock, and what it said.
    failing: Option<(u64, String)>,
    retry_at: Instant,
    pause_ms: u64,
    disk_retry_at: Instant,
}

/// What the thread is built from.
pub(super) struct StoreParts {
    pub(super) records: Receiver<Box<CallDetail>>,
    pub(super) batches: Sender<Batch>,
    pub(super) answers: Receiver<Result<Written, String>>,
    pub(super) spool: Spool,
    pub(super) status: Arc<StoreStatus>,
    pub(super) counters: Arc<Counters>,
    pub(super) clock: Clock,
}

impl Store {
    pub(super) fn new(parts: StoreParts) -> Self {
        let now = parts.clock.now();
        Self {
            parts,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            in_flight: None,
            away: None,
            failing: None,
            retry_at: now,
            pause_ms: RETRY_MS.0,
            disk_retry_at: now,
        }
    }

    /// Serves until no more records can come, then sees to it that all are written or spooled.
    ///
    /// # Errors
    /// None: trouble with database and disk is logged, counted and shown.
    pub fn run(mut self) -> io::Result<()> {
        if !self.parts.spool.is_empty() {
            info!("{} records of an earlier run wait in the spool", self.parts.spool.records());
        }
        // Nothing is to be written yet, but whether the database is there should be known.
        self.give(Vec::new(), None);
        loop {
            let now = self.parts.clock.now();
            self.pass(now);
            let rest = self.deadline().map_or(REST, |at| at.since(now).min(REST));
            select! {
                recv(self.parts.records) -> call => match call {
                    Ok(call) => self.take(*call),
                    Err(_) => break,
                },
                recv(self.parts.answers) -> answer => match answer {
                    Ok(answer) => self.answered(answer),
                    Err(_) => return Err(io::Error::other("the database thread is gone")),
                },
                default(rest) => {}
            }
        }
        self.end();
        Ok(())
    }

    /// Takes a record and what waits behind it, as long as there is room.
    fn take(&mut self, call: CallDetail) {
        self.push(call);
        while self.waiting.len() < MEMORY_RECORDS
            && let Ok(call) = self.parts.records.try_recv()
        {
            self.push(*call);
        }
    }

    fn push(&mut self, call: CallDetail) {
        self.waiting_bytes += bytes_of(&call);
        self.waiting.push_back(call);
    }

    /// Puts records where they belong now: to the database, or to the disk.
    fn pass(&mut self, now: Instant) {
        if self.is_slow(now) && self.away.is_none() {
            self.find_away("it has not answered for two seconds".to_owned());
        }
        if self.is_to_be_spooled(now) && now >= self.disk_retry_at {
            self.spool_waiting(now);
        }
        while self.waiting.len() > MEMORY_RECORDS || self.waiting_bytes > MEMORY_BYTES {
            let Some(lost) = self.waiting.pop_back() else { break };
            self.waiting_bytes -= bytes_of(&lost);
            self.parts.counters.records_failed.increment();
            error!("the record of call {} is lost: neither database nor spool takes it", lost.record.id);
        }
        if self.in_flight.is_none() && now >= self.retry_at {
            self.give_next(now);
        }
        self.show();
    }

    fn is_to_be_spooled(&self, now: Instant) -> bool {
        let full = self.waiting.len() >= MEMORY_RECORDS || self.waiting_bytes >= MEMORY_BYTES;
        let of_memory = self.in_flight.as_ref().is_some_and(|in_flight| in_flight.of_spool.is_none());
        let anything = !self.waiting.is_empty() || of_memory && self.is_slow(now);
        anything && (full || self.away.is_some() || !self.parts.spool.is_empty() || self.is_slow(now))
    }

    fn is_slow(&self, now: Instant) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| now.since_ms(in_flight.since) >= SLOW_MS)
    }

    /// Moves what is in memory alone to the disk, what the database thread has and does not answer for first.
    fn spool_waiting(&mut self, now: Instant) {
        let slow = self.is_slow(now);
        let in_flight = self.in_flight.as_mut().filter(|in_flight| slow && in_flight.of_spool.is_none());
        let older = in_flight.as_ref().map(|in_flight| Arc::clone(&in_flight.batch));
        let older = older.iter().flat_map(|batch| batch.iter());
        match self.parts.spool.append(older.chain(&self.waiting)) {
            Ok(spooled) => {
                self.parts.counters.records_spooled.add(spooled);
                self.waiting.clear();
                self.waiting_bytes = 0;
                if let Some(in_flight) = in_flight {
                    // Written or not, it will be delivered from the spool, which changes nothing if it is there.
                    in_flight.of_spool = Some(spool::Batch::default());
                }
                if self.failing.take().is_some() {
                    info!("the spool takes records again");
                }
            }
            Err(problem) => {
                self.disk_retry_at = now.plus_ms(DISK_RETRY_MS);
                if self.failing.is_none() {
                    let (directory, seen) = (self.parts.spool.directory().display(), self.waiting.len());
                    error!(
                        "records cannot be spooled to {directory} ({problem}) and {seen} wait in memory, where there is \
                         room for {MEMORY_RECORDS}: make room there, or set store.spool_directory to a place with room"
                    );
                    self.failing = Some((self.parts.clock.unix_ms(), problem.to_string()));
                }
            }
        }
    }

    /// Gives the database thread the oldest records; none where it is to be seen whether the database is back.
    fn give_next(&mut self, now: Instant) {
        if !self.parts.spool.is_empty() {
            match self.parts.spool.oldest(BATCH_RECORDS, BATCH_BYTES) {
                Ok(mut batch) => {
                    let calls = std::mem::take(&mut batch.calls);
                    self.give(calls, Some(batch));
                }
                Err(problem) => {
                    error!("the spool {} cannot be read: {problem}", self.parts.spool.directory().display());
                    self.retry_at = now.plus_ms(RETRY_MS.1);
                }
            }
        } else if !self.waiting.is_empty() || self.away.is_some() {
            let (mut calls, mut bytes) = (Vec::new(), 0);
            while calls.len() < BATCH_RECORDS
                && bytes < BATCH_BYTES
                && let Some(call) = self.waiting.pop_front()
            {
                bytes += bytes_of(&call);
                calls.push(call);
            }
            self.waiting_bytes -= bytes;
            self.give(calls, None);
        }
    }

    fn give(&mut self, calls: Vec<CallDetail>, of_spool: Option<spool::Batch>) {
        let batch = Arc::new(calls);
        // There is room for the one batch that is under way, and the thread lives as long as this one.
        _ = self.parts.batches.send(Arc::clone(&batch));
        self.in_flight = Some(InFlight { batch, since: self.parts.clock.now(), of_spool });
    }

    /// What became of the records that the database thread had.
    fn answered(&mut self, answer: Result<Written, String>) {
        let Some(InFlight { batch, of_spool, .. }) = self.in_flight.take() else { return };
        match answer {
            Ok(Written { new, refused }) => {
                self.parts.counters.records_written.add(new);
                for (place, why) in refused {
                    let Some(call) = batch.get(place) else { continue };
                    error!("the record of call {} is not taken by the database: {why}", call.record.id);
                    self.parts.counters.records_failed.increment();
                    self.parts.spool.reject(call);
                }
                if let Some(of_spool) = of_spool {
                    let unreadable = of_spool.unreadable.len() as u64;
                    if unreadable > 0 {
                        error!(
                            "{unreadable} lines of the spool cannot be read and are kept aside in rejected.jsonl"
                        );
                        self.parts.counters.records_failed.add(unreadable);
                    }
                    self.parts.spool.delivered(&of_spool);
                }
                self.pause_ms = RETRY_MS.0;
                if let Some((since_ms, _)) = self.away.take() {
                    let seconds = self.parts.clock.unix_ms().saturating_sub(since_ms) / 1000;
                    let left = self.parts.spool.records();
                    info!("the database is back after {seconds} s; {left} records wait in the spool for it");
                }
            }
            Err(why) => {
                if of_spool.is_none() {
                    let calls = Arc::try_unwrap(batch).unwrap_or_else(|batch| batch.to_vec());
                    for call in calls.into_iter().rev() {
                        self.waiting_bytes += bytes_of(&call);
                        self.waiting.push_front(call);
                    }
                }
                self.find_away(why);
                self.retry_at = self.parts.clock.now().plus_ms(self.pause_ms);
                self.pause_ms = (self.pause_ms * 2).min(RETRY_MS.1);
            }
        }
    }

    /// The database is away, or still is; the log says it once.
    fn find_away(&mut self, why: String) {
        if self.away.is_none() {
            warn!("the database takes no records, which wait in the spool: {why}");
        }
        let now_ms = self.parts.clock.unix_ms();
        let since_ms = self.away.take().map_or(now_ms, |(since_ms, _)| since_ms);
        self.away = Some((since_ms, why));
    }

    /// When there is something to do though nothing comes.
    fn deadline(&self) -> Option<Instant> {
        let slow = self.in_flight.as_ref().map(|in_flight| in_flight.since.plus_ms(SLOW_MS));
        let slow = slow.filter(|at| *at > self.parts.clock.now());
        let idle = self.in_flight.is_none();
        let more = !self.waiting.is_empty() || !self.parts.spool.is_empty() || self.away.is_some();
        let retry = (idle && more).then_some(self.retry_at);
        let disk = self.failing.is_some().then_some(self.disk_retry_at);
        [slow, retry, disk].into_iter().flatten().min()
    }

    fn show(&self) {
        let spool = &self.parts.spool;
        self.parts.status.set(match (&self.failing, &self.away) {
            (Some((since_ms, why)), _) => StoreState::Failing { since_ms: *since_ms, why: why.clone() },
            (None, Some((since_ms, why))) => StoreState::Spooling {
                since_ms: *since_ms,
                records: spool.records(),
                bytes: spool.bytes(),
                why: why.clone(),
            },
            (None, None) => StoreState::Ok,
        });
    }

    /// Lets the database thread close its connection, if it does so in time.
    fn leave(&mut self, by: Instant) {
        // It ends when no batch can come any more.
        self.parts.batches = bounded(1).0;
        let idle = self.in_flight.is_none();
        while idle && self.parts.answers.recv_timeout(by.since(self.parts.clock.now())).is_ok() {}
    }

    /// Writes what waits while the database takes it, and spools the rest.
    fn end(&mut self) {
        let by = self.parts.clock.now().plus_ms(END_WITHIN_MS);
        loop {
            let now = self.parts.clock.now();
            self.pass(now);
            let done = self.waiting.is_empty() && self.parts.spool.is_empty() && self.in_flight.is_none();
            if done || self.away.is_some() || now >= by {
                break;
            }
            let rest = self.deadline().map_or(by, |at| at.min(by)).since(now);
            match self.parts.answers.recv_timeout(rest) {
                Ok(answer) => self.answered(answer),
                Err(error) if error.is_timeout() => {}
                Err(_) => break,
            }
        }
        let now = self.parts.clock.now();
        if let Some(given) = self.in_flight.take_if(|given| given.of_spool.is_none()) {
            for call in given.batch.iter().rev() {
                self.waiting.push_front(call.clone());
            }
        }
        if !self.waiting.is_empty() {
            self.spool_waiting(now);
        }
        let lost = self.waiting.len() as u64;
        if lost > 0 {
            self.parts.counters.records_failed.add(lost);
            error!("{lost} records are lost: neither database nor spool takes them");
        }
        if !self.parts.spool.is_empty() {
            info!("{} records wait in the spool for the next start", self.parts.spool.records());
        }
        self.leave(by);
    }
}

/// About how much memory a record takes.
fn bytes_of(call: &CallDetail) -> usize {
    let turns = call.transcript.iter().map(|turn| turn.text.len() + turn.heard_text.len() + 100);
    let events = call.events.iter().map(|event| event.detail.as_ref().map_or(0, String::len) + 100);
    2_000 + turns.chain(events).sum::<usize>()
}
