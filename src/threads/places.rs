//! Where calls are served: each by one worker, of the shard that has the fewest calls.
//!
//! Runs in: the accept thread gives places, control holds one for each call. Owns how many calls each worker has.
//! Invariant: a worker counts exactly the calls whose place is held, so that calls are even again however they ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// See the head of this file.
pub struct Places {
    /// The calls of each worker, counted over all shards.
    calls: Arc<[AtomicUsize]>,
    /// Workers of each shard.
    workers: Vec<usize>,
}

/// The shard and the worker of one call, until it is dropped.
pub struct Place {
    /// The shard.
    pub shard: usize,
    /// The dsp worker, counted over all shards.
    pub worker: usize,
    calls: Arc<[AtomicUsize]>,
}

impl Places {
    /// Places at shards that have so many workers each.
    pub fn new(workers: Vec<usize>) -> Self {
        let calls = (0..workers.iter().sum()).map(|_| AtomicUsize::new(0)).collect();
        Self { calls, workers }
    }

    /// A place at the shard with the fewest calls, and there at the worker with the fewest; at the first of several.
    pub fn take(&self) -> Place {
        let calls = |worker: usize| self.calls[worker].load(Ordering::Relaxed);
        let shards = self.workers.iter().scan(0, |next, workers| {
            let first = *next;
            *next += workers;
            Some(first..*next)
        });
        let (shard, workers) = shards
            .enumerate()
            .min_by_key(|(_, workers)| workers.clone().map(calls).sum::<usize>())
            .unwrap_or_default();
        let worker = workers.min_by_key(|worker| calls(*worker)).unwrap_or_default();
        self.calls[worker].fetch_add(1, Ordering::Relaxed);
        Place { shard, worker, calls: Arc::clone(&self.calls) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.calls[self.worker].fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(held: &[Place], of: impl Fn(&Place) -> usize, n: usize) -> Vec<usize> {
        (0..n).map(|which| held.iter().filter(|place| of(place) == which).count()).collect()
    }

    #[test]
    fn calls_are_even_also_after_those_of_one_shard_and_of_one_worker_have_ended() {
        let places = Places::new(vec![2, 2, 2]);
        let mut held: Vec<_> = (0..60).map(|_| places.take()).collect();
        assert_eq!(counts(&held, |place| place.worker, 6), [10; 6]);
        assert_eq!(counts(&held, |place| place.shard, 3), [20; 3]);
        held.retain(|place| place.shard != 1 && place.worker != 5);
        assert_eq!(counts(&held, |place| place.shard, 3), [20, 0, 10]);
        held.extend((0..30).map(|_| places.take()));
        assert_eq!(counts(&held, |place| place.worker, 6), [10; 6]);
    }

    #[test]
    fn the_first_of_several_with_the_fewest_calls_is_taken() {
        let places = Places::new(vec![1, 2]);
        let held: Vec<_> = (0..4).map(|_| places.take()).collect();
        let taken: Vec<_> = held.iter().map(|place| (place.shard, place.worker)).collect();
        assert_eq!(taken, [(0, 0), (1, 1), (0, 0), (1, 2)]);
    }
}
