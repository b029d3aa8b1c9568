//! Recordings of real calls: where both sides stand against what the call generator measured, what another reader makes of
//! the file, and what the API gives of it.
//!
//! Runs in: the test's thread beside relay and simulator. Owns a directory that is gone with the test.
//! Invariant: times are compared with those of the same call, never with the clock's.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use tandem::base::SampleRate;
use tandem_loadtest::callgen::{Options, Playback};
use tandem_loadtest::sim::Voice;

use crate::harness::model::speaking;
use crate::harness::{Leg, Model, PATIENCE, Relay, admin, alone, generate, in_company};

/// A directory that is gone with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tandem-e2e-{name}-{}", std::process::id()));
        _ = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn setting(&self) -> String {
        format!("recording.directory={}", self.0.display())
    }

    /// The only file of this kind.
    fn file(&self, extension: &str) -> PathBuf {
        let inside = |path: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(path).into_iter().flatten().flatten().map(|found| found.path()).collect()
        };
        let files: Vec<_> = inside(&self.0).iter().flat_map(|day| inside(day)).collect();
        let mut found = files.iter().filter(|path| path.extension().is_some_and(|found| found == extension));
        match (found.next(), found.next()) {
            (Some(file), None) => file.clone(),
            _ => panic!("not one {extension} among {files:?}"),
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Both sides of a WAV file, as Python reads it.
fn sides(file: &Path) -> [Vec<i16>; 2] {
    let script = "import sys, wave\nw = wave.open(sys.argv[1])\n\
                  assert (w.getnchannels(), w.getsampwidth(), w.getframerate()) == (2, 2, 16000)\n\
                  sys.stdout.buffer.write(w.readframes(w.getnframes()))";
    let read = Command::new("python3").args(["-c", script]).arg(file).output().expect("python3 is there");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let side = |from: usize| {
        read.stdout
            .as_chunks::<4>()
            .0
            .iter()
            .map(|pair| i16::from_le_bytes([pair[from], pair[from + 1]]))
            .collect()
    };
    [side(0), side(2)]
}

/// By how many samples `later` says the same as `earlier` does at `at`, up to half a second.
fn delay(earlier: &[i16], later: &[i16], at: usize) -> Option<usize> {
    let window = earlier.get(at..at + 1_600)?;
    let likeness = |delay: usize| -> Option<f64> {
        let part = later.get(at + delay..at + delay + window.len())?;
        let product: f64 = window.iter().zip(part).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        let energy: f64 = part.iter().map(|b| f64::from(*b).powi(2)).sum();
        Some(product / energy.sqrt().max(1_000.0))
    };
    let own = window.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>().sqrt();
    let best =
        (0..8_000).filter_map(|delay| Some((likeness(delay)?, delay))).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.7 * own).then_some(best.1)
}

