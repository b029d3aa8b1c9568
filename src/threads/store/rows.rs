//! Records as rows: which field is which column, how a batch of calls is written, how one is read.
//!
//! Runs in: the database thread and whoever reads. Owns the lists of columns, which are those of the fields.
//! Invariant: writing a call again changes nothing, so that what may have been written is written again in doubt.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde_json::{Map, Number, Value as Json};

use super::database::{Database, Row, StoreError, Value};
use crate::base::call_name::canonical;
use crate::call::record::FieldKind::{Integer, Real, Switch, Text, Words};
use crate::call::record::{CallEvent, Field, RecordingFile, TranscriptTurn};
use crate::call::{CallDetail, CallRecord};

/// The outcome of a record that was made of a row because its relay was dead.
const RELAY_DIED: &str = "relay_died";
/// What stands before the names of the columns that hold the record's `recording`.
pub(super) const RECORDING: &str = "recording_";

/// A column: its name, and the field that it keeps.
pub(super) type Column = (Cow<'static, str>, &'static Field);

/// The columns of `calls`, but for `search`.
pub(super) static CALLS: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let recording = RecordingFile::FIELDS.iter().map(|field| {
        let name = Cow::Owned(format!("{RECORDING}{}", field.name));
        (name, field)
    });
    of(CallRecord::FIELDS).into_iter().chain(recording).collect()
});
static TURNS: LazyLock<Vec<Column>> = LazyLock::new(|| of(TranscriptTurn::FIELDS));
static EVENTS: LazyLock<Vec<Column>> = LazyLock::new(|| of(CallEvent::FIELDS));

fn of(fields: &'static [Field]) -> Vec<Column> {
    fields.iter().map(|field| (Cow::Borrowed(field.name), field)).collect()
}

/// Rows of one statement: Postgres takes 65,535 values, of which a call has some fifty.
const ROWS_MAX: usize = 500;

/// The columns of `calls` as a query names them.
pub(super) fn columns() -> String {
    names(&CALLS).join(", ")
}

fn names(columns: &[Column]) -> Vec<&str> {
    columns.iter().map(|(name, _)| name.as_ref()).collect()
}

/// Writes calls with their turns and events. Those that are there already stay as they are. Returns how many were not there.
///
/// # Errors
/// What the database says; then nothing may be taken as written, unless this is part of a transaction.
pub(super) fn write(database: &mut dyn Database, calls: &[CallDetail]) -> Result<u64, StoreError> {
    let (mut heads, mut turns, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for call in calls {
        let id = &call.record.id;
        let mut head = values(&CALLS, &json(&call.record));
        head.push(Value::Text(searched(call)));
        heads.push(head);
        for (position, turn) in call.transcript.iter().enumerate() {
            turns.push(part(id, position, &TURNS, &json(turn)));
        }
        for (position, event) in call.events.iter().enumerate() {
            events.push(part(id, position, &EVENTS, &json(event)));
        }
    }
    // What was made when their relay seemed dead gives way, and they live no more.
    let ids: Vec<_> = calls.iter().map(|call| Value::Text(call.record.id.clone())).collect();
    for ids in ids.chunks(ROWS_MAX) {
        let places: Vec<_> = (1..=ids.len()).map(|place| format!("${place}")).collect();
        let places = places.join(", ");
        let made_up = format!("DELETE FROM calls WHERE outcome = '{RELAY_DIED}' AND id IN ({places})");
        database.execute(&made_up, ids)?;
        database.execute(&format!("DELETE FROM live_calls WHERE id IN ({places})"), ids)?;
    }
    let part_of = |columns| [vec!["call_id", "position"], names(columns)].concat();
    let new = insert(database, "calls", &[names(&CALLS), vec!["search"]].concat(), heads)?;
    insert(database, "turns", &part_of(&TURNS), turns)?;
    insert(database, "events", &part_of(&EVENTS), events)?;
    Ok(new)
}

fn insert(
    database: &mut dyn Database,
    table: &str,
    columns: &[&str],
    rows: Vec<Row>,
) -> Result<u64, StoreError> {
    let mut new = 0;
    for rows in rows.chunks(ROWS_MAX) {
        let tuple = |row: usize| {
            let places = (1..=columns.len()).map(|column| format!("${}", row * columns.len() + column));
            format!("({})", places.collect::<Vec<_>>().join(", "))
        };
        let tuples: Vec<String> = (0..rows.len()).map(tuple).collect();
        let sql = format!(
            "INSERT INTO {table} ({}) VALUES {} ON CONFLICT DO NOTHING",
            columns.join(", "),
            tuples.join(", ")
        );
        new += database.execute(&sql, &rows.concat())?;
    }
    Ok(new)
}

/// A call by its id, or the newest one with that UUID of the switch.
///
/// # Errors
/// What the database says.
pub(super) fn detail(database: &mut dyn Database, name: &str) -> Result<Option<CallDetail>, StoreError> {
    let by =
        |what: &str| format!("SELECT {} FROM calls WHERE {what} = $1 ORDER BY id DESC LIMIT 1", columns());
    let mut found = database.query(&by("id"), &[Value::Text(name.to_ascii_lowercase())])?;
    if found.is_empty() {
        // Records of earlier versions have UUIDs as the switch wrote them.
        let by_uuid = by("uuid");
        for written in [canonical(name).into_owned(), name.to_owned(), canonical(name).to_ascii_uppercase()] {
            if found.is_empty() {
                found = database.query(&by_uuid, &[Value::Text(written)])?;
            }
        }
    }
    let Some(head) = found.into_iter().next() else { return Ok(None) };
    let record = record(head)?;
    let mut parts = |table: &str, columns: &[Column]| {
        let columns = names(columns).join(", ");
        let sql = format!("SELECT {columns} FROM {table} WHERE call_id = $1 ORDER BY position");
        database.query(&sql, &[Value::Text(record.id.clone())])
    };
    let (turns, events) = (parts("turns", &TURNS)?, parts("events", &EVENTS)?);
    let transcript: Result<Vec<TranscriptTurn>, _> = turns.into_iter().map(|row| read(&TURNS, row)).collect();
    let events: Result<Vec<CallEvent>, _> = events.into_iter().map(|row| read(&EVENTS, row)).collect();
    Ok(Some(CallDetail { record, transcript: transcript?, events: events? }))
}

/// A call of a row with [`columns`].
///
/// # Errors
/// That the row is none of ours.
pub(super) fn record(row: Row) -> Result<CallRecord, StoreError> {
    read(&CALLS, row)
}

/// What is found where this is looked for: a pattern for `LIKE`, with `!` before what would have a meaning.
pub(super) fn pattern(text: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(letter);
    }
    pattern + "%"
}

