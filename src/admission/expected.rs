//! Calls announced before their leg connects: what a leg that carries nothing but a UUID, or a ticket, needs to be told apart.
//!
//! Runs in: the admin thread (announces, issues) and the accept thread (takes), behind locks that no media thread touches. Owns
//! the announcements and the tickets, which know nothing of each other. Never reads a clock.
//! Invariant: a ticket is made here and nowhere else; at most [`ANNOUNCEMENTS_MAX`] and [`TICKETS_MAX`] of them wait, none older
//! than it was announced to live, and each is taken once. Where there is no room, whoever has most waiting loses their oldest.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::base::{Instant, call_name};
use crate::call::leg::CallFields;
use crate::sync::random;

/// Announcements at one time: ten seconds of a thousand calls a second, in some megabytes.
pub(crate) const ANNOUNCEMENTS_MAX: usize = 10_000;
/// Tickets at one time: far more than browsers that are about to call.
pub(crate) const TICKETS_MAX: usize = 1_000;
/// How long the ticket of a telephone in the browser may be used, in milliseconds.
pub(crate) const TICKET_MS: u64 = 60_000;

/// See the head of this file.
pub struct Expected {
    announcements: Mutex<Waiting>,
    tickets: Mutex<Waiting>,
}

impl Default for Expected {
    fn default() -> Self {
        let table = |room| Mutex::new(Waiting { room, ..Waiting::default() });
        Self { announcements: table(ANNOUNCEMENTS_MAX), tickets: table(TICKETS_MAX) }
    }
}

impl Expected {
    /// Announces a call with this UUID, in any case, for `ttl_ms` milliseconds, in the name of whoever is at `owner`.
    /// Announced again, the last word counts. Returns whether an older announcement had to make room for it.
    pub fn insert(&self, now: Instant, owner: IpAddr, uuid: &str, fields: CallFields, ttl_ms: u64) -> bool {
        let announcement = Announcement { fields, until: now.plus_ms(ttl_ms), owner };
        self.announcements.lock().insert(now, call_name::key(uuid), announcement)
    }

    /// Takes what was announced of the call with this UUID, if its time is not over.
    pub fn take(&self, now: Instant, uuid: &str) -> Option<CallFields> {
        self.announcements.lock().take(now, &call_name::key(uuid))
    }

    /// Makes a ticket for whoever is at `owner`: who shows it may make this call, once and within [`TICKET_MS`]. It is 128 bits
    /// of the operating system, so that whoever knows a thousand of them knows nothing of the next.
    pub fn issue_ticket(&self, now: Instant, owner: IpAddr, fields: CallFields) -> String {
        let ticket = format!("{:032x}", random::bits128());
        let announcement = Announcement { fields, until: now.plus_ms(TICKET_MS), owner };
        self.tickets.lock().insert(now, ticket.clone(), announcement);
        ticket
    }

    /// Takes the call that this ticket is for, if nobody has and its time is not over.
    pub fn take_ticket(&self, now: Instant, ticket: &str) -> Option<CallFields> {
        self.tickets.lock().take(now, ticket)
    }
}

struct Announcement {
    fields: CallFields,
    until: Instant,
    owner: IpAddr,
}

/// Calls that wait for their legs, by name; each owner's in the order in which they were made.
#[derive(Default)]
struct Waiting {
    room: usize,
    /// How many were ever made.
    made: u64,
    /// Before this moment no announcement's time is over.
    old_from: Instant,
    by_name: HashMap<String, (u64, Announcement)>,
    by_owner: HashMap<IpAddr, BTreeMap<u64, String>>,
}

impl Waiting {
    /// Returns whether one whose time was not over had to go.
    fn insert(&mut self, now: Instant, name: String, announcement: Announcement) -> bool {
        self.remove(&name);
        if self.by_name.len() >= self.room && now >= self.old_from {
            self.forget_old(now);
        }
        let is_full = self.by_name.len() >= self.room;
        if is_full {
            self.evict();
        }
        self.old_from = self.old_from.min(announcement.until);
        self.made += 1;
        self.by_owner.entry(announcement.owner).or_default().insert(self.made, name.clone());
        self.by_name.insert(name, (self.made, announcement));
        is_full
    }

    fn take(&mut self, now: Instant, name: &str) -> Option<CallFields> {
        let announcement = self.remove(name)?;
        (now < announcement.until).then_some(announcement.fields)
    }

    fn remove(&mut self, name: &str) -> Option<Announcement> {
        let (number, announcement) = self.by_name.remove(name)?;
        if let Some(own) = self.by_owner.get_mut(&announcement.owner) {
            own.remove(&number);
            if own.is_empty() {
                self.by_owner.remove(&announcement.owner);
            }
        }
        Some(announcement)
    }

    fn forget_old(&mut self, now: Instant) {
        let old = self.by_name.iter().filter(|(_, (_, announcement))| now >= announcement.until);
        let old: Vec<_> = old.map(|(name, _)| name.clone()).collect();
        for name in old {
            self.remove(&name);
        }
        let soonest = self.by_name.values().map(|(_, announcement)| announcement.until).min();
        self.old_from = soonest.unwrap_or(now);
    }

