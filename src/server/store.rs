//! The store's threads, where records are kept.
//!
//! Runs in: the main thread, at start and at the end. Owns the store's threads.
//! Invariant: nothing waits without a deadline for a thread that waits for the database: one that does not answer does not hold
//! up the end.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{info, warn};

use super::begin::start;
use crate::base::RecordId;
use crate::call::record::rfc3339;
use crate::config::Config;
use crate::sync::random;
use crate::threads::recorder::left;
use crate::threads::recorder::shelf::recordings_directory;
use crate::threads::relay::Relay;
use crate::threads::store::{
    Living, LivingDoor, LivingOrder, LivingParts, OwnRelay, RecordDoor, StorePlace, store,
};

/// How long a relay shows no life before it is dead, beyond the time that its calls wait for their legs.
const LEASE: Duration = Duration::from_secs(5);
/// How long the end waits for the last rows of living calls.
const ROWS_WITHIN: Duration = Duration::from_secs(2);

/// The ways in of control.
pub(super) struct StoreDoors {
    pub(super) records: RecordDoor,
    pub(super) living: LivingDoor,
}

/// The threads.
pub(super) struct StoreThreads {
    /// Ends when its door is closed and all records are written or spooled.
    store: JoinHandle<()>,
    /// Lets the living thread serve until the records are where they belong.
    last: Sender<LivingOrder>,
    /// Closed when the living thread has ended.
    living: Receiver<()>,
}

impl StoreThreads {
    /// Waits until all is written that will be.
    pub(super) fn join(self) {
        // A thread that panicked has said so; there is nothing to add.
        _ = self.store.join();
        drop(self.last);
        _ = self.living.recv_timeout(ROWS_WITHIN);
    }
}

/// Starts the store, if there is to be one.
///
/// # Errors
/// Those of starting a thread.
pub(super) fn start_store(config: &Config, relay: &Relay) -> io::Result<Option<(StoreDoors, StoreThreads)>> {
    let place = StorePlace::configured(&config.store);
    let Some((records, store, writer)) = store(
        &place,
        config.store.retention,
        config.verdict.clone(),
        &relay.store,
        &relay.counters,
        relay.clock,
    ) else {
        info!("records: none are kept (store.url is \"none\")");
        return Ok(None);
    };
    if let Some(warning) = place.database.warning() {
        warn!("{warning}");
    }
    info!("records: {}; the spool is {}", place.database, place.spool.display());
    // Ends by itself when the store thread has ended.
    drop(start("database", move || writer.run())?);
    let (living, orders) = LivingDoor::new(Arc::clone(&relay.counters));
    let started_ms = relay.clock.unix_ms();
    let recordings = recordings_directory(&config.recording);
    let parts = LivingParts {
        orders,
        place: place.database,
        own: OwnRelay {
            id: RecordId::new(started_ms, random::bits128()),
            address: config.admin.listen.map_or(String::new(), |address| address.to_string()),
            started_at: rfc3339(started_ms),
        },
        dead_after: config.leg.detached + LEASE,
        recordings: Box::new(move |id| left::close(&recordings, id)),
        counters: Arc::clone(&relay.counters),
        clock: relay.clock,
    };
    let (lives, ended) = bounded(0);
    drop(start("living", move || {
        let _lives = lives;
        Living::new(parts).run()
    })?);
    let last = living.kept_open();
    let threads = StoreThreads { store: start("store", move || store.run())?, last, living: ended };
    Ok(Some((StoreDoors { records, living }, threads)))
}
