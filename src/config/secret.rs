//! A value that must never be printed: an API key, a token.
//!
//! Runs in: anywhere: pure. Owns the text of the secret. Never prints it: `Debug` and `Display` say only that it is set.
//! Invariant: the text leaves through [`Secret::expose`] alone, so that `grep expose` finds every use.

use std::fmt;

/// A secret text. There is no `PartialEq`: compare tokens in constant time (crate `subtle`), not with `==`.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text that must not be printed.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(set)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_display_prints_the_text() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "(set) (set) Some((set))");
        assert_eq!(secret.expose(), "hunter2");
    }
}
