//! The processes that a measurement or a demonstration starts: the relay, the simulator, the null relay. Each has its
//! output in a file, is watched for the line with its address, and is ended.
//!
//! Runs in: the `density`, `demo`, `legs` and `play` binaries. Owns the processes. Never leaves it behind: dropping ends it.
//! Invariant: the file holds everything that the process said.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A process must have said that it listens within this time.
const START_MAX: Duration = Duration::from_secs(20);
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A process that did not start.
#[derive(Debug)]
pub struct StartError {
    /// Which, and what it said.
    pub what: String,
    /// What the system said.
    pub source: std::io::Error,
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.source)
    }
}

impl std::error::Error for StartError {}

/// The binary of this name in the folder of the running one.
pub fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.parent().map(Path::to_path_buf).unwrap_or_default().join(name)
}

/// Starts the relay against the simulator at `sim` (as [`start_sim`] gives it) with more settings (`key=value`), and gives it and its
/// URL. What the tools know of the relay's command line stands here.
///
/// # Errors
/// When it does not start, or does not say within 20 s where it listens.
pub fn start_tandem(
    binary: &Path,
    sim: &str,
    settings: &[&str],
    log: &Path,
) -> Result<(Process, String), StartError> {
    let mut command = Command::new(binary);
    command
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .env("AUDIO_SOCKET_HOST", "127.0.0.1")
        .env("FREESWITCH_AUDIO_SOCKET_PORT", "0")
        .env("TANDEM_STORE_URL", "none")
        .env("TANDEM_ROOT", "/nonexistent")
        .env("TANDEM_ADMIN_LISTEN", "127.0.0.1:0")
        .env("GEMINI_BASE_URL", if sim.contains("://") { sim.to_owned() } else { format!("ws://{sim}") })
        .env("GEMINI_API_KEY", "simulated");
    let process = Process::start(command, log)?;
    let addr = process.wait_for("FreeSWITCH mod_audio_stream WebSocket server: ws://")?;
    Ok((process, format!("ws://{addr}/")))
}

/// Starts the simulator and gives it and its HOST:PORT; with TLS its URL.
///
/// # Errors
/// As [`start_tandem`].
pub fn start_sim(binary: &Path, arguments: &[&str], log: &Path) -> Result<(Process, String), StartError> {
    let mut command = Command::new(binary);
    command.args(["--listen", "127.0.0.1:0"]).args(arguments);
    let process = Process::start(command, log)?;
    let url = process.wait_for("gemini-sim listening on ")?;
    let addr = url.strip_prefix("ws://").map_or_else(|| url.clone(), str::to_owned);
    Ok((process, addr))
}

/// A running process.
pub struct Process {
    child: std::sync::Mutex<Child>,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `log`.
    ///
    /// # Errors
    /// When the program or the file is not there.
    pub fn start(mut command: Command, log: &Path) -> Result<Self, StartError> {
        let program = command.get_program().to_string_lossy().into_owned();
        let fail = |what: String| move |source| StartError { what, source };
        let file = File::create(log).map_err(fail(format!("cannot write {}", log.display())))?;
        let same = file.try_clone().map_err(fail(format!("cannot write {}", log.display())))?;
        command.stdin(Stdio::null()).stdout(file).stderr(same);
        let child = command.spawn().map_err(fail(format!("cannot start {program}; build it first")))?;
        Ok(Self { pid: child.id(), child: std::sync::Mutex::new(child), log: log.to_owned() })
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.child.lock().is_ok_and(|mut child| child.try_wait().is_ok_and(|status| status.is_some()))
    }

    /// Waits until a line holds `prefix`, and gives the word behind it.
    ///
    /// # Errors
    /// When the process ends or is silent for 20 s.
    pub fn wait_for(&self, prefix: &str) -> Result<String, StartError> {
        let deadline = Instant::now() + START_MAX;
        loop {
            let said = std::fs::read(&self.log).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            if let Some(word) = word_behind(&said, prefix) {
                return Ok(word);
            }
            let ended = self.child.lock().ok().and_then(|mut child| child.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() >= deadline {
                let tail: String = said.lines().rev().take(5).collect::<Vec<_>>().join(" | ");
                let state = ended.map_or("still runs".to_owned(), |status| status.to_string());
                let what = format!(
                    "it did not say {prefix:?} ({state}); its output is in {}, the last lines first: {tail}",
                    self.log.display()
                );
                return Err(StartError { what, source: std::io::ErrorKind::TimedOut.into() });
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// The word behind `prefix` in a finished line, without a slash at its end.
fn word_behind(text: &str, prefix: &str) -> Option<String> {
    let (_, rest) = text.split_once(prefix)?;
    let (line, _) = rest.split_once('\n')?;
    Some(line.split_whitespace().next()?.trim_end_matches('/').to_owned())
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(mut child) = self.child.lock() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_taken_from_a_finished_line_only() {
        let prefix = "server: ws://";
        assert_eq!(word_behind("x server: ws://127.0.0.1:4", prefix), None);
        assert_eq!(
            word_behind("a\nx server: ws://127.0.0.1:45/ y\n", prefix),
            Some("127.0.0.1:45".to_owned())
        );
    }
}
