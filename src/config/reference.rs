//! The sample file and the tables of `docs/configuration.md`, made from the registry.
//!
//! Runs in: tests, which keep the two files equal to this; anywhere: pure. Owns their layout. Never reads a file.
//! Invariant: the sample file, as it is and with every `# key = value` line uncommented, is a valid configuration.

use super::model::{Config, KEYS, SECTIONS};
use super::registry::Key;
use super::tables::Table;

/// Width of a comment line in the sample file.
const COMMENT_COLUMNS: usize = 100;

/// The commented sample configuration: every key, commented out, with its default or an example.
pub fn sample_file() -> String {
    let mut sample = String::from(
        "# Configuration of Tandem. Every key is here, commented out, with its default (or an example where there is\n\
         # none). Environment variables and --set win over this file; `tandem --check` shows what is in force and why.\n",
    );
    for (section, about) in SECTIONS {
        sample.push_str(&format!("\n# {about}\n[{section}]\n"));
        for key in keys_of(section) {
            sample.push_str(&sample_of(key));
        }
    }
    for table in Table::ALL {
        sample.push('\n');
        for line in wrapped(table.about(), COMMENT_COLUMNS) {
            sample.push_str(&format!("# {line}\n"));
        }
        sample.push_str(&format!("# {}\n", table.heading(sample_name(table))));
        for key in table.keys() {
            match table {
                // All keys of an agent stand under [agent].
                Table::Agents if !AGENT_SAMPLE.contains(&key.field()) => {}
                Table::Agents => sample.push_str(&format!("# {} = {}\n", key.field(), key.example)),
                _ => sample.push_str(&sample_of(&key)),
            }
        }
    }
    sample
}

/// Of an agent's keys, those that its example shows.
const AGENT_SAMPLE: [&str; 3] = ["voice", "instructions", "greeting"];

fn sample_name(table: Table) -> &'static str {
    match table {
        Table::Agents => "shop",
        Table::Tools => "weather",
        Table::Credentials => "first",
        Table::Prices => "flash",
        Table::Routes => "",
    }
}

/// One key, commented out.
fn sample_of<T>(key: &Key<T>) -> String {
    let mut comment = format!("{} {}.", key.summary, capitalised(&key.expectation()));
    if !key.environment.is_empty() {
        comment.push_str(&format!(" Environment: {}.", key.environment.join(", ")));
    }
    if key.default.is_empty() {
        comment.push_str(" Not set by default.");
    }
    let mut sample = String::from("\n");
    for line in wrapped(&comment, COMMENT_COLUMNS) {
        sample.push_str(&format!("# {line}\n"));
    }
    let value = if key.default.is_empty() { key.example } else { key.default };
    sample.push_str(&format!("# {} = {value}\n", key.field()));
    sample
}

/// The reference tables, one for each section, in Markdown.
pub fn markdown_tables() -> String {
    let mut tables = String::new();
    for (section, about) in SECTIONS {
        tables.push_str(&format!("### `[{section}]`\n\n{about}\n\n"));
        tables.push_str(
            "| key | default | write | environment | what it does |\n| --- | --- | --- | --- | --- |\n",
        );
        for key in keys_of(section) {
            let default = if key.default.is_empty() { "not set".to_owned() } else { code(key.default) };
            let variables: Vec<String> = key.environment.iter().copied().map(code).collect();
            tables.push_str(&format!(
                "| {} | {default} | {} | {} | {} |\n",
                code(key.name),
                cell(&key.expectation()),
                variables.join(", "),
                cell(key.summary)
            ));
        }
        tables.push('\n');
    }
    for table in Table::ALL {
        let about = capitalised(table.about());
        tables.push_str(&format!("### `{}`\n\n{about}\n\n", table.heading("NAME")));
        match table {
            Table::Agents => tables.push_str("Its keys are those of `[agent]` above.\n\n"),
            _ => tables.push_str(&table_of(&table.keys())),
        }
    }
    tables.truncate(tables.trim_end().len());
    tables.push_str("\n\n");
    tables
}

/// The keys of a table that can be there several times.
fn table_of<T>(keys: &[Key<T>]) -> String {
    let mut table = String::from("| key | default | write | what it does |\n| --- | --- | --- | --- |\n");
    for key in keys {
        let default = if key.default.is_empty() { "not set".to_owned() } else { code(key.default) };
        table.push_str(&format!(
            "| {} | {default} | {} | {} |\n",
            code(key.name),
            cell(&key.expectation()),
            cell(key.summary)
        ));
    }
    table.push('\n');
    table
}

fn keys_of(section: &str) -> impl Iterator<Item = &'static Key<Config>> {
    KEYS.iter().filter(move |key| key.section() == section)
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// Text that may stand in a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or(String::new(), |first| first.to_uppercase().chain(characters).collect())
}

fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
