//! The database thread: connects, brings the tables up to date, writes batches, deletes what is too old and judges what nobody has.
//!
//! Runs in: one database thread, which may wait for the database for as long as that takes: nobody waits for this thread
//! without a deadline. Owns the connection. Never keeps a record: whoever gave it has it still.
//! Invariant: a batch is written in one transaction, or not at all; but for records that the database refuses by
//! themselves, which are named.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use log::{info, warn};

use super::database::{Database, StoreError, Value, transaction};
use super::judged::{JUDGED_AT_ONCE, judge_some};
use super::place::DatabasePlace;
use super::{postgres, rows, schema, sqlite};
use crate::base::{Instant, RecordId};
use crate::call::CallDetail;
use crate::config::VerdictConfig;
use crate::sync::Clock;

/// Calls that are deleted in one transaction, so that it is short.
const DELETED_AT_ONCE: u64 = 200;
/// Between two transactions of that kind, and when nothing is left to do.
const CARE_PAUSE_MS: (u64, u64) = (50, 600_000);
/// When there is no connection to do it over.
const CARE_LATER_MS: u64 = 1_000;

/// Calls to be written; none to see whether the database is there.
pub(super) type Batch = Arc<Vec<CallDetail>>;

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Written {
    /// Calls that were not there before.
    pub(super) new: u64,
    /// Places in the batch of those that the database does not take, with its reasons.
    pub(super) refused: Vec<(usize, String)>,
}

/// See the head of this file.
pub struct Writer {
    pub(super) place: DatabasePlace,
    pub(super) retention: Option<Duration>,
    pub(super) limits: VerdictConfig,
    pub(super) clock: Clock,
    pub(super) batches: Receiver<Batch>,
    pub(super) answers: Sender<Result<Written, String>>,
    pub(super) connection: Option<Box<dyn Database>>,
}

