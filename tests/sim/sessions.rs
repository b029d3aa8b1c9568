//! Calls of half an hour in virtual time, in which everything goes wrong that can: each ends with an outcome, leaves
//! nothing behind, loses no word of its caller and says nothing twice.
//!
//! Runs in: `cargo test`. Owns nothing.
//! Invariant: a failing seed is told, and replays with `TANDEM_SEED`.

#[test]
fn a_hundred_calls_of_thirty_minutes_end_with_an_outcome_and_leave_nothing() {
    crate::long_calls::run_seeds("a_hundred_calls", 0..100, 30 * 60);
}

// Beside the first, on another core.
#[test]
fn another_hundred_calls_of_thirty_minutes_end_with_an_outcome_and_leave_nothing() {
    crate::long_calls::run_seeds("another_hundred_calls", 100..200, 30 * 60);
}
