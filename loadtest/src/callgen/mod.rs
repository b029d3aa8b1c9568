//! The call generator: N telephone calls as mod_audio_stream makes them, measured in their audio.
//!
//! Runs in: callgen's worker threads.

pub mod ear;
pub mod envelope;
pub mod frame;
pub mod handshake;
pub mod mark;
pub mod options;
pub mod source;
mod stand_in;
pub mod track;
pub mod turns;
