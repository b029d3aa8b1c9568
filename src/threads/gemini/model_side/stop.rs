//! What stops the model's speech in the caller's ear: the model, which was interrupted, or the caller, who pressed a key; and
//! how much of it was heard by then.
//!
//! Runs in: the gemini thread, and tests. Owns nothing: it is a part of [`ModelSide`].
//! Invariant: the turn changes and the queue is dropped in one call, however the speech is stopped.

use super::{ModelSide, Wake};
use crate::base::FrameSink;
use crate::call::Fact;
use crate::call::transcript::Spoken;
use crate::threads::gemini::speech::SpeechPool;

/// A frame in `model_in`: 320 samples at 24 kHz.
const RING_FRAME_US: u64 = 13_333;

impl ModelSide {
    /// Drops what waits to be heard, and what still comes of the model's turn, as where the model says that it was
    /// interrupted.
    pub fn stop_speech(&mut self, pool: &mut SpeechPool, mut fact: impl FnMut(Fact)) -> Wake {
        if !self.speaking && self.speech.is_empty() && self.rings.model_in.waiting() == 0 {
            return Wake::default();
        }
        self.stopped = self.speaking;
        self.cut_off(pool, &mut fact)
    }

    /// The turn is over for the caller's ear.
    pub(super) fn cut_off(&mut self, pool: &mut SpeechPool, fact: &mut impl FnMut(Fact)) -> Wake {
        fact(Fact::Spoken(self.link, self.spoken()));
        self.shared.cancel_turn();
        self.speech.clear(pool);
        self.speaking = false;
        self.unanswered.interrupted();
        fact(Fact::Interrupted(self.link));
        Wake { dsp: true, telephony: true }
    }

    /// How much of the present or last turn came, and how much of it waits here; what the dsp worker has is taken as heard.
    pub fn spoken(&self) -> Spoken {
        let ring_ms = self.rings.model_in.waiting() as u64 * RING_FRAME_US / 1000;
        Spoken { received_ms: self.turn_samples / 24, waiting_ms: self.speech.queued_ms() + ring_ms }
    }
}
