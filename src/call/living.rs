//! What is kept of a call while it lives, so that it has a record whatever becomes of its relay.
//!
//! Runs in: anywhere: pure. Owns plain values; the control thread makes them, the store's threads keep them.
//! Never logged: it holds what people said. Invariant: the pieces of one call, one behind the other, are its whole list.

use crate::base::RecordId;
use crate::call::record::{CallEvent, CallRecord, TranscriptTurn};

/// A piece of a list that grows, and may change near its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece<T> {
    /// The place in the whole list of the first that is here. What is kept from there on is no more.
    pub from: usize,
    /// Those from there on.
    pub items: Vec<T>,
}

impl<T> Piece<T> {
    /// How long the whole list is.
    pub fn end(&self) -> usize {
        self.from + self.items.len()
    }

    /// Takes what is told later of the same list.
    pub fn append(&mut self, later: Self) {
        if later.from < self.from || later.from > self.end() {
            // What is between them is kept, or never was.
            *self = later;
        } else {
            self.items.truncate(later.from - self.from);
            self.items.extend(later.items);
        }
    }
}

/// A living call as it was at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct LivingCall {
    /// The name of its record.
    pub id: RecordId,
    /// The record that it has if it is never heard of again.
    pub record: CallRecord,
    /// Its recording has begun.
    pub recorded: bool,
    /// What was said since it was last told of.
    pub turns: Piece<TranscriptTurn>,
    /// What has happened since.
    pub events: Piece<CallEvent>,
}

impl LivingCall {
    /// Takes what is told of the same call later.
    pub fn update(&mut self, later: Self) {
        (self.record, self.recorded) = (later.record, later.recorded);
        self.turns.append(later.turns);
        self.events.append(later.events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_put_together_are_the_list() {
        let mut piece = Piece { from: 2, items: vec!['c', 'd'] };
        piece.append(Piece { from: 3, items: vec!['D', 'e'] });
        assert_eq!(piece, Piece { from: 2, items: vec!['c', 'D', 'e'] });
        piece.append(Piece { from: 5, items: vec!['f'] });
        assert_eq!((piece.end(), piece.items.len()), (6, 4));
        piece.append(Piece { from: 1, items: vec!['B'] });
        assert_eq!(piece, Piece { from: 1, items: vec!['B'] }, "what was behind it is no more");
    }
}
