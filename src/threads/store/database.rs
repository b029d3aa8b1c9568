//! What the store asks of a database, the same of SQLite and of Postgres: statements with numbered values.
//!
//! Runs in: whichever thread waits for the database. Owns the types that both sides have in common.
//! Invariant: a value is never part of a statement's text.

use std::time::Duration;

use thiserror::Error;

use super::stopper::Interrupt;

/// A value in a statement or a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Nothing.
    Null,
    /// `BOOLEAN`.
    Switch(bool),
    /// `BIGINT`.
    Integer(i64),
    /// `DOUBLE PRECISION`.
    Real(f64),
    /// `TEXT`.
    Text(String),
}

/// A row of a result.
pub(super) type Row = Vec<Value>;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The database cannot be asked now: it is away, locked, full, or not what it should be. Another time it can.
    #[error("{0}")]
    Away(String),
    /// The database does not take this statement with these values, and never will.
    #[error("{0}")]
    Refused(String),
}

/// One connection. Statements name their values `$1`, `$2` and so on, each for the first time in that order.
pub(super) trait Database: Send {
    /// Carries out statements without values, separated by semicolons.
    ///
    /// # Errors
    /// What the database says.
    fn batch(&mut self, sql: &str) -> Result<(), StoreError>;

    /// Carries out a statement. Returns how many rows it changed.
    ///
    /// # Errors
    /// What the database says.
    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError>;

    /// The rows of a query.
    ///
    /// # Errors
    /// What the database says.
    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError>;

    /// The statement that begins a transaction which will write.
    fn begin(&self) -> &'static str;

    /// What interrupts a statement that runs here, from another thread; `None` where the database ends it by itself
    /// ([`Database::limit`]).
    fn interrupt(&self) -> Option<Interrupt> {
        None
    }

    /// Has the database end each statement of a reader that takes longer; nothing where it is interrupted instead.
    ///
    /// # Errors
    /// What the database says.
    fn limit(&mut self, _within: Duration) -> Result<(), StoreError> {
        Ok(())
    }

    /// The statement, within a transaction, that keeps another relay from migrating at the same time.
    fn lock_for_migration(&self) -> &'static str;

    /// The query for the names of the columns of `calls`.
    fn columns_of_calls(&self) -> &'static str;
}

/// Carries out `work` in a transaction: all of it, or nothing.
///
/// # Errors
/// Those of `work` and of the database.
pub(super) fn transaction<T>(
    database: &mut dyn Database,
    work: impl FnOnce(&mut dyn Database) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    database.batch(database.begin())?;
    let done = work(database).and_then(|done| database.batch("COMMIT").map(|()| done));
    if done.is_err() {
        // Where the connection is gone, so is the transaction.
        _ = database.batch("ROLLBACK");
    }
    done
}
