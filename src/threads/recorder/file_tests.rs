//! Files of recordings: what other readers find in them, what becomes of them when the disk is full, and which are removed.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::disk::{Disk, DiskOrder, DiskParts};
use super::opus::OpusFile;
use super::shelf::{Shelf, ShelfLimits, recording_of, waveform_of};
use super::timeline::Pair;
use super::wav::WavFile;
use crate::base::{CallId, RecordId};
use crate::call::record::RecordingFile;
use crate::config::RecordingFormat;
use crate::sync::{Clock, Doorbell, mailbox};
use crate::telemetry::Counters;
use crate::threads::messages::ControlInput;

const ID: CallId = CallId { slot: 1, generation: 1 };
const DAY_MS: u64 = 24 * 3600 * 1000;

/// A directory that is gone with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tandem-{name}-{}", std::process::id()));
        _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Two voices of 0.3 s in every second: the caller from its beginning, the agent from its middle.
fn voices(seconds: usize) -> Vec<Pair> {
    let tone =
        |n: usize, hz: f64| ((n as f64 / 16_000.0 * hz * std::f64::consts::TAU).sin() * 8_000.0) as i16;
    let sample = |n: usize| match n % 16_000 {
        0..4_800 => [tone(n, 440.0), 0],
        8_000..12_800 => [0, tone(n, 700.0)],
        _ => [0, 0],
    };
    (0..seconds * 16_000).map(sample).collect()
}

fn write(
    directory: &Path,
    format: RecordingFormat,
    longest: Duration,
    orders: Vec<DiskOrder>,
) -> (Option<RecordingFile>, Arc<Counters>) {
    let counters = Arc::new(Counters::new());
    let (control, reports) = mailbox(Doorbell::for_parked(std::thread::current()));
    let (sender, taken) = crossbeam_channel::unbounded();
    orders.into_iter().for_each(|order| sender.send(order).expect("room"));
    drop(sender);
    let disk = Disk::new(DiskParts {
        orders: taken,
        control,
        directory: directory.to_owned(),
        limits: ShelfLimits::default(),
        format,
        longest,
        counters: Arc::clone(&counters),
        clock: Clock::new(),
    });
    disk.run().expect("the thread ends");
    let mut report = reports.take();
    if let Some(ControlInput::RecordingFailed(ID, why)) = &report {
        assert!(counters.recordings_failed.get() == 1 && !why.is_empty(), "{why:?}");
        report = reports.take();
    } else {
        assert_eq!(counters.recordings_failed.get(), 0);
    }
    let Some(ControlInput::Recorded(ID, kept)) = report else { panic!("not reported") };
    assert!(reports.is_empty(), "reported twice");
    (kept, counters)
}

fn id() -> RecordId {
    RecordId::new(20_000 * DAY_MS + 5, 77)
}

/// Three seconds, of which the second is lost on the way.
fn with_a_hole() -> Vec<DiskOrder> {
    let voices = voices(3);
    vec![
        DiskOrder::Begin(ID, id()),
        DiskOrder::Write(ID, 0, voices[..16_000].to_vec()),
        DiskOrder::Write(ID, 32_000, voices[32_000..].to_vec()),
        DiskOrder::End(ID, 48_000),
    ]
}

#[test]
fn a_wav_file_holds_what_was_written_and_silence_for_what_was_lost() {
    let directory = Directory::new("wav");
    let (kept, counters) = write(&directory.0, RecordingFormat::Wav, Duration::from_secs(60), with_a_hole());
    let kept = kept.expect("a recording");
    let path = directory.0.join(&kept.file);
    assert_eq!(kept.file, format!("2024-10-04/{}.wav", id()));
    assert_eq!((kept.format.as_str(), kept.seconds, kept.bytes), ("wav", 3.0, 44 + 48_000 * 4));
    let mut wav = hound::WavReader::open(&path).expect("a WAV file");
    let spec = wav.spec();
    assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (2, 16_000, 16));
    let samples: Vec<i16> = wav.samples().collect::<Result<_, _>>().expect("samples");
    let mut expected = voices(3);
    expected[16_000..32_000].fill([0, 0]);
    assert_eq!(samples, expected.as_flattened());
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().expect("a day"))), (0o640, 0o750));
    let waveform: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(waveform_of(&directory.0, id())).expect("a waveform"))
            .expect("JSON");
    let peaks = |side: &str| waveform[side].as_array().expect("peaks").clone();
    assert_eq!(
        (waveform["interval_ms"].as_u64(), peaks("caller").len(), peaks("agent").len()),
        (Some(100), 30, 30)
    );
    assert!(peaks("caller")[0].as_f64() > Some(0.2) && peaks("caller")[10].as_f64() == Some(0.0));
    assert_eq!(recording_of(&directory.0, id()), Some((path, RecordingFormat::Wav)));
    assert_eq!((counters.recordings_begun.get(), counters.recordings_failed.get()), (1, 0));
}

