//! The machine's part in keeping the caller's speech back from the model: every reason for it, in one place.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the reasons that hold now.
//! Invariant: the speech is kept back while any reason holds, whatever the order in which they come and go. It is ordered
//! once, with the first, and let go once, with the last.

use super::Machine;
use crate::call::events::ModelOrder;

/// Why the model does not hear the caller now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldReason {
    /// The caller hears that the call is recorded.
    Announcement,
    /// They hear a greeting that they cannot interrupt, or it is asked for.
    Greeting,
    /// A tool under way asks for it.
    Tool,
}

/// See the head of this file: a set, because a reason that is named twice is still one, and one that ends twice is gone.
#[derive(Debug, Default)]
pub(super) struct Holds(u8);

impl Holds {
    /// Whether this reason holds.
    pub(super) fn has(&self, reason: HoldReason) -> bool {
        self.0 & Self::bit(reason) != 0
    }

    /// Notes that a reason holds, or not any more. Returns what is to be ordered, if that changes anything.
    fn set(&mut self, reason: HoldReason, holds: bool) -> Option<bool> {
        let before = self.0;
        self.0 = if holds { before | Self::bit(reason) } else { before & !Self::bit(reason) };
        ((before == 0) != (self.0 == 0)).then_some(holds)
    }

    fn bit(reason: HoldReason) -> u8 {
        1 << reason as u8
    }
}

impl Machine {
    /// This reason to keep the caller's speech back holds from now on, or not any more.
    pub(super) fn hold(&mut self, reason: HoldReason, holds: bool) {
        if let Some(held) = self.holds.set(reason, holds) {
            self.shared.order_model(ModelOrder::HoldUplink(held));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use HoldReason::{Announcement, Greeting, Tool};

    /// Every sequence of so many beginnings and ends of the three.
    fn sequences(len: usize) -> impl Iterator<Item = Vec<(HoldReason, bool)>> {
        let steps = [Announcement, Greeting, Tool].map(|reason| [(reason, true), (reason, false)]).concat();
        (0..steps.len().pow(len as u32)).map(move |number| {
            (0..len as u32).map(|place| steps[number / steps.len().pow(place) % steps.len()]).collect()
        })
    }

    #[test]
    fn speech_is_held_while_any_reason_holds_whatever_their_order_and_whatever_comes_twice() {
        for sequence in sequences(6) {
            let (mut holds, mut held) = (Holds::default(), false);
            let mut reasons: Vec<HoldReason> = Vec::new();
            for &(reason, begins) in &sequence {
                reasons.retain(|other| *other != reason);
                reasons.extend(begins.then_some(reason));
                if let Some(order) = holds.set(reason, begins) {
                    assert_ne!(order, held, "ordered twice: {sequence:?}");
                    held = order;
                }
                assert_eq!(held, !reasons.is_empty(), "{sequence:?}");
                assert_eq!(holds.has(reason), begins, "{sequence:?}");
            }
        }
    }
}
