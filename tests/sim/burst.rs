//! A minute's answer that arrives in three seconds: it is heard whole and at its pace, and nobody else hears anything of it.
//!
//! Runs in: `cargo test`, in virtual time. Owns nothing.
//! Invariant: a failing seed is told, and replays with `TANDEM_SEED`.

use crate::virtual_time::{Scenario, run_seeds};
use tandem::base::SampleRate;

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

#[test]
fn a_minute_that_arrives_in_three_seconds_is_heard_whole_and_at_its_pace() {
    let reports = run_seeds("a_minute", 3, |_| vec![minute(3_000)]);
    for report in reports {
        // That every sample is the right one and none is early is looked at while it is handed over.
        assert_eq!((report.whole_answers, report.tally.underruns, report.tally.slips), (1, 0, 0));
        assert_eq!(report.tally.model_samples, 60 * 24_000);
    }
}

#[test]
fn a_call_beside_a_burst_is_the_same_call_as_alone_to_the_sample_and_the_microsecond() {
    let alone = run_seeds("a_call_beside_a_burst", 2, |_| vec![conversation()]);
    let beside = run_seeds("a_call_beside_a_burst", 2, |_| vec![conversation(), minute(0)]);
    for (alone, pair) in alone.iter().zip(beside.chunks(2)) {
        assert_eq!(alone, &pair[0]);
        assert_eq!(pair[1].whole_answers, 1);
    }
}
