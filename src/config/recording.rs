//! Where recordings are kept and how, `[recording]`. Which calls are recorded is each agent's.
//!
//! Runs in: anywhere: pure. Owns its settings. Never reads anything. Invariant: as in [`super::settings`].

use std::path::PathBuf;
use std::time::Duration;

use super::settings::settings;
use crate::base::{Words, words};

settings! {
    /// Recordings of calls; which calls are recorded is each agent's (docs/recordings.md).
    pub struct RecordingConfig in "recording" {
        /// Where recordings are kept (docs/recordings.md). When not set, the directory recordings in STATE_DIRECTORY
        /// (systemd sets it), else in ~/.local/state/tandem.
        pub directory: Option<PathBuf>, text("the path of a directory"), like "/var/lib/tandem/recordings";
        /// How recordings are written: wav is 230 MB an hour and exact, opus about 15 MB an hour.
        pub format: RecordingFormat = "wav", choice(RecordingFormat::WORDS);
        /// The longest recording; the call goes on without one.
        pub longest "max_minutes": Duration = 120, integer(1, 1_000) in MINUTES;
        /// How long recordings are kept; older ones are deleted.
        pub retention "retention_days": Option<Duration> = 0, integer_or_zero(1, 36_500, "for ever") in DAYS;
        /// GiB of all recordings together; beyond it the oldest are deleted.
        pub bytes "max_gib": Option<u64> = 0, integer_or_zero(1, 1_000_000, "any number") in GIB;
    }
}

words! {
    /// How a recording is written; the word ends the file's name, too.
    pub enum RecordingFormat {
        /// 16-bit PCM in WAV: 230 MB an hour.
        Wav = "wav",
        /// Opus in Ogg: about 15 MB an hour.
        Opus = "opus",
    }
}

impl RecordingFormat {
    /// The media type of its files.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Opus => "audio/ogg",
        }
    }
}