    /// The oldest of whoever has most goes: a flood displaces itself.
    fn evict(&mut self) {
        let most = self.by_owner.values().max_by_key(|own| own.len());
        let oldest = most.and_then(|own| own.values().next()).cloned();
        if let Some(name) = oldest {
            self.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(did: &str) -> CallFields {
        CallFields { did: Some(did.to_owned()), ..CallFields::default() }
    }

    fn owner(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn a_call_is_taken_once_and_only_while_it_is_expected() {
        let expected = Expected::default();
        let at = Instant::from_micros;
        expected.insert(at(0), owner(1), "A-1", to("100"), 1_000);
        expected.insert(at(0), owner(2), "a-1", to("200"), 1_000);
        assert_eq!(expected.take(at(999_999), "A-1"), Some(to("200")), "the last word");
        assert_eq!(expected.take(at(999_999), "a-1"), None, "taken");
        expected.insert(at(0), owner(1), "b", to("300"), 1_000);
        assert_eq!(expected.take(at(1_000_000), "b"), None, "too late");
    }

    #[test]
    fn a_ticket_is_for_one_call_within_a_minute() {
        let expected = Expected::default();
        let at = Instant::from_micros;
        let ticket = expected.issue_ticket(at(0), owner(1), to("100"));
        assert_eq!(expected.take_ticket(at(59_999_999), &ticket), Some(to("100")));
        assert_eq!(expected.take_ticket(at(59_999_999), &ticket), None);
        let ticket = expected.issue_ticket(at(0), owner(1), to("100"));
        assert_eq!(expected.take_ticket(at(60_000_000), &ticket), None);
    }

    #[test]
    fn no_announced_name_is_a_ticket_and_no_ticket_is_an_announced_name() {
        let expected = Expected::default();
        let now = Instant::default();
        for name in ["x", "ticket.x", "ticket.ticket.x", "TICKET.X"] {
            expected.insert(now, owner(1), name, to("100"), 60_000);
            for ticket in ["x", "ticket.x", name] {
                assert_eq!(expected.take_ticket(now, ticket), None, "{name} as {ticket}");
            }
            assert_eq!(expected.take(now, name), Some(to("100")), "{name}");
        }
        let ticket = expected.issue_ticket(now, owner(1), to("100"));
        for name in [ticket.clone(), format!("ticket.{ticket}")] {
            assert_eq!(expected.take(now, &name), None, "{name}");
        }
        assert!(expected.take_ticket(now, &ticket).is_some());
    }

    #[test]
    fn tickets_are_long_and_none_comes_twice() {
        let expected = Expected::default();
        let tickets: Vec<_> = (0..100)
            .map(|_| expected.issue_ticket(Instant::default(), owner(1), CallFields::default()))
            .collect();
        assert!(tickets.iter().all(|ticket| ticket.len() == 32));
        assert_eq!(tickets.iter().collect::<std::collections::HashSet<_>>().len(), 100);
    }

    #[test]
    fn a_flood_of_announcements_displaces_itself_and_nobody_else() {
        let expected = Expected::default();
        let now = Instant::default();
        assert!(!expected.insert(now, owner(1), "mine", to("1"), 60_000));
        for n in 0..2 * ANNOUNCEMENTS_MAX {
            let had_to_make_room = expected.insert(now, owner(2), &format!("flood-{n}"), to("2"), 60_000);
            assert_eq!(had_to_make_room, n + 1 >= ANNOUNCEMENTS_MAX, "{n}");
        }
        assert!(expected.insert(now, owner(3), "late", to("3"), 60_000));
        assert_eq!(expected.take(now, "mine"), Some(to("1")));
        assert_eq!(expected.take(now, "late"), Some(to("3")));
        assert_eq!(expected.take(now, &format!("flood-{}", ANNOUNCEMENTS_MAX)), None, "its oldest went");
        assert!(expected.take(now, &format!("flood-{}", 2 * ANNOUNCEMENTS_MAX - 1)).is_some());
        // Tickets are made in a table of their own.
        let ticket = expected.issue_ticket(now, owner(3), to("4"));
        for _ in 0..2 * TICKETS_MAX {
            expected.issue_ticket(now, owner(2), to("2"));
        }
        assert_eq!(expected.take_ticket(now, &ticket), Some(to("4")));
        assert!(expected.take(now, &format!("flood-{}", 2 * ANNOUNCEMENTS_MAX - 2)).is_some());
    }

    #[test]
    fn those_whose_time_is_over_make_room_first() {
        let expected = Expected::default();
        for n in 0..ANNOUNCEMENTS_MAX {
            let ttl_ms = if n == 0 { 1 } else { 60_000 };
            expected.insert(Instant::default(), owner(1), &n.to_string(), to("1"), ttl_ms);
        }
        let later = Instant::from_micros(1_000);
        assert!(!expected.insert(later, owner(1), "more", to("1"), 1_000), "an old one was there");
        assert!(expected.insert(later, owner(1), "yet more", to("1"), 1_000));
        assert_eq!(expected.take(later, "1"), None, "the oldest of those that lived");
        assert_eq!(expected.take(later, "more"), Some(to("1")));
    }
}
