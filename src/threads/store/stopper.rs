//! Ends a question to the database from another thread.
//!
//! Runs in: the thread that asks (arms, disarms) and whoever does not want the answer any more (stops). Owns the way to
//! interrupt the question that is being answered, as long as it is.
//! Invariant: what is interrupted is this question and no later one on the same connection.

use std::sync::Arc;

use parking_lot::Mutex;

/// What interrupts the statement that runs on a connection.
pub(super) type Interrupt = Box<dyn Fn() + Send>;

#[derive(Default)]
struct State {
    stopped: bool,
    interrupt: Option<Interrupt>,
}

/// See the head of this file. Clones stop the same question; a question that nobody stops goes on to its end.
#[derive(Clone, Default)]
pub struct Stopper(Arc<Mutex<State>>);

impl Stopper {
    /// Ends the question: at once if it is being answered, else before it is asked.
    pub fn stop(&self) {
        let mut state = self.0.lock();
        state.stopped = true;
        if let Some(interrupt) = &state.interrupt {
            interrupt();
        }
    }

    /// Whether it was ended.
    pub(super) fn is_stopped(&self) -> bool {
        self.0.lock().stopped
    }

    /// Asks it on a connection that can be interrupted so.
    pub(super) fn during<T>(&self, interrupt: Option<Interrupt>, ask: impl FnOnce() -> T) -> T {
        self.0.lock().interrupt = interrupt;
        let answer = ask();
        self.0.lock().interrupt = None;
        answer
    }
}
