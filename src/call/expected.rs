//! Calls announced before their leg connects: what a leg that carries nothing but a UUID, or a ticket, needs to be told apart.
//!
//! Runs in: the admin thread (announces) and the accept thread (takes), behind a lock that no media thread touches. Owns
//! the announcements. Never reads a clock.
//! Invariant: at most [`ANNOUNCEMENTS_MAX`] of them, none older than it was announced to live, and each taken once.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::base::Instant;
use crate::codec::mod_audio_stream::CallFields;

/// Announcements at one time: ten seconds of a thousand calls a second, in some megabytes.
pub const ANNOUNCEMENTS_MAX: usize = 10_000;

struct Announcement {
    fields: CallFields,
    until: Instant,
}

/// How long the ticket of a telephone in the browser may be used, in milliseconds.
pub const TICKET_MS: u64 = 60_000;

/// See the head of this file.
#[derive(Default)]
pub struct Expected {
    announcements: Mutex<HashMap<String, Announcement>>,
}

/// There is no room for another announcement: [`ANNOUNCEMENTS_MAX`] wait for their calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyExpected;

impl Expected {
    /// Announces a call with this UUID, in any case, for `ttl_ms` milliseconds. Announced again, the last word counts.
    ///
    /// # Errors
    /// [`TooManyExpected`].
    pub fn insert(
        &self,
        now: Instant,
        uuid: &str,
        fields: CallFields,
        ttl_ms: u64,
    ) -> Result<(), TooManyExpected> {
        let mut announcements = self.announcements.lock();
        let uuid = uuid.to_ascii_lowercase();
        if announcements.len() >= ANNOUNCEMENTS_MAX && !announcements.contains_key(&uuid) {
            announcements.retain(|_, announcement| now < announcement.until);
            if announcements.len() >= ANNOUNCEMENTS_MAX {
                return Err(TooManyExpected);
            }
        }
        announcements.insert(uuid, Announcement { fields, until: now.plus_ms(ttl_ms) });
        Ok(())
    }

    /// Announces the call that whoever shows this ticket may make, once and within [`TICKET_MS`]. Whoever knows a ticket knows
    /// nothing of another: it is 122 random bits.
    ///
    /// # Errors
    /// [`TooManyExpected`].
    pub fn insert_ticket(
        &self,
        now: Instant,
        ticket: &str,
        fields: CallFields,
    ) -> Result<(), TooManyExpected> {
        self.insert(now, &ticket_key(ticket), fields, TICKET_MS)
    }

    /// Takes the call that this ticket is for, if nobody has and its time is not over.
    pub fn take_ticket(&self, now: Instant, ticket: &str) -> Option<CallFields> {
        self.take(now, &ticket_key(ticket))
    }

    /// Takes what was announced of the call with this UUID, if its time is not over.
    pub fn take(&self, now: Instant, uuid: &str) -> Option<CallFields> {
        let announcement = self.announcements.lock().remove(&uuid.to_ascii_lowercase())?;
        (now < announcement.until).then_some(announcement.fields)
    }
}

/// No UUID of a switch looks like this.
fn ticket_key(ticket: &str) -> String {
    format!("ticket.{ticket}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(did: &str) -> CallFields {
        CallFields { did: Some(did.to_owned()), ..CallFields::default() }
    }

    #[test]
    fn a_call_is_taken_once_and_only_while_it_is_expected() {
        let expected = Expected::default();
        let at = Instant::from_micros;
        expected.insert(at(0), "A-1", to("100"), 1_000).expect("room");
        expected.insert(at(0), "a-1", to("200"), 1_000).expect("room");
        assert_eq!(expected.take(at(999_999), "A-1"), Some(to("200")), "the last word");
        assert_eq!(expected.take(at(999_999), "a-1"), None, "taken");
        expected.insert(at(0), "b", to("300"), 1_000).expect("room");
        assert_eq!(expected.take(at(1_000_000), "b"), None, "too late");
    }

    #[test]
    fn a_ticket_is_for_one_call_within_a_minute_and_no_uuid() {
        let expected = Expected::default();
        let at = Instant::from_micros;
        expected.insert_ticket(at(0), "t", to("100")).expect("room");
        assert_eq!(expected.take(at(1), "t"), None);
        assert_eq!(expected.take_ticket(at(59_999_999), "t"), Some(to("100")));
        assert_eq!(expected.take_ticket(at(59_999_999), "t"), None);
        expected.insert_ticket(at(0), "t", to("100")).expect("room");
        assert_eq!(expected.take_ticket(at(60_000_000), "t"), None);
    }

    #[test]
    fn announcements_are_limited_and_old_ones_make_room() {
        let expected = Expected::default();
        for n in 0..ANNOUNCEMENTS_MAX {
            let ttl_ms = if n == 0 { 1 } else { 60_000 };
            assert_eq!(expected.insert(Instant::default(), &n.to_string(), to("1"), ttl_ms), Ok(()));
        }
        assert_eq!(expected.insert(Instant::default(), "more", to("1"), 1_000), Err(TooManyExpected));
        let later = Instant::from_micros(1_000);
        assert_eq!(expected.insert(later, "more", to("1"), 1_000), Ok(()));
        assert_eq!(expected.insert(later, "yet more", to("1"), 1_000), Err(TooManyExpected));
        assert_eq!(expected.take(later, "more"), Some(to("1")));
    }
}