#[test]
fn both_sides_of_a_recording_stand_as_far_apart_as_the_call_generator_measured() {
    // Alone: a machine that is late moves what is measured at one place and not at the other.
    let _turn = alone();
    let directory = Directory::new("aligned");
    let model = Model::start(speaking(Voice::Echo));
    let mut relay = Relay::start(&model, &["agent.record=true", &directory.setting()]);
    let options =
        Options { rate: SampleRate::Hz16000, playback: Playback::Binary, seconds: 3.0, ..Options::default() };
    let (_, report) = generate(&relay, vec![options]).remove(0);
    assert_eq!(report.calls_good, 1, "{:?}", report.failures);
    // It ends when the recording is closed.
    relay.signal(Signal::TERM);
    assert!(relay.ended().success());
    let [caller, agent] = sides(&directory.file("wav"));
    assert!((2 * 16_000..6 * 16_000).contains(&caller.len()), "{}", caller.len());
    let mut delays: Vec<f64> = (0..caller.len())
        .step_by(1_600)
        .filter_map(|at| delay(&caller, &agent, at))
        .map(|samples| samples as f64 / 16.0)
        .collect();
    delays.sort_unstable_by(f64::total_cmp);
    assert!(delays.len() >= 10, "{delays:?}");
    let (median, measured) = (delays[delays.len() / 2], report.figures.ear_latency_ms.p50);
    assert!(
        (median - measured).abs() < 20.0,
        "{median} ms in the file, {measured} ms at the ear: {delays:?}"
    );
    let waveform = std::fs::read_to_string(directory.file("json")).expect("a waveform");
    assert!(waveform.starts_with(r#"{"agent":["#) || waveform.contains(r#""interval_ms":100"#), "{waveform}");
}

#[test]
fn a_running_call_is_listened_to_paused_and_its_recording_read_by_the_api() {
    let _turn = in_company();
    let directory = Directory::new("api");
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["agent.record=true", &directory.setting()]);
    let leg = Leg::call(&relay, "/?uuid=recorded-1&rate=16000");
    model.ready(1);
    let post = |what: &str| admin::ask(&relay, &format!("POST /api/calls/recorded-1/recording/{what}"), "");
    assert_eq!(post("pause").0, 200);
    // The list is as old as a quarter of a second.
    let deadline = std::time::Instant::now() + PATIENCE;
    while !admin::ask(&relay, "GET /api/calls?state=live", "").1.contains(r#""recording_paused":true"#) {
        assert!(std::time::Instant::now() < deadline, "never seen to pause");
    }
    assert_eq!(post("resume").0, 200);
    assert_eq!(admin::ask(&relay, "POST /api/calls/nobody/recording/pause", "").0, 404);
    let mut listener = TcpStream::connect(admin::address(&relay)).expect("it listens");
    let request =
        format!("GET /api/calls/recorded-1/listen HTTP/1.1\r\nHost: {}\r\n\r\n", admin::address(&relay));
    listener.write_all(request.as_bytes()).expect("it takes a request");
    relay.line(&["somebody of the API listens in"]);
    // A second, whose samples are the letters AA: what follows is heard by whoever listens, and then the call is over.
    leg.speak(&[0x4141; 16_000], 320, std::time::Instant::now());
    leg.hang_up();
    let mut heard = Vec::new();
    listener.set_read_timeout(Some(PATIENCE)).expect("a TCP socket");
    while !heard.ends_with(b"\r\n0\r\n\r\n") {
        let mut piece = [0; 4_096];
        let read = listener.read(&mut piece).expect("audio");
        assert!(read > 0, "the stream ends with the call");
        heard.extend(&piece[..read]);
    }
    assert!(heard.starts_with(b"HTTP/1.1 200"));
    let letters = heard.windows(2).filter(|pair| pair == b"AA").count();
    assert!(letters > 14_000, "{letters} samples heard");
    relay.end_of("recorded-1");
    let id = directory.file("wav").file_stem().expect("a name").to_string_lossy().into_owned();
    let range = "Range: bytes=0-3\r\n";
    let (status, body) = admin::ask_with(&relay, &format!("GET /api/calls/{id}/recording"), range, "");
    assert_eq!((status, body.as_str()), (206, "RIFF"));
    let missing = "GET /api/calls/01234567-89ab-7fff-bfff-ffffffffffff/waveform";
    assert_eq!(admin::ask(&relay, missing, "").0, 404);
}

#[test]
fn a_call_goes_on_where_its_recording_cannot_be_written() {
    let _turn = in_company();
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start(&model, &["agent.record=true", "recording.directory=/dev/null/recordings"]);
    let options = Options { rate: SampleRate::Hz8000, seconds: 2.0, ..Options::default() };
    let (_, report) = generate(&relay, vec![options]).remove(0);
    assert_eq!((report.calls_good, report.lost_frames), (1, 0), "{:?}", report.failures);
    let line = relay.line(&["is not recorded"]);
    assert!(line.contains("recording.directory") && line.contains("/dev/null/recordings/"), "{line}");
}
