//! A thread's table of what belongs to calls: one place for each slot, found by slot and generation.
//!
//! Runs in: the thread that owns it. Owns what stands in it.
//! Invariant: what is found by a call's id is that call's: never that of an older or a newer one in the same slot.

use crate::base::CallId;

/// What belongs to one call.
pub(super) trait OfCall {
    /// The call.
    fn id(&self) -> CallId;
}

/// See the head of this file.
pub(super) struct Slots<T> {
    places: Vec<Option<Box<T>>>,
    len: usize,
}

impl<T: OfCall> Slots<T> {
    /// Room for the slots below `max`.
    pub(super) fn new(max: usize) -> Self {
        Self { places: (0..max).map(|_| None).collect(), len: 0 }
    }

    /// How many places are taken.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slots, taken or not.
    pub(super) fn slots(&self) -> std::ops::Range<usize> {
        0..self.places.len()
    }

    /// Takes its call's place, in which nothing of another call is left.
    pub(super) fn put(&mut self, of_call: Box<T>) {
        if let Some(place) = self.places.get_mut(of_call.id().slot as usize) {
            self.len += usize::from(place.replace(of_call).is_none());
        }
    }

    /// What stands in a slot, whichever call has it.
    pub(super) fn at(&mut self, slot: usize) -> Option<&mut T> {
        self.places.get_mut(slot)?.as_deref_mut()
    }

    /// What belongs to a call.
    pub(super) fn get_mut(&mut self, id: CallId) -> Option<&mut T> {
        self.at(id.slot as usize).filter(|of_call| of_call.id() == id)
    }

    /// Takes what belongs to a call out of its place.
    pub(super) fn take(&mut self, id: CallId) -> Option<Box<T>> {
        let taken = self.places.get_mut(id.slot as usize)?.take_if(|of_call| of_call.id() == id)?;
        self.len -= 1;
        Some(taken)
    }

    /// Everything, to look at.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(Option::as_deref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(CallId);

    impl OfCall for Named {
        fn id(&self) -> CallId {
            self.0
        }
    }

    #[test]
    fn what_is_found_is_of_that_call_and_no_other_in_its_slot() {
        let (older, newer) = (CallId { slot: 1, generation: 1 }, CallId { slot: 1, generation: 2 });
        let mut slots = Slots::new(2);
        slots.put(Box::new(Named(newer)));
        assert!(slots.get_mut(older).is_none() && slots.take(older).is_none());
        assert!(slots.get_mut(newer).is_some() && slots.at(1).is_some() && slots.at(0).is_none());
        slots.put(Box::new(Named(CallId { slot: 2, generation: 1 })));
        assert_eq!((slots.len(), slots.iter().count()), (1, 1), "there is no slot 2");
        assert!(slots.take(newer).is_some() && slots.len() == 0);
    }
}
