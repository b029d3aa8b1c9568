//! The configuration with the origin of each value, as `--check` prints it and the log shows it at start.
//!
//! Runs in: the main thread, at start. Owns the shown values. Never holds a secret's text in them.
//! Invariant: one setting for each key, in the order of [`super::KEYS`]; then one for each agent, tool, credential and route
//! and for each key that it sets.

use std::borrow::Cow;
use std::fmt;

use super::model::Config;
use super::problem::Origin;

/// A value as it may be shown, and where it came from.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The key's whole name, such as `listen.port` or `agents.sales.voice`; for a table itself `[agents.sales]`.
    pub name: Cow<'static, str>,
    /// The value as TOML; `(set)` for a secret, `(not set)` where there is none. Empty for a table itself.
    pub shown: String,
    /// Where it was written.
    pub origin: Origin,
}

/// What [`super::load()`] gives. `Display` is the aligned list of all keys that `--check` prints.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What the program reads.
    pub config: Config,
    /// Every key with its value and origin.
    pub settings: Vec<Setting>,
    /// Which files were read where nobody named them, one sentence each.
    pub read: Vec<String>,
    /// What was passed over in them, or could not be read, one sentence each.
    pub unread: Vec<String>,
    /// What is allowed but probably not meant, one sentence each.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// The origin of a key's value; the default for a name that is no key.
    pub fn origin(&self, name: &str) -> Origin {
        self.settings
            .iter()
            .find(|setting| setting.name == name)
            .map_or(Origin::Default, |s| s.origin.clone())
    }

    /// Which files were read where nobody named one, and what of them was not: a line each, for standard error.
    pub fn files(&self) -> String {
        self.read.iter().chain(&self.unread).map(|sentence| format!("tandem: {sentence}\n")).collect()
    }

    /// Logs every value with its origin, at info what was set and at debug the defaults, then the warnings.
    pub fn log(&self) {
        for setting in &self.settings {
            let level = if setting.origin == Origin::Default { log::Level::Debug } else { log::Level::Info };
            log::log!(level, "{} = {} ({})", setting.name, shortened(&setting.shown), setting.origin);
        }
        for read in &self.read {
            log::info!("{read}");
        }
        for warning in self.unread.iter().chain(&self.warnings) {
            log::warn!("{warning}");
        }
    }
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: Vec<String> = self.settings.iter().map(|setting| shortened(&setting.shown)).collect();
        let name_width = self.settings.iter().map(|setting| setting.name.len()).max().unwrap_or(0);
        // A long value pushes its own origin to the right, not everybody's.
        let value_width =
            shown.iter().map(|value| value.chars().count()).filter(|width| *width <= 48).max().unwrap_or(0);
        for (setting, value) in self.settings.iter().zip(&shown) {
            writeln!(f, "{:name_width$}  {value:value_width$}  {}", setting.name, setting.origin)?;
        }
        Ok(())
    }
}

/// The beginning of a long value, so that a page of instructions does not fill the log.
pub(super) fn shortened(value: &str) -> String {
    /// Enough for the longest default, the list of networks.
    const CHARACTERS_SHOWN: usize = 160;
    match value.char_indices().nth(CHARACTERS_SHOWN) {
        Some((end, _)) => format!("{}… ({} characters)", &value[..end], value.chars().count()),
        None => value.to_owned(),
    }
}
