//! The control thread's calls, and which of them wants to be called again when.
//!
//! Runs in: the control thread. Owns the calls and their deadlines.
//! Invariant: a call is changed through [`Calls::get_mut`] alone, which notes it, and every deadline that is told of is
//! that of the machine as it is after its last change: no deadline can be forgotten. A wake-up costs the calls that are due.

use std::collections::BTreeSet;

use super::Call;
use crate::base::{CallId, Instant};
use crate::threads::slots::{OfCall, Slots};

/// See the head of this file.
pub(super) struct Calls {
    calls: Slots<Call>,
    /// The deadline of every call that has one.
    agenda: BTreeSet<(Instant, CallId)>,
    /// Those that may have another deadline than the agenda says.
    changed: Vec<CallId>,
}

/// How the agenda knows a call.
#[derive(Default)]
pub(super) struct Armed {
    /// What the agenda says.
    due: Option<Instant>,
    /// It is among those that changed.
    changed: bool,
}

impl OfCall for Call {
    fn id(&self) -> CallId {
        self.id
    }
}

impl Calls {
    /// Room for so many.
    pub(super) fn new(max: usize) -> Self {
        Self { calls: Slots::new(max), agenda: BTreeSet::new(), changed: Vec::new() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Puts a call into its slot, which is free.
    pub(super) fn insert(&mut self, call: Box<Call>) {
        let id = call.id;
        self.calls.put(call);
        _ = self.get_mut(id);
    }

    /// A call, to be changed.
    pub(super) fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        let call = self.calls.get_mut(id)?;
        if !std::mem::replace(&mut call.armed.changed, true) {
            self.changed.push(id);
        }
        Some(call)
    }

    /// Takes a call that is over.
    pub(super) fn remove(&mut self, id: CallId) -> Option<Box<Call>> {
        let call = self.calls.take(id)?;
        call.armed.due.into_iter().for_each(|at| _ = self.agenda.remove(&(at, id)));
        Some(call)
    }

    /// All of them, to look at.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter()
    }

    /// Those that want to be called by now, the longest overdue first.
    pub(super) fn due(&mut self, now: Instant) -> Vec<CallId> {
        self.rearm();
        self.agenda.iter().take_while(|(at, _)| *at <= now).map(|&(_, id)| id).collect()
    }

    /// When the first of them wants to be called again.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        self.rearm();
        self.agenda.first().map(|&(at, _)| at)
    }

    /// Asks those that changed when they want to be called.
    fn rearm(&mut self) {
        for id in self.changed.drain(..) {
            let Some(call) = self.calls.get_mut(id) else { continue };
            let due = call.machine.deadline();
            let Armed { due: before, .. } = std::mem::replace(&mut call.armed, Armed { due, changed: false });
            if before != due {
                before.into_iter().for_each(|at| _ = self.agenda.remove(&(at, id)));
                self.agenda.extend(due.map(|at| (at, id)));
            }
        }
    }
}
