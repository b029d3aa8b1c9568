//! The rows of living calls and of the relays that have them, in SQL.
//!
//! Runs in: the living thread. Owns the statements. Never reads a clock: a relay lives as long as its beats change.
//! Invariant: a call has a row or a record, and never both for longer than it takes to notice; a row is changed by its own
//! relay alone, and becomes a record once, whoever makes it.

use super::database::{Database, Row, StoreError, Value, transaction};
use super::rows;
use crate::base::RecordId;
use crate::call::living::{LivingCall, Piece};
use crate::call::{CallDetail, CallRecord, Cause, Outcome};

/// The tables. They are no step: an older Tandem goes on with a database that has them, and never looks at them.
pub(super) const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS relays (
        id TEXT PRIMARY KEY,
        address TEXT NOT NULL,
        started_at TEXT NOT NULL,
        beats BIGINT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS live_calls (
        id TEXT PRIMARY KEY,
        relay TEXT NOT NULL REFERENCES relays (id),
        uuid TEXT,
        recorded BOOLEAN NOT NULL,
        record TEXT NOT NULL
    );
    CREATE INDEX IF NOT EXISTS live_calls_by_relay ON live_calls (relay);
    CREATE TABLE IF NOT EXISTS live_parts (
        call_id TEXT NOT NULL REFERENCES live_calls (id) ON DELETE CASCADE,
        kind TEXT NOT NULL,
        position BIGINT NOT NULL,
        part TEXT NOT NULL,
        PRIMARY KEY (call_id, kind, position)
    );
";

/// The kinds of parts.
const TURN: &str = "turn";
const EVENT: &str = "event";
/// Parts written by one statement.
const PARTS_MAX: usize = 200;
/// Rows of a dead relay that are looked at in one go.
pub(super) const LEFT_MAX: usize = 200;

/// The relay that is this process.
#[derive(Debug, Clone)]
pub struct OwnRelay {
    /// Its name, another one at each start.
    pub id: RecordId,
    /// Where it is asked for its calls.
    pub address: String,
    /// When it was started, as records write it.
    pub started_at: String,
}

/// A call whose relay is dead.
pub(super) struct LeftCall {
    pub(super) id: RecordId,
    pub(super) recorded: bool,
    record: CallRecord,
}

fn text(text: impl ToString) -> Value {
    Value::Text(text.to_string())
}

fn json(part: &impl serde::Serialize) -> Value {
    Value::Text(serde_json::to_string(part).unwrap_or_default())
}

/// Says that this relay lives, whose beats so far are these.
///
/// # Errors
/// What the database says.
pub(super) fn beat(database: &mut dyn Database, own: &OwnRelay, beats: u64) -> Result<(), StoreError> {
    let sql = "INSERT INTO relays (id, address, started_at, beats) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (id) DO UPDATE SET beats = excluded.beats";
    let values = [text(own.id), text(&own.address), text(&own.started_at), Value::Integer(beats as i64)];
    database.execute(sql, &values).map(|_| ())
}

/// The relays that there are, with their beats.
///
/// # Errors
/// What the database says.
pub(super) fn relays(database: &mut dyn Database) -> Result<Vec<(String, u64)>, StoreError> {
    let rows = database.query("SELECT id, beats FROM relays", &[])?;
    let relay = |row: Row| match &row[..] {
        [Value::Text(id), Value::Integer(beats)] => Some((id.clone(), *beats as u64)),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(relay).collect())
}

/// Writes how a call of this relay is now.
///
/// # Errors
/// What the database says.
pub(super) fn write(
    database: &mut dyn Database,
    own: &OwnRelay,
    call: &LivingCall,
) -> Result<(), StoreError> {
    // A record that was made for a relay that seemed dead is no reason: the real one takes its place.
    let sql = "INSERT INTO live_calls (id, relay, uuid, recorded, record) \
               SELECT CAST($1 AS TEXT), CAST($2 AS TEXT), CAST($3 AS TEXT), CAST($4 AS BOOLEAN), CAST($5 AS TEXT) \
               WHERE NOT EXISTS (SELECT 1 FROM calls WHERE calls.id = $1 AND outcome <> 'relay_died') \
               ON CONFLICT (id) DO UPDATE \
               SET uuid = excluded.uuid, recorded = excluded.recorded, record = excluded.record \
               WHERE live_calls.relay = excluded.relay";
    let uuid = call.record.uuid.as_ref().map_or(Value::Null, text);
    let values = [text(call.id), text(own.id), uuid, Value::Switch(call.recorded), json(&call.record)];
    if database.execute(sql, &values)? > 0 {
        parts(database, call.id, TURN, &call.turns)?;
        parts(database, call.id, EVENT, &call.events)?;
    }
    Ok(())
}

fn parts<T: serde::Serialize>(
    database: &mut dyn Database,
    id: RecordId,
    kind: &str,
    piece: &Piece<T>,
) -> Result<(), StoreError> {
    let place = |at: usize| Value::Integer(at as i64);
    let sql = "DELETE FROM live_parts WHERE call_id = $1 AND kind = $2 AND position >= $3";
    database.execute(sql, &[text(id), text(kind), place(piece.from)])?;
    for (at, items) in piece.items.chunks(PARTS_MAX).enumerate() {
        let first = piece.from + at * PARTS_MAX;
        let tuple = |n: usize| format!("(${}, ${}, ${}, ${})", n * 4 + 1, n * 4 + 2, n * 4 + 3, n * 4 + 4);
        let tuples: Vec<_> = (0..items.len()).map(tuple).collect();
        let sql =
            format!("INSERT INTO live_parts (call_id, kind, position, part) VALUES {}", tuples.join(", "));
        let row = |(n, item)| [text(id), text(kind), place(first + n), json(item)];
        let values: Vec<_> = items.iter().enumerate().flat_map(row).collect();
        database.execute(&sql, &values)?;
    }
    Ok(())
}

/// A call of this relay is over. Its row goes when its record is there, which may be so already.
///
/// # Errors
/// What the database says.
pub(super) fn over(database: &mut dyn Database, own: &OwnRelay, id: RecordId) -> Result<(), StoreError> {
    let sql = "DELETE FROM live_calls WHERE id = $1 AND relay = $2 \
               AND EXISTS (SELECT 1 FROM calls WHERE calls.id = live_calls.id AND outcome <> 'relay_died')";
    database.execute(sql, &[text(id), text(own.id)]).map(|_| ())
}

/// Forgets a relay that has no calls any more.
///
/// # Errors
/// What the database says.
pub(super) fn forget(database: &mut dyn Database, relay: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM relays WHERE id = $1 \
               AND NOT EXISTS (SELECT 1 FROM live_calls WHERE live_calls.relay = relays.id)";
    database.execute(sql, &[text(relay)]).map(|_| ())
}

/// Calls that this relay had when it died, the oldest first.
///
/// # Errors
/// What the database says, or that a row is none of ours.
pub(super) fn left_by(database: &mut dyn Database, relay: &str) -> Result<Vec<LeftCall>, StoreError> {
    let sql =
        format!("SELECT recorded, record FROM live_calls WHERE relay = $1 ORDER BY id LIMIT {LEFT_MAX}");
    let rows = database.query(&sql, &[text(relay)])?;
    let left = |row: Row| {
        let (recorded, record) = match &row[..] {
            [Value::Switch(recorded), Value::Text(record)] => (*recorded, record),
            [Value::Integer(recorded), Value::Text(record)] => (*recorded != 0, record),
            _ => return None,
        };
        let record: CallRecord = serde_json::from_str(record).ok()?;
        Some(LeftCall { id: RecordId::parse(&record.id)?, recorded, record })
    };
    Ok(rows.into_iter().filter_map(left).collect())
}

/// Makes a record of a call whose relay is dead. Returns whether it was still to be made.
///
/// # Errors
/// What the database says.
pub(super) fn bury(
    database: &mut dyn Database,
    relay: &str,
    call: &LeftCall,
    finish: impl FnOnce(&mut CallDetail),
) -> Result<bool, StoreError> {
    transaction(database, |database| {
        let sql = "SELECT kind, part FROM live_parts WHERE call_id = $1 ORDER BY position";
        let parts = database.query(sql, &[text(call.id)])?;
        // Who deletes the row makes the record: another one that has seen the same finds none.
        let own = "DELETE FROM live_calls WHERE id = $1 AND relay = $2";
        if database.execute(own, &[text(call.id), text(relay)])? == 0 {
            return Ok(false);
        }
        let mut detail = CallDetail { record: call.record.clone(), ..CallDetail::default() };
        let outcome = Outcome::of(Cause::RelayDied);
        (detail.record.outcome, detail.record.reason) = (outcome.label().to_owned(), outcome.to_string());
        detail.record.ended_by = outcome.by.label().to_owned();
        for part in parts {
            match &part[..] {
                [Value::Text(kind), Value::Text(part)] if kind == TURN => {
                    detail.transcript.extend(serde_json::from_str(part).ok());
                }
                [Value::Text(_), Value::Text(part)] => {
                    detail.events.extend(serde_json::from_str(part).ok());
                }
                _ => {}
            }
        }
        finish(&mut detail);
        let there = database.query("SELECT 1 FROM calls WHERE id = $1", &[text(call.id)])?;
        if there.is_empty() {
            rows::write(database, &[detail])?;
        }
        Ok(there.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::super::{schema, sqlite::Sqlite};
    use super::*;
    use crate::call::record::{CallEvent, TranscriptTurn};
    use crate::call::transcript::Speaker;

    fn relay(chance: u128) -> OwnRelay {
        OwnRelay {
            id: RecordId::new(1, chance),
            address: "127.0.0.1:9095".into(),
            started_at: "2026-12-01T00:00:00.000Z".into(),
        }
    }

    fn turn(text: &str) -> TranscriptTurn {
        TranscriptTurn {
            speaker: Speaker::Caller,
            start_ms: 0,
            end_ms: 1,
            text: text.into(),
            interrupted: false,
            heard_text: text.into(),
        }
    }

    fn call(number: u128, from: usize, said: &[&str]) -> LivingCall {
        let id = RecordId::new(2, number);
        let event = CallEvent { at_ms: 5, kind: "answered".into(), detail: None };
        LivingCall {
            id,
            record: CallRecord { id: id.to_string(), agent: "shop".into(), ..CallRecord::default() },
            recorded: false,
            turns: Piece { from, items: said.iter().map(|text| turn(text)).collect() },
            events: Piece { from: 0, items: vec![event] },
        }
    }

    fn database() -> Sqlite {
        let mut sqlite = Sqlite::in_memory().expect("a database");
        schema::migrate(&mut sqlite).expect("tables");
        sqlite
    }

    fn count(database: &mut dyn Database, table: &str) -> usize {
        database.query(&format!("SELECT 1 FROM {table}"), &[]).expect("a table").len()
    }

    fn said(database: &mut dyn Database, call: &LivingCall) -> Vec<String> {
        let found = rows::detail(database, &call.id.to_string()).expect("there").expect("a record");
        found.transcript.into_iter().map(|turn| turn.text).collect()
    }

    #[test]
    fn the_row_of_a_call_whose_relay_died_becomes_its_record_once_with_all_that_was_said() {
        let (mut database, own) = (database(), relay(1));
        beat(&mut database, &own, 1).expect("there");
        write(&mut database, &own, &call(1, 0, &["Hello", "I wo"])).expect("there");
        write(&mut database, &own, &call(1, 1, &["I would like", "a ticket"])).expect("there");
        forget(&mut database, &own.id.to_string()).expect("it has a call, and stays");
        let dead = relays(&mut database).expect("there");
        assert_eq!(dead, [(own.id.to_string(), 1)]);
        let left = left_by(&mut database, &dead[0].0).expect("there");
        let mut bury = |call: &LeftCall| {
            bury(&mut database, &dead[0].0, call, |detail| detail.record.lost_frames = 7).expect("there")
        };
        assert!(bury(&left[0]) && !bury(&left[0]), "once");
        assert_eq!(said(&mut database, &call(1, 0, &[])), ["Hello", "I would like", "a ticket"]);
        let found = rows::detail(&mut database, &left[0].id.to_string()).expect("there").expect("a record");
        assert_eq!((found.record.outcome.as_str(), found.record.lost_frames), ("relay_died", 7));
        assert_eq!(found.events.len(), 1);
        forget(&mut database, &dead[0].0).expect("there");
        assert_eq!(["relays", "live_calls", "live_parts"].map(|table| count(&mut database, table)), [0; 3]);
    }

    #[test]
    fn the_real_record_takes_the_row_with_it_and_the_place_of_one_that_was_made_too_early() {
        let (mut database, own) = (database(), relay(1));
        let real = |number: u128| CallDetail {
            record: CallRecord {
                id: RecordId::new(2, number).to_string(),
                outcome: "hangup".into(),
                ..CallRecord::default()
            },
            transcript: vec![turn("all of it")],
            events: Vec::new(),
        };
        beat(&mut database, &own, 1).expect("there");
        for number in [1, 2] {
            write(&mut database, &own, &call(number, 0, &["Hello", "there"])).expect("there");
        }
        let left = left_by(&mut database, &own.id.to_string()).expect("there");
        assert!(bury(&mut database, &own.id.to_string(), &left[0], |_| ()).expect("there"));
        write(&mut database, &own, &call(1, 0, &["Hello"])).expect("it was only stopped");
        assert_eq!(count(&mut database, "live_calls"), 2);
        rows::write(&mut database, &[real(1), real(2)]).expect("there");
        rows::write(&mut database, &[real(1)]).expect("once more changes nothing");
        for number in [1, 2] {
            let call = call(number, 0, &["Hello"]);
            assert_eq!(said(&mut database, &call), ["all of it"]);
            write(&mut database, &own, &call).expect("late, and of no use");
        }
        assert_eq!(["calls", "live_calls"].map(|table| count(&mut database, table)), [2, 0]);
    }

    #[test]
    fn a_row_that_was_written_behind_its_record_goes_when_the_call_is_over() {
        let (mut database, own) = (database(), relay(1));
        beat(&mut database, &own, 1).expect("there");
        write(&mut database, &own, &call(1, 0, &[])).expect("there");
        over(&mut database, &own, call(1, 0, &[]).id).expect("there");
        assert_eq!(count(&mut database, "live_calls"), 1, "its record is not there yet");
        database.batch("INSERT INTO calls (id, search) SELECT id, '' FROM live_calls").expect("there");
        over(&mut database, &own, call(1, 0, &[]).id).expect("there");
        assert_eq!(count(&mut database, "live_calls"), 0);
    }

    #[test]
    fn a_relay_changes_no_row_of_another() {
        let (mut database, own, other) = (database(), relay(1), relay(2));
        for relay in [&own, &other] {
            beat(&mut database, relay, 1).expect("there");
        }
        write(&mut database, &own, &call(1, 0, &["mine"])).expect("there");
        write(&mut database, &other, &call(1, 0, &["not mine"])).expect("nothing is changed");
        assert!(left_by(&mut database, &other.id.to_string()).expect("there").is_empty());
        assert_eq!(left_by(&mut database, &own.id.to_string()).expect("there").len(), 1);
    }
}
