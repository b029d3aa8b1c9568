//! The model side of a call: one logical conversation, which outlives its links.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the number of the present link and the handles with
//! which the conversation can be resumed on another one.
//! Invariant: at most one link is present; what an older one says is stale, and a handle is used only with the credential
//! under which it was given.

use crate::base::LinkNumber;

/// Where a session stands with its present link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// No link, and none asked for.
    None,
    /// A link is being connected.
    Dialing,
    /// The setup was sent.
    SettingUp,
    /// The setup was accepted.
    Live,
    /// We are closing it, and its socket is not known to be gone: resuming beside an open one is refused.
    Closing,
    /// The last link is gone, and the next one is dialled after a while.
    Waiting,
}

/// A handle of the server, and what was so when it gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Handle {
    text: String,
    credential: usize,
    turns: u64,
}

/// Turns that may have been completed since a handle was given: the one whose own handle has not come yet. An older handle
/// would take the conversation back to before what both have said since.
const TURNS_BEHIND_MAX: u64 = 1;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Session {
    number: LinkNumber,
    state: LinkState,
    /// The last one given at all. One from the middle of an answer or of a tool call may lose what was under way.
    newest: Option<Handle>,
    /// The last one given while nothing was under way.
    boundary: Option<Handle>,
}

impl Session {
    /// A session without a link.
    pub(crate) fn new() -> Self {
        Self { number: 0, state: LinkState::None, newest: None, boundary: None }
    }

    /// Begins the next link and returns its number.
    pub(crate) fn dial(&mut self) -> LinkNumber {
        self.number += 1;
        self.state = LinkState::Dialing;
        self.number
    }

    /// The present link, if there is one that is being made or in use.
    pub(crate) fn link(&self) -> Option<LinkNumber> {
        matches!(self.state, LinkState::Dialing | LinkState::SettingUp | LinkState::Live)
            .then_some(self.number)
    }

    /// The link that was begun last, whatever has become of it; 0 before the first.
    pub(crate) fn last(&self) -> LinkNumber {
        self.number
    }

    /// The link that is being closed, if one is.
    pub(crate) fn closing(&self) -> Option<LinkNumber> {
        (self.state == LinkState::Closing).then_some(self.number)
    }

    /// The present link, if its setup was accepted.
    pub(crate) fn live(&self) -> Option<LinkNumber> {
        (self.state == LinkState::Live).then_some(self.number)
    }

    /// Where the session stands.
    pub(crate) fn state(&self) -> LinkState {
        self.state
    }

    /// Notes what happened to a link. Returns whether it was the present one; if not, the news is stale.
    pub(crate) fn advance(&mut self, link: LinkNumber, state: LinkState) -> bool {
        if self.link() != Some(link) {
            return false;
        }
        self.state = state;
        true
    }

    /// Notes that there is no link now, and whether one will be dialled.
    pub(crate) fn without_link(&mut self, state: LinkState) {
        self.state = state;
    }

    /// Notes the newest handle: the credential of its link, how many turns were complete, and whether nothing was under
    /// way when it came.
    pub(crate) fn resumable(
        &mut self,
        link: LinkNumber,
        text: String,
        credential: usize,
        turns: u64,
        at_boundary: bool,
    ) {
        if self.live() != Some(link) {
            return;
        }
        let handle = Handle { text, credential, turns };
        if at_boundary {
            self.boundary = Some(handle.clone());
        }
        self.newest = Some(handle);
    }

    /// The handle to resume with under this credential, when `turns` turns are complete: the last from between two turns,
    /// or if that one is too old the last of all. `None`: the conversation cannot be resumed.
    pub(crate) fn handle(&self, credential: usize, turns: u64) -> Option<&str> {
        let fits = |handle: &&Handle| {
            handle.credential == credential && turns.saturating_sub(handle.turns) <= TURNS_BEHIND_MAX
        };
        let handle = self.boundary.as_ref().filter(fits).or(self.newest.as_ref().filter(fits))?;
        Some(&handle.text)
    }

    /// How many turns were complete when this handle was given.
    pub(crate) fn turns_at(&self, handle: &str) -> u64 {
        let given = self.boundary.iter().chain(&self.newest).find(|given| given.text == handle);
        given.map_or(0, |given| given.turns)
    }

    /// The conversation begins anew: what could be resumed is another one.
    pub(crate) fn forget_handles(&mut self) {
        (self.newest, self.boundary) = (None, None);
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

    fn live() -> (Session, LinkNumber) {
        let mut session = Session::new();
        let link = session.dial();
        session.advance(link, LinkState::Live);
        (session, link)
    }

    #[test]
    fn news_of_an_older_link_is_stale() {
        let (mut session, first) = live();
        session.without_link(LinkState::Waiting);
        assert_eq!(session.link(), None);
        let second = session.dial();
        assert_ne!(first, second);
        assert!(!session.advance(first, LinkState::Live));
        assert!(session.advance(second, LinkState::Live));
        session.resumable(first, "old".into(), 0, 0, true);
        assert_eq!((session.state(), session.handle(0, 0)), (LinkState::Live, None));
        session.resumable(second, "new".into(), 0, 0, true);
        assert_eq!(session.handle(0, 0), Some("new"));
    }

    #[test]
    fn the_handle_from_between_two_turns_is_preferred_to_a_newer_one_from_the_middle() {
        let (mut session, link) = live();
        session.resumable(link, "between".into(), 0, 3, true);
        session.resumable(link, "middle".into(), 0, 3, false);
        assert_eq!(session.handle(0, 3), Some("between"));
        assert_eq!(session.handle(0, 4), Some("between"), "its own turn's handle has not come yet");
    }

    #[test]
    fn a_handle_from_long_ago_gives_way_to_a_newer_one_or_to_none() {
        let (mut session, link) = live();
        session.resumable(link, "between".into(), 0, 0, true);
        assert_eq!(session.handle(0, 2), None);
        session.resumable(link, "middle".into(), 0, 2, false);
        assert_eq!(session.handle(0, 2), Some("middle"));
    }

    #[test]
    fn a_handle_is_good_for_the_credential_only_that_it_came_from() {
        let (mut session, link) = live();
        session.resumable(link, "h".into(), 1, 0, true);
        assert_eq!(session.handle(0, 0), None);
        assert_eq!(session.handle(1, 0), Some("h"));
        session.forget_handles();
        assert_eq!(session.handle(1, 0), None);
    }
}
