//! A process that is measured: started with its output in a file, watched for one line, and ended.
//!
//! Runs in: the `density` binary. Owns the process. Never leaves it behind: dropping ends it.
//! Invariant: the file holds everything that the process said.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Error;

/// A process must have said that it listens within this time.
const START_MAX: Duration = Duration::from_secs(20);
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running process.
pub(super) struct Process {
    child: std::sync::Mutex<Child>,
    pid: u32,
    log: PathBuf,
}

impl Process {
    /// Starts `command`; its output goes to `log`.
    pub(super) fn start(mut command: Command, log: &Path) -> Result<Self, Error> {
        let program = command.get_program().to_string_lossy().into_owned();
        let fail = |what: String| move |source| Error::Start { what, source };
        let file = File::create(log).map_err(fail(format!("cannot write {}", log.display())))?;
        let same = file.try_clone().map_err(fail(format!("cannot write {}", log.display())))?;
        command.stdin(Stdio::null()).stdout(file).stderr(same);
        let child = command.spawn().map_err(fail(format!("cannot start {program}; build it first")))?;
        Ok(Self { pid: child.id(), child: std::sync::Mutex::new(child), log: log.to_owned() })
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until a line holds `prefix`, and gives the word behind it.
    pub(super) fn wait_for(&self, prefix: &str) -> Result<String, Error> {
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
                return Err(Error::Start { what, source: std::io::ErrorKind::TimedOut.into() });
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
