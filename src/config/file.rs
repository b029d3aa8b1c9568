//! The configuration file: TOML text into keys, values and line numbers.
//!
//! Runs in: the main thread, at start; pure. Owns the reading of TOML. Never quotes a line of the file in an error,
//! since that line may hold a secret. Invariant: every entry of the file is either a known key or a problem.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::model::{Config, SECTIONS};
use super::problem::{Origin, Problem, key_named, nearest, unknown_key};
use super::registry::Key;
use super::tables::{Row, Table, Written};
use super::value::Value;

/// A known key as the file has it.
pub(super) struct Entry {
    pub(super) key: &'static Key<Config>,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What a file holds.
#[derive(Default)]
pub(super) struct Contents {
    /// The keys of sections.
    pub(super) entries: Vec<Entry>,
    /// Agents, tools, credentials and routes, their keys not yet judged.
    pub(super) rows: Vec<Row>,
}

/// Takes the text of the file `path` apart. Problems are added to `problems`; what is good is returned all the same, so
/// that one run reports everything.
pub(super) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Contents {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let at = |offset: usize| Origin::File { path: path.to_owned(), line: line_of(text, offset) };
    let (document, mut syntax_errors) = DeTable::parse_recoverable(text);
    let offset_of = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    syntax_errors.sort_by_key(offset_of);
    // The second error of a line is mostly an echo of the first.
    syntax_errors.dedup_by_key(|error| line_of(text, offset_of(error)));
    for error in &syntax_errors {
        problems.push(Problem::at(at(offset_of(error)), format!("not TOML: {}", error.message())));
    }
    if !syntax_errors.is_empty() {
        // What was recovered after a syntax error is a guess; judging it would report errors that are none.
        return Contents::default();
    }
    let mut contents = Contents::default();
    for (section, value) in in_order(document.get_ref()) {
        let section_name: &str = section.get_ref();
        if let Some(table) = Table::named(section_name) {
            let read = rows(table, value, &at);
            match read {
                Ok(rows) => contents.rows.extend(rows),
                Err((offset, wrong)) => problems.push(Problem::at(at(offset), wrong)),
            }
            continue;
        }
        let known = SECTIONS.iter().any(|(name, _)| *name == section_name);
        match value.get_ref() {
            DeValue::Table(table) if known || !table.is_empty() => {
                for (field, value) in in_order(table) {
                    let name = format!("{section_name}.{}", field.get_ref());
                    let origin = at(field.span().start);
                    match key_named(&name) {
                        Some(key) => contents.entries.push(Entry {
                            key,
                            value: Value::from_toml(value.get_ref()),
                            origin,
                        }),
                        // [agent.shop], most likely: an agent written as if it were a key of the default agent.
                        None if section_name == "agent" && matches!(value.get_ref(), DeValue::Table(_)) => {
                            let meant = Table::Agents.heading(field.get_ref());
                            let text = format!("unknown key {name}: did you mean {meant}?");
                            problems.push(Problem::at(origin, text));
                        }
                        None => problems.push(Problem::at(origin, unknown_key(&name))),
                    }
                }
            }
            DeValue::Table(_) => {
                let tables = Table::ALL.iter().map(|table| table.word());
                let names = SECTIONS.iter().map(|(name, _)| *name).chain(tables);
                let remedy = match nearest(section_name, names.clone()) {
                    Some(name) => format!("did you mean [{name}]?"),
                    None => format!("the sections are {}", names.collect::<Vec<_>>().join(", ")),
                };
                problems.push(Problem::at(
                    at(section.span().start),
                    format!("unknown section [{section_name}]: {remedy}"),
                ));
            }
            _ if known => problems.push(Problem::at(
                at(section.span().start),
                format!("{section_name} is a section: write [{section_name}] and its keys below"),
            )),
            DeValue::Array(_) if nearest(section_name, std::iter::once("routes")).is_some() => {
                let text = format!("unknown key {section_name}: did you mean [[routes]]?");
                problems.push(Problem::at(at(section.span().start), text));
            }
            _ => problems.push(Problem::at(at(section.span().start), unknown_key(section_name))),
        }
    }
    contents
}

/// A name of the file with where it stands.
type Name<'a> = Spanned<std::borrow::Cow<'a, str>>;

/// The members of a table in the order of the file.
fn in_order<'t, 'a>(table: &'t DeTable<'a>) -> Vec<(&'t Name<'a>, &'t Spanned<DeValue<'a>>)> {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(name, _)| name.span().start);
    members
}

/// The rows of a table, or where and how it is written wrongly.
fn rows(
    table: Table,
    value: &Spanned<DeValue<'_>>,
    at: &impl Fn(usize) -> Origin,
) -> Result<Vec<Row>, (usize, String)> {
    let row = |name: String, place: usize, fields: &DeTable<'_>| Row {
        table,
        name,
        origin: at(place),
        values: in_order(fields)
            .into_iter()
            .map(|(field, value)| Written {
                field: field.get_ref().to_string(),
                value: Value::from_toml(value.get_ref()),
                origin: at(field.span().start),
            })
            .collect(),
    };
    let heading = table.heading("NAME");
    match (table, value.get_ref()) {
        (Table::Routes, DeValue::Array(routes)) => routes
            .iter()
            .enumerate()
            .map(|(position, route)| match route.get_ref() {
                DeValue::Table(fields) => Ok(row((position + 1).to_string(), route.span().start, fields)),
                _ => Err((
                    route.span().start,
                    format!("routes holds something else than tables: write {heading}"),
                )),
            })
            .collect(),
        (Table::Routes, _) => Err((
            value.span().start,
            format!("routes is not a list of tables: write {heading} above each route"),
        )),
        (_, DeValue::Table(named)) => in_order(named)
            .into_iter()
            .map(|(name, fields)| match fields.get_ref() {
                DeValue::Table(fields) => Ok(row(name.get_ref().to_string(), name.span().start, fields)),
                _ => Err((
                    name.span().start,
                    format!(
                        "{}.{} is not a table: write {heading} and its keys below",
                        table.word(),
                        name.get_ref()
                    ),
                )),
            })
            .collect(),
        (_, _) => Err((
            value.span().start,
            format!("{} is a table: write {heading} and its keys below", table.word()),
        )),
    }
}

/// The line, counted from 1, in which the byte at `offset` stands.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
