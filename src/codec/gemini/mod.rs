//! Google's Gemini Live API (`BidiGenerateContent`, v1beta) on the wire: JSON messages over a WebSocket.
//!
//! Runs in: the gemini thread; pure. Owns nothing. Never opens a socket, keeps no state between messages, but for the count of tokens.
//! Invariant: what we send is camelCase proto3 JSON with standard base64; what we read may be spelled any way that
//! the API's own SDKs accept.

pub mod client;
pub(crate) mod close;
pub(super) mod models;
mod parse;
pub mod server;
pub(super) mod setup;
pub(crate) mod tools;
pub mod usage;
mod wire;

pub use server::{ServerDecodeError, ServerMessage};
