//! When each call is to be looked at even if nothing happens to it: one deadline a slot, the earliest first.
//!
//! Runs in: the thread that owns it. Owns a heap that knows where in it each slot stands.
//! Never allocates after it was made. Invariant: what a deadline costs to move grows with the logarithm of the calls.

use crate::base::Instant;

const NOWHERE: u32 = u32::MAX;

/// See the head of this file.
pub(super) struct Deadlines {
    /// No entry is earlier than the one at half its place.
    heap: Vec<(Instant, u32)>,
    /// By slot, its place in the heap.
    places: Vec<u32>,
}

impl Deadlines {
    /// Room for the slots below `max`, none of which has a deadline.
    pub(super) fn new(max: usize) -> Self {
        Self { heap: Vec::with_capacity(max), places: vec![NOWHERE; max] }
    }

    /// The earliest.
    pub(super) fn first(&self) -> Option<Instant> {
        self.heap.first().map(|(at, _)| *at)
    }

    /// Takes the earliest away if it is due, and returns its slot.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<usize> {
        let (at, slot) = *self.heap.first()?;
        (at <= now).then(|| {
            self.set(slot as usize, None);
            slot as usize
        })
    }

    /// Gives a slot its only deadline, or none.
    pub(super) fn set(&mut self, slot: usize, deadline: Option<Instant>) {
        let Some(&place) = self.places.get(slot) else { return };
        match (place, deadline) {
            (NOWHERE, None) => {}
            (NOWHERE, Some(at)) => {
                self.heap.push((at, slot as u32));
                self.rise(self.heap.len() - 1);
            }
            (place, Some(at)) => {
                let was = std::mem::replace(&mut self.heap[place as usize].0, at);
                if at < was { self.rise(place as usize) } else { self.sink(place as usize) }
            }
            (place, None) => {
                self.places[slot] = NOWHERE;
                let place = place as usize;
                self.heap.swap_remove(place);
                if place < self.heap.len() {
                    // The one that came here from the end may belong either way.
                    self.rise(place);
                    self.sink(place);
                }
            }
        }
    }

    fn rise(&mut self, mut place: usize) {
        while place > 0 && self.heap[place].0 < self.heap[(place - 1) / 2].0 {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        self.note(place);
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let at = |place: usize| self.heap.get(place).map(|(at, _)| *at);
            let Some(mut earlier) = at(left) else { break };
            let mut to = left;
            if let Some(at) = at(right).filter(|at| *at < earlier) {
                (earlier, to) = (at, right);
            }
            if earlier >= self.heap[place].0 {
                break;
            }
            self.swap(place, to);
            place = to;
        }
        self.note(place);
    }

    /// Exchanges two entries, of which the one that comes to `from` stays there.
    fn swap(&mut self, from: usize, to: usize) {
        self.heap.swap(from, to);
        self.note(from);
    }

    fn note(&mut self, place: usize) {
        self.places[self.heap[place].1 as usize] = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_comes_first_whatever_was_set_moved_and_taken_before() {
        const SLOTS: usize = 37;
        let (mut deadlines, mut plain) = (Deadlines::new(SLOTS), [None; SLOTS]);
        let (mut rng, capacity) = (fastrand::Rng::with_seed(7), deadlines.heap.capacity());
        for step in 0..20_000_u64 {
            let slot = rng.usize(..SLOTS);
            let deadline = rng.bool().then(|| Instant::from_micros(step + rng.u64(..50)));
            deadlines.set(slot, deadline);
            plain[slot] = deadline;
            let now = Instant::from_micros(step);
            assert_eq!(deadlines.first(), plain.iter().flatten().min().copied());
            while let Some(slot) = deadlines.take_due(now) {
                assert!(plain[slot].take().is_some_and(|at| at <= now));
            }
            assert!(plain.iter().flatten().all(|at| *at > now));
        }
        deadlines.set(SLOTS, Some(Instant::default()));
        assert_eq!(deadlines.heap.capacity(), capacity);
    }
}
