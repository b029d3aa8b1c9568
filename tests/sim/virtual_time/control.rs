//! The control thread's loop around the machines of its calls, without the dial pool.
//!
//! Runs in: the simulations. Owns nothing.
//! Invariant: as in `threads::control`: facts are told in the order in which they came, and orders carried out in the
//! order in which they were given.

use tandem::base::{CallId, Instant};
use tandem::call::{Fact, Order, Part as CallPart};
use tandem::threads::dsp::DspOrder;
use tandem::threads::messages::{ControlInput, GeminiOrder, TelephonyOrder};

use super::plan::Dialling;
use super::world::{Event, World};

impl World {
    /// One pass. Returns when it wants to run again.
    pub(super) fn control_step(&mut self) -> Option<Instant> {
        while let Some(input) = self.control_inbox.take() {
            match input {
                ControlInput::Fact(id, fact) => self.tell_machine(id, fact),
                ControlInput::Retired(id, part) => self.tell_machine(id, Fact::Retired(part)),
                _ => unreachable!("never sent here"),
            }
        }
        while let Ok(retired) = self.retired.pop() {
            self.tell_machine(retired.id, Fact::Retired(CallPart::Dsp));
        }
        let now = self.now;
        let mut deadline: Option<Instant> = None;
        for number in 0..self.calls.len() {
            let call = &mut self.calls[number];
            let Some(machine) = &mut call.machine else { continue };
            match machine.deadline() {
                Some(at) if now >= at => {
                    call.orders.time_is_up(now, &call.plan);
                    machine.tick(now);
                    self.carry_out(number);
                }
                Some(at) => deadline = Some(deadline.map_or(at, |earliest| earliest.min(at))),
                None => {}
            }
        }
        deadline
    }

    /// Sends a fact to the control thread.
    pub(super) fn tell(&mut self, id: CallId, fact: Fact) {
        self.control.send(ControlInput::Fact(id, fact));
    }

    fn tell_machine(&mut self, id: CallId, fact: Fact) {
        let now = self.now;
        let number = id.slot as usize;
        let call = &mut self.calls[number];
        let Some(machine) = &mut call.machine else { return };
        call.orders.fact(now, &fact);
        machine.tell(now, fact);
        self.carry_out(number);
    }

    /// Carries out what the machine of a call has ordered.
    pub(super) fn carry_out(&mut self, number: usize) {
        let now = self.now;
        while let Some(machine) = &mut self.calls[number].machine {
            let Some(order) = machine.next_order() else { return };
            self.note(number, format_args!("order: {order:?}"));
            let call = &mut self.calls[number];
            call.orders.order(&order);
            let id = call.id;
            match order {
                Order::ChooseAgent { .. } => panic!("the agent of every call here is known"),
                Order::Dial(link) => match call.plan.dialling {
                    Dialling::Connects(us) | Dialling::Fails(us, _) => {
                        self.expect(now.plus_us(us), number, Event::Dialled(link));
                    }
                    Dialling::Hangs => {}
                },
                Order::Model(order) => self.gemini.send(GeminiOrder::Call(id, order)),
                Order::Leg(order) => self.telephony.send(TelephonyOrder::Call(id, order)),
                Order::Dsp(order) => self.dsp.send(DspOrder::Call(id, order)),
                order
                @ (Order::EventSocket(_) | Order::Answer(..) | Order::Tool(_) | Order::Recording(_)) => {
                    panic!("{order:?} of a call without any of it")
                }
                Order::Finish(outcome) => {
                    call.orders.finished(&outcome);
                    call.outcome = Some(outcome);
                    call.machine = None;
                }
            }
        }
    }
}
