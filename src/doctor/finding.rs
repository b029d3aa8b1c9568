//! What the doctor found: one line a check, good or bad, with the remedy.
//!
//! Runs in: the main thread; pure. Owns the findings. Never decides whether something is bad.
//! Invariant: a finding that is not good says what to do.

use std::fmt;

use serde::Serialize;

use crate::base::visible::{visible, visible_json};
use crate::telemetry::redact;

/// How good it looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Good,
    /// Calls work, but something deserves a look.
    Warning,
    /// Calls will fail.
    Bad,
    /// Could not be looked at.
    Skipped,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, for example `event socket`.
    pub check: &'static str,
    /// How it looks.
    pub status: Status,
    /// What was found, one sentence.
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// Everything that was found, in the order of the checks.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// One or more for each check.
    pub findings: Vec<Finding>,
}

impl Report {
    /// As it should be.
    pub(super) fn good(&mut self, check: &'static str, found: impl Into<String>) {
        self.findings.push(Finding { check, status: Status::Good, found: found.into(), remedy: None });
    }

    /// Deserves a look.
    pub(super) fn warn(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Status::Warning, found.into(), remedy.into());
    }

    /// Calls will fail.
    pub(super) fn bad(&mut self, check: &'static str, found: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Status::Bad, found.into(), remedy.into());
    }

    /// Could not be looked at; `why` says what is missing.
    pub(super) fn skip(&mut self, check: &'static str, why: impl Into<String>) {
        self.findings.push(Finding { check, status: Status::Skipped, found: why.into(), remedy: None });
    }

    fn add(&mut self, check: &'static str, status: Status, found: String, remedy: String) {
        self.findings.push(Finding { check, status, found, remedy: Some(remedy) });
    }

    /// Findings of this status.
    pub fn count(&self, status: Status) -> usize {
        self.findings.iter().filter(|finding| finding.status == status).count()
    }

    /// The findings as one JSON object: `healthy`, `findings`.
    pub fn to_json(&self) -> String {
        let report = serde_json::json!({
            "healthy": self.count(Status::Bad) == 0,
            "findings": self.findings,
        });
        visible_json(&redact(&format!("{report:#}\n"))).into_owned()
    }

    /// The findings for a person, in colour if asked for.
    pub fn to_text(&self, colour: bool) -> String {
        let paint = |status: Status| {
            let (word, code) = match status {
                Status::Good => ("good", "32"),
                Status::Warning => ("look", "33"),
                Status::Bad => ("BAD ", "31;1"),
                Status::Skipped => ("-   ", "2"),
            };
            if colour { format!("\x1b[{code}m{word}\x1b[0m") } else { word.to_owned() }
        };
        let width = self.findings.iter().map(|finding| finding.check.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Finding { check, status, found, remedy } in &self.findings {
            text.push_str(&format!("{}  {check:width$}  {}\n", paint(*status), visible(&redact(found))));
            if let Some(remedy) = remedy {
                text.push_str(&format!("      {:width$}  → {}\n", "", visible(&redact(remedy))));
            }
        }
        let (bad, look) = (self.count(Status::Bad), self.count(Status::Warning));
        text.push_str(&match (bad, look) {
            (0, 0) => "Everything that could be looked at is good.\n".to_owned(),
            (0, _) => format!("Calls should work; {look} to look at.\n"),
            _ => format!("{bad} bad, {look} to look at: begin at the top.\n"),
        });
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_text(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_sees_what_is_wrong_and_what_to_do() {
        let mut report = Report::default();
        report.good("configuration", "fine");
        assert!(report.to_string().contains("Everything"));
        report.bad("port", "nobody listens", "start tandem");
        let text = report.to_string();
        assert!(text.contains("BAD   port           nobody listens\n"), "{text}");
        assert!(text.contains("→ start tandem\n1 bad, 0 to look at"), "{text}");
        report.bad("x", "\u{1b}[2J\u{202e}", "y");
        assert!(report.to_string().contains(r"\u{1b}[2J\u{202e}") && report.to_json().contains(r"\u202e"));
        assert!(report.to_text(true).contains("\x1b[31;1mBAD "));
    }

    #[test]
    fn a_program_reads_the_same() {
        let mut report = Report::default();
        report.skip("x", "y");
        let value: serde_json::Value = serde_json::from_str(&report.to_json()).expect("JSON");
        assert_eq!(value["healthy"], true);
        assert_eq!(value["findings"][0]["status"], "skipped");
        assert_eq!(value["findings"][0].get("remedy"), None);
    }
}
