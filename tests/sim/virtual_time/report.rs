//! What came out of simulated calls: one report a call, and the sum of many.
//!
//! Runs in: the simulations: pure. Owns plain numbers.
//! Invariant: equal reports mean that the caller heard the same samples at the same microseconds.

use std::collections::BTreeMap;
use std::fmt;

use tandem::sync::shared::TallySnapshot;

/// What happened in one call.
#[derive(Debug, PartialEq)]
pub(crate) struct Report {
    /// The label of the outcome.
    pub outcome: String,
    /// The relay's own counters.
    pub tally: TallySnapshot,
    /// Answers of the model that the caller heard from the first sample to the last.
    pub whole_answers: u64,
    /// The rate of the leg did not change once an answer had begun. Where it did, the samples handed over can be compared
    /// with no one line of samples, and the answer is not counted as heard whole.
    pub rate_was_known: bool,
    /// Times that the model was interrupted.
    pub interruptions: u64,
    /// The most audio, in microseconds, that the switch held at an interruption, by its own account.
    pub residual_us_max: u64,
    /// A number made of every message to the switch and its time.
    pub playback_hash: u64,
}

/// The sum of many calls.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Totals {
    calls: u64,
    outcomes: BTreeMap<String, u64>,
    whole_answers: u64,
    interruptions: u64,
    barge_ins: u64,
    residual_us_max: u64,
    underruns: u64,
    slips: u64,
    caller_ms: u64,
    model_ms: u64,
    playback_hash: u64,
}

impl Totals {
    /// The sum of these calls.
    pub(super) fn of(reports: &[Report]) -> Self {
        let mut totals = Self::default();
        reports.iter().for_each(|report| totals.add(report));
        totals
    }

    fn add(&mut self, report: &Report) {
        self.calls += 1;
        *self.outcomes.entry(report.outcome.clone()).or_default() += 1;
        self.whole_answers += report.whole_answers;
        self.interruptions += report.interruptions;
        self.barge_ins += report.tally.flushes;
        self.residual_us_max = self.residual_us_max.max(report.residual_us_max);
        self.underruns += report.tally.underruns;
        self.slips += report.tally.slips;
        self.caller_ms += report.tally.uplink_frames * 20;
        self.model_ms += report.tally.model_samples / 24;
        self.playback_hash = self.playback_hash.wrapping_mul(31).wrapping_add(report.playback_hash);
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} calls, caller {} s, model {} s, answers heard whole {}, interruptions {} (barge-ins {}, residual at \
             most {} ms), underruns {}, slips {}, outcomes {:?}, hash {:016x}",
            self.calls,
            self.caller_ms / 1000,
            self.model_ms / 1000,
            self.whole_answers,
            self.interruptions,
            self.barge_ins,
            self.residual_us_max as f64 / 1000.0,
            self.underruns,
            self.slips,
            self.outcomes,
            self.playback_hash
        )
    }
}
