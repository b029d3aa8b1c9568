//! The recorder's threads: the one that empties the taps, and the one that writes the files.
//!
//! Runs in: the main thread, at start. Owns nothing once the threads run.
//! Invariant: nothing waits for the thread that writes: a disk that hangs does not hold up the end.

use std::io;
use std::sync::Arc;

use super::Builder;
use super::begin::{Waiting, start};
use crate::sync::{Doorbell, Outbox, mailbox};
use crate::threads::recorder::disk::{Disk, DiskParts};
use crate::threads::recorder::shelf::{ShelfLimits, recordings_directory};
use crate::threads::recorder::{DISK_ORDERS, Recorder, RecorderOrder, RecorderParts};

impl Builder<'_> {
    /// Starts them.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub(super) fn recorder(&mut self) -> io::Result<Outbox<RecorderOrder>> {
        let (clock, counters) = (self.relay.clock, &self.relay.counters);
        let config = &self.config.recording;
        let (orders, taken) = crossbeam_channel::bounded(DISK_ORDERS);
        let disk = Disk::new(DiskParts {
            orders: taken,
            control: self.control.clone(),
            directory: recordings_directory(config),
            limits: ShelfLimits {
                age_ms: config.retention.map(|age| age.as_millis() as u64),
                bytes: config.bytes,
            },
            format: config.format,
            longest: config.longest,
            counters: Arc::clone(counters),
            clock,
        });
        // Control waits a while for what it writes at the end; the thread itself ends with the recorder.
        drop(start("recorder-disk", move || disk.run())?);
        let waiting = Waiting::start("recorder")?;
        let own = Doorbell::for_parked(waiting.thread());
        let (outbox, inbox) = mailbox(own.clone());
        let (control, counters) = (self.control.clone(), Arc::clone(counters));
        let parts = RecorderParts { inbox, own, disk: orders, control, counters };
        self.threads.push(waiting.begin(move || Recorder::new(parts).run(clock)));
        Ok(outbox)
    }
}
