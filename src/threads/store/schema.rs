//! The tables, and the way from those of an older version: a list of steps, each carried out once.
//!
//! Runs in: the database thread, when it has connected. Owns the steps. Never changes one that has been released.
//! Invariant: the SQL is the same for SQLite and Postgres; after the last step the tables are those of `rows`.

use super::database::{Database, StoreError, Value, transaction};

/// The steps. The version of a database is how many of them it has behind it. Times are RFC 3339 text of equal length,
/// which sorts in both databases; a call's id begins with its time, so the primary key is also the order of time.
const STEPS: &[&str] = &[
    "
    CREATE TABLE calls (
        id TEXT PRIMARY KEY,
        uuid TEXT,
        did TEXT,
        caller TEXT,
        agent TEXT NOT NULL,
        model TEXT,
        credential TEXT,
        leg TEXT NOT NULL,
        peer TEXT NOT NULL,
        offered_at TEXT NOT NULL,
        answered_at TEXT,
        first_audio_at TEXT,
        ended_at TEXT NOT NULL,
        duration_s DOUBLE PRECISION NOT NULL,
        ended_by TEXT NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT NOT NULL,
        caller_talk_s DOUBLE PRECISION NOT NULL,
        caller_silence_s DOUBLE PRECISION NOT NULL,
        agent_talk_s DOUBLE PRECISION NOT NULL,
        agent_silence_s DOUBLE PRECISION NOT NULL,
        turns BIGINT NOT NULL,
        barge_ins BIGINT NOT NULL,
        barge_in_residual_ms_max BIGINT,
        resumptions BIGINT NOT NULL,
        fresh_sessions BIGINT NOT NULL,
        gap_ms_max BIGINT NOT NULL,
        gap_ms_total BIGINT NOT NULL,
        watchdog_commits BIGINT NOT NULL,
        watchdog_nudges BIGINT NOT NULL,
        watchdog_resumptions BIGINT NOT NULL,
        watchdog_sessions BIGINT NOT NULL,
        watchdog_healed BIGINT NOT NULL,
        answer_ms_p50 BIGINT,
        answer_ms_max BIGINT,
        underruns BIGINT NOT NULL,
        underrun_ms BIGINT NOT NULL,
        lost_frames BIGINT NOT NULL,
        prompt_tokens BIGINT NOT NULL,
        response_tokens BIGINT NOT NULL,
        cost DOUBLE PRECISION,
        cost_currency TEXT,
        tools_called BIGINT NOT NULL,
        tools_failed BIGINT NOT NULL,
        recording_file TEXT,
        recording_format TEXT,
        recording_seconds DOUBLE PRECISION,
        recording_bytes BIGINT,
        search TEXT NOT NULL
    );
    CREATE INDEX calls_by_uuid ON calls (uuid);
    CREATE INDEX calls_by_did ON calls (did, id);
    CREATE INDEX calls_by_caller ON calls (caller, id);
    CREATE INDEX calls_by_agent ON calls (agent, id);
    CREATE INDEX calls_by_outcome ON calls (outcome, id);
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
    "
    ALTER TABLE calls ADD COLUMN switch_gaps BIGINT NOT NULL DEFAULT 0;
    ALTER TABLE calls ADD COLUMN switch_gap_ms BIGINT NOT NULL DEFAULT 0;
",
];

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
        Ok(())
    })
}
