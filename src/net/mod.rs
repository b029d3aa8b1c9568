//! Floor 4: sockets. Streams with and without TLS, their options, WebSockets over them, the listener, and dialling.
//!
//! Runs in: the accept, telephony, gemini and dial threads. Knows nothing of calls.

// What a peer says is not to become another number unnoticed; tests make samples as they like.
#![cfg_attr(not(test), warn(clippy::cast_possible_truncation))]

pub mod audiosocket;
pub mod dial;
pub(crate) mod ear;
pub(crate) mod greeting;
pub(crate) mod http_client;
mod http_tls;
pub(crate) mod listener;
pub(crate) mod options;
pub mod outgoing;
pub(crate) mod own_server;
pub(crate) mod passed;
pub(crate) mod probe;
pub(crate) mod race;
pub(crate) mod resolve;
pub(crate) mod socket;
pub mod stream;
mod texts;
pub(crate) mod tls;
pub mod websocket;
