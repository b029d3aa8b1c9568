//! Admission: which call gets a slot, decided from memory before the switch is answered.
//!
//! Runs in: the accept and admin threads (admit), the control and dial threads (give slots free), behind a lock that no
//! media thread touches. Owns the free slots, a bounded table of how often each address called, and the calls that are
//! known by their UUID ([`Known`]).
//! Invariant: never more calls than the limit, and a slot given again has a higher generation.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::base::{CallId, Instant};
use crate::call::known::Known;
use crate::telemetry::RefusalReason;

/// Addresses whose rate is remembered. An address whose allowance is full again is forgotten first.
const ADDRESSES_MAX: usize = 4096;

/// How many calls one address may start.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// New calls a second on average.
    pub per_second: u32,
    /// New calls at once.
    pub burst: u32,
}

struct Bucket {
    /// Thousandths of a call that may start.
    allowance_milli: u64,
    at: Instant,
}

struct Slots {
    /// Free slots, each with the generation of its next call; the slot used last is given first, its memory is warm.
    free: Vec<CallId>,
    buckets: HashMap<IpAddr, Bucket>,
    draining: bool,
}

/// See the head of this file.
pub struct Registry {
    slots: Mutex<Slots>,
    max_calls: usize,
    rate: Rate,
    known: Known,
}

impl Registry {
    /// A registry with room for `max_calls` calls.
    pub fn new(max_calls: usize, rate: Rate) -> Self {
        let free = (0..max_calls as u32).rev().map(|slot| CallId { slot, generation: 1 }).collect();
        let slots = Mutex::new(Slots { free, buckets: HashMap::new(), draining: false });
        Self { slots, max_calls, rate, known: Known::default() }
    }

    /// The calls that are known by their UUID.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Gives a new call its slot.
    ///
    /// # Errors
    /// The reason to refuse: shutting down, too many calls from this address, or too many calls.
    pub fn admit(&self, now: Instant, address: IpAddr) -> Result<CallId, RefusalReason> {
        let mut slots = self.slots.lock();
        if slots.draining {
            return Err(RefusalReason::Draining);
        }
        if !self.within_rate(&mut slots.buckets, now, address) {
            return Err(RefusalReason::RateLimited);
        }
        slots.free.pop().ok_or(RefusalReason::TooManyCalls)
    }

    /// Whether a call would get a slot now, whoever it comes from.
    ///
    /// # Errors
    /// The reason to refuse it.
    pub fn would_admit(&self) -> Result<(), RefusalReason> {
        let slots = self.slots.lock();
        match (slots.draining, slots.free.is_empty()) {
            (true, _) => Err(RefusalReason::Draining),
            (false, true) => Err(RefusalReason::TooManyCalls),
            (false, false) => Ok(()),
        }
    }

    /// Takes the slot of a call back that has ended everywhere.
    pub fn release(&self, id: CallId) {
        let generation = id.generation.wrapping_add(1).max(1);
        self.slots.lock().free.push(CallId { slot: id.slot, generation });
    }

    /// Refuses every new call from here on.
    pub fn drain(&self) {
        self.slots.lock().draining = true;
    }

    /// Calls that have a slot.
    pub fn live_calls(&self) -> usize {
        self.max_calls - self.slots.lock().free.len()
    }

    fn within_rate(&self, buckets: &mut HashMap<IpAddr, Bucket>, now: Instant, address: IpAddr) -> bool {
        let full = u64::from(self.rate.burst.max(1)) * 1000;
        let refilled = |bucket: &Bucket| {
            let milli = now.since_us(bucket.at).saturating_mul(u64::from(self.rate.per_second)) / 1000;
            bucket.allowance_milli.saturating_add(milli).min(full)
        };
        if buckets.len() >= ADDRESSES_MAX && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| refilled(bucket) < full);
            if buckets.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket { allowance_milli: full, at: now });
        let allowance = refilled(bucket);
        if allowance < 1000 {
            return false;
        }
        *bucket = Bucket { allowance_milli: allowance - 1000, at: now };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn calls_beyond_the_limit_are_refused_until_one_ends() {
        let registry = Registry::new(2, Rate { per_second: 100, burst: 100 });
        let first = registry.admit(at(0), address(1)).expect("room");
        registry.admit(at(0), address(1)).expect("room");
        assert_eq!(registry.admit(at(0), address(1)), Err(RefusalReason::TooManyCalls));
        assert_eq!(registry.live_calls(), 2);
        assert_eq!(registry.would_admit(), Err(RefusalReason::TooManyCalls));
        registry.release(first);
        let again = registry.admit(at(0), address(1)).expect("room again");
        assert_eq!((again.slot, again.generation), (first.slot, first.generation + 1));
    }

    #[test]
    fn an_address_that_calls_too_often_is_refused_and_others_are_not() {
        let registry = Registry::new(100, Rate { per_second: 2, burst: 3 });
        for _ in 0..3 {
            assert!(registry.admit(at(0), address(1)).is_ok());
        }
        assert_eq!(registry.admit(at(499), address(1)), Err(RefusalReason::RateLimited));
        assert!(registry.admit(at(499), address(2)).is_ok());
        assert!(registry.admit(at(1000), address(1)).is_ok());
    }

    #[test]
    fn the_table_of_addresses_stays_bounded() {
        let registry = Registry::new(100_000, Rate { per_second: 1, burst: 1 });
        for n in 0..ADDRESSES_MAX as u32 {
            assert!(registry.admit(at(0), address(n)).is_ok());
        }
        assert_eq!(registry.admit(at(1), address(99_999)), Err(RefusalReason::RateLimited));
        assert!(registry.admit(at(1001), address(99_999)).is_ok(), "full allowances were forgotten");
    }

    #[test]
    fn nothing_is_admitted_while_draining() {
        let registry = Registry::new(1, Rate { per_second: 1, burst: 1 });
        assert_eq!(registry.would_admit(), Ok(()));
        registry.drain();
        assert_eq!(registry.would_admit(), Err(RefusalReason::Draining));
        assert_eq!(registry.admit(at(0), address(1)), Err(RefusalReason::Draining));
    }
}
