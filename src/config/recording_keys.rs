//! Where recordings are kept and how, `[recording]`: what it is, and its keys. Which calls are recorded is each agent's.
//!
//! Runs in: anywhere: pure. Owns its part of the registry. Never reads anything. Invariant: as in [`super::keys`].

use std::path::PathBuf;
use std::time::Duration;

use super::model::Config;
use super::registry::{Key, Kind, integer, integer_or_zero, text};
use super::setters::{path, unless_zero};

/// Section `[recording]`.
#[derive(Debug, Clone)]
pub struct RecordingConfig {
    /// Where recordings are; in the directory of the relay's state if `None`.
    pub directory: Option<PathBuf>,
    /// How they are written.
    pub format: RecordingFormat,
    /// The longest recording.
    pub longest: Duration,
    /// How long they are kept; for ever if `None`.
    pub retention: Option<Duration>,
    /// Bytes of all of them; any number if `None`.
    pub bytes: Option<u64>,
}

/// How a recording is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordingFormat {
    /// 16-bit PCM in WAV: 230 MB an hour.
    Wav,
    /// Opus in Ogg: about 15 MB an hour.
    Opus,
}

impl RecordingFormat {
    /// All of them, in the order of the key's choices.
    pub const ALL: [Self; 2] = [Self::Wav, Self::Opus];

    /// Its word in the configuration and in records, which ends the file's name, too.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Wav => "wav",
            Self::Opus => "opus",
        }
    }

    /// The media type of its files.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Wav => "audio/wav",
            Self::Opus => "audio/ogg",
        }
    }
}

impl RecordingConfig {
    /// The structure before any key was applied.
    pub(super) const fn blank() -> Self {
        Self {
            directory: None,
            format: RecordingFormat::Wav,
            longest: Duration::ZERO,
            retention: None,
            bytes: None,
        }
    }
}

/// See the head of this file.
pub(super) const RECORDING_KEYS: &[Key<Config>] = &[
    Key::<Config>::new(
        "recording.directory",
        "",
        text("the path of a directory", |c, v| {
            c.recording.directory = path(v);
            Ok(())
        }),
        "Where recordings are kept (docs/recordings.md). When not set, the directory recordings in STATE_DIRECTORY (systemd \
         sets it), else in ~/.local/state/tandem.",
    )
    .example(r#""/var/lib/tandem/recordings""#),
    Key::<Config>::new(
        "recording.format",
        r#""wav""#,
        Kind::Choice {
            choices: &["wav", "opus"],
            set: |c, i| {
                c.recording.format = RecordingFormat::ALL.get(i).copied().unwrap_or(RecordingFormat::Wav);
            },
        },
        "How recordings are written: wav is 230 MB an hour and exact, opus about 15 MB an hour.",
    ),
    Key::<Config>::new(
        "recording.max_minutes",
        "120",
        integer(1, 1_000, |c, v| c.recording.longest = Duration::from_secs(v * 60)),
        "The longest recording; the call goes on without one.",
    ),
    Key::<Config>::new(
        "recording.retention_days",
        "0",
        integer_or_zero(1, 36_500, "for ever", |c, v| {
            c.recording.retention = unless_zero(v, |days| Duration::from_secs(days * 24 * 3600));
        }),
        "How long recordings are kept; older ones are deleted.",
    ),
    Key::<Config>::new(
        "recording.max_gib",
        "0",
        integer_or_zero(1, 1_000_000, "any number", |c, v| c.recording.bytes = (v > 0).then_some(v << 30)),
        "GiB of all recordings together; beyond it the oldest are deleted.",
    ),
];
