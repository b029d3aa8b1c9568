//! Places for what may be under way at one time: so many in all, so many of one address.
//!
//! Runs in: the admin thread. Owns who has how many.
//! Invariant: one address never has all of them, and a place is free again when its value is dropped, however that comes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::base::address::party;

/// See the head of this file.
pub(super) struct Places {
    max: usize,
    of_one_max: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
    /// Tells those who wait that one is free.
    freed: Notify,
}

/// A place that somebody has.
pub(super) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    /// `max` places, half of them for one address at most.
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, of_one_max: (max / 2).max(1), taken: Mutex::default(), freed: Notify::new() })
    }

    /// A place for somebody at `address`, if there is one.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = party(address);
        let mut taken = self.taken.lock();
        let own = taken.get(&address).copied().unwrap_or_default();
        if own >= self.of_one_max || taken.values().sum::<usize>() >= self.max {
            return None;
        }
        taken.insert(address, own + 1);
        Some(Place { places: Arc::clone(self), address })
    }

    /// A place for somebody at `address`, as soon as there is one.
    pub(super) async fn wait(self: &Arc<Self>, address: IpAddr) -> Place {
        loop {
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            if let Some(place) = self.take(address) {
                return place;
            }
            freed.await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        if let Some(own) = taken.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.address);
            }
        }
        drop(taken);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_half_of_the_places_at_most_and_gives_them_back() {
        let places = Places::new(8);
        let address = |last| IpAddr::from([192, 0, 2, last]);
        let first: Vec<_> = std::iter::from_fn(|| places.take(address(1))).collect();
        assert_eq!(first.len(), 4);
        let second: Vec<_> = std::iter::from_fn(|| places.take(address(2))).collect();
        assert_eq!(second.len(), 4);
        assert!(places.take(address(3)).is_none(), "all are taken");
        drop(first);
        assert!(places.take(address(3)).is_some());
        assert!(places.take(address(2)).is_none());
        drop(second);
        assert_eq!(places.taken.lock().len(), 0, "nothing is remembered of those who have gone");
    }
}
