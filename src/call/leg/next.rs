//! What a dialplan does with its caller when the leg has ended, where its protocol has no word for that.
//!
//! Runs in: anywhere: pure. Owns the words.
//! Invariant: a text of [`Next`] is one line of a word, and for a transfer the extension behind it.

use std::fmt;

use crate::base::command::Destination;

/// See the head of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Connect the call again, with the same UUID.
    Again,
    /// Hang up: the call is over as it should be.
    HangUp,
    /// Send the caller to this extension.
    Transfer(Destination),
    /// Send the caller wherever they go that are not served: the call was refused or given up.
    Fallback,
}

impl Next {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::HangUp => "hangup",
            Self::Transfer(_) => "transfer",
            Self::Fallback => "fallback",
        }
    }
}

impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transfer(to) => write!(f, "transfer {to}"),
            other => f.write_str(other.word()),
        }
    }
}
