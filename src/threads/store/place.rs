//! Where records are kept and where they wait: the configuration, with what it leaves open filled in.
//!
//! Runs in: the main thread, when the relay or the command line begins. Owns nothing. Never makes a file.
//! Invariant: relay, admin server and command line find the same place by the same configuration and environment.

use std::fmt;
use std::path::PathBuf;

use super::postgres_url::PostgresUrl;
use crate::config::{Secret, StoreConfig, StoreUrl};

/// SQLite's file where the configuration names none.
const FILE: &str = "tandem.db";
/// The spool's directory where the configuration names none.
const SPOOL: &str = "tandem-spool";

/// The database.
#[derive(Debug, Clone)]
pub enum DatabasePlace {
    /// None: no records are kept.
    Off,
    /// SQLite in this file.
    Sqlite(PathBuf),
    /// Postgres at this URL, which may hold a password.
    Postgres(Secret),
}

/// Where records are kept.
#[derive(Debug, Clone)]
pub struct StorePlace {
    /// The database.
    pub database: DatabasePlace,
    /// The directory in which records wait for it.
    pub spool: PathBuf,
}

impl StorePlace {
    /// The place by this configuration and the environment of the process.
    pub fn configured(config: &StoreConfig) -> Self {
        Self::found(config, |variable| std::env::var(variable).ok())
    }

    fn found(config: &StoreConfig, variable: impl Fn(&str) -> Option<String>) -> Self {
        let state = state_directory_of(&variable);
        let database = match &config.url {
            StoreUrl::Usual => DatabasePlace::Sqlite(state.join(FILE)),
            StoreUrl::Off => DatabasePlace::Off,
            StoreUrl::Sqlite(path) => DatabasePlace::Sqlite(path.clone()),
            StoreUrl::Postgres(url) => DatabasePlace::Postgres(url.clone()),
        };
        let beside = match &database {
            DatabasePlace::Sqlite(path) => path.parent().unwrap_or(&state).join(SPOOL),
            _ => state.join(SPOOL),
        };
        Self { database, spool: config.spool_directory.clone().unwrap_or(beside) }
    }
}

impl DatabasePlace {
    /// What an operator should know before a password goes there, if anything.
    pub fn warning(&self) -> Option<&'static str> {
        let Self::Postgres(url) = self else { return None };
        let is_clear_and_far = PostgresUrl::parse(url.expose()).is_ok_and(|url| url.is_clear_and_far);
        is_clear_and_far.then_some(
            "store.url (DATABASE_URL) leads beyond this machine and private addresses, and its sslmode lets password and \
             records go there in clear: write sslmode=verify-full",
        )
    }
}

/// The directory of the relay's state by the environment of the process.
pub fn state_directory() -> PathBuf {
    state_directory_of(|variable| std::env::var(variable).ok())
}

fn state_directory_of(variable: impl Fn(&str) -> Option<String>) -> PathBuf {
    let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
    // systemd names several directories where a unit asks for several.
    let of_systemd = || Some(PathBuf::from(variable("STATE_DIRECTORY")?.split(':').next()?));
    let of_user = || {
        let base = variable("XDG_STATE_HOME").map(PathBuf::from);
        let base = base.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".local/state")))?;
        Some(base.join("tandem"))
    };
    of_systemd().or_else(of_user).unwrap_or_default()
}

/// In the words of the log: without the URL of a database, in which a password may stand.
impl fmt::Display for DatabasePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("no database"),
            Self::Sqlite(path) => write!(f, "SQLite in {}", path.display()),
            Self::Postgres(_) => f.write_str("Postgres"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(url: StoreUrl, environment: &[(&str, &str)]) -> (String, String) {
        let config = StoreConfig { url, spool_directory: None, retention: None };
        let place = StorePlace::found(&config, |name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        (place.database.to_string(), place.spool.display().to_string())
    }

    #[test]
    fn without_configuration_the_state_of_the_relay_is_the_place() {
        let environment = [("STATE_DIRECTORY", "/var/lib/tandem:/var/lib/other"), ("HOME", "/home/ann")];
        let expected = ("SQLite in /var/lib/tandem/tandem.db", "/var/lib/tandem/tandem-spool");
        let place = found(StoreUrl::Usual, &environment);
        assert_eq!((place.0.as_str(), place.1.as_str()), expected);
        assert_eq!(
            found(StoreUrl::Usual, &environment[1..]).0,
            "SQLite in /home/ann/.local/state/tandem/tandem.db"
        );
        let of_xdg = [("XDG_STATE_HOME", "/state"), ("HOME", "/home/ann")];
        assert_eq!(found(StoreUrl::Usual, &of_xdg).0, "SQLite in /state/tandem/tandem.db");
        assert_eq!(found(StoreUrl::Usual, &[]).0, "SQLite in tandem.db");
    }

    #[test]
    fn records_wait_beside_the_file_or_where_it_would_be() {
        let environment = [("HOME", "/home/ann")];
        let sqlite = found(StoreUrl::Sqlite("/data/calls.db".into()), &environment);
        assert_eq!(sqlite.1, "/data/tandem-spool");
        let url = Secret::new("postgres://tandem:geheim@db/calls");
        let (database, spool) = found(StoreUrl::Postgres(url), &environment);
        assert_eq!(
            (database.as_str(), spool.as_str()),
            ("Postgres", "/home/ann/.local/state/tandem/tandem-spool")
        );
    }
}
