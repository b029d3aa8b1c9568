//! A Postgres of its own for a test: made, started, killed and started again on a Unix socket in a new directory.
//!
//! Runs in: the test's thread. Owns the server and its directory. Never listens on a port.
//! Invariant: the server runs as a user that is not root, as it demands, and is gone when the value is dropped.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// See the head of this file.
pub(crate) struct Postgres {
    programs: PathBuf,
    directory: PathBuf,
}

impl Postgres {
    /// Makes and starts one. Its absence is a failure: tests/prerequisites.sh installs it.
    pub(crate) fn start() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mut installed: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
            .unwrap_or_default();
        installed.retain(|programs| programs.join("initdb").exists());
        installed.sort();
        let programs = installed.pop().expect("Postgres is installed: tests/prerequisites.sh test");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Short: the path of a socket has 107 bytes at most.
        let directory = std::env::temp_dir().join(format!("tandem-pg-{}-{number}", std::process::id()));
        let postgres = Self { programs, directory };
        postgres.unprivileged("mkdir", &["-m", "700", &postgres.path("")]);
        let data = postgres.path("data");
        let options =
            ["-D", &data, "-U", "tandem", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];
        postgres.program("initdb", &options);
        postgres.begin();
        postgres
    }

    /// The URL of a database; `postgres` is there from the start.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://tandem@/{database}?host={}", self.directory.display())
    }

    /// Makes a database.
    pub(crate) fn create(&self, database: &str) {
        self.program("createdb", &["-h", &self.path(""), "-U", "tandem", database]);
    }

    /// Ends the server without a word to anybody, as a crash would; what it had committed is there when it begins again.
    pub(crate) fn kill(&self) {
        self.program("pg_ctl", &["-D", &self.path("data"), "-m", "immediate", "-w", "stop"]);
    }

    /// Starts the server, and waits until it can be asked.
    pub(crate) fn begin(&self) {
        let options =
            format!("-c listen_addresses='' -c unix_socket_directories='{}'", self.directory.display());
        let (data, log) = (self.path("data"), self.path("log"));
        self.program("pg_ctl", &["-D", &data, "-l", &log, "-o", &options, "-w", "start"]);
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn program(&self, name: &str, arguments: &[&str]) {
        self.unprivileged(&self.programs.join(name).display().to_string(), arguments);
    }

    fn unprivileged(&self, program: &str, arguments: &[&str]) {
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--", program]);
            command
        } else {
            Command::new(program)
        };
        let command = command.args(arguments).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        let status = command.status();
        assert!(
            status.as_ref().is_ok_and(std::process::ExitStatus::success),
            "{program} {arguments:?}: {status:?}"
        );
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let stop = ["-D", &self.path("data"), "-m", "immediate", "-w", "stop"].map(str::to_owned);
        // A server that a test has killed cannot be stopped.
        let stopped =
            std::panic::catch_unwind(|| self.program("pg_ctl", &stop.each_ref().map(String::as_str)));
        drop(stopped);
        _ = std::fs::remove_dir_all(&self.directory);
    }
}
