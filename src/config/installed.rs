//! Where an installed relay has its configuration, the environment of its service, and its state.
//!
//! Runs in: the main thread, at start. Owns the three places. Never makes any of them.
//! Invariant: what cannot be read is told apart from what is not there, because the directory of the package is closed to
//! accounts that are not of its group.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Names the directory below which the places are, for tests and for systems that are mounted elsewhere.
pub(super) const ROOT_VARIABLE: &str = "TANDEM_ROOT";
/// Set by a service manager that waits for the relay: the environment of the service is the process's then.
const OF_SERVICE: &str = "NOTIFY_SOCKET";

/// See the head of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    root: PathBuf,
}

impl Installation {
    /// That of this machine.
    pub fn of_machine(environment: &[(OsString, OsString)]) -> Self {
        let named = environment.iter().find(|(name, value)| name == ROOT_VARIABLE && !value.is_empty());
        Self { root: named.map_or_else(|| PathBuf::from("/"), |(_, root)| PathBuf::from(root)) }
    }

    /// The configuration.
    pub fn configuration(&self) -> PathBuf {
        self.root.join("etc/tandem/tandem.toml")
    }

    /// What systemd hands to the service (`EnvironmentFile=`).
    pub fn environment_file(&self) -> PathBuf {
        self.root.join("etc/tandem/tandem.env")
    }

    /// What systemd gives the service as `STATE_DIRECTORY`.
    pub fn state(&self) -> PathBuf {
        self.root.join("var/lib/tandem")
    }

    /// Whether `path` is its configuration, by whatever name.
    pub(super) fn is_configured_by(&self, path: &Path) -> bool {
        let own = self.configuration();
        own == path
            || matches!((own.canonicalize(), path.canonicalize()), (Ok(own), Ok(other)) if own == other)
    }
}

/// Whether the process is the service itself, which has its environment from the service manager.
pub(super) fn is_service(environment: &[(OsString, OsString)]) -> bool {
    environment.iter().any(|(name, value)| name == OF_SERVICE && !value.is_empty())
}

/// Whether there is such a file; the error of one that may not be read.
pub(super) fn is_there(path: &Path) -> io::Result<bool> {
    match std::fs::File::open(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}
