//! The tools that are built in: their names, which the model calls them by and no other tool may have.
//!
//! Runs in: anywhere: pure. Owns the list. Invariant: a tool that is not in it is not built in.

use crate::base::words;

words! {
    /// A tool of the model that the relay has without a server.
    pub enum BuiltIn {
        /// Hangs up.
        EndCall = "end_call",
        /// Transfers the call.
        TransferCall = "transfer_call",
        /// Sends tones.
        SendDtmf = "send_dtmf",
        /// Says what is known of the call.
        GetCallInfo = "get_call_info",
        /// Pauses the recording, or goes on with it.
        PauseRecording = "pause_recording",
    }
}

impl BuiltIn {
    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.label() == name)
    }
}
