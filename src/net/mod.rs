//! Floor 3: sockets. Streams with and without TLS, their options, WebSockets over them, the listener, and dialling.
//!
//! Runs in: the accept, telephony, gemini and dial threads. Knows nothing of calls.

pub mod audiosocket;
pub mod dial;
pub mod ear;
pub mod greeting;
pub mod http;
pub mod http_client;
mod http_tls;
pub mod listener;
pub mod options;
pub mod own_server;
pub mod probe;
pub mod race;
pub mod resolve;
pub mod stream;
mod texts;
pub mod tls;
pub mod websocket;
