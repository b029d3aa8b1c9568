//! Which relays are dead: those whose beats have not changed for long enough, as this one has seen it.
//!
//! Runs in: the living thread: pure. Owns what was seen of each relay. Never compares clocks of two machines.
//! Invariant: a time in which nobody looked counts for little, for a database that was away was away for the others too.

use std::collections::BTreeMap;

use crate::base::Instant;

/// Between two looks no more than that is counted.
const LOOK_MS_MAX: u64 = 2_000;

#[derive(Debug, Clone, Copy)]
struct Seen {
    beats: u64,
    still_ms: u64,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Relays {
    seen: BTreeMap<String, Seen>,
    looked_at: Option<Instant>,
}

impl Relays {
    /// Takes what a look at all relays but this one has found. Returns those that have been still for so long, and how long.
    pub(super) fn look(
        &mut self,
        now: Instant,
        found: Vec<(String, u64)>,
        dead_after_ms: u64,
    ) -> Vec<(String, u64)> {
        let since_ms = self.looked_at.map_or(0, |at| now.since_ms(at)).min(LOOK_MS_MAX);
        self.looked_at = Some(now);
        let before = std::mem::take(&mut self.seen);
        for (relay, beats) in found {
            let still_ms = match before.get(&relay) {
                Some(seen) if seen.beats == beats => seen.still_ms + since_ms,
                _ => 0,
            };
            self.seen.insert(relay, Seen { beats, still_ms });
        }
        let dead = self.seen.iter().filter(|(_, seen)| seen.still_ms >= dead_after_ms);
        dead.map(|(relay, seen)| (relay.clone(), seen.still_ms)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_dead_whose_beats_stand_still_while_they_are_looked_at() {
        let mut relays = Relays::default();
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let mut look = |ms, a, b| {
            let found = vec![("a".to_owned(), a), ("b".to_owned(), b)];
            relays.look(at(ms), found, 6_000).into_iter().map(|(relay, _)| relay).collect::<Vec<_>>()
        };
        assert!(look(0, 1, 1).is_empty() && look(1_000, 2, 1).is_empty() && look(3_000, 3, 1).is_empty());
        assert!(look(60_000, 3, 1).is_empty(), "nobody looked meanwhile");
        assert_eq!(look(61_000, 4, 1), ["b"]);
        assert!(look(62_000, 5, 2).is_empty(), "it lives again");
    }
}
