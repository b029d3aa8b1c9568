//! The thread that writes recordings: the only one of the relay that waits for their disk.
//!
//! Runs in: one thread. Owns the files being written, and the shelf on which they stand.
//! Never keeps the recorder waiting: what it does not take in time is lost, counted and silent.
//! Invariant: each recording that was begun is reported to control once, when its file is closed or given up.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use log::{info, warn};

use super::opus::OpusFile;
use super::shelf::Shelf;
use super::timeline::{Pair, RATE};
use super::wav::WavFile;
use super::waveform::Waveform;
use crate::base::{CallId, RecordId};
use crate::call::record::RecordingFile;
use crate::config::RecordingFormat;
use crate::sync::{Clock, Outbox};
use crate::telemetry::Counters;
use crate::threads::messages::ControlInput;
use crate::threads::private_file;

/// How often is looked for what is too old.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// Silence is written in pieces of a second.
static SILENCE: [Pair; RATE.hz() as usize] = [[0, 0]; RATE.hz() as usize];

/// What the thread is told.
pub enum DiskOrder {
    /// Begin a recording.
    Begin(CallId, RecordId),
    /// Write this; its first sample has this number. What is missing before it was lost, and is silence.
    Write(CallId, u64, Vec<Pair>),
    /// The recording ends; it is as long as this many samples.
    End(CallId, u64),
}

/// What the thread is built from.
pub(crate) struct DiskParts {
    /// What it is told; it ends when nobody can tell it more.
    pub orders: Receiver<DiskOrder>,
    /// Where recordings are reported.
    pub control: Outbox<ControlInput>,
    /// The directory of recordings.
    pub directory: PathBuf,
    /// What is kept there.
    pub limits: super::shelf::ShelfLimits,
    /// How recordings are written.
    pub format: RecordingFormat,
    /// The longest recording.
    pub longest: Duration,
    /// The process's counters.
    pub counters: Arc<Counters>,
    /// The clock.
    pub clock: Clock,
}

/// See the head of this file.
pub(crate) struct Disk {
    parts: DiskParts,
    shelf: Shelf,
    open: HashMap<CallId, Recording>,
}

struct Recording {
    id: RecordId,
    path: PathBuf,
    /// `None`: given up.
    file: Option<Written>,
    pairs: u64,
    waveform: Waveform,
    full: bool,
}

enum Written {
    Wav(WavFile),
    Opus(Box<OpusFile>),
}

impl Written {
    fn write(&mut self, pairs: &[Pair]) -> io::Result<()> {
        match self {
            Self::Wav(file) => file.write(pairs),
            Self::Opus(file) => file.write(pairs),
        }
    }

    fn end(self) -> io::Result<()> {
        match self {
            Self::Wav(file) => file.end(),
            Self::Opus(file) => file.end(),
        }
    }
}

impl Disk {
    /// A thread that has not begun.
    pub(crate) fn new(parts: DiskParts) -> Self {
        let shelf = Shelf::found(PathBuf::new(), parts.limits);
        Self { parts, shelf, open: HashMap::new() }
    }

