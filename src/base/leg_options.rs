//! What an operator, a URL or metadata can say of a leg: its channels and how audio goes back.
//!
//! Runs in: anywhere: pure. Owns the spellings.
//! Invariant: a spelling means the same in the configuration, in URLs, headers and metadata.

use super::words;

words! {
    /// The channels of the caller's audio, as given to `uuid_audio_stream start`.
    #[derive(Default)]
    pub enum Mix {
        /// The caller alone, one channel.
        #[default]
        Mono = "mono",
        /// The caller and what is played to them, summed into one channel.
        Mixed = "mixed",
        /// Two channels interleaved: left the caller, right what is played to them.
        Stereo = "stereo",
    }
}

impl Mix {
    /// Interleaved channels on the wire: 1 or 2.
    pub const fn channels(self) -> usize {
        match self {
            Self::Mono | Self::Mixed => 1,
            Self::Stereo => 2,
        }
    }
}

words! {
    /// How audio is sent back to the switch.
    pub enum PlaybackFormat {
        /// Binary messages of raw s16le at the leg's rate.
        Binary = "binary",
        /// `streamAudio` text messages with base64 raw audio.
        Json = "json",
        /// The same for a build that only writes a file and raises an event: larger messages with turn and chunk ids,
        /// which a script plays.
        File = "file",
    }
}
