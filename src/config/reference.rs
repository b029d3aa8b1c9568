//! The sample file and the tables of `docs/configuration.md`, made from the registry.
//!
//! Runs in: tests, which keep the two files equal to this; anywhere: pure. Owns their layout. Never reads a file.
//! Invariant: the sample file, as it is and with every `# key = value` line uncommented, is a valid configuration.

use super::keys::{KEYS, SECTIONS};
use super::registry::Key;

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
            sample.push('\n');
            let mut comment = format!("{} {}.", key.summary, capitalised(&key.expectation()));
            if !key.environment.is_empty() {
                comment.push_str(&format!(" Environment: {}.", key.environment.join(", ")));
            }
            if key.default.is_empty() {
                comment.push_str(" Not set by default.");
            }
            for line in wrapped(&comment, COMMENT_COLUMNS) {
                sample.push_str(&format!("# {line}\n"));
            }
            let value = if key.default.is_empty() { key.example } else { key.default };
            sample.push_str(&format!("# {} = {value}\n", key.field()));
        }
    }
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
    tables
}

fn keys_of(section: &str) -> impl Iterator<Item = &'static Key> {
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
