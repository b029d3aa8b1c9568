//! What happened in a simulator, for the tests that watch it.
//!
//! Runs in: made by the simulator's thread, taken by the test's. Owns nothing.
//! Invariant: the events of one session come in the order in which they happened, `Closed` last.

use std::time::Instant;

use serde_json::Value;

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct SimEvent {
    /// When. For what the simulator sent: just before the call that wrote its last byte to the socket.
    pub at: Instant,
    /// Which connection, counted from 1 in the order of acceptance.
    pub session: u64,
    /// What.
    pub what: What,
}

/// How a client proved who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthKind {
    /// Header `x-goog-api-key`.
    KeyHeader,
    /// Query parameter `key`.
    KeyQuery,
    /// Query parameter `access_token`: an ephemeral token, or OAuth on Vertex.
    TokenQuery,
    /// Header `Authorization: Token auth_tokens/...`.
    TokenHeader,
    /// Header `Authorization: Bearer ...`.
    Bearer,
    /// Not at all.
    Missing,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedBy {
    /// The client sent a close frame first.
    Client,
    /// The simulator closed, refused or dropped it.
    Simulator,
    /// The socket ended or failed without a close frame.
    Network,
}

/// The kinds of event.
#[derive(Debug, Clone, PartialEq)]
pub enum What {
    /// The upgrade was refused with this HTTP status.
    Refused {
        /// HTTP status.
        status: u16,
    },
    /// The upgrade was answered with 101.
    Upgraded {
        /// Path and query as requested, the key replaced by `***`.
        path: String,
        /// How the client proved who it is.
        auth: AuthKind,
    },
    /// A setup was accepted; `setupComplete` follows.
    Opened {
        /// The setup in camelCase.
        setup: Value,
        /// The first connection of the conversation that this one resumes.
        resumes: Option<u64>,
        /// How the client proved who it is.
        auth: AuthKind,
    },
    /// `setupComplete` was written: from now on a client may send.
    SetupComplete,
    /// `realtimeInput.audio`.
    Audio {
        /// Samples in it, at its own rate.
        samples: usize,
        /// The rate in its mime type.
        rate_hz: u32,
    },
    /// `realtimeInput.video`, ignored.
    Video,
    /// `realtimeInput.text`.
    Text(String),
    /// `realtimeInput.audioStreamEnd`.
    AudioStreamEnd,
    /// `realtimeInput.activityStart`.
    ActivityStart,
    /// `realtimeInput.activityEnd`.
    ActivityEnd,
    /// `clientContent`.
    ClientContent {
        /// Number of turns in it.
        turns: usize,
        /// Whether it asks for an answer.
        turn_complete: bool,
    },
    /// `toolResponse` with these call ids.
    ToolResponse {
        /// The ids it answers.
        ids: Vec<String>,
    },
    /// `contextUpdate`.
    ContextUpdate,
    /// The caller began to speak: detected, or said by `activityStart`.
    SpeechStarted,
    /// The caller stopped: detected after the hangover, or said by `activityEnd` or `audioStreamEnd`.
    SpeechEnded {
        /// Samples of the talkspurt at 16 kHz, the hangover not counted.
        samples: usize,
    },
    /// The server's detection swallowed a talkspurt, as the script says: it gets no answer.
    Swallowed {
        /// Its samples at 16 kHz.
        samples: usize,
    },
    /// The first audio of a turn was written.
    TurnStarted {
        /// Which turn of this connection, from 1.
        turn: u64,
    },
    /// A `toolCall` was written.
    ToolCall {
        /// Its id.
        id: String,
        /// The function's name.
        name: String,
    },
    /// A `toolCallCancellation` was written.
    ToolCallCancelled {
        /// The ids.
        ids: Vec<String>,
    },
    /// `interrupted` was written.
    Interrupted {
        /// The turn that it cancels.
        turn: u64,
    },
    /// `turnComplete` was written.
    TurnComplete {
        /// The turn that it ends.
        turn: u64,
    },
    /// `goAway` was written.
    GoAway,
    /// The connection is over.
    Closed {
        /// Who began it.
        by: ClosedBy,
        /// The close code, the client's or ours; 1005 for an empty close frame, 1006 for none.
        code: u16,
        /// The close reason.
        reason: String,
        /// Samples of audio received in all.
        audio_samples: u64,
        /// Digest of that audio, where it is kept: FNV-1a, 64 bit, over the little-endian bytes.
        audio_digest: Option<u64>,
    },
}

/// FNV-1a, 64 bit: a digest that changes with every bit and costs no dependency. Not for secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a {
    /// Takes more bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    /// The digest of everything so far.
    pub const fn digest(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Fnv1a;

    #[test]
    fn digests_are_those_of_the_published_function() {
        let digest = |bytes: &[u8]| {
            let mut fnv = Fnv1a::default();
            fnv.update(bytes);
            fnv.digest()
        };
        assert_eq!(digest(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(digest(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
