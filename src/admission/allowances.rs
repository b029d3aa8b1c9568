//! How often an address may do something: so many times a second, and some at once after a quiet time.
//!
//! Runs in: whichever thread counts: pure. Owns a bounded table of addresses. Never reads a clock.
//! Invariant: an address that asks too often costs the others nothing, and at most [`ADDRESSES_MAX`] are remembered.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::base::Instant;
use crate::base::address::party;
use crate::base::bucket::Bucket;
pub(crate) use crate::base::bucket::Rate;

/// Addresses whose allowance is remembered. One whose allowance is full again is forgotten first.
pub(crate) const ADDRESSES_MAX: usize = 4096;

/// See the head of this file.
pub(crate) struct Allowances {
    rate: Rate,
    buckets: HashMap<IpAddr, Bucket>,
}

impl Allowances {
    /// Nobody has done anything yet.
    pub(crate) fn new(rate: Rate) -> Self {
        let rate = Rate { burst: rate.burst.max(1), ..rate };
        Self { rate, buckets: HashMap::new() }
    }

    /// Takes one time of what this address may, if there is one left.
    pub(crate) fn take(&mut self, now: Instant, address: IpAddr) -> bool {
        let address = party(address);
        if self.buckets.len() >= ADDRESSES_MAX && !self.buckets.contains_key(&address) {
            self.buckets.retain(|_, bucket| {
                bucket.refill(now);
                !bucket.is_full()
            });
            if self.buckets.len() >= ADDRESSES_MAX {
                return false;
            }
        }
        self.buckets.entry(address).or_insert(Bucket::new(now, self.rate)).take_one(now)
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
    fn an_address_that_asks_too_often_is_refused_and_others_are_not() {
        let mut allowances = Allowances::new(Rate { per_second: 2, burst: 3 });
        for _ in 0..3 {
            assert!(allowances.take(at(0), address(1)));
        }
        assert!(!allowances.take(at(499), address(1)));
        assert!(allowances.take(at(499), address(2)));
        assert!(allowances.take(at(1000), address(1)));
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_share_what_they_may() {
        let mut allowances = Allowances::new(Rate { per_second: 1, burst: 1 });
        let taken: Vec<bool> = ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
            .map(|text| allowances.take(at(0), text.parse().expect(text)))
            .to_vec();
        assert_eq!(taken, [true, false, true]);
    }

    #[test]
    fn the_table_of_addresses_stays_bounded() {
        let mut allowances = Allowances::new(Rate { per_second: 1, burst: 1 });
        for n in 0..ADDRESSES_MAX as u32 {
            assert!(allowances.take(at(0), address(n)));
        }
        assert!(!allowances.take(at(1), address(99_999)));
        assert!(allowances.take(at(1001), address(99_999)), "full allowances were forgotten");
    }
}
