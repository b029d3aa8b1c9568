//! The recordings of a relay that died: found, and closed so that any player takes them to their end.
//!
//! Runs in: the living thread; blocking. Owns nothing once a file is closed.
//! Never touches a file that is still written: whoever writes it holds its lock, which the system lets go of when that
//! process has died. Invariant: what was on the disk is kept; what is added says that it ends there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use log::warn;
use ogg::{PacketReader, PacketWriteEndInfo, PacketWriter};

use super::shelf::{Shelf, recording_of};
use super::timeline::RATE;
use super::{opus, wav};
use crate::base::RecordId;
use crate::call::record::RecordingFile;
use crate::config::RecordingFormat;
use crate::threads::store::LeftRecording;

/// The recording of a call whose relay is dead, closed.
pub(crate) fn close(directory: &Path, id: RecordId) -> LeftRecording {
    let Some((path, format)) = recording_of(directory, id) else { return LeftRecording::None };
    match closed(&path, format) {
        Ok(None) => LeftRecording::Open,
        Ok(Some(0)) => LeftRecording::None,
        Ok(Some(pairs)) => LeftRecording::Closed(RecordingFile {
            file: Shelf::name(id, format),
            format: format.label().to_owned(),
            seconds: (pairs as f64 / f64::from(RATE.hz()) * 1000.0).round() / 1000.0,
            bytes: fs::metadata(&path).map_or(0, |found| found.len()),
        }),
        Err(problem) => {
            warn!("the recording {} of a relay that died cannot be closed: {problem}", path.display());
            LeftRecording::None
        }
    }
}

/// How many samples it has; `None` if it is still written.
fn closed(path: &Path, format: RecordingFormat) -> io::Result<Option<u64>> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.try_lock().is_err() {
        return Ok(None);
    }
    match format {
        RecordingFormat::Wav => wav(&mut file),
        RecordingFormat::Opus => opus(file, path),
    }
    .map(Some)
}

/// Writes sizes into the header that are those of the file.
fn wav(file: &mut File) -> io::Result<u64> {
    let bytes = file.metadata()?.len();
    let pairs = bytes.saturating_sub(wav::HEADER_BYTES) / wav::PAIR_BYTES;
    if pairs == 0 {
        return Ok(0);
    }
    let mut name = [0; 4];
    file.seek(SeekFrom::Start(wav::HEADER_BYTES - 8))?;
    file.read_exact(&mut name)?;
    if name != *b"data" {
        return Err(io::Error::other("its header is none of ours"));
    }
    let audio = pairs * wav::PAIR_BYTES;
    let size = |bytes: u64| (bytes.min(u32::MAX.into()) as u32).to_le_bytes();
    file.write_all(&size(audio))?;
    file.seek(SeekFrom::Start(4))?;
    file.write_all(&size(audio + wav::HEADER_BYTES - 8))?;
    file.set_len(wav::HEADER_BYTES + audio)?;
    Ok(pairs)
}

