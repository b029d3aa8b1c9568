//! What systemd is told over NOTIFY_SOCKET: ready, alive, reloading, stopping. The test plays systemd.
//!
//! Runs in: the test's thread beside relay and simulator. Invariant: each message is waited for, by deadline.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use rustix::process::Signal;
use tandem_loadtest::sim::Voice;

use crate::harness::model::speaking;
use crate::harness::{Leg, Model, PATIENCE, Relay, in_company};

/// systemd's end of the socket.
struct Supervisor {
    path: PathBuf,
    socket: UnixDatagram,
}

impl Supervisor {
    fn listen(name: &str) -> Self {
        // Below /tmp: the path of a socket has 107 bytes at most.
        let path = std::env::temp_dir().join(format!("tandem-{name}-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).expect("a writable directory");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { path, socket }
    }

    fn environment(&self) -> (&'static str, &str) {
        ("NOTIFY_SOCKET", self.path.to_str().expect("UTF-8"))
    }

    /// The lines of the next message.
    fn next(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message of the relay");
        String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned).collect()
    }

    /// Waits for a message with a line that begins like this, and gives all of its lines.
    fn told(&self, begin: &str) -> Vec<String> {
        loop {
            let lines = self.next();
            if lines.iter().any(|line| line.starts_with(begin)) {
                return lines;
            }
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        _ = std::fs::remove_file(&self.path);
    }
}

#[test]
fn systemd_is_told_of_readiness_life_calls_and_the_end() {
    let _turn = in_company();
    let supervisor = Supervisor::listen("watched");
    let model = Model::start(speaking(Voice::Echo));
    let environment = [supervisor.environment(), ("WATCHDOG_USEC", "400000")];
    let mut relay = Relay::start_at(&model.url(), &["drain.seconds=600", "listen.max_calls=7"], &environment);

    assert_eq!(supervisor.next(), ["READY=1", "STATUS=0 of 7 calls"]);
    // Said again and again, and not once.
    for _ in 0..3 {
        supervisor.told("WATCHDOG=1");
    }
    let leg = Leg::call(&relay, "/?uuid=watched");
    model.ready(1);
    assert!(supervisor.told("STATUS=").contains(&"STATUS=1 of 7 calls".to_owned()));

    relay.signal(Signal::TERM);
    assert_eq!(supervisor.told("STOPPING=1"), ["STOPPING=1"]);
    supervisor.told("STATUS=draining: 1 calls may finish");
    // However long calls take: systemd is asked for more time, and still hears that the relay lives.
    let waiting = supervisor.told("EXTEND_TIMEOUT_USEC=");
    assert!(waiting.contains(&"WATCHDOG=1".to_owned()), "{waiting:?}");
    assert_eq!(leg.hang_up().0, 1000);
    assert_eq!(relay.ended().code(), Some(0));
}

#[test]
fn a_reload_is_announced_and_its_end_too() {
    let _turn = in_company();
    let supervisor = Supervisor::listen("reloading");
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start_at(&model.url(), &[], &[supervisor.environment()]);
    relay.signal(Signal::HUP);
    let reloading = supervisor.told("RELOADING=1");
    let since = reloading.iter().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse::<u64>().ok());
    assert!(since.is_some(), "{reloading:?}");
    assert_eq!(supervisor.told("READY=1"), ["READY=1"]);
    relay.line(&["the configuration was read anew"]);
}

#[test]
fn a_supervisor_that_asks_for_no_watchdog_is_told_of_no_life() {
    let _turn = in_company();
    let supervisor = Supervisor::listen("unwatched");
    let model = Model::start(speaking(Voice::Echo));
    let relay = Relay::start_at(&model.url(), &[], &[supervisor.environment()]);
    relay.signal(Signal::TERM);
    loop {
        let lines = supervisor.next();
        assert!(!lines.iter().any(|line| line.starts_with("WATCHDOG")), "{lines:?}");
        if lines.iter().any(|line| line == "STOPPING=1") {
            break;
        }
    }
}
