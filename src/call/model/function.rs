//! What a model is told of a tool that it may call.
//!
//! Runs in: anywhere: pure. Owns nothing. Never says where a tool is carried out.
//! Invariant: whoever declares it names it as [`BuiltIn`](crate::base::BuiltIn) does, or as the agent's tool is called.

use crate::base::command::Destination;
use crate::base::model_options::Behavior;
use crate::base::parameters::Parameters;

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq)]
pub enum Function {
    /// Hangs up.
    EndCall,
    /// Transfers the call to one of these destinations and no others.
    TransferCall(Vec<Destination>),
    /// Sends tones.
    SendDtmf,
    /// Says what is known of the call.
    GetCallInfo,
    /// Pauses the recording, or goes on with it.
    PauseRecording,
    /// One that is not built in.
    Other {
        /// What the model calls it.
        name: String,
        /// What it does.
        description: String,
        /// What arguments it takes.
        parameters: Parameters,
        /// Whether the model waits for the answer; its own default if `None`.
        behavior: Option<Behavior>,
    },
}
