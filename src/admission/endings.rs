//! How calls ended of late, for dialplans that ask afterwards: AudioSocket has no word for it, and a relay that died has none
//! at all.
//!
//! Runs in: the control and the accept thread (note) and the admin thread (asks), behind a lock that no media thread touches. Owns the last
//! [`ENDINGS_MAX`] of them. Never reads a clock.
//! Invariant: an end is noted before the leg is told, so that whoever asks because the leg has ended finds it.

use std::collections::{HashMap, VecDeque};

use crate::base::call_name::key;
use crate::call::leg::Next;
use parking_lot::Mutex;

/// Ends that are remembered: four seconds of a thousand calls a second, in half a megabyte. A dialplan asks within
/// milliseconds.
pub(crate) const ENDINGS_MAX: usize = 4_096;

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// It is over as it should be: the switch has nothing to send the caller to.
    pub over: bool,
    /// What a dialplan that asks does with the caller.
    pub next: Next,
    /// What a leg with a word for it was told: the outcome's word, or what a route says.
    pub reason: String,
}

#[derive(Default)]
struct Noted {
    by_uuid: HashMap<String, Ending>,
    /// The oldest first; each stands in `by_uuid`.
    order: VecDeque<String>,
}

/// See the head of this file.
#[derive(Default)]
pub struct Endings {
    noted: Mutex<Noted>,
}

impl Endings {
    /// The call with this UUID, in any case, has ended. Of calls with one UUID the last one counts.
    pub fn note(&self, uuid: &str, ending: Ending) {
        let mut noted = self.noted.lock();
        let uuid = key(uuid);
        if noted.by_uuid.insert(uuid.clone(), ending).is_some() {
            return;
        }
        noted.order.push_back(uuid);
        if noted.order.len() > ENDINGS_MAX
            && let Some(oldest) = noted.order.pop_front()
        {
            noted.by_uuid.remove(&oldest);
        }
    }

    /// How the call with this UUID, in any case, ended; `None` if it runs, never was, or ended long ago.
    pub fn of(&self, uuid: &str) -> Option<Ending> {
        self.noted.lock().by_uuid.get(&key(uuid)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(over: bool) -> Ending {
        Ending { over, next: Next::HangUp, reason: "x".into() }
    }

    #[test]
    fn the_last_end_of_a_uuid_counts() {
        let endings = Endings::default();
        assert_eq!(endings.of("a"), None);
        endings.note("A-1", ending(true));
        endings.note("a-1", ending(false));
        assert_eq!(endings.of("A-1"), Some(ending(false)));
    }

    #[test]
    fn as_many_are_remembered_as_there_is_room_for() {
        let endings = Endings::default();
        for n in 0..=ENDINGS_MAX {
            endings.note(&n.to_string(), ending(true));
            endings.note(&n.to_string(), ending(true));
        }
        assert_eq!(endings.of("0"), None, "the oldest has gone");
        assert_eq!(endings.of(&ENDINGS_MAX.to_string()), Some(ending(true)));
        let noted = endings.noted.lock();
        assert_eq!((noted.by_uuid.len(), noted.order.len()), (ENDINGS_MAX, ENDINGS_MAX));
    }
}
