//! Records of calls: kept in memory, spooled to disk where the database is away, written in batches, read again; and rows of
//! calls that live, from which a record is made where a relay died.
//!
//! Runs in: the store thread, which never waits for the database, the database thread, which does, and the living thread, which
//! does so too. Owns the records from the end of their calls on. Never makes the control thread wait.
//! Invariant: a record is in the database once, or in the spool, or counted as failed.

mod database;
mod door;
mod filter;
mod judged;
mod living;
mod living_door;
mod living_thread;
mod place;
mod postgres;
mod postgres_url;
mod reader;
mod relays;
mod report;
mod rows;
mod schema;
mod spool;
mod sqlite;
mod status;
mod stopper;
mod store_thread;
mod writer;

pub use database::StoreError;
pub use door::RecordDoor;
pub use filter::{CallFilter, Cursor, PAGE_CALLS_MAX, Problems, Sort};
pub use living::OwnRelay;
pub use living_door::{LivingDoor, LivingOrder};
pub use living_thread::{LeftRecording, Living, LivingParts, Recordings};
pub use place::{DatabasePlace, StorePlace, state_directory};
pub use reader::{CallPage, Reader};
pub use report::{By, ReportLine};
pub use status::{StoreState, StoreStatus};
pub use stopper::Stopper;
pub use store_thread::Store;
pub use writer::Writer;

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use log::error;

use crate::config::VerdictConfig;
use crate::sync::Clock;
use crate::telemetry::Counters;
use spool::Spool;
use store_thread::StoreParts;

/// The way in, and the two threads' states before they begin; `None` where no records are kept.
pub fn store(
    place: &StorePlace,
    retention: Option<Duration>,
    limits: VerdictConfig,
    status: &Arc<StoreStatus>,
    counters: &Arc<Counters>,
    clock: Clock,
) -> Option<(RecordDoor, Store, Writer)> {
    if matches!(place.database, DatabasePlace::Off) {
        return None;
    }
    let spool = Spool::open(place.spool.clone()).unwrap_or_else(|problem| {
        error!("the spool {} cannot be looked into: {problem}", place.spool.display());
        Spool::empty(place.spool.clone())
    });
    let (door, records) = RecordDoor::new(Arc::clone(counters));
    let (batches, to_write) = bounded(1);
    let (answer, answers) = bounded(1);
    status.set(StoreState::Ok);
    let parts = StoreParts {
        records,
        batches,
        answers,
        spool,
        status: Arc::clone(status),
        counters: Arc::clone(counters),
        clock,
    };
    let writer = Writer {
        place: place.database.clone(),
        retention,
        limits,
        clock,
        batches: to_write,
        answers: answer,
        connection: None,
    };
    Some((door, Store::new(parts), writer))
}
