//! Floor 5: the threads. Each is a thin loop around state that can be stepped without it.
//!
//! Runs in: one folder or file a thread, named after it. Only `server.rs` (and the dial pool) starts them.

pub(crate) mod accept;
pub(crate) mod admin;
pub mod control;
pub mod credentials;
pub(crate) mod dial;
pub mod dsp;
pub(crate) mod esl;
pub mod gemini;
pub(crate) mod keeper;
pub mod messages;
pub(crate) mod private_file;
pub mod recorder;
pub mod relay;
mod slots;
pub mod store;
pub mod telephony;
pub(crate) mod tls;
pub(crate) mod tokens;
pub mod tools;
pub mod warm;

use std::time::Duration;

/// Calls from which a thread waits for company after a pass: below it, every frame is worth a wake-up of its own.
const COMPANY_CALLS: usize = 8;
/// How long it waits for each call that it serves: about five frames come together, whatever the number of calls.
const COMPANY_PER_CALL: Duration = Duration::from_micros(10);
/// The longest wait. Six of them lie on the way of a word to the model and back.
const COMPANY_MAX: Duration = Duration::from_millis(1);

/// How long a thread that serves so many calls waits for company before its next pass.
fn company(calls: usize) -> Option<Duration> {
    (calls >= COMPANY_CALLS).then(|| (COMPANY_PER_CALL * calls as u32).min(COMPANY_MAX))
}
