//! Records of calls: kept in memory, spooled to disk where the database is away, written in batches, read again.
//!
//! Runs in: the store thread, which never waits for the database, and the database thread, which does. Owns the records
//! from the end of their calls on. Never makes the control thread wait.
//! Invariant: a record is in the database once, or in the spool, or counted as failed.

mod database;
mod place;
mod postgres;
mod reader;
mod rows;
mod schema;
mod spool;
mod sqlite;
mod status;

pub use database::StoreError;
pub use place::{DatabasePlace, StorePlace};
pub use reader::{CallFilter, CallPage, Reader};
pub use status::{StoreState, StoreStatus};
