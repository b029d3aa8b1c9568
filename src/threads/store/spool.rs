//! The spool: records that wait on disk, one as a line of JSON, in files that are read and forgotten oldest first.
//!
//! Runs in: the store thread. Owns the directory `store.spool_directory`; readable by its owner alone.
//! Never rewrites a file: it is appended to, synchronised, read, and removed when all of it is delivered.
//! Invariant: a record that was taken is in a file until it was delivered; after a crash some are delivered again, none is
//! forgotten. A line that cannot be read, or that the database will never take, is kept aside in `rejected.jsonl`.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use log::error;

use crate::call::CallDetail;
use crate::threads::private_file;

/// A file is closed when it has this many bytes: what a crash makes be delivered again is less than that.
const FILE_BYTES: u64 = 1 << 20;
/// Bytes in all files; some hundred thousand calls. Beyond it the disk is more important.
const SPOOL_BYTES_MAX: u64 = 2 << 30;
/// Bytes of a line; a transcript has half a MiB at most, and JSON may double it.
const LINE_BYTES_MAX: usize = 8 << 20;
const ENDING: &str = "jsonl";
const REJECTED: &str = "rejected.jsonl";

/// A file of the spool.
#[derive(Debug)]
struct Segment {
    number: u64,
    records: u64,
    bytes: u64,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Spool {
    directory: PathBuf,
    /// The oldest first. The last one may be written to.
    segments: VecDeque<Segment>,
    writing: Option<File>,
    next_number: u64,
    /// How far the oldest file has been delivered.
    delivered_bytes: u64,
    delivered_records: u64,
}

/// Records from the spool, and how far it is delivered when they are.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// The records.
    pub(super) calls: Vec<CallDetail>,
    lines: u64,
    bytes: u64,
    /// Lines that cannot be read.
    pub(super) unreadable: Vec<Vec<u8>>,
}

impl Spool {
    /// The spool with what an earlier process has left there. The directory is made when there is something to write.
    ///
    /// # Errors
    /// Why it cannot be looked into.
    pub(super) fn open(directory: PathBuf) -> io::Result<Self> {
        let mut spool = Self::empty(directory);
        let entries = match fs::read_dir(&spool.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(spool),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
            if let Some(number) = number.filter(|_| path.extension().is_some_and(|end| end == ENDING)) {
                let file = BufReader::new(File::open(&path)?);
                let records = file.split(b'\n').try_fold(0, |lines, line| line.map(|_| lines + 1))?;
                let bytes = fs::metadata(&path)?.len();
                spool.segments.push_back(Segment { number, records, bytes });
            }
        }
        spool.segments.make_contiguous().sort_by_key(|segment| segment.number);
        spool.next_number = spool.segments.back().map_or(1, |segment| segment.number + 1);
        Ok(spool)
    }

    /// A spool of which nothing is known.
    pub(super) fn empty(directory: PathBuf) -> Self {
        Self { directory, next_number: 1, ..Self::default() }
    }

    /// Where it is.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Records that wait.
    pub(super) fn records(&self) -> u64 {
        self.segments.iter().map(|segment| segment.records).sum::<u64>() - self.delivered_records
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Takes records, behind all that wait. When it returns they are on the disk. Returns how many they are.
    ///
    /// # Errors
    /// Why none of them is taken.
    pub(super) fn append<'a>(&mut self, calls: impl Iterator<Item = &'a CallDetail>) -> io::Result<u64> {
        let (mut lines, mut records) = (Vec::new(), 0);
        for call in calls {
            serde_json::to_writer(&mut lines, call)?;
            lines.push(b'\n');
            records += 1;
        }
        if records == 0 {
            return Ok(0);
        }
        if self.bytes() + lines.len() as u64 > SPOOL_BYTES_MAX {
            return Err(io::Error::other(format!("the spool has {SPOOL_BYTES_MAX} bytes and takes no more")));
        }
        if self.writing.is_none() {
            self.begin_file()?;
        }
        let (Some(file), Some(segment)) = (&mut self.writing, self.segments.back_mut()) else {
            return Err(io::Error::other("no file to write to"));
        };
        if let Err(error) = file.write_all(&lines).and_then(|()| file.sync_data()) {
            // What was written of it must not stand before the next line.
            _ = file.set_len(segment.bytes).and_then(|()| file.seek(SeekFrom::End(0)));
            if segment.records == 0 {
                self.segments.pop_back();
            }
            self.writing = None;
            return Err(error);
        }
        segment.bytes += lines.len() as u64;
        segment.records += records;
        if segment.bytes >= FILE_BYTES {
            self.writing = None;
        }
        Ok(records)
    }

