//! The caller interrupts: nothing of what was interrupted is handed over afterwards, whatever the moment.
//!
//! Runs in: `cargo test`, in virtual time. Owns nothing.
//! Invariant: a failing seed is told, and replays with `TANDEM_SEED`.

use crate::virtual_time::{Scenario, run_seeds};
use tandem::base::SampleRate;

#[test]
fn nothing_of_an_interrupted_answer_is_handed_over_after_the_interruption() {
    run_seeds("nothing_of_an_interrupted_answer", 1_000, |_| {
        vec![Scenario {
            rates: &SampleRate::ALL,
            playback_ms: &[(60, 20), (60, 20), (40, 20)],
            answers: 3..=4,
            answer_ms: 20..=500,
            pace_percent: 100..=2_000,
            interrupted_percent: 85,
            stalled_percent: 25,
            fault_percent: 0,
            hears_uplink: false,
            thread_delay_us_max: 3_000,
        }]
    });
}
