//! What a switch tells of a call beside the fields that the relay knows: names and values of the operator's own.
//!
//! Runs in: the accept and telephony threads, once per call, and the control thread; pure. Owns names and values.
//! Never logged: they may say more of a caller than anybody needs to read.
//! Invariant: a value is of limited length, on one line, and holds nothing that cannot be seen; so many are kept until it is
//! known which of them the agent asks for, and then those alone.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::excerpt::is_loggable;

/// Most of them that are looked at.
const VARIABLES_MAX: usize = 64;
/// Shortest and longest name, in bytes, without its separators. A single letter is some protocol's own.
const VARIABLE_NAME_BYTES_MIN: usize = 2;
/// See [`VARIABLE_NAME_BYTES_MIN`].
const VARIABLE_NAME_BYTES_MAX: usize = 32;
/// Longest value that is kept, in characters.
const VALUE_CHARACTERS_MAX: usize = 256;

/// See the head of this file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// The value of a variable; the letter case of its name, `-` and `_` do not matter. `None`: the switch did not say it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(&plain(name)?).map(String::as_str)
    }

    /// Keeps those of these names alone.
    pub fn keep<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let names: Vec<String> = names.filter_map(plain).collect();
        self.0.retain(|name, _| names.contains(name));
    }

    /// Notes a value, unless there is one, or too many.
    pub(super) fn note(&mut self, name: &str, value: &str) {
        let Some(name) = plain(name).filter(|_| self.0.len() < VARIABLES_MAX) else { return };
        let visible = value.chars().filter(|&c| is_loggable(c));
        let value: String = visible.take(VALUE_CHARACTERS_MAX).collect();
        if !value.trim().is_empty() {
            self.0.entry(name).or_insert(value.trim().to_owned());
        }
    }

    /// These, and those of `others` that are missing.
    pub(super) fn or(mut self, others: Self) -> Self {
        for (name, value) in others.0 {
            if self.0.len() < VARIABLES_MAX {
                self.0.entry(name).or_insert(value);
            }
        }
        self
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// A name without separators and in small letters; `None` for what no variable is called.
fn plain(name: &str) -> Option<String> {
    let letters = name.bytes().filter(|byte| !matches!(byte, b'-' | b'_'));
    let plain: String = letters.map(|byte| byte.to_ascii_lowercase() as char).collect();
    let fits = (VARIABLE_NAME_BYTES_MIN..=VARIABLE_NAME_BYTES_MAX).contains(&plain.len())
        && plain.bytes().all(|byte| byte.is_ascii_alphanumeric());
    fits.then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(pairs: &[(&str, &str)]) -> Variables {
        let mut variables = Variables::default();
        pairs.iter().for_each(|(name, value)| variables.note(name, value));
        variables
    }

    #[test]
    fn a_variable_is_found_whatever_its_spelling_and_the_first_value_counts() {
        let variables =
            noted(&[("Customer-Name", " Ann "), ("customer_name", "Bob"), ("empty", " \u{200b}")]);
        for name in ["customer_name", "customername", "CUSTOMER-NAME"] {
            assert_eq!(variables.get(name), Some("Ann"), "{name}");
        }
        assert_eq!((variables.get("empty"), variables.get("other")), (None, None));
    }

    #[test]
    fn a_value_is_short_on_one_line_and_all_of_it_can_be_seen() {
        let variables = noted(&[("name", "x\r\ny\u{202e}z\u{7}"), ("long", &"ä".repeat(1_000))]);
        assert_eq!(variables.get("name"), Some("xyz"));
        assert_eq!(variables.get("long").map(|value| value.chars().count()), Some(VALUE_CHARACTERS_MAX));
    }

    #[test]
    fn what_is_kept_is_bounded_and_only_what_was_asked_for_and_shown_by_name_alone() {
        let many: Vec<String> = (0..200).map(|n| format!("v{n}")).collect();
        let mut variables = Variables::default();
        many.iter().for_each(|name| variables.note(name, "1"));
        assert_eq!(variables.0.len(), VARIABLES_MAX);
        let merged = variables.clone().or(noted(&[("other", "1")]));
        assert_eq!((merged.0.len(), merged.get("other")), (VARIABLES_MAX, None));
        variables.keep(["v3", "other"].into_iter());
        assert_eq!(variables, noted(&[("V_3", "1")]));
        assert_eq!(format!("{:?}", noted(&[("name", "secret")])), r#"{"name"}"#);
        assert_eq!(
            noted(&[("", "1"), ("m", "1"), ("a b", "1"), (&"n".repeat(33), "1")]),
            Variables::default()
        );
    }
}