    fn begin_file(&mut self) -> io::Result<()> {
        make_directory(&self.directory)?;
        let number = self.next_number;
        let path = self.path(number);
        let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(&path)?;
        // The name of a file is kept by its directory.
        File::open(&self.directory)?.sync_all()?;
        self.next_number += 1;
        self.segments.push_back(Segment { number, records: 0, bytes: 0 });
        self.writing = Some(file);
        Ok(())
    }

    /// The oldest records that wait, so many at most and not much more than so many bytes. They are forgotten by
    /// [`Spool::delivered`] only.
    ///
    /// # Errors
    /// Why they cannot be read.
    pub(super) fn oldest(&self, records: usize, bytes: usize) -> io::Result<Batch> {
        let mut batch = Batch::default();
        let Some(segment) = self.segments.front() else { return Ok(batch) };
        let mut file = File::open(self.path(segment.number))?;
        file.seek(SeekFrom::Start(self.delivered_bytes))?;
        let mut file = BufReader::new(file);
        let mut line = Vec::new();
        while batch.calls.len() < records && (batch.bytes as usize) < bytes {
            line.clear();
            let length = io::Read::take(&mut file, LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            batch.bytes += length as u64;
            batch.lines += 1;
            match serde_json::from_slice(&line) {
                Ok(call) => batch.calls.push(call),
                // A process that was killed while it wrote leaves a beginning.
                Err(_) => batch.unreadable.push(line.clone()),
            }
        }
        Ok(batch)
    }

    /// Forgets what was in the batch, which is the last that [`Spool::oldest`] gave.
    pub(super) fn delivered(&mut self, batch: &Batch) {
        batch.unreadable.iter().for_each(|line| self.keep_aside(line));
        self.delivered_bytes += batch.bytes;
        self.delivered_records += batch.lines;
        let Some(segment) = self.segments.front() else { return };
        if self.delivered_bytes < segment.bytes {
            return;
        }
        if let Err(error) = fs::remove_file(self.path(segment.number)) {
            // It will be delivered again, which changes nothing.
            error!("a delivered file of the spool stays, since it cannot be removed: {error}");
        }
        self.segments.pop_front();
        (self.delivered_bytes, self.delivered_records) = (0, 0);
        if self.segments.is_empty() {
            self.writing = None;
        }
    }

    /// Keeps a record that the database does not take where somebody can look at it.
    pub(super) fn reject(&self, call: &CallDetail) {
        if let Ok(line) = serde_json::to_vec(call) {
            self.keep_aside(&line);
        }
    }

    fn keep_aside(&self, line: &[u8]) {
        let path = self.directory.join(REJECTED);
        let written = make_directory(&self.directory).and_then(|()| {
            let mut file = private_file::append(&path, 0o600)?;
            if file.metadata()?.len() + line.len() as u64 > SPOOL_BYTES_MAX {
                return Err(io::Error::other("it has become too long"));
            }
            file.write_all(line)?;
            if !line.ends_with(b"\n") {
                file.write_all(b"\n")?;
            }
            file.sync_data()
        });
        if let Err(error) = written {
            error!("a record that cannot be stored is not kept in {} either: {error}", path.display());
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:012}.{ENDING}"))
    }
}

/// Makes a directory that only its owner may look into, with those above it.
///
/// # Errors
/// Why it cannot be made.
pub(super) fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.as_os_str().is_empty() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Makes a file that only its owner may read, unless it is there.
///
/// # Errors
/// Why it can neither be made nor written to.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    match private_file::create(path, 0o600) {
        // It may be a link that the operator has made; one to nothing is not followed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().append(true).open(path).map(drop)
        }
        made => made.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallRecord;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("tandem-spool-{}-{name}", std::process::id()));
            _ = fs::remove_dir_all(&path);
            Self(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    fn call(number: u64) -> CallDetail {
        // Half a file each.
        let reason = "x".repeat(FILE_BYTES as usize / 2);
        let record = CallRecord { id: number.to_string(), reason, ..CallRecord::default() };
        CallDetail { record, ..CallDetail::default() }
    }

    fn ids(batch: &Batch) -> Vec<&str> {
        batch.calls.iter().map(|call| call.record.id.as_str()).collect()
    }

    #[test]
    fn what_is_appended_is_read_oldest_first_over_files_and_restarts_until_it_is_delivered() {
        let directory = Directory::new("order");
        let mut spool = Spool::open(directory.0.clone()).unwrap();
        assert!(spool.is_empty());
        for number in 1..=3 {
            assert_eq!(spool.append([call(number)].iter()).unwrap(), 1);
        }
        let mut spool = Spool::open(directory.0.clone()).unwrap();
        assert_eq!(spool.append([call(4), call(5)].iter()).unwrap(), 2);
        assert_eq!(spool.records(), 5);
        let first = spool.oldest(1, usize::MAX).unwrap();
        assert_eq!(ids(&first), ["1"]);
        assert_eq!(ids(&spool.oldest(1, usize::MAX).unwrap()), ["1"], "it was not delivered");
        spool.delivered(&first);
        let mut delivered = Vec::new();
        while !spool.is_empty() {
            let batch = spool.oldest(10, usize::MAX).unwrap();
            delivered.extend(ids(&batch).into_iter().map(str::to_owned));
            spool.delivered(&batch);
        }
        assert_eq!(delivered, ["2", "3", "4", "5"]);
        assert_eq!((spool.records(), spool.bytes()), (0, 0));
        assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0, "no file is left");
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_kept_aside_and_holds_up_nothing() {
        let directory = Directory::new("cut");
        let mut spool = Spool::open(directory.0.clone()).unwrap();
        spool.append([call(1)].iter()).unwrap();
        let mut file = OpenOptions::new().append(true).open(spool.path(1)).unwrap();
        file.write_all(b"{\"id\":\"2\",\"uu").unwrap();
        let mut spool = Spool::open(directory.0.clone()).unwrap();
        spool.append([call(3)].iter()).unwrap();
        let batch = spool.oldest(10, usize::MAX).unwrap();
        assert_eq!((ids(&batch), batch.unreadable.len()), (vec!["1"], 1));
        spool.delivered(&batch);
        let batch = spool.oldest(10, usize::MAX).unwrap();
        assert_eq!(ids(&batch), ["3"]);
        spool.delivered(&batch);
        assert!(spool.is_empty());
        assert_eq!(fs::read(directory.0.join(REJECTED)).unwrap(), b"{\"id\":\"2\",\"uu\n");
    }

    #[test]
    fn a_disk_that_takes_nothing_leaves_the_spool_as_it_was() {
        let directory = Directory::new("full");
        let mut spool = Spool::empty(PathBuf::from("/dev/null/spool"));
        assert!(spool.append([call(1)].iter()).is_err());
        assert!(spool.is_empty() && spool.records() == 0);
        let mut spool = Spool::open(directory.0.clone()).unwrap();
        spool.segments.push_back(Segment { number: 1, records: 1, bytes: SPOOL_BYTES_MAX });
        assert!(spool.append([call(1)].iter()).unwrap_err().to_string().contains("takes no more"));
        assert_eq!(spool.records(), 1);
    }
}
