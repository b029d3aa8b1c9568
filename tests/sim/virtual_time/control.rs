//! The control thread's loop: the real control, and the dial pool behind it.
//!
//! Runs in: the simulations. Owns nothing.
//! Invariant: every call's log knows of a fact before control decides about it.

use tandem::base::{CallId, Instant};
use tandem::call::Fact;

use super::plan::Dialling;
use super::world::{Event, World};

impl World {
    /// One pass. Returns when it wants to run again.
    pub(super) fn control_step(&mut self) -> Option<Instant> {
        let now = self.now;
        for (id, fact) in std::mem::take(&mut self.told) {
            if let Some(call) = self.call(id) {
                call.orders.fact(now, &fact);
            }
        }
        for call in self.calls.iter_mut().filter(|call| call.witness.is_some()) {
            call.orders.time_passes(now, &call.plan);
        }
        let deadline = self.ends.step(now);
        while let Ok(request) = self.ends.dials.try_recv() {
            let number = self.number(request.id);
            let call = &mut self.calls[number];
            call.orders.dials(request.link);
            match call.plan.dialling {
                Dialling::Connects(us) | Dialling::Fails(us, _) => {
                    self.expect(now.plus_us(us), number, Event::Dialled(request.link));
                }
                Dialling::Hangs => {}
            }
        }
        while let Ok(detail) = self.ends.records.try_recv() {
            // Each has an agent of its own.
            let number: usize = detail.record.agent.parse().expect("a call's number");
            self.note(number, format_args!("record: {}", detail.record.outcome));
            let call = &mut self.calls[number];
            assert_eq!(call.outcome, None, "a second record");
            call.orders.finished(&detail.record);
            call.outcome = Some(detail.record.outcome);
        }
        deadline
    }

    /// Sends a fact to the control thread.
    pub(super) fn tell(&mut self, id: CallId, fact: Fact) {
        self.told.push_back((id, fact.clone()));
        self.ends.tell(id, fact);
    }
}
