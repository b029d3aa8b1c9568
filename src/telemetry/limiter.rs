//! How often one thing is said in the log about one address, so that nobody outside can fill it.
//!
//! Runs in: the accept, admin and control threads, behind a lock that no media thread touches. Owns a bounded table of what
//! was lately said about whom. Never logs and never reads a clock.
//! Invariant: what is left out is counted, and the count is given out once: with the next line, or as overdue.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use parking_lot::Mutex;

use crate::base::Instant;
use crate::base::address::party;

/// Lines about one thing and one address within [`WINDOW_MS`].
const LINES_MAX: u32 = 5;
/// How long what was said counts, in milliseconds.
const WINDOW_MS: u64 = 60_000;
/// Pairs of a thing and an address that are remembered; beyond, a thing's other addresses count as one.
const PAIRS_MAX: usize = 1_024;
/// How often what is overdue is looked for, in milliseconds.
const LOOK_MS: u64 = 1_000;
/// What stands for addresses that there is no room for.
const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Limiter {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    said: HashMap<(&'static str, IpAddr), Window>,
    looked_at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    lines: u32,
    left_out: u64,
}

/// How many lines of the same kind were left out before this one; shows itself as the end of a line, if there were any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftOut(pub u64);

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} more like it were left out)"),
        }
    }
}

impl Limiter {
    /// Whether a line about `what` and `address` may be written, and how many were left out before it. An IPv6 address
    /// stands for its /64, which is what one subscriber has.
    pub(crate) fn allow(&self, now: Instant, what: &'static str, address: IpAddr) -> Option<LeftOut> {
        let said = &mut self.table.lock().said;
        let mut pair = (what, party(address));
        if said.len() >= PAIRS_MAX && !said.contains_key(&pair) {
            said.retain(|_, window| window.left_out > 0 || !window.is_over(now));
            if said.len() >= PAIRS_MAX {
                pair.1 = OTHERS;
            }
        }
        let window = said.entry(pair).or_insert(Window { since: now, lines: 0, left_out: 0 });
        if window.is_over(now) {
            (window.since, window.lines) = (now, 0);
        }
        if window.lines == LINES_MAX {
            window.left_out += 1;
            return None;
        }
        window.lines += 1;
        Some(LeftOut(std::mem::take(&mut window.left_out)))
    }

    /// What was left out in windows that are over: which thing, about which address, how often. Looks once a second,
    /// however often it is asked.
    pub fn overdue(&self, now: Instant) -> Vec<(&'static str, IpAddr, u64)> {
        let mut overdue = Vec::new();
        let mut table = self.table.lock();
        if now.since_ms(table.looked_at) < LOOK_MS {
            return overdue;
        }
        table.looked_at = now;
        table.said.retain(|(what, address), window| {
            if window.is_over(now) && window.left_out > 0 {
                overdue.push((*what, *address, window.left_out));
            }
            !window.is_over(now)
        });
        overdue
    }
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.since_ms(self.since) >= WINDOW_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    #[test]
    fn what_is_said_too_often_is_left_out_and_counted_once() {
        let limiter = Limiter::default();
        let say = |ms, n| limiter.allow(at(ms), "token", address(n));
        for _ in 0..5 {
            assert_eq!(say(0, 1), Some(LeftOut(0)));
        }
        assert_eq!((say(0, 1), say(59_999, 1)), (None, None));
        assert_eq!(say(59_999, 2), Some(LeftOut(0)), "another address");
        assert_eq!(limiter.allow(at(59_999), "route", address(1)), Some(LeftOut(0)), "another thing");
        assert_eq!(say(60_000, 1), Some(LeftOut(2)));
        assert_eq!(say(60_000, 1), Some(LeftOut(0)), "counted once");
        assert_eq!(LeftOut(2).to_string(), " (2 more like it were left out)");
        assert_eq!(LeftOut(0).to_string(), "");
    }

    #[test]
    fn what_was_left_out_when_it_stops_is_overdue_once() {
        let limiter = Limiter::default();
        (0..8).for_each(|_| _ = limiter.allow(at(0), "token", address(1)));
        assert_eq!(limiter.overdue(at(59_999)), []);
        assert_eq!(limiter.overdue(at(60_500)), [], "it looked a moment ago");
        assert_eq!(limiter.overdue(at(61_000)), [("token", address(1), 3)]);
        assert_eq!(limiter.overdue(at(70_000)), []);
    }

    #[test]
    fn the_table_stays_bounded_and_a_subscriber_is_one_address() {
        let limiter = Limiter::default();
        let lines = (0..10_000).filter(|n| limiter.allow(at(0), "token", address(*n)).is_some()).count();
        assert_eq!(lines, PAIRS_MAX + LINES_MAX as usize);
        assert!(limiter.table.lock().said.len() <= PAIRS_MAX + 1);
        assert!(limiter.allow(at(60_000), "token", address(20_000)).is_some());
        let limiter = Limiter::default();
        let of_one: Vec<IpAddr> = (0..9).map(|n| format!("2001:db8::{n:x}").parse().unwrap()).collect();
        assert_eq!(of_one.iter().filter(|one| limiter.allow(at(0), "token", **one).is_some()).count(), 5);
    }
}
