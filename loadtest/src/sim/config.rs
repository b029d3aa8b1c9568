//! What a simulator is told at its start.
//!
//! Runs in: anywhere: values. Owns nothing but itself. Never reads a file or the environment.
//! Invariant: `SimConfig::default()` starts a simulator that behaves as the real service does on a good day.

use std::{net::SocketAddr, path::PathBuf};

use super::fault::Scheduled;

/// What the simulated model says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// Repeats the caller's last talkspurt; answers text with the bundled sentence.
    Parrot,
    /// Returns each chunk of audio at once, to measure latency. There are no turns: text gets no answer, and the
    /// caller's speech interrupts nothing.
    Echo,
    /// Speaks one sentence, the bundled one or [`SimConfig::answer`], after the caller stops or after text.
    Answer,
    /// Answers the telephone of a pharmacy: five bundled sentences, one after the other.
    Receptionist,
}

/// How the server's JSON travels. The real service sends compact JSON, one binary frame a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Framing {
    /// Text frames (opcode 1) instead of binary ones.
    pub text: bool,
    /// JSON with line breaks and indentation.
    pub pretty: bool,
    /// Each message in three frames, a ping between the first two.
    pub fragment: bool,
}

/// What is kept of the audio that a client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AudioKept {
    /// Only the number of samples.
    #[default]
    Nothing,
    /// An FNV-1a digest (64 bit) of the bytes, as decoded from base64.
    Digest,
    /// The digest, and every sample: see [`Simulator::audio`](super::Simulator::audio).
    Samples,
}

/// Certificate and key of a TLS listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPem {
    /// The certificate chain, PEM.
    pub certificate: Vec<u8>,
    /// The private key, PEM, PKCS#8 (`BEGIN PRIVATE KEY`).
    pub key: Vec<u8>,
}

/// Everything that a [`Simulator`](super::Simulator) is told.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// What the model says.
    pub voice: Voice,
    /// How many times faster than real time a turn's audio is sent. 0: all of it at once; below 1: slower than real
    /// time.
    pub burst: f64,
    /// Milliseconds of speech in one `modelTurn` message; 1 to 1000.
    pub chunk_ms: u32,
    /// Silence after which a talkspurt has ended, unless the setup says `silenceDurationMs`.
    pub hangover_ms: u32,
    /// What is spoken by all but `Voice::Parrot` and `Voice::Echo`: mono, 24 kHz. `None`: what is bundled.
    pub answer: Option<Vec<i16>>,
    /// The only key that is accepted; `None` accepts any.
    pub api_key: Option<String>,
    /// How many sessions one key may have at a time; `None`: as many as it likes.
    pub sessions_per_key: Option<usize>,
    /// One session too many is refused at the upgrade with 429, not at the setup with 1011.
    pub quota_at_upgrade: bool,
    /// Listen with TLS.
    pub tls: Option<TlsPem>,
    /// No WebSocket and no JSON: messages of the sizes in [`crate::floor`], each answered at once.
    pub floor: bool,
    /// How the server's messages are framed.
    pub framing: Framing,
    /// What goes wrong, and when.
    pub faults: Vec<Scheduled>,
    /// A file to which every client message is appended, one JSON object a line: `{"session":N,"message":{...}}`.
    pub record: Option<PathBuf>,
    /// What is kept of the clients' audio.
    pub audio_kept: AudioKept,
    /// Whether events are sent. Switch it off where nobody takes them, since they are kept until somebody does.
    pub events: bool,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            voice: Voice::Parrot,
            burst: 4.0,
            chunk_ms: 40,
            hangover_ms: 500,
            answer: None,
            api_key: None,
            sessions_per_key: None,
            quota_at_upgrade: false,
            tls: None,
            floor: false,
            framing: Framing::default(),
            faults: Vec::new(),
            record: None,
            audio_kept: AudioKept::default(),
            events: true,
        }
    }
}
