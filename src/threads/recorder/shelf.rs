//! The shelf: the directory of recordings, which file of it is whose, and which have to go.
//!
//! Runs in: the thread that writes recordings; paths are found in any thread. Owns a list of the files that are complete.
//! Invariant: a recording stands at `YYYY-MM-DD/RECORD_ID.wav` or `.opus`, the day in UTC, with its waveform beside it; nothing
//! that is named otherwise is ever removed.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::base::RecordId;
use crate::config::{RecordingConfig, RecordingFormat};
use crate::threads::private_file;
use crate::threads::store::state_directory;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// How much is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ShelfLimits {
    /// Milliseconds after a call began until its recording goes; for ever if `None`.
    pub age_ms: Option<u64>,
    /// Bytes of all recordings; any number if `None`.
    pub bytes: Option<u64>,
}

/// See the head of this file.
pub(crate) struct Shelf {
    directory: PathBuf,
    limits: ShelfLimits,
    /// Complete recordings, the oldest call first, with their sizes.
    files: BTreeMap<RecordId, (PathBuf, u64)>,
    bytes: u64,
}

impl Shelf {
    /// The shelf in `directory`, with what is there already. A directory that cannot be read holds nothing.
    pub(crate) fn found(directory: PathBuf, limits: ShelfLimits) -> Self {
        let mut shelf = Self { directory, limits, files: BTreeMap::new(), bytes: 0 };
        let days = fs::read_dir(&shelf.directory).into_iter().flatten().flatten();
        for day in days.filter(|day| is_day(&day.file_name().to_string_lossy())) {
            for file in fs::read_dir(day.path()).into_iter().flatten().flatten() {
                let path = file.path();
                if let (Some(id), Ok(found)) = (recording_id(&path), file.metadata()) {
                    shelf.put(id, path, found.len());
                }
            }
        }
        shelf
    }

    /// The path of a recording within the shelf's directory.
    pub(crate) fn name(id: RecordId, format: RecordingFormat) -> String {
        format!("{}/{id}.{}", day(id.unix_ms()), format.label())
    }

    /// Makes the file of a new recording, which nobody but its owner and group may read. Returns its path, too.
    ///
    /// # Errors
    /// Those of making the directory or the file; also where there is such a file.
    pub(crate) fn create(&self, id: RecordId, format: RecordingFormat) -> io::Result<(File, PathBuf)> {
        let path = self.directory.join(Self::name(id, format));
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
        }
        let file = private_file::create(&path, 0o640)?;
        // Says to others that it is written: the system lets go of it when this process has died.
        _ = file.try_lock();
        Ok((file, path))
    }

    /// Counts a recording that is complete.
    pub(crate) fn put(&mut self, id: RecordId, path: PathBuf, bytes: u64) {
        if let Some((_, before)) = self.files.insert(id, (path, bytes)) {
            self.bytes -= before;
        }
        self.bytes += bytes;
    }

    /// Removes what is too old, and the oldest of what is too much. Returns how many recordings are gone.
    pub(crate) fn tidy(&mut self, now_unix_ms: u64) -> u64 {
        let mut removed = 0;
        while let Some((id, (path, bytes))) = self.files.first_key_value() {
            let old = self.limits.age_ms.is_some_and(|age| now_unix_ms.saturating_sub(id.unix_ms()) > age);
            let much = self.limits.bytes.is_some_and(|most| self.bytes > most);
            if !old && !much {
                break;
            }
            // What cannot be removed is not tried again before the next start.
            removed += u64::from(fs::remove_file(path).is_ok());
            _ = fs::remove_file(path.with_extension("json"));
            if let Some(parent) = path.parent() {
                // Fails as long as another recording is there.
                _ = fs::remove_dir(parent);
            }
            self.bytes -= bytes;
            self.files.pop_first();
        }
        removed
    }
}

/// The directory of recordings by this configuration and the environment of the process.
pub(crate) fn recordings_directory(config: &RecordingConfig) -> PathBuf {
    config.directory.clone().unwrap_or_else(|| state_directory().join("recordings"))
}

/// The file of that call's recording, of whichever format.
pub(crate) fn recording_of(directory: &Path, id: RecordId) -> Option<(PathBuf, RecordingFormat)> {
    let path = |format| (directory.join(Shelf::name(id, format)), format);
    // A link is nothing that was recorded, and might lead anywhere.
    let is_own = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    RecordingFormat::ALL.into_iter().map(path).find(|(path, _)| is_own(path))
}

/// The file of that call's waveform; it may not be there.
pub(crate) fn waveform_of(directory: &Path, id: RecordId) -> PathBuf {
    directory.join(Shelf::name(id, RecordingFormat::Wav)).with_extension("json")
}

fn day(unix_ms: u64) -> String {
    let moment = Timestamp::from_millisecond((unix_ms / DAY_MS * DAY_MS) as i64).unwrap_or_default();
    moment.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string()
}

fn is_day(name: &str) -> bool {
    name.len() == 10 && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}

fn recording_id(path: &Path) -> Option<RecordId> {
    let extension = path.extension()?.to_str()?;
    RecordingFormat::ALL.into_iter().find(|format| format.label() == extension)?;
    RecordId::parse(path.file_stem()?.to_str()?)
}
