//! Who presents wrong tokens, by address, and how long that address waits for it.
//!
//! Runs in: the accept thread and the admin thread, each with its own; pure. Owns what is known of some thousand addresses.
//! Never sees a token, and never keeps a right one waiting for wrong ones of another address.
//! Invariant: of one address at most [`IN_PENANCE_MAX`] wrong tokens are looked at in the time of a delay, which grows with
//! their number up to [`DELAY_MS_MAX`].

use std::collections::HashMap;
use std::net::IpAddr;

use crate::base::Instant;
use crate::base::address::party;

/// Wrong tokens that cost nothing: somebody mistypes one, or a program has an old one.
const FREE: u32 = 3;
/// The delay after the first that is not free; each further one doubles it.
const DELAY_MS: u64 = 250;
/// The longest delay.
pub(crate) const DELAY_MS_MAX: u64 = 2_000;
/// Doublings to the longest delay, beyond which nothing is added to what has to be forgotten.
const STEPS: u32 = 3;
/// One wrong token is forgotten after so long.
const FORGOTTEN_AFTER_MS: u64 = 10_000;
/// Wrong tokens of an address whose answers are held back; while there are so many, no token from there is looked at.
pub(crate) const IN_PENANCE_MAX: usize = 16;
/// Addresses that are remembered; the one that was heard of least recently makes room.
const ADDRESSES_MAX: usize = 4_096;
/// An address is named in the log at its first wrong token, and so long not again.
const TOLD_AGAIN_MS: u64 = 60_000;

/// What a wrong token leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Penance {
    /// How long the answer is held back, in milliseconds.
    pub delay_ms: u64,
    /// How many wrong tokens came from there since it was told last, if it is to be told now.
    pub told: Option<u64>,
}

#[derive(Default)]
struct Guesser {
    /// Wrong tokens not yet forgotten.
    level: u32,
    /// When the level was right.
    level_at: Instant,
    /// When each answer that is held back may be given.
    held_until: Vec<Instant>,
    untold: u64,
    told_at: Option<Instant>,
}

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Guesses {
    by_address: HashMap<IpAddr, Guesser>,
}

impl Guesses {
    /// Whether a token from there is looked at now; if not, how many milliseconds later.
    ///
    /// # Errors
    /// The wait.
    pub(crate) fn may_try(&mut self, now: Instant, address: IpAddr) -> Result<(), u64> {
        let Some(guesser) = self.by_address.get_mut(&party(address)) else { return Ok(()) };
        guesser.held_until.retain(|&until| until > now);
        if guesser.held_until.len() < IN_PENANCE_MAX {
            return Ok(());
        }
        let first = guesser.held_until.iter().min().copied().unwrap_or(now);
        Err(first.since_ms(now).max(1))
    }

    /// Says that a token from there was wrong.
    pub(crate) fn wrong(&mut self, now: Instant, address: IpAddr) -> Penance {
        let address = party(address);
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            self.make_room();
        }
        let guesser =
            self.by_address.entry(address).or_insert(Guesser { level_at: now, ..Guesser::default() });
        let forgotten = now.since_ms(guesser.level_at) / FORGOTTEN_AFTER_MS;
        guesser.level = guesser.level.saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX));
        guesser.level_at = guesser.level_at.plus_ms(forgotten * FORGOTTEN_AFTER_MS);
        if guesser.level == 0 {
            guesser.level_at = now;
        }
        guesser.level = (guesser.level + 1).min(FREE + 1 + STEPS);
        let delay_ms = match guesser.level.checked_sub(FREE + 1) {
            None => 0,
            Some(doublings) => (DELAY_MS << doublings).min(DELAY_MS_MAX),
        };
        if delay_ms > 0 {
            guesser.held_until.push(now.plus_ms(delay_ms));
        }
        guesser.untold += 1;
        let is_told = guesser.told_at.is_none_or(|at| now.since_ms(at) >= TOLD_AGAIN_MS);
        let told = is_told.then(|| std::mem::take(&mut guesser.untold));
        if is_told {
            guesser.told_at = Some(now);
        }
        Penance { delay_ms, told }
    }

    fn make_room(&mut self) {
        let oldest = self.by_address.iter().min_by_key(|(_, guesser)| guesser.level_at).map(|(at, _)| *at);
        if let Some(address) = oldest {
            self.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVE: &str = "192.0.2.1";

    fn at(ms: u64) -> Instant {
        Instant::default().plus_ms(ms)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_delay_grows_and_is_bounded_and_forgotten() {
        let mut guesses = Guesses::default();
        let delays: Vec<u64> = (0..10).map(|_| guesses.wrong(at(0), address(EVE)).delay_ms).collect();
        assert_eq!(delays, [0, 0, 0, 250, 500, 1_000, 2_000, 2_000, 2_000, 2_000]);
        assert_eq!(guesses.wrong(at(20_000), address(EVE)).delay_ms, 1_000, "two are forgotten, one is new");
        assert_eq!(guesses.wrong(at(3_600_000), address(EVE)).delay_ms, 0);
    }

    #[test]
    fn who_guesses_all_the_time_gets_a_few_tries_a_second() {
        let mut guesses = Guesses::default();
        let mut tried = 0;
        for ms in 0..60_000 {
            // A hundred guesses a millisecond, over as many connections.
            for _ in 0..100 {
                if guesses.may_try(at(ms), address(EVE)).is_ok() {
                    guesses.wrong(at(ms), address(EVE));
                    tried += 1;
                }
            }
        }
        assert!(tried <= 8 * 60 + 40, "{tried} of 6,000,000 in a minute");
        assert!(
            guesses.may_try(at(60_000), address("192.0.2.2")).is_ok(),
            "another address is not kept waiting"
        );
        assert!(guesses.may_try(at(60_000 + DELAY_MS_MAX), address(EVE)).is_ok(), "nor this one for long");
    }

    #[test]
    fn one_customer_of_ipv6_is_one_address() {
        let mut guesses = Guesses::default();
        for n in 0..40 {
            guesses.wrong(at(0), address(&format!("2001:db8::{n:x}")));
        }
        assert!(guesses.may_try(at(0), address("2001:db8::ffff")).is_err());
        assert!(guesses.may_try(at(0), address("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn an_address_is_told_once_a_minute_with_what_came_meanwhile() {
        let mut guesses = Guesses::default();
        let told: Vec<_> = (0..5).map(|n| guesses.wrong(at(n * 20_000), address(EVE)).told).collect();
        assert_eq!(told, [Some(1), None, None, Some(3), None]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut guesses = Guesses::default();
        for n in 0..2 * ADDRESSES_MAX as u32 {
            guesses.wrong(at(n.into()), IpAddr::V4(n.into()));
        }
        assert_eq!(guesses.by_address.len(), ADDRESSES_MAX);
    }
}
