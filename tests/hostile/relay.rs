//! The relay as an operator runs it: a process with a log, signals and what /proc says of it.
//!
//! Runs in: the test's thread, and one that reads the log. Owns the process and ends it.
//! Invariant: whatever the test does, the process is gone when [`Relay`] is.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::PATIENCE;

/// The key that the relay is given; nothing checks it.
const KEY: &str = "simulated-key-of-the-hostile-tests";

/// Counters as the relay logs them: names with labels, and their values.
pub(crate) type Counters = BTreeMap<String, u64>;

/// A running relay.
pub(crate) struct Relay {
    child: Child,
    addr: SocketAddr,
    lines: Receiver<String>,
    log: Vec<String>,
}

impl Relay {
    /// Starts it on a free port with these settings; `descriptors` limits its open files as `ulimit -n` does.
    pub(crate) fn start(gemini: SocketAddr, settings: &[&str], descriptors: Option<u32>) -> Self {
        let binary = env!("CARGO_BIN_EXE_tandem");
        let mut command = match descriptors {
            None => Command::new(binary),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\""), binary]);
                shell
            }
        };
        for setting in settings {
            command.args(["--set", setting]);
        }
        for name in ["RUST_LOG", "TANDEM_TOKEN", "GOOGLE_API_KEY"] {
            command.env_remove(name);
        }
        let mut child = command
            .env("AUDIO_SOCKET_HOST", "0.0.0.0")
            .env("FREESWITCH_AUDIO_SOCKET_PORT", "0")
            .env("TANDEM_STORE_URL", "none")
            .env("TANDEM_ROOT", "/nonexistent")
            .env("TANDEM_ADMIN_LISTEN", "127.0.0.1:0")
            .env("GEMINI_BASE_URL", format!("ws://{gemini}"))
            .env("GEMINI_API_KEY", KEY)
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the relay starts");
        let errors = child.stderr.take().expect("piped");
        let (line, lines) = channel();
        thread::spawn(move || {
            for text in BufReader::new(errors).lines().map_while(Result::ok) {
                if line.send(text).is_err() {
                    return;
                }
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut relay = Self { child, addr: nowhere, lines, log: Vec::new() };
        let said = relay.line_with("FreeSWITCH mod_audio_stream WebSocket server: ws://");
        let port = said.rsplit(':').next().and_then(|port| port.trim().parse().ok());
        relay.addr.set_port(port.unwrap_or_else(|| panic!("no port in {said:?}")));
        relay
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits for a line of the log that holds `words` and was not looked at before.
    pub(crate) fn line_with(&mut self, words: &str) -> String {
        let by = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(by.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("{words:?} is not in the log: {}", self.tail()),
                Err(RecvTimeoutError::Disconnected) => panic!("the relay has ended: {}", self.tail()),
            }
        }
    }

    fn tail(&self) -> String {
        self.log.iter().rev().take(30).rev().cloned().collect::<Vec<_>>().join("\n")
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id() as i32).expect("a process id");
        kill_process(id, signal).expect("the relay runs");
    }

    /// What it has counted so far.
    pub(crate) fn counters(&mut self) -> Counters {
        self.signal(Signal::USR1);
        let line = self.line_with("counters: {");
        counters_of(&line)
    }

    /// Waits until so many calls are running.
    pub(crate) fn await_active_calls(&mut self, calls: u64) -> Counters {
        let by = Instant::now() + PATIENCE;
        loop {
            let counters = self.counters();
            let active = value(&counters, "tandem_active_calls");
            if active == calls {
                return counters;
            }
            assert!(Instant::now() < by, "{active} calls instead of {calls}: {counters:#?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// A line of /proc/PID/status such as `VmRSS`, in KiB.
    pub(crate) fn memory_kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).expect("the kernel tells")
    }

    /// Open file descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count()
    }

    /// CPU time used so far, user and system.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        // proc(5): utime and stime are the fields 14 and 15, in ticks of which Linux has 100 a second.
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Ends it as a supervisor does and returns the last counters.
    ///
    /// # Panics
    /// When it does not end in time, with another status than 0, or with a panic in its log.
    pub(crate) fn stop(mut self) -> Counters {
        self.signal(Signal::TERM);
        let counters = self.line_with("counters: {");
        let by = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                break status;
            }
            assert!(Instant::now() < by, "it does not end: {}", self.tail());
            thread::sleep(Duration::from_millis(10));
        };
        self.log.extend(self.lines.try_iter());
        assert!(status.success(), "{status}: {}", self.tail());
        let panicked = self.log.iter().find(|line| line.contains("panicked"));
        assert_eq!(panicked, None, "{}", self.tail());
        assert!(!self.log.iter().any(|line| line.contains(KEY)), "the key stands in the log");
        counters_of(&counters)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // After `stop` it is gone already, and both say so.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn counters_of(line: &str) -> Counters {
    let json = line.split_once("counters: ").map_or("", |(_, json)| json);
    let Ok(Value::Object(all)) = serde_json::from_str(json) else { panic!("no counters in {line:?}") };
    all.into_iter().filter_map(|(name, value)| Some((name, value.as_u64()?))).collect()
}

/// A counter's value; one that has never counted is not logged.
pub(crate) fn value(counters: &Counters, name: &str) -> u64 {
    counters.get(name).copied().unwrap_or(0)
}

/// How far a counter has come between two looks; 0 for a gauge that fell, as the headroom does under attack.
pub(crate) fn grown(before: &Counters, after: &Counters, name: &str) -> u64 {
    value(after, name).saturating_sub(value(before, name))
}
