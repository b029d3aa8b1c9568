//! Floor 5: the threads. Each is a thin loop around state that can be stepped without it.
//!
//! Runs in: one folder or file a thread, named after it. Only `server.rs` (and the dial pool) starts them.

pub(crate) mod accept;
pub(crate) mod admin;
pub mod company;
pub mod control;
pub mod credentials;
mod deadlines;
pub(crate) mod dial;
pub mod dsp;
pub(crate) mod esl;
pub mod gemini;
pub(crate) mod keeper;
pub mod messages;
pub mod places;
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
