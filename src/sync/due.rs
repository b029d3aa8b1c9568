//! Which places of a table something happened to, so that their thread looks at those and at no others.
//!
//! Runs in: producers mark, the one consumer takes; often beside a doorbell. Owns a bit for each place.
//! `tests/loom_doorbell.rs` builds this file again with loom's atomics and walks through every interleaving.
//! Invariant: a place that is marked is taken once more after the mark, and what a producer wrote before its mark is seen
//! by the consumer then. Where nothing is marked, a look costs one load for 64 places.

use super::atomics::{AtomicU64, Ordering};

/// See the head of this file. Without room by default.
#[derive(Default)]
pub struct DueSet {
    words: Box<[AtomicU64]>,
}

impl DueSet {
    /// Room for the places below `places`, none of them due.
    pub fn new(places: usize) -> Self {
        Self { words: (0..places.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Says that something happened to a place; to be called after it happened, and before its thread is woken. Beyond the
    /// room it does nothing.
    ///
    /// It writes even where the place is due already: a look alone would not let the consumer, who may be taking it at
    /// this moment, see what was written before.
    pub fn mark(&self, place: usize) {
        if let Some(word) = self.words.get(place / 64) {
            word.fetch_or(1 << (place % 64), Ordering::Release);
        }
    }

    /// How many pieces [`DueSet::take`] gives the set out in.
    pub fn pieces(&self) -> usize {
        self.words.len()
    }

    /// Takes what is due of one piece of the set, to be looked at afterwards. What is marked meanwhile, by whomever, is
    /// there the next time.
    pub fn take(&self, piece: usize) -> Due {
        let Some(word) = self.words.get(piece) else { return Due { bits: 0, first: 0 } };
        let is_empty = word.load(Ordering::Relaxed) == 0;
        let bits = if is_empty { 0 } else { word.swap(0, Ordering::Acquire) };
        Due { bits, first: piece * 64 }
    }

    /// Whether nothing is due.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| word.load(Ordering::Relaxed) == 0)
    }
}

/// The places that were due, in their order.
#[derive(Debug)]
pub struct Due {
    bits: u64,
    first: usize,
}

impl Iterator for Due {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let bit = self.bits.trailing_zeros();
        // Clears the lowest bit that is set; where none is, there is none to give out either.
        self.bits &= self.bits.checked_sub(1)?;
        Some(self.first + bit as usize)
    }
}
