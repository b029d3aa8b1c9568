//! The audio frame: the one thing that the rings of a call carry.
//!
//! Runs in: anywhere: pure. Owns 320 samples by value. Never allocates.
//! Invariant: at most [`Frame::CAPACITY`] samples of one channel, all of one sample rate and one turn.

use crate::base::SampleRate;

/// The number of a model turn, counted by the gemini thread: it adds one at each `interrupted`, and whatever carries
/// an older number is stale and discarded by every consumer (flushing is a number, not a walk).
pub type Turn = u32;

/// What a [`Frame`] means to its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Audio; the next frame of the same ring belongs to the same chunk.
    AudioContinued,
    /// Audio; the chunk (what the peer gets as one message) ends with this frame.
    Audio,
    /// Audio, in `caller_out` only: what was to be said ends with this frame, and the chunk with it. What follows is something
    /// new, however soon it comes.
    AudioLast,
    /// No audio. In `model_in`: the model has generated all of this turn, what is left may be padded and played.
    /// In `model_out`: the caller's stream pauses (`audioStreamEnd`).
    End,
    /// No audio, in `model_out` only: what follows is a talkspurt of the caller, its pre-roll included.
    SpurtStart,
    /// No audio, in `model_out` only: the talkspurt is over, its hangover included.
    SpurtEnd,
}

/// At most 20 ms of mono audio at 16 kHz (or a shorter time at a higher rate) with its head, 648 bytes by value.
/// Longer wire frames become several.
#[derive(Clone, Copy)]
pub struct Frame {
    /// The turn that the audio belongs to; 0 where turns have no meaning (the uplink).
    pub turn: Turn,
    len: u16,
    /// What the frame means.
    pub kind: FrameKind,
    /// The rate of the samples.
    pub rate: SampleRate,
    samples: [i16; Self::CAPACITY],
}

const _: () = assert!(Frame::CAPACITY == SampleRate::Hz16000.samples_per_frame());

impl Frame {
    /// Samples that fit: 20 ms at 16 kHz.
    // No call stands here: rustc would have to know the whole crate's opaque types first, some of which hold frames.
    pub const CAPACITY: usize = 320;

    /// A frame with a copy of the first [`Frame::CAPACITY`] samples at most of `samples`.
    pub fn audio(turn: Turn, rate: SampleRate, samples: &[i16]) -> Self {
        let mut frame = Self::end(turn, rate);
        frame.kind = FrameKind::Audio;
        let len = samples.len().min(Self::CAPACITY);
        frame.samples[..len].copy_from_slice(&samples[..len]);
        frame.len = len as u16;
        frame
    }

    /// A frame without audio that ends a turn or a stream.
    pub const fn end(turn: Turn, rate: SampleRate) -> Self {
        Self { turn, len: 0, kind: FrameKind::End, rate, samples: [0; Self::CAPACITY] }
    }

    /// A frame without audio that marks where the caller's talkspurt begins or ends.
    pub const fn mark(kind: FrameKind) -> Self {
        let mut frame = Self::end(0, SampleRate::Hz16000);
        frame.kind = kind;
        frame
    }

    /// Becomes a copy of `other`, of which no more is touched than its samples.
    pub fn copy_from(&mut self, other: &Self) {
        let samples = other.samples();
        self.samples[..samples.len()].copy_from_slice(samples);
        (self.turn, self.len, self.kind, self.rate) = (other.turn, other.len, other.kind, other.rate);
    }

    /// The samples, s16 in the machine's byte order.
    pub fn samples(&self) -> &[i16] {
        &self.samples[..usize::from(self.len)]
    }

    /// The room for samples, to be filled by `fill`, which returns how many it wrote (more than the capacity is taken
    /// as the capacity). Makes the frame [`FrameKind::Audio`].
    pub fn fill(&mut self, fill: impl FnOnce(&mut [i16; Self::CAPACITY]) -> usize) {
        self.len = fill(&mut self.samples).min(Self::CAPACITY) as u16;
        self.kind = FrameKind::Audio;
    }

    /// How long the audio lasts, in microseconds.
    pub fn duration_us(&self) -> u64 {
        u64::from(self.len) * 1_000_000 / u64::from(self.rate.hz())
    }
}

/// Where frames come from: the reading end of a ring, or a queue in a test.
pub trait FrameSource {
    /// The oldest frame, if there is one.
    fn take(&mut self) -> Option<Frame>;
    /// Takes the oldest frame, if there is one, where it lies: `look` gets it without a copy.
    fn take_with<R>(&mut self, look: impl FnOnce(&Frame) -> R) -> Option<R> {
        self.take().map(|frame| look(&frame))
    }
}

/// Where frames go to: the writing end of a ring, or a queue in a test.
pub trait FrameSink {
    /// How many frames fit now.
    fn room(&self) -> usize;
    /// How many frames were put and have not been taken out at the other end.
    fn waiting(&self) -> usize;
    /// Puts a frame behind the others; without room the frame is lost, so look at [`FrameSink::room`] first.
    fn put(&mut self, frame: Frame);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_stays_as_small_as_the_ring_budget_assumes() {
        assert_eq!(size_of::<Frame>(), 648);
    }

    #[test]
    fn a_frame_takes_what_fits_and_knows_its_duration() {
        let frame = Frame::audio(3, SampleRate::Hz16000, &[7; 400]);
        assert_eq!(frame.samples(), &[7; 320]);
        assert_eq!(frame.duration_us(), 20_000);
        assert_eq!(Frame::end(3, SampleRate::Hz24000).samples(), &[] as &[i16]);
    }

    #[test]
    fn a_copy_is_what_it_was_copied_from() {
        let mut copy = Frame::audio(9, SampleRate::Hz8000, &[1; 320]);
        for frame in [
            Frame::audio(3, SampleRate::Hz16000, &[7; 100]),
            Frame::end(4, SampleRate::Hz24000),
            Frame::mark(FrameKind::SpurtStart),
        ] {
            copy.copy_from(&frame);
            assert_eq!((copy.turn, copy.kind, copy.rate), (frame.turn, frame.kind, frame.rate));
            assert_eq!(copy.samples(), frame.samples());
        }
    }
}
