//! The binary `tandem` as a child process, its log line by line.
//!
//! Runs in: the tests' threads, and one that reads the log. Owns the child.
//! Never leaves it running: dropping the value kills exactly this process, by its id, and shows its log where a test
//! has failed.
//! Invariant: the environment is only what the test gives, so that a developer's key or settings change nothing.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

#[derive(Default)]
struct Written {
    lines: Vec<String>,
    ended: bool,
}

#[derive(Default)]
struct Log {
    written: Mutex<Written>,
    changed: Condvar,
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running `tandem`.
pub(crate) struct Process {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
}

/// The command `tandem` with these arguments and this environment alone, in a directory without configuration. It keeps no
/// records where nothing says where to.
pub(crate) fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
    command
        .args(arguments)
        .env_clear()
        .env("TZ", "UTC")
        .env("TANDEM_STORE_URL", "none")
        // What is installed on this machine is none of the test's.
        .env("TANDEM_ROOT", "/nonexistent")
        .envs(environment.iter().copied());
    command.current_dir(env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    command
}

/// The same with a socket that it is passed under this name, as systemd passes it (sd_listen_fds(3)).
pub(crate) fn command_with_socket(
    arguments: &[&str],
    environment: &[(&str, &str)],
    name: &str,
    socket: &TcpListener,
) -> Command {
    let plain = command(arguments, environment);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", r#"LISTEN_PID=$$ exec "$0" "$@" 3<&0 </dev/null"#]);
    command.arg(plain.get_program()).args(plain.get_args()).env_clear();
    command.envs(plain.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command.env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", name);
    command.current_dir(env!("CARGO_TARGET_TMPDIR"));
    command.stdin(OwnedFd::from(socket.try_clone().expect("a descriptor")));
    command
}

impl Process {
    /// Starts it.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary was built");
        let log = Arc::new(Log::default());
        let output = BufReader::new(child.stderr.take().expect("piped"));
        let reader = std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in output.split(b'\n') {
                    let Ok(line) = line else { break };
                    log.lock().lines.push(String::from_utf8_lossy(&line).into_owned());
                    log.changed.notify_all();
                }
                log.lock().ended = true;
                log.changed.notify_all();
            }
        });
        Self { child, log, reader: Some(reader) }
    }

    /// Everything logged so far, for assertions and their messages.
    pub(crate) fn log(&self) -> String {
        self.log.lock().lines.join("\n")
    }

    /// Waits for the first line that contains every one of `parts`.
    pub(crate) fn line(&self, parts: &[&str]) -> String {
        self.nth_line(parts, 1)
    }

    /// Waits for the `nth` line, from 1, that contains every one of `parts`. Values of the log stand in quotation marks, which
    /// may be left out here: `did=5000` is found in `did="5000"`.
    pub(crate) fn nth_line(&self, parts: &[&str], nth: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut written = self.log.lock();
        loop {
            let fits = |line: &&String| {
                let plain = line.replace('"', "");
                parts.iter().all(|part| line.contains(part) || plain.contains(part))
            };
            let mut found = written.lines.iter().filter(fits);
            if let Some(line) = found.nth(nth - 1) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!written.ended && !left.is_zero(), "the log has no line {nth} with {parts:?}");
            written = self.log.changed.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is running");
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let mut written = self.log.lock();
        while !written.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "it does not end");
            written = self.log.changed.wait_timeout(written, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(written);
        // Its end of the pipe is closed, so it is ending, and there is nothing else to wait for.
        self.child.wait().expect("it is a child of this process")
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("it is a child of this process").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("the log of the relay:\n{}", self.log());
        }
    }
}
