//! The control thread's calls, and which of them wants to be called again when.
//!
//! Runs in: the control thread. Owns the calls and their deadlines.
//! Invariant: a call is changed through [`Calls::get_mut`] alone, which notes it, and every deadline that is told of is
//! that of the machine as it is after its last change: no deadline can be forgotten. A wake-up costs the calls that are due.

use std::collections::BTreeSet;

use super::Call;
use crate::base::{CallId, Instant};

/// See the head of this file.
pub(super) struct Calls {
    places: Vec<Place>,
    /// The deadline of every call that has one, with its slot.
    agenda: BTreeSet<(Instant, u32)>,
    /// Slots whose calls may have another deadline than the agenda says.
    changed: Vec<u32>,
    len: usize,
}

#[derive(Default)]
struct Place {
    call: Option<Box<Call>>,
    /// What the agenda says.
    due: Option<Instant>,
    /// It is among those that changed.
    changed: bool,
}

impl Calls {
    /// Room for so many.
    pub(super) fn new(max: usize) -> Self {
        let places = (0..max).map(|_| Place::default()).collect();
        Self { places, agenda: BTreeSet::new(), changed: Vec::new(), len: 0 }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts a call into its slot, in the place of whatever was there.
    pub(super) fn insert(&mut self, call: Box<Call>) {
        let slot = call.id.slot;
        if let Some(place) = self.places.get_mut(slot as usize) {
            self.len += usize::from(place.call.replace(call).is_none());
            self.note(slot);
        }
    }

    /// A call, to look at.
    pub(super) fn get(&self, id: CallId) -> Option<&Call> {
        self.places.get(id.slot as usize)?.call.as_deref().filter(|call| call.id == id)
    }

    /// A call, to be changed.
    pub(super) fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.get(id)?;
        self.note(id.slot);
        self.places.get_mut(id.slot as usize)?.call.as_deref_mut()
    }

    /// Takes a call that is over.
    pub(super) fn remove(&mut self, id: CallId) -> Option<Box<Call>> {
        self.get(id)?;
        self.note(id.slot);
        self.len -= 1;
        self.places.get_mut(id.slot as usize)?.call.take()
    }

    /// All of them, to look at.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.places.iter().filter_map(|place| place.call.as_deref())
    }

    /// Those that want to be called by now, the longest overdue first.
    pub(super) fn due(&mut self, now: Instant) -> Vec<CallId> {
        self.rearm();
        let due = self.agenda.range(..=(now, u32::MAX));
        due.filter_map(|&(_, slot)| Some(self.places.get(slot as usize)?.call.as_ref()?.id)).collect()
    }

    /// When the first of them wants to be called again.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        self.rearm();
        self.agenda.first().map(|&(at, _)| at)
    }

    fn note(&mut self, slot: u32) {
        if let Some(place) = self.places.get_mut(slot as usize)
            && !std::mem::replace(&mut place.changed, true)
        {
            self.changed.push(slot);
        }
    }

    /// Asks those that changed when they want to be called.
    fn rearm(&mut self) {
        for slot in self.changed.drain(..) {
            let Some(place) = self.places.get_mut(slot as usize) else { continue };
            place.changed = false;
            let due = place.call.as_ref().and_then(|call| call.machine.deadline());
            let before = std::mem::replace(&mut place.due, due);
            if before != due {
                before.into_iter().for_each(|at| _ = self.agenda.remove(&(at, slot)));
                self.agenda.extend(due.map(|at| (at, slot)));
            }
        }
    }
}
