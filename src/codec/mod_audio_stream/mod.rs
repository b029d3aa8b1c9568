//! FreeSWITCH's mod_audio_stream and its relatives on the wire: who is calling, the caller's audio, ours back.
//!
//! Runs in: the accept and telephony threads; pure. Owns nothing but the carry of an odd byte per call.
//! Never opens a socket; the WebSocket frames themselves are tungstenite's work.
//! Invariant: nothing a switch says about a call can end it: what cannot be used is left out, with a note for the log.

pub mod leg_text;
pub mod metadata;
pub(crate) mod orders;
mod page;
pub mod playback;
pub(crate) mod request;
pub mod uplink;

pub use leg_text::{LegText, speaker};
pub use request::RequestFacts;
pub use uplink::UplinkDecoder;
