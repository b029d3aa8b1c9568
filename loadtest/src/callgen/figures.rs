//! The figures that a call, a leg and a run have in common: counts, and distributions of times.
//!
//! Runs in: anywhere: pure. Owns the figures. Never measures anything itself.
//! Invariant: counts of a leg or run are the sums over its calls, and every name carries its unit.

use serde::{Deserialize, Serialize};

use super::caller::Caller;
use super::totals::LegTimes;

/// The distribution of a time, in ms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Values measured; with 0 all else is 0.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// 90 of 100 are at most this.
    pub p90: f64,
    /// 99 of 100 are at most this.
    pub p99: f64,
    /// 999 of 1000 are at most this.
    pub p999: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// From a histogram in µs.
    pub fn of<C: hdrhistogram::Counter>(times: &hdrhistogram::Histogram<C>) -> Self {
        if times.is_empty() {
            return Self::default();
        }
        let ms = |us: u64| us as f64 / 1000.0;
        Self {
            count: times.len(),
            min: ms(times.min()),
            mean: (times.mean().round()) / 1000.0,
            p50: ms(times.value_at_quantile(0.5)),
            p90: ms(times.value_at_quantile(0.9)),
            p99: ms(times.value_at_quantile(0.99)),
            p999: ms(times.value_at_quantile(0.999)),
            max: ms(times.max()),
        }
    }
}

/// What is counted in a call, and added up over calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Audio frames sent, silence included.
    pub frames_sent: u64,
    /// Audio received, in frames of 20 ms.
    pub frames_received: u64,
    /// Marked frames sent.
    pub marked_frames_sent: u64,
    /// Marked frames that did not come back to the caller's ear.
    pub lost_frames: u64,
    /// Marked frames that came back more than once.
    pub repeated_frames: u64,
    /// Marked frames that came back after a later one.
    pub reordered_frames: u64,
    /// Marked frames that this call never sent.
    pub foreign_frames: u64,
    /// Times the modelled switch's queue ran dry in the midst of audio.
    pub underruns: u64,
    /// Silence heard in those times.
    pub underrun_ms: f64,
    /// The longest of those times: the longest hole in any call.
    pub underrun_longest_ms: f64,
    /// Audio that the modelled switch threw away: cleared, or more than it could hold.
    pub dropped_ms: f64,
    /// Places where the received audio itself was silent between two marks.
    pub gaps: u64,
    /// The length of those places.
    pub gap_ms: f64,
    /// Clear messages received.
    pub clears: u64,
    /// Answers heard in full and found right.
    pub answers: u64,
}

impl Counts {
    /// Adds those of another call.
    pub fn add(&mut self, other: &Self) {
        self.frames_sent += other.frames_sent;
        self.frames_received += other.frames_received;
        self.marked_frames_sent += other.marked_frames_sent;
        self.lost_frames += other.lost_frames;
        self.repeated_frames += other.repeated_frames;
        self.reordered_frames += other.reordered_frames;
        self.foreign_frames += other.foreign_frames;
        self.underruns += other.underruns;
        self.underrun_ms = rounded(self.underrun_ms + other.underrun_ms);
        self.underrun_longest_ms = self.underrun_longest_ms.max(other.underrun_longest_ms);
        self.dropped_ms = rounded(self.dropped_ms + other.dropped_ms);
        self.gaps += other.gaps;
        self.gap_ms = rounded(self.gap_ms + other.gap_ms);
        self.clears += other.clears;
        self.answers += other.answers;
    }

    /// Counts of a call that came up.
    pub(super) fn of(caller: &Caller, rate_hz: u32) -> Self {
        let (track, marked) = caller.track();
        let samples_ms = |samples: u64| rounded(samples as f64 * 1000.0 / f64::from(rate_hz));
        Self {
            frames_sent: caller.frames_sent,
            frames_received: caller.frames_heard(),
            marked_frames_sent: marked,
            lost_frames: marked.saturating_sub(track.unique),
            repeated_frames: track.repeated,
            reordered_frames: track.reordered,
            foreign_frames: track.foreign,
            underruns: caller.ear.underruns,
            underrun_ms: ms(caller.ear.underrun_ns),
            underrun_longest_ms: ms(caller.ear.underrun_longest_ns),
            dropped_ms: samples_ms(caller.ear.dropped),
            gaps: track.gaps,
            gap_ms: samples_ms(track.gap_samples),
            clears: u64::from(caller.clears),
            answers: caller.turns().map_or(0, |turns| u64::from(turns.answers)),
        }
    }
}

