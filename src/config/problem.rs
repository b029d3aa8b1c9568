//! Where a value came from, and what is wrong with it.
//!
//! Runs in: anywhere: pure. Owns the texts of errors and the suggestion for a misspelt key. Never holds a secret's text.
//! Invariant: a problem names the place, the key or value, and what to do.

use std::fmt;
use std::path::PathBuf;

use super::model::{Config, KEYS};
use super::registry::Key;

/// Where a value was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: the built-in default.
    #[default]
    Default,
    /// In the configuration file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
    },
    /// In an environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// In `--set`.
    Argument,
    /// Nowhere itself: it follows from `media.profile`.
    Profile,
    /// Nowhere itself: an installed relay keeps it there.
    Installation,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Argument => f.write_str("--set"),
            Self::Profile => f.write_str("media.profile"),
            Self::Installation => f.write_str("state of the service"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where, if it is in one place.
    pub origin: Option<Origin>,
    /// What, and what to do about it.
    pub text: String,
}

impl Problem {
    pub(super) fn at(origin: Origin, text: impl Into<String>) -> Self {
        Self { origin: Some(origin), text: text.into() }
    }

    pub(super) fn anywhere(text: impl Into<String>) -> Self {
        Self { origin: None, text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Everything that is wrong, so that it can be put right in one go. Prints one problem a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The key with this name.
pub(super) fn key_named(name: &str) -> Option<&'static Key<Config>> {
    KEYS.iter().find(|key| key.name == name)
}

/// What to say about a name that is no key.
pub(super) fn unknown_key(name: &str) -> String {
    let remedy = match nearest_key(name) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "docs/configuration.md lists the keys, and so does tandem --check".to_owned(),
    };
    format!("unknown key {name}: {remedy}")
}

/// The key that was probably meant by `name`: one with an environment variable of that name, one with the same last part
/// in another section, or the one with the most similar spelling.
pub(super) fn nearest_key(name: &str) -> Option<&'static str> {
    if let Some(key) = KEYS.iter().find(|key| key.environment.contains(&name)) {
        return Some(key.name);
    }
    let field = name.rsplit('.').next().unwrap_or(name);
    let mut same_field = KEYS.iter().filter(|key| key.field() == field);
    if let (Some(only), None) = (same_field.next(), same_field.next()) {
        return Some(only.name);
    }
    nearest(name, KEYS.iter().map(|key| key.name))
}

/// The candidate most similar to `name`, if any is similar at all.
pub fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this share of equal letters a suggestion confuses more than it helps; "lisen.prt" has 0.82.
    const SIMILAR_ENOUGH: f64 = 0.6;
    let name = name.to_ascii_lowercase();
    candidates
        .map(|candidate| {
            (strsim::normalized_damerau_levenshtein(&name, &candidate.to_ascii_lowercase()), candidate)
        })
        .filter(|(similarity, _)| *similarity >= SIMILAR_ENOUGH)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_that_was_meant_is_found() {
        assert_eq!(nearest_key("lisen.prt"), Some("listen.port"));
        assert_eq!(nearest_key("listen.handshake_timout_ms"), Some("listen.handshake_timeout_ms"));
        assert_eq!(nearest_key("model"), Some("agent.model"));
        assert_eq!(nearest_key("gemini.voice"), Some("agent.voice"));
        assert_eq!(nearest_key("GEMINI_API_KEY"), Some("gemini.api_key"));
        assert_eq!(nearest_key("gemini.apikey"), Some("gemini.api_key"));
        assert_eq!(nearest_key("weather.tomorrow"), None);
    }
}
