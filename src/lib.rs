//! Tandem: a voice media relay. A telephone switch opens one socket per call; Tandem answers it with a speaking AI,
//! Google's Gemini Live API.

pub mod base;
pub mod call;
pub mod cli;
pub mod codec;
pub mod config;
pub mod dsp;
pub mod net;
pub mod sync;
pub mod telemetry;
pub mod threads;
