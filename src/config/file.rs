//! The configuration file: TOML text into keys, values and line numbers.
//!
//! Runs in: the main thread, at start; pure. Owns the reading of TOML. Never quotes a line of the file in an error,
//! since that line may hold a secret. Invariant: every entry of the file is either a known key or a problem.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::SECTIONS;
use super::problem::{Origin, Problem, key_named, nearest, unknown_key};
use super::registry::Key;
use super::value::Value;

/// A known key as the file has it.
pub(super) struct Entry {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// Takes the text of the file `path` apart. Problems are added to `problems`; what is good is returned all the same, so
/// that one run reports everything.
pub(super) fn read(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<Entry> {
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
        return Vec::new();
    }
    let mut entries = Vec::new();
    let mut sections: Vec<(&Spanned<_>, &Spanned<DeValue<'_>>)> = document.get_ref().iter().collect();
    sections.sort_by_key(|(name, _)| name.span().start);
    for (section, value) in sections {
        let section_name: &str = section.get_ref();
        let known = SECTIONS.iter().any(|(name, _)| *name == section_name);
        match value.get_ref() {
            DeValue::Table(table) if known || !table.is_empty() => {
                let mut fields: Vec<_> = table.iter().collect();
                fields.sort_by_key(|(name, _)| name.span().start);
                for (field, value) in fields {
                    let name = format!("{section_name}.{}", field.get_ref());
                    let origin = at(field.span().start);
                    match key_named(&name) {
                        Some(key) => {
                            entries.push(Entry { key, value: Value::from_toml(value.get_ref()), origin })
                        }
                        None => problems.push(Problem::at(origin, unknown_key(&name))),
                    }
                }
            }
            DeValue::Table(_) => {
                let names = SECTIONS.iter().map(|(name, _)| *name);
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
            _ => problems.push(Problem::at(at(section.span().start), unknown_key(section_name))),
        }
    }
    entries
}

/// The line, counted from 1, in which the byte at `offset` stands.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
