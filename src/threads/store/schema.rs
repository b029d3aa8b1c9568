//! The tables, and the way from those of an older version: a list of steps, each carried out once.
//!
//! Runs in: the database thread, when it has connected. Owns the steps. Never changes one that has been released.
//! Invariant: the SQL is the same for SQLite and Postgres; after the last step the tables are those of `rows`.

use super::database::{Database, StoreError, Value, transaction};
use super::living;
use super::rows::{CALLS, RECORDING};
use crate::call::record::FieldKind;

/// The steps. The version of a database is how many of them it has behind it. Times are RFC 3339 text of equal length,
/// which sorts in both databases; a call's id begins with its time, so the primary key is also the order of time.
const STEPS: &[&str] = &[
    "
    CREATE TABLE calls (
        id TEXT PRIMARY KEY,
        search TEXT NOT NULL
    );
    CREATE TABLE turns (
        call_id TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
        position BIGINT NOT NULL,
        speaker TEXT NOT NULL,
        start_ms BIGINT NOT NULL,
        end_ms BIGINT NOT NULL,
        text TEXT NOT NULL,
        interrupted BOOLEAN NOT NULL,
        heard_text TEXT NOT NULL,
        PRIMARY KEY (call_id, position)
    );
    CREATE TABLE events (
        call_id TEXT NOT NULL REFERENCES calls (id) ON DELETE CASCADE,
        position BIGINT NOT NULL,
        at_ms BIGINT NOT NULL,
        kind TEXT NOT NULL,
        detail TEXT,
        PRIMARY KEY (call_id, position)
    );
",
    // Since then a column is added where a field has none.
    "",
];

/// Those of a later version come to older tables too.
const INDEXES: &str = "
    CREATE INDEX IF NOT EXISTS calls_by_uuid ON calls (uuid);
    CREATE INDEX IF NOT EXISTS calls_by_did ON calls (did, id);
    CREATE INDEX IF NOT EXISTS calls_by_caller ON calls (caller, id);
    CREATE INDEX IF NOT EXISTS calls_by_agent ON calls (agent, id);
    CREATE INDEX IF NOT EXISTS calls_by_outcome ON calls (outcome, id);
    CREATE INDEX IF NOT EXISTS calls_with_problems ON calls (id) WHERE problems <> '';
    CREATE INDEX IF NOT EXISTS calls_unjudged ON calls (id) WHERE problems IS NULL;
";

/// Carries out the steps that the database has not behind it.
///
/// # Errors
/// What the database says, or that it belongs to a newer Tandem.
pub(super) fn migrate(database: &mut dyn Database) -> Result<(), StoreError> {
    transaction(database, |database| {
        database.batch(database.lock_for_migration())?;
        database.batch("CREATE TABLE IF NOT EXISTS tandem_schema (version BIGINT NOT NULL)")?;
        let rows = database.query("SELECT COALESCE(MAX(version), 0) FROM tandem_schema", &[])?;
        let version = match rows.first().and_then(|row| row.first()) {
            Some(Value::Integer(version)) => usize::try_from(*version).unwrap_or(usize::MAX),
            _ => 0,
        };
        if version > STEPS.len() {
            return Err(StoreError::Away(format!(
                "its tables are of version {version} and this Tandem knows versions up to {}: run the newer Tandem, or \
                 name another database in store.url",
                STEPS.len()
            )));
        }
        for (number, step) in STEPS.iter().enumerate().skip(version) {
            database.batch(step)?;
            let number = Value::Integer(number as i64 + 1);
            database.execute("INSERT INTO tandem_schema (version) VALUES ($1)", &[number])?;
        }
        add_columns(database)?;
        database.batch(INDEXES)?;
        database.batch(living::TABLES)
    })
}

/// Adds a column for each field that has none: so a new field needs no step.
fn add_columns(database: &mut dyn Database) -> Result<(), StoreError> {
    let there = database.query(database.columns_of_calls(), &[])?;
    let is_there = |column: &str| there.iter().any(|row| row == &[Value::Text(column.to_owned())]);
    for (name, kept) in CALLS.iter().filter(|(name, _)| !is_there(name)) {
        let (holds, default) = match kept.kind {
            FieldKind::Text | FieldKind::Words => ("TEXT", "''"),
            FieldKind::Integer => ("BIGINT", "0"),
            FieldKind::Real => ("DOUBLE PRECISION", "0"),
            FieldKind::Switch => ("BOOLEAN", "FALSE"),
        };
        // There is not always a recording.
        let must = !kept.optional && !name.starts_with(RECORDING);
        let constraint = if must { format!(" NOT NULL DEFAULT {default}") } else { String::new() };
        database.batch(&format!("ALTER TABLE calls ADD COLUMN {name} {holds}{constraint}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{rows, sqlite::Sqlite};
    use super::*;
    use crate::call::{CallDetail, CallRecord};

    /// As a version left them that had neither gaps of the switch nor its cause.
    #[test]
    fn tables_of_an_earlier_version_get_the_columns_that_they_lack_and_keep_their_calls() {
        let directory = std::env::temp_dir().join(format!("tandem-schema-{}", std::process::id()));
        let mut sqlite = Sqlite::write(&directory.join("calls.db")).expect("a database");
        migrate(&mut sqlite).expect("tables");
        let call = |id: &str| CallDetail {
            record: CallRecord {
                id: id.into(),
                hang_up_cause: Some("USER_BUSY".into()),
                ..CallRecord::default()
            },
            ..CallDetail::default()
        };
        rows::write(&mut sqlite, &[call("earlier")]).expect("a call");
        sqlite
            .batch("ALTER TABLE calls DROP COLUMN switch_gaps; ALTER TABLE calls DROP COLUMN hang_up_cause")
            .unwrap();
        for id in ["later", "last"] {
            migrate(&mut sqlite).expect("once more, and once for nothing");
            rows::write(&mut sqlite, &[call(id)]).expect("another call");
        }
        let mut cause =
            |id: &str| rows::detail(&mut sqlite, id).unwrap().map(|call| call.record.hang_up_cause);
        assert_eq!(cause("earlier"), Some(None));
        assert_eq!(cause("last"), Some(Some("USER_BUSY".into())));
        _ = std::fs::remove_dir_all(directory);
    }
}
