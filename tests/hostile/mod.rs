//! What the hostile tests are made of: the relay as a process, peers that misbehave on either side of it.
//!
//! Runs in: the test's threads, on 127.0.0.0/8 only. Owns nothing.
//! Invariant: nothing here waits longer than [`PATIENCE`], and processes are ended by their own id.

pub(crate) mod model;
pub(crate) mod relay;
pub(crate) mod switch;

use std::time::{Duration, Instant};

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Lets this thread, and those that it will start, run only where honest work leaves room: the attackers of a real relay
/// have processors of their own.
///
/// # Panics
/// When the system refuses it, which it does not do for less priority.
pub(crate) fn stand_back() {
    rustix::process::nice(15).expect("less priority is never refused");
}

/// Asks until the answer comes.
///
/// # Panics
/// When it has not come in time; `what` says what was waited for.
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let by = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < by, "waited {PATIENCE:?} for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