#[test]
fn no_file_of_a_recording_is_written_or_read_through_a_link() {
    let directory = Directory::new("links");
    let day = directory.0.join("2024-10-04");
    fs::create_dir_all(&day).expect("a directory");
    let victim = directory.0.join("victim");
    fs::write(&victim, "precious").expect("a file");
    // Whoever may write into the directory puts a link where the waveform will be, or is made.
    for name in [format!("{}.json", id()), format!("{}.json.new", id())] {
        symlink(&victim, day.join(name)).expect("a link");
    }
    let (kept, _) = write(&directory.0, RecordingFormat::Wav, Duration::from_secs(60), with_a_hole());
    assert!(kept.is_some());
    assert_eq!(fs::read(&victim).expect("untouched"), b"precious");
    let waveform = waveform_of(&directory.0, id());
    assert!(fs::symlink_metadata(&waveform).expect("a waveform").is_file());
    assert!(fs::read_to_string(&waveform).expect("JSON").contains("interval_ms"));
    // Neither is a link taken for a recording.
    let other = RecordId::new(20_000 * DAY_MS + 6, 78);
    symlink(&victim, day.join(format!("{other}.wav"))).expect("a link");
    assert_eq!(recording_of(&directory.0, other), None);
    let orders = vec![DiskOrder::Begin(ID, other), DiskOrder::End(ID, 0)];
    let (_, counters) = write(&directory.0, RecordingFormat::Wav, Duration::from_secs(60), orders);
    assert_eq!(counters.recordings_failed.get(), 1);
    assert_eq!(fs::read(&victim).expect("untouched"), b"precious");
}

#[test]
fn a_wav_file_whose_writer_was_killed_can_be_read() {
    let directory = Directory::new("killed");
    fs::create_dir_all(&directory.0).expect("a directory");
    let path = directory.0.join("x.wav");
    let mut wav = WavFile::new(File::create(&path).expect("a file")).expect("a header");
    for _ in 0..7 {
        wav.write(&voices(1)).expect("it is written");
    }
    // Never ended, never dropped.
    std::mem::forget(wav);
    let samples = hound::WavReader::open(&path).expect("a WAV file").duration();
    assert!((5 * 16_000..=7 * 16_000).contains(&samples), "{samples}");
}

#[test]
fn an_opus_file_is_as_long_as_what_was_written_and_each_voice_is_at_its_place() {
    let directory = Directory::new("opus");
    let orders = vec![
        DiskOrder::Begin(ID, id()),
        DiskOrder::Write(ID, 0, voices(3)),
        DiskOrder::Write(ID, 48_000, voices(1)[..777].to_vec()),
        DiskOrder::End(ID, 48_777),
    ];
    let (kept, _) = write(&directory.0, RecordingFormat::Opus, Duration::from_secs(60), orders);
    let kept = kept.expect("a recording");
    assert!((5_000..40_000).contains(&kept.bytes), "{kept:?}");
    let mut pages = ogg::PacketReader::new(File::open(directory.0.join(&kept.file)).expect("a file"));
    let mut decoder =
        opusic_c::Decoder::new(opusic_c::Channels::Stereo, opusic_c::SampleRate::Hz16000).expect("a decoder");
    let head = pages.read_packet_expected().expect("a header").data;
    assert_eq!((&head[..8], head[9]), (&b"OpusHead"[..], 2));
    let pre_skip = u64::from(u16::from_le_bytes([head[10], head[11]]));
    assert_eq!(&pages.read_packet_expected().expect("comments").data[..8], b"OpusTags");
    let (mut decoded, mut position) = (Vec::new(), 0);
    while let Some(packet) = pages.read_packet().expect("a packet") {
        let mut samples = [0_u16; 2 * 320];
        let count = decoder.decode_to_slice(&packet.data, &mut samples, false).expect("it decodes");
        decoded.extend(samples[..2 * count].iter().map(|sample| sample.cast_signed()));
        position = packet.absgp_page();
    }
    assert_eq!(position - pre_skip, 3 * 48_777, "samples of 48 kHz");
    let decoded = &decoded[2 * (pre_skip / 3) as usize..];
    assert!(decoded.len() >= 2 * 48_777);
    // Energy per 5 ms of each side, where the voices begin and end.
    let loud = |ms: usize, side: usize| {
        let part = decoded[ms * 32..(ms + 5) * 32].iter().skip(side).step_by(2);
        part.map(|sample| i64::from(*sample).pow(2)).sum::<i64>() / 80 > 800_i64.pow(2)
    };
    for second in [0, 1, 2] {
        let at = second * 1_000;
        assert_eq!([loud(at + 10, 0), loud(at + 290, 0), loud(at + 310, 0)], [true, true, false], "{second}");
        assert_eq!(
            [loud(at + 490, 1), loud(at + 510, 1), loud(at + 790, 1)],
            [false, true, true],
            "{second}"
        );
        assert_eq!([loud(at + 100, 1), loud(at + 600, 0)], [false, false], "{second}: sides do not mix");
    }
}

