//! Floor 2: bytes to messages and back, for every wire format Tandem speaks.
//!
//! Runs in: anywhere: pure. Imports only `base`, `call::model` and `call::leg`. Never opens a socket, reads a clock, locks or logs.
//! Invariant: bytes from a peer never panic here, and never size an allocation unchecked.

// What a peer says is not to become another number unnoticed; tests make samples as they like.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

pub mod audiosocket;
pub mod base64;
pub(crate) mod chan_websocket;
pub(crate) mod channel_word;
pub mod esl;
pub mod gemini;
pub mod mod_audio_stream;
pub(crate) mod packing;
mod provider;
pub(crate) mod proxy;

pub use provider::Provider;
