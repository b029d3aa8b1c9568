//! A minute's answer that arrives in three seconds: it is heard whole and at its pace, and nobody else hears anything of it.
//!
//! Runs in: `cargo test`, in virtual time. Owns nothing.
//! Invariant: a failing seed is told, and replays with `TANDEM_SEED`.

use crate::virtual_time::{Report, Scenario, run_seeds};
use tandem::base::SampleRate;
use tandem::sync::shared::TallySnapshot;

/// How much later than another the simulated network may bring a message of Gemini.
const JITTER_US_MAX: u64 = 40_000;

/// The most that a network and a module hold back in one piece, 600 ms at 48 kHz, in parts of 53 ms with 2 ms between.
const NOTICED_LATER_US_MAX: u64 = 24_000;

/// One answer of a minute, sent twenty times as fast as it is spoken.
fn minute(thread_delay_us_max: u64) -> Scenario {
    Scenario {
        rates: &[SampleRate::Hz8000, SampleRate::Hz16000, SampleRate::Hz48000],
        playback_ms: &[(60, 20)],
        answers: 1..=1,
        answer_ms: 60_000..=60_000,
        pace_percent: 2_000..=2_000,
        interrupted_percent: 0,
        stalled_percent: 0,
        fault_percent: 0,
        hears_uplink: false,
        thread_delay_us_max,
    }
}

/// A call in which nothing special happens.
fn conversation() -> Scenario {
    Scenario {
        answers: 3..=3,
        answer_ms: 1_000..=3_000,
        pace_percent: 100..=300,
        interrupted_percent: 30,
        hears_uplink: true,
        ..minute(0)
    }
}

/// That every sample is the right one and none is early is looked at while it is handed over. A leg that tells its rate by
/// nothing but its audio, and sends that later than the model begins, gets the beginning at the default rate: there is no
/// one line of samples to compare then, but still the whole length.
fn assert_heard_whole(report: &Report) {
    assert_eq!(report.whole_answers, u64::from(report.rate_was_known));
    // A minute, and the frame with the filter's tail.
    assert_eq!(report.tally.downlink_frames, 60 * 50 + 1);
}

/// All but the wait for an answer, as it is measured, is the same to the microsecond. It counts from when the worker noticed
/// that the caller had stopped; and what does not fit into the ring to the worker follows every 2 ms, or sooner where
/// telephony has anything else to do.
fn assert_same(alone: &Report, beside: &Report) {
    let waits_us = [alone, beside].map(|report| report.tally.answer_us_max);
    assert!(waits_us[0].abs_diff(waits_us[1]) <= NOTICED_LATER_US_MAX, "{waits_us:?}");
    let tally = TallySnapshot { answer_us_max: waits_us[0], ..beside.tally };
    assert_eq!(alone, &Report { outcome: beside.outcome.clone(), tally, ..*beside });
}

#[test]
fn a_minute_that_arrives_in_three_seconds_is_heard_whole_and_at_its_pace() {
    let reports = run_seeds("a_minute", 3, |_| vec![minute(3_000)]);
    for report in reports {
        assert_heard_whole(&report);
        assert_eq!(report.tally.slips, 0);
        // Ahead for good once the first messages are there: the network may hold the second one back for longer than the
        // first one lasts. That this was why the ear ran dry is looked at for each time.
        assert!(report.tally.underrun_us < JITTER_US_MAX, "{report:?}");
        assert_eq!(report.tally.model_samples, 60 * 24_000);
    }
}

#[test]
fn a_call_beside_a_burst_is_the_same_call_as_alone_to_the_sample_and_the_microsecond() {
    let alone = run_seeds("a_call_beside_a_burst", 2, |_| vec![conversation()]);
    let beside = run_seeds("a_call_beside_a_burst", 2, |_| vec![conversation(), minute(0)]);
    for (alone, pair) in alone.iter().zip(beside.chunks(2)) {
        assert_same(alone, &pair[0]);
        assert_heard_whole(&pair[1]);
    }
}
