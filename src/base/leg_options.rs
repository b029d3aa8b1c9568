//! What an operator, a URL or metadata can say of a leg: its channels and how audio goes back.
//!
//! Runs in: anywhere: pure. Owns the spellings.
//! Invariant: a spelling means the same in the configuration, in URLs, headers and metadata.

/// The channels of the caller's audio, as given to `uuid_audio_stream start`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Mix {
    /// The caller alone, one channel.
    #[default]
    Mono,
    /// The caller and what is played to them, summed into one channel.
    Mixed,
    /// Two channels interleaved: left the caller, right what is played to them.
    Stereo,
}

impl Mix {
    /// Every mix, in the order of its key's choices.
    pub const ALL: [Self; 3] = [Self::Mono, Self::Mixed, Self::Stereo];

    /// The spelling in configuration, URLs and metadata.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Mono => "mono",
            Self::Mixed => "mixed",
            Self::Stereo => "stereo",
        }
    }

    /// Interleaved channels on the wire: 1 or 2.
    pub const fn channels(self) -> usize {
        match self {
            Self::Mono | Self::Mixed => 1,
            Self::Stereo => 2,
        }
    }

    /// The mix with this spelling, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mix| mix.label().eq_ignore_ascii_case(name))
    }
}

/// How audio is sent back to the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlaybackFormat {
    /// Binary messages of raw s16le at the leg's rate.
    Binary,
    /// `streamAudio` text messages with base64 raw audio.
    Json,
    /// The same for a build that only writes a file and raises an event: larger messages with turn and chunk ids, which a
    /// script plays.
    File,
}

impl PlaybackFormat {
    /// Every format, in the order of its key's choices.
    pub const ALL: [Self; 3] = [Self::Binary, Self::Json, Self::File];

    /// The spelling in configuration, URLs and metadata.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Json => "json",
            Self::File => "file",
        }
    }

    /// The format with this spelling, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.label().eq_ignore_ascii_case(name))
    }
}
