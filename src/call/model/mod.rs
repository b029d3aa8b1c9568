//! The seam to the model: what a call knows of it, whoever provides it.
//!
//! Runs in: anywhere: pure. Imports only `base`, so that the codecs below the call can speak in these types too: how a
//! provider says them is [`crate::codec::Provider`]'s.

mod function;
mod link_end;
mod setup;
mod tokens;
mod tool_call;

use crate::base::SampleRate;

pub use crate::base::model_options::{Behavior, Scheduling};
pub use function::Function;
pub use link_end::{LinkEnd, LinkEndKind};
pub use setup::SetupRequest;
pub(crate) use setup::{Compression, SessionResumption, Thinking, TurnTaking, Unfit};
pub use tokens::Tokens;
pub use tool_call::{ARGUMENTS_BYTES_MAX, Asked, ToolAnswer, ToolCall};

/// The rate at which a model hears the caller.
pub(crate) const INPUT_RATE: SampleRate = SampleRate::Hz16000;

/// The rate at which a model speaks, unless it says otherwise.
pub(crate) const OUTPUT_RATE: SampleRate = SampleRate::Hz24000;
