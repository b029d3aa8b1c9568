//! FreeSWITCH's event socket on the wire (mod_event_socket, port 8021): messages out of bytes, commands into bytes.
//!
//! Runs in: the esl thread; pure. Owns nothing but the bytes of an unfinished message.
//! Invariant: a command is one line and its header, whatever it was made of, since its parts are checked values.

mod commands;
mod message;

pub use commands::Outbound;
pub(crate) use commands::{authenticate, bgapi, control_line, originate_line, subscribe};
pub(crate) use message::{Decoder, Event, Message};
