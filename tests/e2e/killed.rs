//! A relay that is killed in the middle of its calls: each of them has a record all the same, and a recording that plays.
//!
//! Runs in: the test's thread beside relay and simulator, in real time, with SIGKILL; on SQLite and on a real Postgres. Owns a
//! directory that is gone with the test.
//! Invariant: nothing of the killed relay is looked at but what it left behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tandem::call::CallRecord;
use tandem::config::Secret;
use tandem::threads::store::{CallFilter, DatabasePlace, Reader, StorePlace};
use tandem_loadtest::callgen::Options;
use tandem_loadtest::sim::Voice;

use crate::harness::model::speaking;
use crate::harness::postgres::Postgres;
use crate::harness::{Model, PATIENCE, Relay, admin, in_company};

const CALLS: u32 = 3;

/// A directory that is gone with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tandem-killed-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How many seconds of stereo another reader finds.
fn seconds(file: &Path) -> f64 {
    let script = "import sys, wave\nw = wave.open(sys.argv[1])\n\
                  assert (w.getnchannels(), w.getsampwidth(), w.getframerate()) == (2, 2, 16000)\n\
                  assert len(w.readframes(w.getnframes())) == 4 * w.getnframes()\n\
                  print(w.getnframes() / 16000)";
    let read = Command::new("python3").args(["-c", script]).arg(file).output().expect("python3 is there");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    String::from_utf8_lossy(&read.stdout).trim().parse().expect("a number")
}

/// The records, once there are so many.
fn records(reader: &Reader, count: usize) -> Vec<CallRecord> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = reader.list(&CallFilter::default()).map(|page| page.calls).unwrap_or_default();
        if found.len() >= count {
            return found;
        }
        assert!(Instant::now() < deadline, "{} records of {count}", found.len());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until that metric has reached this.
fn until_counted(relay: &Relay, metric: &str, count: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (_, metrics) = admin::ask(relay, "GET /metrics", "");
        let line = metrics.lines().find_map(|line| line.strip_prefix(metric)?.trim().parse::<u64>().ok());
        if line.is_some_and(|counted| counted >= count) {
            return;
        }
        assert!(Instant::now() < deadline, "{metric} is {line:?}, not {count}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn killed(directory: &Directory, url: &str, database: DatabasePlace) {
    let model = Model::start(speaking(Voice::Answer));
    let spool = directory.0.join("spool");
    let recordings = directory.0.join("recordings");
    let spool_set = format!("store.spool_directory={}", spool.display());
    let recordings_set = format!("recording.directory={}", recordings.display());
    let sets = [
        "agent.transcript=true",
        "agent.greeting=Hello",
        "agent.record=true",
        "leg.detached_ms=0",
        &spool_set,
        &recordings_set,
    ];
    let environment = [("TANDEM_STORE_URL", url)];
    let mut relay = Relay::start_at(&model.url(), &sets, &environment);
    let options = Options { calls: CALLS, seconds: 60.0, url: relay.url("/call"), ..Options::default() };
    let calls = std::thread::spawn(move || tandem_loadtest::callgen::run(options));
    until_counted(&relay, "tandem_live_call_rows_total{result=\"written\"}", 3 * u64::from(CALLS));
    relay.signal(Signal::KILL);
    relay.ended();
    let report = calls.join().expect("the generator lives").expect("the options are right");
    assert_eq!(report.calls_failed, CALLS as usize, "they were cut off");

    let again = Relay::start_at(&model.url(), &sets, &environment);
    let reader = Reader::new(StorePlace { database, spool });
    let found = records(&reader, CALLS as usize);
    assert_eq!(found.len(), CALLS as usize);
    for record in &found {
        assert_eq!((record.outcome.as_str(), record.ended_by.as_str()), ("relay_died", "us"), "{record:?}");
        let detail = reader.show(&record.id).expect("there").expect("it has been listed");
        assert!(!detail.transcript.is_empty(), "what was said until then: {detail:?}");
        assert!(detail.events.iter().any(|event| event.kind == "answered"), "{:?}", detail.events);
        let recording = record.recording.as_ref().expect("it was recorded");
        let file = recordings.join(&recording.file);
        assert!((seconds(&file) - recording.seconds).abs() < 0.01, "{recording:?}");
        // What had not been given to the disk may be lost, and no more.
        assert!(recording.seconds > record.duration_s - 7.0, "{recording:?} of {} s", record.duration_s);
    }
    let ids: BTreeSet<_> = found.iter().map(|record| &record.id).collect();
    assert_eq!(ids.len(), CALLS as usize);
    until_counted(&again, "tandem_dead_relay_calls_total", CALLS.into());
}

#[test]
fn every_call_of_a_relay_that_was_killed_has_a_record_in_sqlite_and_a_recording_that_plays() {
    let _turn = in_company();
    let directory = Directory::new("sqlite");
    let file = directory.0.join("calls.db");
    killed(&directory, &format!("sqlite:{}", file.display()), DatabasePlace::Sqlite(file));
}

#[test]
fn every_call_of_a_relay_that_was_killed_has_a_record_in_postgres() {
    let _turn = in_company();
    let (directory, postgres) = (Directory::new("postgres"), Postgres::start());
    postgres.create("killed");
    let url = postgres.url("killed");
    killed(&directory, &url.clone(), DatabasePlace::Postgres(Secret::new(url)));
}
