//! Who has signed in with a browser: a random id in a cookie, in place of the token, with an end.
//!
//! Runs in: the admin thread; pure. Owns the sessions. Never knows a token, and never writes an id down.
//! Invariant: an id is good until it was not used for [`IDLE_MS_MAX`], until [`AGE_MS_MAX`] after signing in, until signing
//! out, or until the same address has signed in [`PER_ADDRESS_MAX`] times after it; whatever comes first.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::base::Instant;
use crate::base::address::party;
use crate::sync::random;

/// A page that nobody has open ends so long after its last question. A page that is open asks all the time.
const IDLE_MS_MAX: u64 = 3_600_000;
/// The longest session.
pub(super) const AGE_MS_MAX: u64 = 12 * 3_600_000;
/// Sessions that began at one address; the oldest makes room.
const PER_ADDRESS_MAX: usize = 16;
/// Sessions together; the oldest makes room.
const SESSIONS_MAX: usize = 256;

struct Session {
    number: u64,
    address: IpAddr,
    began: Instant,
    used: Instant,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.since_ms(self.used) >= IDLE_MS_MAX || now.since_ms(self.began) >= AGE_MS_MAX
    }
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Sessions {
    // 256 random bits for an id: who looks one up learns nothing by the time that it takes.
    by_id: HashMap<String, Session>,
    last: u64,
}

impl Sessions {
    /// Begins one for somebody at this address. Returns its id, for the cookie, and its number, for the log.
    pub(super) fn begin(&mut self, now: Instant, address: IpAddr) -> (String, u64) {
        let address = party(address);
        self.by_id.retain(|_, session| !session.is_over(now));
        let of_address = self.by_id.values().filter(|session| session.address == address).count();
        if of_address >= PER_ADDRESS_MAX {
            self.end_oldest(|session| session.address == address);
        } else if self.by_id.len() >= SESSIONS_MAX {
            self.end_oldest(|_| true);
        }
        self.last += 1;
        let id = format!("{:032x}{:032x}", random::bits128(), random::bits128());
        let session = Session { number: self.last, address, began: now, used: now };
        self.by_id.insert(id.clone(), session);
        (id, self.last)
    }

    /// The number of the session with this id, which was used just now, unless it is over.
    pub(super) fn number(&mut self, now: Instant, id: &str) -> Option<u64> {
        let session = self.by_id.get_mut(id)?;
        if session.is_over(now) {
            self.by_id.remove(id);
            return None;
        }
        session.used = now;
        Some(session.number)
    }

    /// Ends the session with this id.
    pub(super) fn end(&mut self, id: &str) {
        self.by_id.remove(id);
    }

    fn end_oldest(&mut self, fits: impl Fn(&Session) -> bool) {
        let oldest = self.by_id.iter().filter(|(_, session)| fits(session)).min_by_key(|(_, one)| one.number);
        if let Some(id) = oldest.map(|(id, _)| id.clone()) {
            self.by_id.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::default().plus_ms(ms)
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn a_session_is_known_by_an_id_that_nobody_can_guess() {
        let mut sessions = Sessions::default();
        let (first, number) = sessions.begin(at(0), address(1));
        let (second, _) = sessions.begin(at(0), address(1));
        assert!(first.len() == 64 && first != second);
        assert_eq!(sessions.number(at(1), &first), Some(number));
        assert_eq!((sessions.number(at(1), ""), sessions.number(at(1), &first[..63])), (None, None));
        sessions.end(&first);
        assert_eq!(sessions.number(at(2), &first), None);
        assert!(sessions.number(at(2), &second).is_some());
    }

    #[test]
    fn it_ends_when_nobody_uses_it_and_after_half_a_day_in_any_case() {
        let mut sessions = Sessions::default();
        let (idle, _) = sessions.begin(at(0), address(1));
        let (busy, _) = sessions.begin(at(0), address(1));
        let mut now = 0;
        while now < AGE_MS_MAX - IDLE_MS_MAX / 2 {
            now += IDLE_MS_MAX / 2;
            assert!(sessions.number(at(now), &busy).is_some() || now >= AGE_MS_MAX);
        }
        assert_eq!(sessions.number(at(IDLE_MS_MAX), &idle), None);
        assert_eq!(sessions.number(at(AGE_MS_MAX), &busy), None);
    }

    #[test]
    fn nobody_can_fill_the_table_or_end_the_sessions_of_another_address() {
        let mut sessions = Sessions::default();
        let (other, _) = sessions.begin(at(0), address(2));
        let ids: Vec<String> = (0..1_000).map(|n| sessions.begin(at(n), address(1)).0).collect();
        assert_eq!(sessions.by_id.len(), PER_ADDRESS_MAX + 1);
        assert!(sessions.number(at(1_000), &other).is_some());
        assert!(sessions.number(at(1_000), &ids[0]).is_none());
        for n in 0..=255 {
            for m in 0..4 {
                sessions.begin(at(n), IpAddr::from([10, 0, m, n as u8]));
            }
        }
        assert_eq!(sessions.by_id.len(), SESSIONS_MAX);
    }
}
