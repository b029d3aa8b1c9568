//! Floor 4: the threads. Each is a thin loop around state that can be stepped without it.
//!
//! Runs in: one folder or file a thread, named after it. Only `server.rs` (and the dial pool) starts them.

pub mod accept;
pub mod control;
pub mod dial;
pub mod dsp;
pub mod gemini;
pub mod messages;
pub mod telephony;

use std::time::Duration;

/// Calls from which a thread waits for company after a pass: below it, every frame is worth a wake-up of its own.
const COMPANY_CALLS: usize = 8;
/// How long it waits. At 100 calls of 20 ms frames both ways, ten frames a millisecond arrive.
const COMPANY: Duration = Duration::from_millis(1);

/// How long a thread that serves so many calls waits for company before its next pass.
fn company(calls: usize) -> Option<Duration> {
    (calls >= COMPANY_CALLS).then_some(COMPANY)
}
