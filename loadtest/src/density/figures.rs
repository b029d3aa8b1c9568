//! What was found: one JSON object with the figures at its top level, into which every part puts its own.
//!
//! Runs in: anywhere: pure, but for reading and writing the file. Owns the figures.
//! Invariant: a part that is measured again replaces its own figures and no others, and says when that was.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Figures {
    values: Map<String, Value>,
    /// Runs in which the generator was late, and which were repeated or left out.
    pub runs_void: u64,
    /// Runs in which calls failed, and which were repeated or left out.
    pub runs_failed: u64,
    /// Why calls failed.
    pub failures: Vec<String>,
}

impl Figures {
    /// Those that an earlier measurement wrote to `path`; none if there is no such file.
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Self { values: serde_json::from_str(&text).unwrap_or_default(), ..Self::default() }
    }

    /// Puts a figure in.
    pub fn set(&mut self, name: &str, value: impl Serialize) {
        // Figures are plain numbers, texts, lists and structures, which JSON can hold.
        self.values.insert(name.to_owned(), serde_json::to_value(value).unwrap_or_default());
    }

    /// A figure that is a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.values.get(name)?.as_f64()
    }

    /// A part was measured until now.
    pub fn measured(&mut self, part: &str, unix_s: u64) {
        let at = serde_json::json!({"unix_s": unix_s, "version": env!("CARGO_PKG_VERSION")});
        let parts = self.values.entry("measured").or_insert_with(|| Value::Object(Map::new()));
        if let Some(parts) = parts.as_object_mut() {
            parts.insert(part.to_owned(), at);
        }
    }

    /// The JSON text.
    pub fn json(&self) -> String {
        let mut values = self.values.clone();
        values.insert("runs_void".to_owned(), self.runs_void.into());
        values.insert("runs_failed".to_owned(), self.runs_failed.into());
        values.insert("failures".to_owned(), self.failures.clone().into());
        values.insert("processors".to_owned(), super::start::processors().into());
        // A map of values always is JSON.
        serde_json::to_string_pretty(&values).unwrap_or_default()
    }

    /// The figures that are numbers, one a line.
    pub fn table(&self) -> String {
        let numbers = self.values.iter().filter_map(|(name, value)| Some((name, value.as_f64()?)));
        let lines = numbers.map(|(name, value)| format!("{name:<34} {value}\n"));
        let left_out = format!(
            "{:<34} {} void, {} with failed calls {:?}\n",
            "runs left out or repeated", self.runs_void, self.runs_failed, self.failures
        );
        lines.chain([left_out]).collect()
    }
}

/// The median; of two middle values the mean; 0 of none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(value), 1) => *value,
        (Some(value), _) => {
            middle.checked_sub(1).and_then(|i| values.get(i)).map_or(*value, |v| (v + value) / 2.0)
        }
        (None, _) => 0.0,
    }
}

/// Rounded to three decimals.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median([]), 0.0);
    }

    #[test]
    fn a_part_measured_again_replaces_its_own_figures_only() {
        let path = std::env::temp_dir().join(format!("tandem-figures-{}.json", std::process::id()));
        let mut first = Figures::read(&path);
        first.set("cpu_ratio", 1.5);
        first.set("knee_calls", 300);
        first.measured("cpu", 7);
        std::fs::write(&path, first.json()).expect("a file");
        let mut second = Figures::read(&path);
        std::fs::remove_file(&path).expect("the file");
        second.set("cpu_ratio", 1.25);
        second.measured("knee", 8);
        assert_eq!((second.number("cpu_ratio"), second.number("knee_calls")), (Some(1.25), Some(300.0)));
        let json: Value = serde_json::from_str(&second.json()).expect("JSON");
        assert_eq!(
            (&json["measured"]["cpu"]["unix_s"], &json["measured"]["knee"]["unix_s"]),
            (&7.into(), &8.into())
        );
        assert!(json["cpu_ratio"].is_f64() && json["runs_void"] == 0);
        assert!(second.table().contains("knee_calls"));
    }
}
