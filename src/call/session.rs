//! The model side of a call: one logical conversation, which outlives its links.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the number of the present link and what is needed
//! to resume the conversation on another one.
//! Invariant: at most one link is present; what an older one says is stale.

use crate::base::LinkNumber;

/// Where a session stands with its present link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    /// No link, and none asked for.
    None,
    /// A link is being connected.
    Dialing,
    /// The setup was sent.
    SettingUp,
    /// The setup was accepted.
    Live,
}

/// See the head of this file.
#[derive(Debug)]
pub struct Session {
    number: LinkNumber,
    state: LinkState,
    handle: Option<String>,
}

impl Session {
    /// A session without a link.
    pub fn new() -> Self {
        Self { number: 0, state: LinkState::None, handle: None }
    }

    /// Begins the next link and returns its number.
    pub fn dial(&mut self) -> LinkNumber {
        self.number += 1;
        self.state = LinkState::Dialing;
        self.number
    }

    /// The present link, if there is one in any state.
    pub fn link(&self) -> Option<LinkNumber> {
        (self.state != LinkState::None).then_some(self.number)
    }

    /// Where the session stands.
    pub fn state(&self) -> LinkState {
        self.state
    }

    /// Notes what happened to a link. Returns whether it was the present one; if not, the news is stale.
    pub fn advance(&mut self, link: LinkNumber, state: LinkState) -> bool {
        if self.link() != Some(link) {
            return false;
        }
        self.state = state;
        true
    }

    /// Notes the newest handle with which the conversation can be resumed.
    pub fn resumable(&mut self, link: LinkNumber, handle: String) {
        if self.link() == Some(link) {
            self.handle = Some(handle);
        }
    }

    /// The newest handle with which the conversation can be resumed, if the server gave one.
    pub fn handle(&self) -> Option<&str> {
        self.handle.as_deref()
    }
}

impl Default for Session {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_of_an_older_link_is_stale() {
        let mut session = Session::new();
        let first = session.dial();
        assert!(session.advance(first, LinkState::Live));
        assert!(session.advance(first, LinkState::None));
        let second = session.dial();
        assert_ne!(first, second);
        assert!(!session.advance(first, LinkState::Live));
        session.resumable(first, "old".into());
        assert_eq!((session.state(), session.handle()), (LinkState::Dialing, None));
        session.resumable(second, "new".into());
        assert_eq!(session.handle(), Some("new"));
    }
}
