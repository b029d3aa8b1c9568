//! Why the caller's speech is kept back from the model: every reason for it, in one place; and how they are listened to.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the reasons that hold now.
//! Never begins or ends one: each is asked of its owner after everything that happens, so that none can be forgotten.
//! Invariant: the speech is kept back while any reason holds, whatever the order in which they come and go. It is ordered
//! once, with the first, and let go once, with the last.

use crate::dsp::ListenTerms;

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

/// See the head of this file: a set, because the speech is held as long as there is any.
#[derive(Debug, Default)]
pub(super) struct Holds {
    reasons: u8,
    /// How they are listened to.
    listens: ListenTerms,
}

impl HoldReason {
    /// All of them.
    const ALL: [Self; 3] = [Self::Announcement, Self::Greeting, Self::Tool];
}

impl Holds {
    /// Notes which reasons hold now, as each one's owner says. Returns what is to be ordered, if that changes anything.
    pub(super) fn update(&mut self, holds: impl Fn(HoldReason) -> bool) -> Option<bool> {
        let bits = HoldReason::ALL.map(|reason| u8::from(holds(reason)) << reason as u8);
        let before = std::mem::replace(&mut self.reasons, bits.into_iter().sum());
        ((before == 0) != (self.reasons == 0)).then_some(before == 0)
    }

    /// The caller is listened to in this way. Returns it if that is another than before.
    pub(super) fn listen(&mut self, terms: ListenTerms) -> Option<ListenTerms> {
        (std::mem::replace(&mut self.listens, terms) != terms).then_some(terms)
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
                if let Some(order) = holds.update(|reason| reasons.contains(&reason)) {
                    assert_ne!(order, held, "ordered twice: {sequence:?}");
                    held = order;
                }
                assert_eq!(held, !reasons.is_empty(), "{sequence:?}");
            }
        }
    }
}
