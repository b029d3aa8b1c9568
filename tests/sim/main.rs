//! The relay in virtual time: machines of calls, and whole calls between simulated switches and a simulated Gemini. One
//! target for all of them, because each target is linked with everything.
//!
//! Runs in: `cargo test`. Owns nothing.
//! Never opens a socket, reads a clock or sleeps.
//! Invariant: a failing seed is told, and replays.

mod barge_in;
mod burst;
mod calls;
mod control;
mod detached;
mod goodbye;
mod links;
mod long_calls;
mod machine;
mod relay;
mod sending;
mod sessions;
mod tools;
mod turns;
mod virtual_time;
