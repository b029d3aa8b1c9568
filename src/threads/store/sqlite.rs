//! SQLite: the database without a server.
//!
//! Runs in: whichever thread waits for the database. Owns a connection to the file.
//! Invariant: another connection is waited for as long as [`BUSY_WITHIN`], not longer.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql, params_from_iter};

use super::database::{Database, Row, StoreError, Value};
use super::stopper::Interrupt;

/// How long a statement waits for another connection that writes.
const BUSY_WITHIN: Duration = Duration::from_secs(2);

/// See the head of this file.
pub(super) struct Sqlite(Connection);

impl Sqlite {
    /// Opens the file to write, and makes it and its directory where they are not there, readable by their owner alone.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(super) fn write(path: &Path) -> Result<Self, StoreError> {
        let away = |what: String| StoreError::Away(format!("{}: {what}", path.display()));
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            super::spool::make_directory(directory)
                .map_err(|error| away(format!("its directory cannot be made ({error})")))?;
        }
        // Made by us, so that what people said is not for every user of the machine to read.
        super::spool::make_private(path).map_err(|error| away(format!("it cannot be opened ({error})")))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut sqlite =
            Self(Connection::open_with_flags(path, flags).map_err(|error| away(error.to_string()))?);
        sqlite.prepare()?;
        // With WAL, readers and the writer do not wait for each other. FULL: what is committed survives a power cut.
        sqlite.batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
        Ok(sqlite)
    }

    /// Opens the file to read.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub(super) fn read(path: &Path) -> Result<Self, StoreError> {
        let shown = path.display();
        if !path.exists() {
            return Err(StoreError::Away(format!(
                "there is no database {shown}: no call has ended yet, or store.url names another one"
            )));
        }
        let open = |flags| Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX);
        // Reading in WAL mode writes to the files beside it, where that is allowed.
        let opened = open(OpenFlags::SQLITE_OPEN_READ_WRITE)
            .and_then(|connection| {
                connection.execute_batch("SELECT 1 FROM calls LIMIT 0").map(|()| connection)
            })
            .or_else(|_| open(OpenFlags::SQLITE_OPEN_READ_ONLY));
        let mut sqlite = Self(opened.map_err(|error| StoreError::Away(format!("{shown}: {error}")))?);
        sqlite.prepare()?;
        sqlite.batch("PRAGMA query_only = ON")?;
        Ok(sqlite)
    }

    /// A database in memory, for tests.
    #[cfg(test)]
    pub(super) fn in_memory() -> Result<Self, StoreError> {
        let mut sqlite = Self(Connection::open_in_memory().map_err(|error| trouble(&error))?);
        sqlite.prepare()?;
        Ok(sqlite)
    }

    fn prepare(&mut self) -> Result<(), StoreError> {
        self.0.busy_timeout(BUSY_WITHIN).map_err(|error| trouble(&error))?;
        self.batch("PRAGMA foreign_keys = ON")
    }
}

/// The numbered values of Postgres in the words of SQLite, which takes `$1` for a name.
fn numbered(sql: &str) -> String {
    sql.replace('$', "?")
}

fn trouble(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(
            ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::TooBig
            | ErrorCode::ParameterOutOfRange,
        ) => StoreError::Refused(error.to_string()),
        _ => StoreError::Away(error.to_string()),
    }
}

impl Database for Sqlite {
    fn batch(&mut self, sql: &str) -> Result<(), StoreError> {
        self.0.execute_batch(sql).map_err(|error| trouble(&error))
    }

    fn execute(&mut self, sql: &str, values: &[Value]) -> Result<u64, StoreError> {
        let changed = self.0.execute(&numbered(sql), params_from_iter(values));
        changed.map(|rows| rows as u64).map_err(|error| trouble(&error))
    }

    fn query(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Row>> {
            let mut statement = self.0.prepare(&numbered(sql))?;
            let columns = statement.column_count();
            let rows = statement.query_map(params_from_iter(values), |row| {
                (0..columns).map(|column| Ok(value_of(row.get_ref(column)?))).collect()
            })?;
            rows.collect()
        };
        read().map_err(|error| trouble(&error))
    }

    fn interrupt(&self) -> Option<Interrupt> {
        let handle = self.0.get_interrupt_handle();
        Some(Box::new(move || handle.interrupt()))
    }

    fn begin(&self) -> &'static str {
        // A transaction that begins by reading could not be made one that writes while another one writes.
        "BEGIN IMMEDIATE"
    }

    fn lock_for_migration(&self) -> &'static str {
        // Whoever writes is alone.
        ""
    }

    fn columns_of_calls(&self) -> &'static str {
        "SELECT name FROM pragma_table_info('calls')"
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Switch(on) => ValueRef::Integer((*on).into()),
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Value::Text(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}
