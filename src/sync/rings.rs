//! The four rings of a call: the way of its audio between telephony, dsp and gemini; and the fifth, its tap, where somebody
//! records or listens in.
//!
//! Runs in: the thread that admits a call makes them; each end belongs to one thread afterwards.
//! Owns about 24 KiB a call, and 170 KiB more for its tap. Never blocks: full and empty are outcomes.
//! Invariant: each ring has one producer and one consumer, fixed for the call's life.

use rtrb::{Consumer, Producer, RingBuffer};

use crate::base::limits::{
    CALLER_IN_FRAMES, CALLER_OUT_FRAMES, MODEL_IN_FRAMES, MODEL_OUT_FRAMES, TAP_FRAMES,
};
use crate::base::tap::{TapFrame, TapSink};
use crate::base::{Frame, FrameSink, FrameSource};

/// The writing end of a ring.
pub type FrameProducer = Producer<Frame>;
/// The reading end of a ring.
pub type FrameConsumer = Consumer<Frame>;

impl FrameSource for FrameConsumer {
    fn take(&mut self) -> Option<Frame> {
        self.pop().ok()
    }

    fn take_with<R>(&mut self, look: impl FnOnce(&Frame) -> R) -> Option<R> {
        let looked = look(self.peek().ok()?);
        let chunk = self.read_chunk(1).ok()?;
        chunk.commit_all();
        Some(looked)
    }
}

impl FrameSink for FrameProducer {
    fn room(&self) -> usize {
        self.slots()
    }

    fn waiting(&self) -> usize {
        self.buffer().capacity() - self.slots()
    }

    fn put(&mut self, frame: Frame) {
        let pushed = self.push(frame);
        debug_assert!(pushed.is_ok(), "room was not looked at");
    }
}

/// The writing end of a tap, at the dsp worker.
pub type TapProducer = Producer<TapFrame>;
/// The reading end of a tap, at the recorder.
pub type TapConsumer = Consumer<TapFrame>;

impl TapSink for TapProducer {
    fn put(&mut self, frame: TapFrame) -> bool {
        self.push(frame).is_ok()
    }
}

/// Makes the ring of a call's tap.
pub fn tap_ring() -> (TapProducer, TapConsumer) {
    RingBuffer::new(TAP_FRAMES)
}

/// What the telephony thread holds of a call's rings.
pub struct TelephonyRings {
    /// Caller's audio at the leg's rate, mono, towards the dsp worker.
    pub caller_in: FrameProducer,
    /// Paced audio at the leg's rate from the dsp worker, to be sent as found.
    pub caller_out: FrameConsumer,
}

/// What the dsp worker holds of a call's rings.
pub struct DspRings {
    /// From telephony.
    pub caller_in: FrameConsumer,
    /// 16 kHz mono towards the gemini thread.
    pub model_out: FrameProducer,
    /// 24 kHz mono from the gemini thread.
    pub model_in: FrameConsumer,
    /// Paced audio towards telephony.
    pub caller_out: FrameProducer,
}

/// What the gemini thread holds of a call's rings.
pub struct GeminiRings {
    /// From the dsp worker.
    pub model_out: FrameConsumer,
    /// Towards the dsp worker, kept filled to about 130 ms.
    pub model_in: FrameProducer,
}

/// Makes the rings of one call.
pub fn call_rings() -> (TelephonyRings, DspRings, GeminiRings) {
    let (caller_in, dsp_caller_in) = RingBuffer::new(CALLER_IN_FRAMES);
    let (dsp_model_out, model_out) = RingBuffer::new(MODEL_OUT_FRAMES);
    let (model_in, dsp_model_in) = RingBuffer::new(MODEL_IN_FRAMES);
    let (dsp_caller_out, caller_out) = RingBuffer::new(CALLER_OUT_FRAMES);
    (
        TelephonyRings { caller_in, caller_out },
        DspRings {
            caller_in: dsp_caller_in,
            model_out: dsp_model_out,
            model_in: dsp_model_in,
            caller_out: dsp_caller_out,
        },
        GeminiRings { model_out, model_in },
    )
}

/// A ring of any small `Copy` messages between two threads; for what the dsp thread hands back.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    RingBuffer::new(capacity)
}
