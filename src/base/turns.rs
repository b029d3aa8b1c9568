//! Work of many addresses, done by turns: who brings much waits for itself.
//!
//! Runs in: anywhere: pure. Owns what waits.
//! Invariant: between two things of one address each other address that has something has its turn.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::address::party;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Turns<T> {
    /// Who has something, in the order of their turns, and what: never nothing.
    rounds: VecDeque<(IpAddr, VecDeque<T>)>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { rounds: VecDeque::new() }
    }
}

impl<T> Turns<T> {
    /// Something of this address waits.
    pub(crate) fn push(&mut self, address: IpAddr, thing: T) {
        let address = party(address);
        match self.rounds.iter_mut().find(|(known, _)| *known == address) {
            Some((_, things)) => things.push_back(thing),
            None => self.rounds.push_back((address, VecDeque::from([thing]))),
        }
    }

    /// What is next.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (address, mut things) = self.rounds.pop_front()?;
        let thing = things.pop_front();
        if !things.is_empty() {
            self.rounds.push_back((address, things));
        }
        thing
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_brings_much_waits_for_itself() {
        let mut turns = Turns::default();
        let address = |last| IpAddr::from([192, 0, 2, last]);
        for n in 0..100 {
            turns.push(address(1), (1, n));
        }
        turns.push(address(2), (2, 0));
        turns.push(address(2), (2, 1));
        turns.push(address(3), (3, 0));
        let first: Vec<_> = (0..6).filter_map(|_| turns.pop()).collect();
        assert_eq!(first, [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2)]);
        let rest: Vec<_> = std::iter::from_fn(|| turns.pop()).collect();
        assert_eq!(rest, (3..100).map(|n| (1, n)).collect::<Vec<_>>());
        assert!(turns.is_empty());
    }
}
