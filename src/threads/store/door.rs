//! The way of a record from control to the store.
//!
//! Runs in: the control thread. Owns the records that the store thread has not taken yet.
//! Never waits, but at the very end. Invariant: records arrive in the order in which their calls ended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use log::error;

use crate::call::CallDetail;
use crate::telemetry::Counters;

/// Records between the threads: more than end at once.
const CHANNEL_RECORDS: usize = 1_024;
/// Records kept back. The store thread waits for the disk at most, so these are minutes of a stalled disk.
const HELD_MAX: usize = 4_096;

/// See the head of this file.
pub struct RecordDoor {
    records: Sender<Box<CallDetail>>,
    held: VecDeque<Box<CallDetail>>,
    counters: Arc<Counters>,
}

impl RecordDoor {
    /// A door, and what comes through it.
    pub fn new(counters: Arc<Counters>) -> (Self, Receiver<Box<CallDetail>>) {
        let (records, behind) = bounded(CHANNEL_RECORDS);
        (Self { records, held: VecDeque::new(), counters }, behind)
    }

    /// Hands a record over, or keeps it back until [`RecordDoor::flush`] finds room.
    pub fn send(&mut self, call: Box<CallDetail>) {
        if self.held.len() >= HELD_MAX {
            self.counters.records_failed.increment();
            error!("the record of call {} is lost: the disk of the spool does not keep up", call.record.id);
            return;
        }
        self.held.push_back(call);
        self.flush();
    }

    /// Hands over what was kept back. Returns whether nothing is kept back any more.
    pub fn flush(&mut self) -> bool {
        while let Some(call) = self.held.pop_front() {
            if let Err(TrySendError::Full(call)) = self.records.try_send(call) {
                self.held.push_front(call);
                return false;
            }
        }
        true
    }

    /// Hands over the last records, when nothing else is left to do; gives up when one is not taken within that time.
    pub fn finish(mut self, within: Duration) {
        while let Some(call) = self.held.pop_front() {
            if self.records.send_timeout(call, within).is_err() {
                let lost = self.held.len() as u64 + 1;
                self.counters.records_failed.add(lost);
                error!("{lost} records are lost: the disk of the spool does not keep up");
                return;
            }
        }
    }
}
