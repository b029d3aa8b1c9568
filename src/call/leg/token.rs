//! The token that a switch presents to be let in.
//!
//! Runs in: the accept thread, once per call; pure. Owns the token until the call is admitted.
//! Never shows it: not in `Debug`, not in a note, not in a log.
//! Invariant: comparing takes the same time wherever two tokens of one length differ.

use std::fmt;
use subtle::ConstantTimeEq;

/// Longest token that is looked at, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 512;

/// A token as presented by a switch; it can be compared, and nothing else.
#[derive(Clone)]
pub struct PresentedToken(Vec<u8>);

impl PresentedToken {
    /// Keeps `token` if it is one: not empty, and at most [`TOKEN_BYTES_MAX`] bytes.
    pub fn new(token: &[u8]) -> Option<Self> {
        (!token.is_empty() && token.len() <= TOKEN_BYTES_MAX).then(|| Self(token.to_vec()))
    }

    /// Whether this is `expected`, in constant time for tokens of equal length. The length itself is no secret.
    pub fn matches(&self, expected: &[u8]) -> bool {
        self.0.ct_eq(expected).into()
    }
}

impl fmt::Debug for PresentedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedToken(hidden)")
    }
}

impl PartialEq for PresentedToken {
    fn eq(&self, other: &Self) -> bool {
        self.matches(&other.0)
    }
}

impl Eq for PresentedToken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_can_be_compared_but_not_seen() {
        let token = PresentedToken::new(b"s3cret").expect("a token");
        assert!(token.matches(b"s3cret"));
        assert!(!token.matches(b"s3creT") && !token.matches(b"s3cre") && !token.matches(b""));
        assert_eq!(format!("{token:?}"), "PresentedToken(hidden)");
        assert_eq!(token, token.clone());
    }

    #[test]
    fn an_empty_or_endless_token_is_none() {
        assert_eq!(PresentedToken::new(b""), None);
        assert_eq!(PresentedToken::new(&[b'x'; TOKEN_BYTES_MAX + 1]), None);
        assert!(PresentedToken::new(&[b'x'; TOKEN_BYTES_MAX]).is_some());
    }
}