/// The figures of several calls: those of a leg, or of the whole run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Calls made.
    pub calls: usize,
    /// Calls with which nothing was wrong.
    pub calls_good: usize,
    /// Calls that the relay refused before they came up.
    pub calls_refused: usize,
    /// What was counted in them.
    #[serde(flatten)]
    pub counts: Counts,
    /// Sending of a marked frame to the moment when its first sample is played in the modelled switch.
    pub ear_latency_ms: Spread,
    /// Sending of a marked frame to the arrival of the message that holds its first millisecond.
    pub latency_ms: Spread,
    /// Where in that message the frame begins: the delay of filters, and of messages that do not begin where frames
    /// do. It is part of `ear_latency_ms` and comes on top of `latency_ms`.
    pub offset_ms: Spread,
    /// How far the distance of arrivals is from the length of what arrived.
    pub jitter_ms: Spread,
    /// TCP connect to 101; with AudioSocket to the connection.
    pub setup_ms: Spread,
    /// TCP connect to the refusal.
    pub refusal_ms: Spread,
    /// End of a talkspurt to the moment when the first audible sample of the answer is played.
    pub response_ms: Spread,
    /// Lowest correlation of an answer's envelope with the one expected; 1 without answers.
    pub correlation_min: f64,
    /// Answers spoken over.
    pub barge_ins: u64,
    /// First frame spoken over an answer to the end of the last old sample played in the modelled switch.
    pub barge_in_ms: Spread,
    /// The same to the last old audio handed over.
    pub barge_in_handed_over_ms: Spread,
    /// The same to the clear message.
    pub barge_in_clear_ms: Spread,
    /// Clear message to the end of the last old sample played: what relay and model have no part in.
    pub clear_to_silence_ms: Spread,
    /// Old audio still queued in the modelled switch at the clear message, or at the last hand-over without one.
    pub barge_in_residual_ms: Spread,
}

impl std::ops::Deref for Figures {
    type Target = Counts;

    /// A figure is named without saying which of them are counts.
    fn deref(&self) -> &Counts {
        &self.counts
    }
}

impl Figures {
    /// Of the calls that were added up in `times`.
    pub(super) fn of(times: &LegTimes) -> Self {
        Self {
            calls: times.calls,
            calls_good: times.good,
            calls_refused: times.refused,
            counts: times.counts,
            ear_latency_ms: Spread::of(&times.ear_latency),
            latency_ms: Spread::of(&times.latency),
            offset_ms: Spread::of(&times.offset),
            jitter_ms: Spread::of(&times.jitter),
            setup_ms: Spread::of(&times.setup),
            refusal_ms: Spread::of(&times.refusal),
            response_ms: Spread::of(&times.response),
            correlation_min: correlation(times.correlation_min),
            barge_ins: times.barge_ins,
            barge_in_ms: Spread::of(&times.barge_in),
            barge_in_handed_over_ms: Spread::of(&times.barge_in_handed_over),
            barge_in_clear_ms: Spread::of(&times.barge_in_clear),
            clear_to_silence_ms: Spread::of(&times.clear_to_silence),
            barge_in_residual_ms: Spread::of(&times.barge_in_residual),
        }
    }
}

/// A correlation with three digits.
pub(super) fn correlation(value: f32) -> f64 {
    (f64::from(value) * 1000.0).round() / 1000.0
}

/// Nanoseconds as ms, rounded to µs.
pub(super) fn ms(ns: u64) -> f64 {
    ((ns + 500) / 1000) as f64 / 1000.0
}

/// Rounded to µs.
pub(super) fn rounded(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}
