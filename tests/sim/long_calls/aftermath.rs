//! What a call leaves behind: one record, nothing that is still held, and a caller and a model that heard each other.
//!
//! Runs in: the simulation: pure. Owns nothing.
//! Invariant: every check holds for every seed; what a seed may do otherwise is counted, not checked.

use std::sync::Arc;

use tandem::call::CallDetail;

use super::Report;
use super::world::{GIVE_UP, World};

/// A talkspurt needs so long to reach the model, through a change of links and a replay.
const SETTLED_US: u64 = 60_000_000;
/// How long a record waits for its recording.
const RECORDED_WITHIN_MS: u64 = 5_000;

impl World {
    /// Nothing is left, and nobody was deceived.
    pub(super) fn finish(mut self) -> Report {
        assert_eq!(self.records.len(), 1, "a call leaves one record");
        let CallDetail { record, events, .. } = self.records.remove(0);
        let counters = Arc::clone(&self.ends.relay.counters);
        assert_eq!(counters.ended(&record.outcome), 1, "the record and the metric name another outcome");
        self.ends.assert_empty(self.now);
        self.outside.assert_empty();
        assert!(self.switch.is_empty(), "a leg is left");
        assert!(self.links.is_empty(), "a link is left");
        assert_eq!(self.pool.blocks_in_use(), 0, "blocks of speech are left");
        assert_eq!(Arc::strong_count(&self.shared), 1, "somebody owns a part of the call");
        assert!(
            record.gap_ms_max <= GIVE_UP.as_millis() as u64 + 20_000,
            "a gap of {} ms",
            record.gap_ms_max
        );
        if let Some(recording) = &self.outside.recording {
            let failed = events.iter().filter(|event| event.kind == "recording_failed").count();
            let late_ms = recording.reported_at.map_or(u64::MAX, |at| at.since_ms(self.ended_at));
            let kept = !recording.failed && late_ms < RECORDED_WITHIN_MS;
            assert_eq!(record.recording.is_some(), kept, "{recording:?}, {late_ms} ms after the end");
            assert_eq!(failed, usize::from(recording.failed) + usize::from(late_ms >= RECORDED_WITHIN_MS));
            let missing_s = record.duration_s - recording.pairs as f64 / 16_000.0;
            assert!(missing_s.abs() < 1.0, "{missing_s} s of the call are not in its recording");
        }
        let tally = self.shared.tally.snapshot();
        for (answer, heard_ms) in self.ear.heard_ms.iter().enumerate() {
            let said_ms = self.gemini.said_ms[answer];
            assert!(*heard_ms <= said_ms, "answer {answer}: {heard_ms} ms are heard of {said_ms} ms");
        }
        let given_up = tally.uplink_frames_dropped + tally.caller_messages_dropped;
        let over_us = self.ended_at.as_micros();
        let mut missing = 0;
        for spurt in &self.spurts {
            let settled = spurt.ended_us.is_some_and(|ended| ended + SETTLED_US < over_us);
            if settled {
                missing += spurt.heard.iter().filter(|times| **times == 0).count() as u64;
            }
        }
        let unheard = self.owed.iter().filter(|(spurt, times, lost_us)| {
            lost_us + SETTLED_US < over_us && self.spurts[*spurt].heard_behind_onset() <= *times
        });
        let unheard: Vec<_> = unheard.collect();
        assert!(unheard.is_empty() || given_up > 0, "talkspurts that no link heard again: {unheard:?}");
        assert!(
            missing <= given_up,
            "{missing} frames of the caller never reached the model, {given_up} are known of"
        );
        for (name, n) in [
            ("frames said", self.spurts.iter().map(|spurt| spurt.heard.len() as u64).sum()),
            ("frames replayed", tally.replayed_frames),
            ("frames missing", missing),
            ("talkspurts", self.spurts.len() as u64),
            ("owed again", self.owed.len() as u64),
            ("answers", self.gemini.answers as u64),
            ("answers ms", self.gemini.said_ms.iter().sum()),
            ("answers heard ms", self.ear.heard_ms.iter().sum()),
            ("resumptions", record.resumptions),
            ("fresh sessions", record.fresh_sessions),
            ("gap_ms_max", record.gap_ms_max),
            ("detached ms", self.detached_ms),
            ("moves to another credential", counters.credential_moves.get()),
            ("credentials left", counters.credentials_left.get()),
            ("credentials taken back", counters.credentials_taken_back.get()),
            ("links without a credential", counters.links_without_credential.get()),
            ("tools timed out", counters.tools_timed_out.get()),
            ("tools cancelled", counters.tools_cancelled.get()),
            ("minutes", self.ended_at.since_ms(self.start) / 60_000),
        ] {
            *self.counts.entry(name).or_default() += n;
        }
        Report { outcome: record.outcome, counts: self.counts }
    }
}
