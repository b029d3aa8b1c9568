//! The tools that are built in: their names, which the model calls them by and no other tool may have.
//!
//! Runs in: anywhere: pure. Owns the list. Invariant: a tool that is not in it is not built in.

/// A tool of the model that the relay has without a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltIn {
    /// Hangs up.
    EndCall,
    /// Transfers the call.
    TransferCall,
    /// Sends tones.
    SendDtmf,
    /// Says what is known of the call.
    GetCallInfo,
    /// Pauses the recording, or goes on with it.
    PauseRecording,
}

impl BuiltIn {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::EndCall, Self::TransferCall, Self::SendDtmf, Self::GetCallInfo, Self::PauseRecording];

    /// What the model calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndCall => "end_call",
            Self::TransferCall => "transfer_call",
            Self::SendDtmf => "send_dtmf",
            Self::GetCallInfo => "get_call_info",
            Self::PauseRecording => "pause_recording",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }
}