#[test]
fn an_empty_opus_file_is_one_too() {
    let directory = Directory::new("empty");
    fs::create_dir_all(&directory.0).expect("a directory");
    let path = directory.0.join("x.opus");
    OpusFile::new(File::create(&path).expect("a file"), 1).expect("headers").end().expect("an end");
    let mut pages = ogg::PacketReader::new(File::open(path).expect("a file"));
    let last = std::iter::from_fn(|| pages.read_packet().expect("a packet")).last().expect("packets");
    assert!(last.last_in_stream());
}

#[test]
fn a_directory_that_cannot_be_written_ends_the_recording_and_nothing_else() {
    let directory = Directory::new("unwritable");
    // A file where the directory should be: refused to root as well.
    fs::write(&directory.0, "").expect("a file");
    let (kept, counters) = write(&directory.0, RecordingFormat::Wav, Duration::from_secs(60), with_a_hole());
    assert_eq!((kept, counters.recordings_begun.get(), counters.recordings_failed.get()), (None, 0, 1));
    fs::remove_file(&directory.0).expect("a file");
}

#[test]
fn a_disk_that_is_full_ends_the_recording_once() {
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let mut wav = WavFile::new(full).expect("the header waits");
    assert!((0..10).any(|_| wav.write(&voices(1)).is_err()), "it is full");
}

#[test]
fn a_recording_is_no_longer_than_it_may_be() {
    let directory = Directory::new("long");
    let orders = vec![
        DiskOrder::Begin(ID, id()),
        DiskOrder::Write(ID, 0, voices(1)),
        DiskOrder::Write(ID, 16_000, voices(3)),
        DiskOrder::Write(ID, 64_000, voices(3)),
        DiskOrder::End(ID, 112_000),
    ];
    let (kept, _) = write(&directory.0, RecordingFormat::Wav, Duration::from_secs(2), orders);
    assert_eq!(kept.map(|kept| kept.seconds), Some(2.0));
}

#[test]
fn the_oldest_recordings_go_first_and_what_is_no_recording_stays() {
    let directory = Directory::new("shelf");
    let ids: Vec<_> =
        [1, 2, 3, 4].map(|day| RecordId::new(20_000 * DAY_MS + day * DAY_MS, day.into())).into();
    for id in &ids {
        let path = directory.0.join(Shelf::name(*id, RecordingFormat::Wav));
        fs::create_dir_all(path.parent().expect("a day")).expect("a directory");
        fs::write(&path, vec![0; 1_000]).expect("a file");
        fs::write(path.with_extension("json"), "{}").expect("a file");
    }
    let other = directory.0.join("2024-10-05/notes.wav");
    fs::write(&other, "keep me").expect("a file");
    let there = || ids.iter().map(|id| recording_of(&directory.0, *id).is_some()).collect::<Vec<_>>();
    let limits = |age_ms, bytes| ShelfLimits { age_ms, bytes };
    let now = 20_005 * DAY_MS;
    let mut shelf = Shelf::found(directory.0.clone(), limits(Some(3 * DAY_MS), None));
    assert_eq!((shelf.tidy(now), there()), (1, vec![false, true, true, true]));
    let mut shelf = Shelf::found(directory.0.clone(), limits(None, Some(1_500)));
    assert_eq!((shelf.tidy(now), there()), (2, vec![false, false, false, true]));
    assert!(other.is_file() && !waveform_of(&directory.0, ids[1]).exists());
    assert_eq!(fs::read_dir(&directory.0).expect("a directory").count(), 2, "empty days are gone");
}