/// All that a call is found by, in small letters, so that both databases find the same.
fn searched(call: &CallDetail) -> String {
    let record = &call.record;
    let numbers = [&record.did, &record.caller, &record.uuid].into_iter().flatten().chain([&record.agent]);
    let lines: Vec<&str> =
        numbers.map(String::as_str).chain(call.transcript.iter().map(|turn| turn.text.as_str())).collect();
    storable(lines.join("\n").to_lowercase())
}

/// Postgres keeps no NUL in a text.
fn storable(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

fn json(part: &impl serde::Serialize) -> Map<String, Json> {
    match serde_json::to_value(part) {
        Ok(Json::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn part(id: &str, position: usize, columns: &[Column], fields: &Map<String, Json>) -> Row {
    let mut row = vec![Value::Text(id.to_owned()), Value::Integer(position as i64)];
    row.extend(values(columns, fields));
    row
}

/// The values of a row, in the order of its columns.
fn values(columns: &[Column], fields: &Map<String, Json>) -> Row {
    let field = |name: &str| match name.strip_prefix(RECORDING) {
        Some(name) => fields.get("recording").and_then(|recording| recording.get(name)),
        None => fields.get(name),
    };
    let value = |(name, kept): &Column| match (kept.kind, field(name)) {
        (Text, Some(Json::String(text))) => Value::Text(storable(text.clone())),
        // More than fits is as good as the most.
        (Integer, Some(Json::Number(number))) => Value::Integer(number.as_i64().unwrap_or(i64::MAX)),
        (Real, Some(Json::Number(number))) => Value::Real(number.as_f64().unwrap_or_default()),
        (Switch, Some(Json::Bool(on))) => Value::Switch(*on),
        (Words, Some(Json::Array(words))) => {
            let words: Vec<&str> = words.iter().filter_map(Json::as_str).collect();
            Value::Text(words.join(" "))
        }
        _ => Value::Null,
    };
    columns.iter().map(value).collect()
}

/// A row in those columns as what it was made of.
fn read<T: serde::de::DeserializeOwned>(columns: &[Column], row: Row) -> Result<T, StoreError> {
    let mut fields = Map::new();
    let mut recording = Map::new();
    for ((name, kept), value) in columns.iter().zip(row) {
        let value = match (kept.kind, value) {
            (_, Value::Null) => Json::Null,
            (Words, Value::Text(text)) => text.split_whitespace().map(Json::from).collect(),
            (_, Value::Text(text)) => Json::String(text),
            (Switch, Value::Integer(number)) => Json::Bool(number != 0),
            (_, Value::Switch(on)) => Json::Bool(on),
            (_, Value::Integer(number)) => Json::Number(number.into()),
            (_, Value::Real(number)) => Number::from_f64(number).map_or(Json::Null, Json::Number),
        };
        match name.strip_prefix(RECORDING) {
            Some(name) => recording.insert(name.to_owned(), value),
            None => fields.insert(name.clone().into_owned(), value),
        };
    }
    if recording.get("file").is_some_and(|file| !file.is_null()) {
        fields.insert("recording".to_owned(), Json::Object(recording));
    }
    serde_json::from_value(Json::Object(fields)).map_err(|error| {
        StoreError::Refused(format!("a row of the database is not as Tandem writes it: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_names_each_column() {
        const BEGIN: &str = "<!-- Generated from the fields of a record; a test keeps it true. -->\n";
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/records.md");
        let found = std::fs::read_to_string(path).unwrap();
        let (before, rest) = found.split_once(BEGIN).expect("the mark where the table begins");
        let after = &rest[rest.find("\n\n").expect("an end of the table")..];
        let row =
            |(name, kept): &Column| format!("| `{name}` | {} |", kept.summary.trim().trim_end_matches('.'));
        let rows: Vec<_> = CALLS.iter().map(row).collect();
        let expected = format!("{before}{BEGIN}| column | |\n| --- | --- |\n{}{after}", rows.join("\n"));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(path, &expected).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap();
        assert!(found == expected, "docs/records.md is out of date: UPDATE_EXPECT=1 cargo test --lib rows");
    }

    #[test]
    fn what_has_a_meaning_in_a_pattern_is_looked_for_as_it_is() {
        assert_eq!(pattern("50% Off_Now!"), "%50!% off!_now!!%");
    }
}
