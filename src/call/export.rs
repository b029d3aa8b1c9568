//! Records as lines for other programs: CSV for spreadsheets, JSON lines for everything else.
//!
//! Runs in: anywhere: pure. Owns nothing. Never lets a spreadsheet take what a caller sent for a formula.
//! Invariant: every record has one line, which ends with a line feed, and CSV has a head that names each field.

use serde_json::Value as Json;

use crate::base::words;
use crate::call::CallRecord;

words! {
    /// What is exported.
    pub enum ExportFormat {
        /// Comma-separated values with a head, as RFC 4180 has them.
        Csv = "csv",
        /// A record a line, as the API has it.
        Jsonl = "jsonl",
    }
}

impl ExportFormat {
    /// The media type of its files.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Jsonl => "application/jsonl",
        }
    }

    /// What stands before the first record.
    pub(crate) fn head(self) -> String {
        match self {
            Self::Csv => names().collect::<Vec<_>>().join(",") + "\n",
            Self::Jsonl => String::new(),
        }
    }

    /// The line of a record.
    pub(crate) fn line(self, record: &CallRecord) -> String {
        let json = serde_json::to_value(record).unwrap_or_default();
        match self {
            Self::Csv => names().map(|name| cell(&json[name])).collect::<Vec<_>>().join(",") + "\n",
            Self::Jsonl => format!("{json}\n"),
        }
    }
}

fn names() -> impl Iterator<Item = &'static str> {
    CallRecord::FIELDS.iter().map(|field| field.name)
}

fn cell(value: &Json) -> String {
    let text = match value {
        Json::Null => return String::new(),
        Json::String(text) => text.clone(),
        Json::Array(words) => words.iter().filter_map(Json::as_str).collect::<Vec<_>>().join(" "),
        other => return other.to_string(),
    };
    // What a spreadsheet would calculate is a text for it with an apostrophe; a number with its sign stays one.
    let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    let calculates = match text.chars().next() {
        Some('=' | '@' | '\t' | '\r') => true,
        Some('+' | '-') => !is_number(&text[1..]),
        _ => false,
    };
    let text = if calculates { format!("'{text}") } else { text };
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_cell_for_each_name_of_the_head_and_nothing_that_calculates() {
        let record = CallRecord {
            id: "x".into(),
            caller: Some("+420777123456".into()),
            did: Some("=1+1".into()),
            agent: "say \"hi\", twice".into(),
            problems: Some(vec!["gaps".into(), "cost".into()]),
            duration_s: 1.5,
            ..CallRecord::default()
        };
        let (head, line) = (ExportFormat::Csv.head(), ExportFormat::Csv.line(&record));
        assert!(head.starts_with("id,uuid,did,caller,agent,") && head.ends_with("tools_failed\n"), "{head}");
        assert!(line.starts_with("x,,'=1+1,+420777123456,\"say \"\"hi\"\", twice\","), "{line}");
        assert!(line.contains(",gaps cost,"), "{line}");
        assert_eq!(head.matches(',').count() + 1, line.matches(',').count(), "one comma is in a quoted cell");
        let json: CallRecord = serde_json::from_str(&ExportFormat::Jsonl.line(&record)).unwrap();
        assert_eq!(json, record);
    }
}
