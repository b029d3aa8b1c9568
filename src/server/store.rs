//! The store's threads, where records are kept.
//!
//! Runs in: the main thread, at start. Owns nothing once the threads run.
//! Invariant: nothing waits for the database thread: a database that does not answer does not hold up the end.

use std::io;
use std::thread::JoinHandle;

use log::{info, warn};

use super::begin::start;
use crate::config::StoreConfig;
use crate::threads::relay::Relay;
use crate::threads::store::{RecordDoor, StorePlace, store};

/// Starts the store, if there is to be one. Returns the way in and the store thread, which ends when that way is closed
/// and all records are written or spooled.
///
/// # Errors
/// Those of starting a thread.
pub(super) fn start_store(
    config: &StoreConfig,
    relay: &Relay,
) -> io::Result<Option<(RecordDoor, JoinHandle<()>)>> {
    let place = StorePlace::configured(config);
    let Some((door, store, writer)) =
        store(&place, config.retention, &relay.store, &relay.counters, relay.clock)
    else {
        info!("records: none are kept (store.url is \"none\")");
        return Ok(None);
    };
    if let Some(warning) = place.database.warning() {
        warn!("{warning}");
    }
    info!("records: {}; the spool is {}", place.database, place.spool.display());
    // Ends by itself when the store thread has ended.
    drop(start("database", move || writer.run())?);
    Ok(Some((door, start("store", move || store.run())?)))
}
