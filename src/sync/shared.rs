//! The numbers of a call that cross threads without a message: its turn, its downlink format and its counters.
//!
//! Runs in: telephony, dsp and gemini write their own fields; control reads them. Never locks.
//! Invariant: each field has one writing thread, named beside it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Latencies of answers that are kept of a call: the newest.
pub const ANSWERS_KEPT: usize = 64;

use crate::base::{CallId, Instant, LegFormat, Turn};

/// One call's shared numbers, behind an `Arc` in every thread that serves the call.
#[derive(Debug)]
pub struct CallShared {
    id: CallId,
    turn: AtomicU32,
    format: AtomicU32,
    /// telephony: when the switch last sent anything, in microseconds of the relay's clock; 0 for never.
    leg_heard_at_us: AtomicU64,
    /// dsp: milliseconds from the caller's last word to the first that they heard of the answer, each in the place of its
    /// number.
    answers_ms: [AtomicU32; ANSWERS_KEPT],
    /// What happened to the audio of this call so far.
    pub tally: Tally,
}

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters of one call's audio. Each is written by one thread and read by any, without order between them.
        #[derive(Debug, Default)]
        pub struct Tally { $($(#[$doc])* pub $name: AtomicU64,)* }
        /// A copy of a [`Tally`] at one moment.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct TallySnapshot { $($(#[$doc])* pub $name: u64,)* }
        impl Tally {
            /// The counters as they are now.
            pub fn snapshot(&self) -> TallySnapshot {
                TallySnapshot { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

tally! {
    /// telephony: samples per channel that arrived from the caller, at the leg's rate.
    caller_samples,
    /// telephony: messages from the caller that were given up because the dsp worker took nothing for 2 s.
    caller_messages_dropped,
    /// telephony: samples handed to the switch, at the leg's rate.
    played_samples,
    /// telephony: samples that the switch reports as played to the caller, where it can (marks of chan_websocket).
    heard_samples,
    /// telephony: samples of a flushed turn that were discarded before they reached the switch.
    flushed_samples,
    /// dsp: frames of 20 ms at 16 kHz made for the model, filled silence included.
    uplink_frames,
    /// dsp: frames of 20 ms that were silence filled in for a switch that sent nothing.
    silence_frames,
    /// dsp: frames of 20 ms made for the switch.
    downlink_frames,
    /// dsp: times that the caller's ear ran dry in the middle of a turn because the model's audio came late.
    underruns,
    /// dsp: microseconds of those times together.
    underrun_us,
    /// dsp: times that the worker itself was later than the lead.
    slips,
    /// dsp: turns cut off of which audio was under way or handed over; those that the model declares interrupted are `barge_ins` elsewhere.
    flushes,
    /// dsp: microseconds of audio already handed over at the last barge-in ("residual").
    residual_us_last,
    /// dsp: the most of it in this call.
    residual_us_max,
    /// dsp: microsecond of the clock at which the caller will have heard what was handed to the switch; the last there is
    /// while playout pauses for them.
    heard_at_us,
    /// dsp: talkspurts of the caller that have ended.
    spurts,
    /// dsp: milliseconds of them together, without their hangovers.
    speech_ms,
    /// dsp: whether the caller speaks: 1 or 0.
    caller_speaks,
    /// dsp: the largest magnitude that the caller was lately heard with, 0 to 32768; it falls by half in 60 ms.
    caller_peak,
    /// dsp: the largest magnitude in the frames last released for the caller's ear, 0 to 32768.
    agent_peak,
    /// dsp: answers whose latency was measured.
    answers,
    /// dsp: the longest of these, in microseconds.
    answer_us_max,
    /// dsp: times that playout paused because the caller began to speak, before the model said so.
    local_barge_ins,
    /// dsp: frames of the tap that were lost because the recorder took none.
    tap_lost_frames,
    /// gemini: samples of speech that the model sent, at 24 kHz.
    model_samples,
    /// gemini: frames of the caller that were given up because no link took them for too long.
    uplink_frames_dropped,
    /// gemini: frames of 20 ms sent to the model, those sent again among them.
    sent_frames,
    /// gemini: frames of 20 ms that had been sent on a link which was lost before the model answered them.
    replayed_frames,
    /// gemini: frames of silence between talkspurts that were left out of a replay.
    silence_cut_frames,
    /// gemini: times that the caller's stream was ended (`audioStreamEnd`).
    stream_ends,
}

impl CallShared {
    /// The numbers of a new call.
    pub fn new(id: CallId, format: LegFormat) -> Self {
        Self {
            id,
            turn: AtomicU32::new(1),
            format: AtomicU32::new(format.to_bits()),
            leg_heard_at_us: AtomicU64::new(0),
            answers_ms: [const { AtomicU32::new(0) }; ANSWERS_KEPT],
            tally: Tally::default(),
        }
    }

    /// The call that these numbers belong to.
    pub fn id(&self) -> CallId {
        self.id
    }

    /// The turn whose audio is wanted. Frames of an older one are stale.
    pub fn turn(&self) -> Turn {
        self.turn.load(Ordering::Acquire)
    }

    /// Starts the next turn: all audio of the present one is stale from here on. Only the gemini thread calls it.
    pub fn cancel_turn(&self) -> Turn {
        let next = self.turn.load(Ordering::Relaxed).wrapping_add(1);
        self.turn.store(next, Ordering::Release);
        next
    }

    /// Notes that the switch has sent something. Only the telephony thread calls it.
    pub fn hear_leg(&self, now: Instant) {
        self.leg_heard_at_us.store(now.as_micros(), Ordering::Relaxed);
    }

    /// When the switch last sent anything, however little; the clock's beginning for never.
    pub fn leg_heard_at(&self) -> Instant {
        Instant::from_micros(self.leg_heard_at_us.load(Ordering::Relaxed))
    }

    /// Notes how long the caller waited for an answer. Only the dsp worker calls it.
    pub fn answered_after(&self, us: u64) {
        let number = self.tally.answers.load(Ordering::Relaxed);
        let ms = u32::try_from(us / 1000).unwrap_or(u32::MAX);
        self.answers_ms[number as usize % ANSWERS_KEPT].store(ms, Ordering::Relaxed);
        add(&self.tally.answers, 1);
        raise(&self.tally.answer_us_max, us);
    }

    /// The median of the newest answers' latencies in milliseconds, if there was an answer.
    pub fn answer_ms_p50(&self) -> Option<u32> {
        let count = (self.tally.answers.load(Ordering::Relaxed) as usize).min(ANSWERS_KEPT);
        let mut newest: Vec<u32> =
            self.answers_ms[..count].iter().map(|ms| ms.load(Ordering::Relaxed)).collect();
        newest.sort_unstable();
        newest.get(count.saturating_sub(1) / 2).copied()
    }

    /// The downlink's format.
    pub fn format(&self) -> LegFormat {
        LegFormat::from_bits(self.format.load(Ordering::Acquire))
    }

    /// Changes the downlink's format. Only the telephony thread calls it.
    pub fn set_format(&self, format: LegFormat) {
        self.format.store(format.to_bits(), Ordering::Release);
    }
}

/// Adds to a counter that only the calling thread writes: a load and a store, no locked instruction.
pub fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}

/// Raises a maximum that only the calling thread writes.
pub fn raise(counter: &AtomicU64, n: u64) {
    if n > counter.load(Ordering::Relaxed) {
        counter.store(n, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SampleRate;

    #[test]
    fn the_median_latency_is_that_of_the_newest_answers() {
        let shared =
            CallShared::new(CallId { slot: 0, generation: 1 }, LegFormat::new(SampleRate::Hz8000, 20, 20));
        assert_eq!(shared.answer_ms_p50(), None);
        for ms in [900, 100, 500] {
            shared.answered_after(ms * 1000);
        }
        assert_eq!(shared.answer_ms_p50(), Some(500));
        for _ in 0..ANSWERS_KEPT {
            shared.answered_after(300_999);
        }
        assert_eq!(shared.answer_ms_p50(), Some(300));
        let tally = shared.tally.snapshot();
        assert_eq!((tally.answers, tally.answer_us_max), (67, 900_000));
    }
}