impl Writer {
    /// Serves until the store thread has ended.
    ///
    /// # Errors
    /// None: trouble with the database is an answer.
    pub fn run(mut self) -> io::Result<()> {
        let mut care_at = self.clock.now();
        loop {
            let rest = care_at.since(self.clock.now());
            match self.batches.recv_timeout(rest) {
                Ok(batch) => {
                    let answer = self.serve(&batch);
                    // Its giver may want to take it apart.
                    drop(batch);
                    if self.answers.send(answer).is_err() {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => care_at = self.delete_old().min(self.judge_old()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }

    fn serve(&mut self, batch: &[CallDetail]) -> Result<Written, String> {
        let had_connection = self.connection.is_some();
        let mut answer = self.try_to_write(batch);
        if answer.is_err() && had_connection {
            // The connection may have been lost long ago, and the database be there.
            answer = self.try_to_write(batch);
        }
        answer.map_err(|error| error.to_string())
    }

    fn try_to_write(&mut self, batch: &[CallDetail]) -> Result<Written, StoreError> {
        let database = match &mut self.connection {
            Some(database) => database,
            none => none.insert(connected(&self.place)?),
        };
        let written = write(database.as_mut(), batch);
        if written.is_err() {
            self.connection = None;
        }
        written
    }

    /// Deletes some of the calls that are too old. Returns when to look again.
    fn delete_old(&mut self) -> Instant {
        let now = self.clock.now();
        let Some(retention) = self.retention else { return now.plus_ms(CARE_PAUSE_MS.1) };
        let Some(database) = &mut self.connection else { return now.plus_ms(CARE_LATER_MS) };
        let oldest_ms = self.clock.unix_ms().saturating_sub(retention.as_millis() as u64);
        match delete_before(database.as_mut(), oldest_ms) {
            Ok(DELETED_AT_ONCE..) => return now.plus_ms(CARE_PAUSE_MS.0),
            Ok(0) => {}
            Ok(_) => info!("records older than store.retention_days are deleted"),
            Err(error) => {
                warn!("records older than store.retention_days cannot be deleted: {error}");
                self.connection = None;
            }
        }
        now.plus_ms(CARE_PAUSE_MS.1)
    }

    /// Judges some of the calls that have no verdict. Returns when to look again.
    fn judge_old(&mut self) -> Instant {
        let now = self.clock.now();
        let Some(database) = &mut self.connection else { return now.plus_ms(CARE_LATER_MS) };
        match judge_some(database.as_mut(), &self.limits) {
            Ok(JUDGED_AT_ONCE..) => return now.plus_ms(CARE_PAUSE_MS.0),
            Ok(_) => {}
            Err(error) => {
                warn!("records of earlier versions cannot be judged: {error}");
                self.connection = None;
            }
        }
        now.plus_ms(CARE_PAUSE_MS.1)
    }
}

/// A connection to a database whose tables are those of this version.
///
/// # Errors
/// Why there is none.
pub(super) fn connected(place: &DatabasePlace) -> Result<Box<dyn Database>, StoreError> {
    let mut database: Box<dyn Database> = match place {
        DatabasePlace::Off => return Err(StoreError::Away("store.url is \"none\"".to_owned())),
        DatabasePlace::Sqlite(path) => Box::new(sqlite::Sqlite::write(path)?),
        DatabasePlace::Postgres(url) => Box::new(postgres::Postgres::connect(url)?),
    };
    schema::migrate(database.as_mut())?;
    Ok(database)
}

/// Writes all at once or, where the database refuses that, one after another.
fn write(database: &mut dyn Database, batch: &[CallDetail]) -> Result<Written, StoreError> {
    let mut written = Written { new: 0, refused: Vec::new() };
    match transaction(database, |database| rows::write(database, batch)) {
        Err(StoreError::Refused(_)) => {}
        Err(away) => return Err(away),
        Ok(new) => {
            written.new = new;
            return Ok(written);
        }
    }
    for (place, call) in batch.iter().enumerate() {
        match transaction(database, |database| rows::write(database, std::slice::from_ref(call))) {
            Ok(new) => written.new += new,
            Err(StoreError::Refused(why)) => written.refused.push((place, why)),
            Err(away) => return Err(away),
        }
    }
    Ok(written)
}

/// Deletes calls that were offered before that millisecond since 1970, a limited number of them. Returns how many.
fn delete_before(database: &mut dyn Database, unix_ms: u64) -> Result<u64, StoreError> {
    let oldest = Value::Text(RecordId::new(unix_ms, 0).to_string());
    let sql = format!(
        "DELETE FROM calls WHERE id IN (SELECT id FROM calls WHERE id < $1 ORDER BY id LIMIT {DELETED_AT_ONCE})"
    );
    // What was said and what happened goes with the call.
    database.execute(&sql, &[oldest])
}

#[cfg(test)]
mod tests {
    use super::super::database::Row;
    use super::*;
    use crate::call::CallRecord;

    /// A database that does not take one record, nor anything together with it.
    #[derive(Default)]
    struct Choosy {
        written: u64,
        committed: u64,
        away: bool,
    }

    impl Database for Choosy {
        fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
            match sql {
                "COMMIT" => self.committed += std::mem::take(&mut self.written),
                _ => self.written = 0,
            }
            Ok(())
        }

        fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
            if self.away {
                return Err(StoreError::Away("away".into()));
            }
            if values.contains(&Value::Text("unfit".into())) {
                return Err(StoreError::Refused("unfit".into()));
            }
            let rows = if sql.starts_with("INSERT") { sql.matches("($").count() as u64 } else { 0 };
            self.written += rows;
            Ok(rows)
        }

        fn query(&mut self, _: &str, _: &[Value]) -> Result<Vec<Row>, StoreError> {
            Ok(Vec::new())
        }

        fn begin(&self) -> &'static str {
            "BEGIN"
        }

        fn lock_for_migration(&self) -> &'static str {
            ""
        }

        fn columns_of_calls(&self) -> &'static str {
            ""
        }
    }

    fn calls(ids: &[&str]) -> Vec<CallDetail> {
        let record = |id: &&str| CallRecord { id: (*id).to_owned(), ..CallRecord::default() };
        ids.iter().map(|id| CallDetail { record: record(id), ..CallDetail::default() }).collect()
    }

    #[test]
    fn a_record_that_the_database_refuses_does_not_hold_up_the_others() {
        let mut database = Choosy::default();
        let written = write(&mut database, &calls(&["1", "2", "unfit", "4"])).expect("there");
        assert_eq!(written.refused, [(2, "unfit".to_owned())]);
        assert_eq!((written.new, database.committed), (3, 3));
    }

    #[test]
    fn nothing_of_a_batch_counts_as_written_when_the_database_goes_away() {
        let mut database = Choosy { away: true, ..Choosy::default() };
        let error = write(&mut database, &calls(&["1"])).expect_err("away");
        assert_eq!((error, database.committed), (StoreError::Away("away".into()), 0));
    }
}
