//! Whole calls in virtual time: the cores of the relay's threads, a simulated switch and a simulated Gemini for each
//! call, one clock that jumps from event to event, and a seed that decides everything.
//!
//! Runs in: the simulations, in one thread. Never opens a socket, reads a clock, sleeps or starts a thread.
//! Invariant: the loops around the cores do what `src/threads` does, in pieces as small as one message, and any other
//! part may run between two pieces.

mod call;
mod caller;
mod control;
mod ear;
mod gemini;
mod hearing;
mod model;
mod order_log;
mod plan;
mod report;
mod scenario;
mod seeds;
mod speech;
mod telephony;
mod world;

pub(crate) use report::Report;
pub(crate) use scenario::Scenario;
pub(crate) use seeds::run_seeds;