/// Writes the whole pages anew, of which the last says that it is the last.
fn opus(file: File, path: &Path) -> io::Result<u64> {
    let mut packets = PacketReader::new(BufReader::new(&file));
    let new = path.with_extension("opus.new");
    _ = fs::remove_file(&new);
    let mut pages = PacketWriter::new(BufWriter::new(super::private_file::create(&new, 0o640)?));
    // A page that is cut off is no page.
    let mut next = || packets.read_packet().ok().flatten();
    let (mut packet, mut pre_skip, mut position) = (next(), 0, 0);
    while let Some(this) = packet {
        packet = next();
        if let [b'O', b'p', b'u', b's', b'H', b'e', b'a', b'd', _, _, low, high, ..] = this.data[..] {
            pre_skip = u64::from(u16::from_le_bytes([low, high]));
        }
        let end = match (&packet, this.last_in_page()) {
            (None, _) => PacketWriteEndInfo::EndStream,
            (_, true) => PacketWriteEndInfo::EndPage,
            _ => PacketWriteEndInfo::NormalPacket,
        };
        let (serial, at) = (this.stream_serial(), this.absgp_page());
        position = at;
        pages.write_packet(this.data, serial, end, at)?;
    }
    pages.into_inner().flush()?;
    fs::rename(&new, path)?;
    Ok(position.saturating_sub(pre_skip) / opus::UNITS)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::opus::OpusFile;
    use super::super::timeline::Pair;
    use super::super::wav::WavFile;
    use super::*;
    use crate::threads::recorder::shelf::ShelfLimits;

    /// A directory that is gone with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("tandem-left-{name}-{}", std::process::id())))
        }

        /// A file in the middle of whose writing its relay was killed: what it had not given to the system is not there.
        fn killed(&self, id: RecordId, format: RecordingFormat) -> PathBuf {
            let shelf = Shelf::found(self.0.clone(), ShelfLimits::default());
            let (file, path) = shelf.create(id, format).expect("a directory");
            let second: Vec<Pair> = (0..16_000).map(|n| [(n % 100 * 90) as i16, 0]).collect();
            let cut = match format {
                RecordingFormat::Wav => {
                    let mut file = WavFile::new(file).expect("a file");
                    (0..7).for_each(|_| file.write(&second).expect("written"));
                    assert_eq!(close(&self.0, id), LeftRecording::Open, "it is written");
                    fs::read(&path).expect("a file")
                }
                RecordingFormat::Opus => {
                    let mut file = OpusFile::new(file, 7).expect("a file");
                    (0..7).for_each(|_| file.write(&second).expect("written"));
                    assert_eq!(close(&self.0, id), LeftRecording::Open, "it is written");
                    fs::read(&path).expect("a file")
                }
            };
            fs::remove_file(&path).expect("it is there");
            // A few bytes of what would have come next.
            fs::write(&path, [&cut[..], b"Ogg"].concat()).expect("written");
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_wav_file_that_was_left_has_the_sizes_of_what_is_in_it() {
        let (directory, id) = (Directory::new("wav"), RecordId::new(1_795_398_651_000, 1));
        let path = directory.killed(id, RecordingFormat::Wav);
        let LeftRecording::Closed(kept) = close(&directory.0, id) else { panic!("not closed") };
        let reader = hound::WavReader::open(&path).expect("a WAV file");
        assert_eq!(f64::from(reader.duration()) / 16_000.0, kept.seconds);
        assert_eq!(
            reader.into_samples::<i16>().filter(Result::is_ok).count() as f64,
            kept.seconds * 32_000.0
        );
        assert!((5.0..=7.0).contains(&kept.seconds) && kept.bytes == fs::metadata(&path).unwrap().len());
        assert_eq!((kept.format.as_str(), kept.file.starts_with("2026-11-23/")), ("wav", true));
        assert_eq!(close(&directory.0, id), LeftRecording::Closed(kept), "once more changes nothing");
        assert_eq!(close(&directory.0, RecordId::new(1, 1)), LeftRecording::None);
    }

    #[test]
    fn an_opus_file_that_was_left_ends_with_a_page_that_says_so() {
        let (directory, id) = (Directory::new("opus"), RecordId::new(1_795_398_651_000, 2));
        let path = directory.killed(id, RecordingFormat::Opus);
        let LeftRecording::Closed(kept) = close(&directory.0, id) else { panic!("not closed") };
        let mut packets = PacketReader::new(File::open(&path).expect("a file"));
        let (mut count, mut ended) = (0, false);
        while let Some(packet) = packets.read_packet().expect("whole pages") {
            (count, ended) = (count + 1, packet.last_in_stream());
        }
        assert!(ended && count > 200, "{count} packets");
        assert!((4.0..=7.0).contains(&kept.seconds), "{kept:?}");
        assert_eq!(close(&directory.0, id), LeftRecording::Closed(kept), "once more changes nothing");
    }

    #[test]
    fn a_file_in_which_nothing_is_is_no_recording() {
        let (directory, id) = (Directory::new("empty"), RecordId::new(1_795_398_651_000, 3));
        let shelf = Shelf::found(directory.0.clone(), ShelfLimits::default());
        for format in RecordingFormat::ALL {
            let path = shelf.create(id, format).expect("a directory").1;
            assert_eq!(close(&directory.0, id), LeftRecording::None);
            fs::remove_file(path).expect("it is there");
        }
    }
}
