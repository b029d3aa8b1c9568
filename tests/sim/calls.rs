//! Whole calls, good and bad: every call ends once and leaves nothing, and while it lives both ends hear what was said.
//!
//! Runs in: `cargo test`, in virtual time. Owns nothing.
//! Invariant: a failing seed is told, and replays with `TANDEM_SEED`.

use crate::virtual_time::{Scenario, run_seeds};
use tandem::base::SampleRate;

#[test]
fn calls_with_faults_end_once_and_leave_nothing_and_lose_nothing_before() {
    run_seeds("calls_with_faults", 500, |seed| {
        let scenario = Scenario {
            rates: &SampleRate::ALL,
            playback_ms: &[(60, 20), (60, 20), (40, 20), (120, 100), (200, 60)],
            answers: 0..=2,
            answer_ms: 1..=1_200,
            pace_percent: 50..=2_000,
            interrupted_percent: 30,
            stalled_percent: 20,
            fault_percent: 60,
            hears_uplink: true,
            thread_delay_us_max: 3_000,
        };
        vec![scenario; 1 + (seed % 3) as usize]
    });
}