    /// Writes until nobody is left to tell it more.
    ///
    /// # Errors
    /// None: what goes wrong with a file is that recording's end.
    pub(crate) fn run(mut self) -> io::Result<()> {
        self.shelf = Shelf::found(self.parts.directory.clone(), self.parts.limits);
        self.tidy();
        loop {
            match self.parts.orders.recv_timeout(TIDY_EVERY) {
                Ok(order) => self.take(order),
                Err(RecvTimeoutError::Timeout) => self.tidy(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.parts.control.flush();
        }
        Ok(())
    }

    fn take(&mut self, order: DiskOrder) {
        match order {
            DiskOrder::Begin(call, id) => self.begin(call, id),
            DiskOrder::Write(call, from, pairs) => {
                let longest = self.parts.longest.as_secs() * u64::from(RATE.hz());
                self.write(
                    call,
                    from.min(longest),
                    &pairs[..pairs.len().min(longest.saturating_sub(from) as usize)],
                );
            }
            DiskOrder::End(call, pairs) => self.end(call, pairs),
        }
    }

    fn begin(&mut self, call: CallId, id: RecordId) {
        let format = self.parts.format;
        let path = self.parts.directory.join(Shelf::name(id, format));
        let opened = self.shelf.create(id, format).and_then(|(file, _)| match format {
            RecordingFormat::Wav => Ok(Written::Wav(WavFile::new(file)?)),
            RecordingFormat::Opus => Ok(Written::Opus(Box::new(OpusFile::new(file, call.slot)?))),
        });
        let mut recording =
            Recording { id, path, file: None, pairs: 0, waveform: Waveform::default(), full: false };
        match opened {
            Ok(file) => {
                self.parts.counters.recordings_begun.increment();
                recording.file = Some(file);
            }
            Err(problem) => self.failed(call, &recording, &problem),
        }
        self.open.insert(call, recording);
    }

    fn failed(&mut self, call: CallId, recording: &Recording, problem: &io::Error) {
        self.parts.counters.recordings_failed.increment();
        warn!(
            "call {call}: is not recorded (any further): {} cannot be written: {problem}; the call goes on. Make room, or let \
             the relay's user write there (recording.directory)",
            recording.path.display()
        );
        self.parts.control.send(ControlInput::RecordingFailed(call, problem.to_string()));
    }

    fn write(&mut self, call: CallId, from: u64, pairs: &[Pair]) {
        let Some(mut recording) = self.open.remove(&call) else { return };
        if let Some(file) = &mut recording.file {
            let longest = self.parts.longest.as_secs() * u64::from(RATE.hz());
            match written(file, &mut recording.waveform, &mut recording.pairs, from, pairs) {
                Ok(()) if recording.pairs >= longest && !recording.full => {
                    info!(
                        "call {call}: its recording is as long as it may be (recording.max_minutes) and ends here"
                    );
                    recording.full = true;
                }
                Ok(()) => {}
                Err(problem) => {
                    self.failed(call, &recording, &problem);
                    // What was written is kept; that it cannot be closed either is no news.
                    _ = close(&mut recording);
                }
            }
        }
        self.open.insert(call, recording);
    }

    fn end(&mut self, call: CallId, pairs: u64) {
        let longest = self.parts.longest.as_secs() * u64::from(RATE.hz());
        self.write(call, pairs.min(longest), &[]);
        let Some(mut recording) = self.open.remove(&call) else { return };
        if recording.file.is_some()
            && let Err(problem) = close(&mut recording)
        {
            self.failed(call, &recording, &problem);
        }
        // What was written before the disk was full is there, and can be heard.
        let bytes =
            fs::metadata(&recording.path).map(|found| found.len()).ok().filter(|_| recording.pairs > 0);
        let kept = bytes.map(|bytes| RecordingFile {
            file: Shelf::name(recording.id, self.parts.format),
            format: self.parts.format.label().to_owned(),
            seconds: (recording.pairs as f64 / f64::from(RATE.hz()) * 1000.0).round() / 1000.0,
            bytes,
        });
        if let Some(bytes) = bytes {
            self.parts.counters.recording_bytes.add(bytes);
            self.shelf.put(recording.id, recording.path, bytes);
        }
        self.parts.control.send(ControlInput::Recorded(call, kept));
        self.tidy();
    }

    fn tidy(&mut self) {
        let removed = self.shelf.tidy(self.parts.clock.unix_ms());
        if removed > 0 {
            self.parts.counters.recordings_removed.add(removed);
            info!("recordings: {removed} removed (recording.retention_days, recording.max_gib)");
        }
    }
}

/// Closes the file and writes the waveform beside it.
fn close(recording: &mut Recording) -> io::Result<()> {
    let Some(file) = recording.file.take() else { return Ok(()) };
    file.end()?;
    let path = recording.path.with_extension("json");
    private_file::replace(&path, recording.waveform.to_json().as_bytes(), 0o640)
}

/// Writes `pairs` as the samples from number `from` on, and silence before them where something is missing.
fn written(
    file: &mut Written,
    waveform: &mut Waveform,
    so_far: &mut u64,
    from: u64,
    pairs: &[Pair],
) -> io::Result<()> {
    while *so_far < from {
        let silence = &SILENCE[..(from - *so_far).min(SILENCE.len() as u64) as usize];
        file.write(silence)?;
        waveform.take(silence);
        *so_far += silence.len() as u64;
    }
    file.write(pairs)?;
    waveform.take(pairs);
    *so_far += pairs.len() as u64;
    Ok(())
}
