//! When what was released is heard, as far as a relay can know: what waits for the switch, what goes to it as one chunk, and
//! what of it a flush takes back.
//!
//! Runs in: the call's dsp worker, inside its playout. Owns nothing of its own.
//! Invariant: whatever moves the time at which playout runs dry tells the tap of it.

use super::{FRAME_US, Pass, Playout};
use crate::base::{Frame, FrameSink, Instant, LegFormat};
use crate::dsp::tap::Listener;

/// What a chunk may take to the switch, and to where that reads it.
const CHUNK_TRAVELS_US: u64 = FRAME_US;

impl Playout {
    /// The switch cannot have begun to play what still waits in the sink. While it is stalled, the sink so fills up to
    /// the lead and no further: all of it is handed over at once when the stall is over, and more would come on top.
    /// Where the switch queues nothing, the last frame may be on its way until the next is due.
    pub(super) fn count_waiting(&mut self, pass: &mut Pass<'_, impl Sized, impl FrameSink, impl Listener>) {
        if pass.format.lead_ms == 0 && pass.now < self.dry_at {
            return;
        }
        let waiting_us = self.waiting_us(pass.format, pass.sink);
        if waiting_us > 0 {
            self.dry_not_before(pass.now.plus_us(waiting_us), waiting_us, pass.tap);
        }
    }

    /// Microseconds of audio in the sink. What waits of a cancelled turn stands in front and is discarded.
    fn waiting_us(&self, format: LegFormat, sink: &impl FrameSink) -> u64 {
        let pieces = format.rate.samples_per_frame().div_ceil(Frame::CAPACITY);
        sink.waiting().min(self.put) as u64 * FRAME_US / pieces as u64
    }

    /// What was released last, so many microseconds of it, is not heard to its end before `dry_at`.
    pub(super) fn dry_not_before(&mut self, dry_at: Instant, last_us: u64, tap: &mut impl Listener) {
        if dry_at > self.dry_at {
            if last_us > 0 {
                tap.agent_later(self.dry_at.minus_us(last_us), dry_at.minus_us(last_us));
            }
            self.dry_at = dry_at;
        }
    }

    /// From when on the caller hears nothing of a turn that is cancelled now: what was not handed over is discarded, and the
    /// switch drops what it has queued, where it queues anything.
    pub(super) fn unheard_from(&self, now: Instant, format: LegFormat, sink: &impl FrameSink) -> Instant {
        let kept_us = self.waiting_us(format, sink).max(self.chunk_us());
        let handed_over_until = self.dry_at.minus_us(kept_us);
        if format.lead_ms == 0 { handed_over_until } else { handed_over_until.min(now) }
    }

    /// Microseconds of the chunk that was begun.
    pub(super) fn chunk_us(&self) -> u64 {
        u64::from(self.chunk_frames) * FRAME_US
    }

    /// Tells telephony that a started chunk gets no more frames, once the switch has so little before it that waiting for them
    /// would be heard.
    pub(super) fn close_chunk(&mut self, pass: &mut Pass<'_, impl Sized, impl FrameSink, impl Listener>) {
        if self.chunk_frames == 0 {
            return;
        }
        let waits_until = self.dry_at.minus_us(self.chunk_us() + CHUNK_TRAVELS_US);
        if pass.now < waits_until {
            pass.report.deadline = Some(waits_until);
        } else if pass.sink.room() == 0 {
            pass.report.deadline = Some(pass.now.plus_us(FRAME_US));
        } else {
            pass.sink.put(Frame::end(self.turn, self.resampler.to()));
            pass.report.chunk_closed = true;
            self.chunk_leaves(pass.now, pass.tap);
        }
    }

    /// The switch gets a chunk as a whole: however early its first frames were released, it begins to play now or later.
    pub(super) fn chunk_leaves(&mut self, now: Instant, tap: &mut impl Listener) {
        let chunk_us = self.chunk_us();
        self.dry_not_before(now.plus_us(chunk_us), chunk_us, tap);
        self.chunk_frames = 0;
    }
}
