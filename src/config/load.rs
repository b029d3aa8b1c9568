//! Puts the sources together: defaults, then the file, then the environment, then `--set`; the later wins.
//!
//! Runs in: the main thread, at start. Owns the order of precedence and the reading of the files that keys name. Never
//! stops at the first error. Invariant: every source is checked completely, overridden values included, because a wrong
//! line that happens to be overridden today is an outage tomorrow.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::file;
use super::keys::KEYS;
use super::listing::{Loaded, Setting};
use super::model::Config;
use super::problem::{Origin, Problem, Problems, key_named, nearest, unknown_key};
use super::registry::Key;
use super::validate;
use super::value::Value;

/// The configuration file read when nobody names one and it exists.
pub(super) const DEFAULT_FILE: &str = "tandem.toml";

/// Names the configuration file when `--config` does not.
pub(super) const FILE_VARIABLE: &str = "TANDEM_CONFIG";

/// Which configuration file to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FileChoice {
    /// The one `TANDEM_CONFIG` names, else `tandem.toml` in the working directory if it exists.
    #[default]
    Usual,
    /// This one (`--config`); it must exist.
    Named(PathBuf),
    /// None at all.
    None,
}

/// Where configuration comes from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file.
    pub file: FileChoice,
    /// The environment, as [`std::env::vars_os`] gives it.
    pub environment: Vec<(OsString, OsString)>,
    /// What followed each `--set`: `key=value`.
    pub sets: Vec<String>,
}

/// Reads all sources.
///
/// # Errors
/// Everything that is wrong in any of them: unknown keys, wrong types, values out of range, files that cannot be read,
/// keys that contradict each other.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut loading = Loading::new();
    if let Some(path) = loading.chosen_file(sources) {
        loading.apply_file(&path);
    }
    loading.apply_environment(&sources.environment);
    loading.apply_sets(&sources.sets);
    if loading.problems.is_empty() {
        validate::check(&mut loading.loaded, &mut loading.problems);
    }
    if loading.problems.is_empty() { Ok(loading.loaded) } else { Err(Problems(loading.problems)) }
}

impl Default for Config {
    fn default() -> Self {
        Loading::new().loaded.config
    }
}

/// The work half done.
struct Loading {
    loaded: Loaded,
    problems: Vec<Problem>,
}

impl Loading {
    /// Begins with the defaults.
    fn new() -> Self {
        let mut config = Config::blank();
        let settings = KEYS
            .iter()
            .map(|key| {
                let shown = match key.default {
                    "" => super::registry::NOT_SET.to_owned(),
                    toml => default_value(toml)
                        .and_then(|value| key.apply(&mut config, &value))
                        .expect("the defaults of all keys are applied in every test of this module"),
                };
                Setting { key, shown, origin: Origin::Default }
            })
            .collect();
        Self { loaded: Loaded { config, settings, warnings: Vec::new() }, problems: Vec::new() }
    }

    fn chosen_file(&self, sources: &Sources) -> Option<PathBuf> {
        match &sources.file {
            FileChoice::Named(path) => Some(path.clone()),
            FileChoice::None => None,
            FileChoice::Usual => {
                let named = sources
                    .environment
                    .iter()
                    .find(|(name, value)| name == FILE_VARIABLE && !value.is_empty());
                match named {
                    Some((_, path)) => Some(PathBuf::from(path)),
                    None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists()),
                }
            }
        }
    }

    fn apply_file(&mut self, path: &Path) {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.problems.push(Problem::anywhere(format!(
                    "the configuration file {} cannot be read ({error}): correct --config or {FILE_VARIABLE}, or \
                     leave it out to run on defaults and environment",
                    path.display()
                )));
                return;
            }
        };
        let entries = file::read(path, &text, &mut self.problems);
        let holds_secret = entries.iter().any(|entry| entry.key.is_secret() && !entry.value.is_empty());
        if holds_secret && readable_by_everyone(path) {
            self.loaded.warnings.push(format!(
                "{} holds a secret and can be read by every user of this machine: chmod o-r it, or put the secret \
                 into the environment",
                path.display()
            ));
        }
        for entry in entries {
            self.apply(entry.key, &entry.value, entry.origin);
        }
    }

    fn apply_environment(&mut self, environment: &[(OsString, OsString)]) {
        for key in KEYS {
            for variable in key.variables_weakest_first() {
                // An empty variable is what `docker run -e X=` or an unset shell variable leaves: not set.
                let Some((_, value)) =
                    environment.iter().find(|(name, v)| *name == *variable && !v.is_empty())
                else {
                    continue;
                };
                let origin = Origin::Environment { variable };
                match value.to_str() {
                    Some(text) => self.apply(key, &Value::Untyped(text.to_owned()), origin),
                    None => {
                        self.problems.push(Problem::at(origin, format!("{} is not UTF-8 text", key.name)))
                    }
                }
            }
        }
        self.warn_of_unknown_variables(environment);
    }

    /// A misspelt variable is a warning, not an error: others may own variables that begin with `TANDEM_` (Kubernetes
    /// sets `TANDEM_PORT` for a service of that name).
    fn warn_of_unknown_variables(&mut self, environment: &[(OsString, OsString)]) {
        let known: Vec<String> = KEYS.iter().flat_map(Key::variables_weakest_first).collect();
        for (name, _) in environment {
            let Some(name) = name.to_str().filter(|name| name.starts_with("TANDEM_")) else { continue };
            if name == FILE_VARIABLE || known.iter().any(|variable| variable == name) {
                continue;
            }
            let remedy = match nearest(name, known.iter().map(String::as_str)) {
                Some(variable) => format!("did you mean {variable}?"),
                None => "docs/configuration.md lists the variables".to_owned(),
            };
            self.loaded.warnings.push(format!("environment {name} is no setting and is ignored: {remedy}"));
        }
    }

    fn apply_sets(&mut self, sets: &[String]) {
        for set in sets {
            let Some((name, value)) = set.split_once('=') else {
                // Without "=" it may be a value that lost its key, a secret even: not quoted unless it is a key.
                let what =
                    if key_named(set).is_some() { format!("{set} has no value") } else { "has no =".into() };
                self.problems.push(Problem::at(Origin::Argument, format!("{what}: write --set key=value")));
                continue;
            };
            let name = name.trim();
            let Some(key) = key_named(name) else {
                self.problems.push(Problem::at(Origin::Argument, unknown_key(name)));
                continue;
            };
            if key.is_secret() && !value.is_empty() {
                self.loaded.warnings.push(format!(
                    "{name} was given with --set, where every user of this machine can read it in the process list: \
                     use the environment variable {} instead",
                    key.environment.first().map_or_else(|| key.own_variable(), |v| (*v).to_owned())
                ));
            }
            self.apply(key, &Value::Untyped(value.to_owned()), Origin::Argument);
        }
    }

    fn apply(&mut self, key: &'static Key, value: &Value, origin: Origin) {
        match key.apply(&mut self.loaded.config, value) {
            Ok(shown) => {
                for setting in self.loaded.settings.iter_mut().filter(|setting| setting.key.name == key.name)
                {
                    *setting = Setting { key, shown: shown.clone(), origin: origin.clone() };
                }
            }
            Err(text) => self.problems.push(Problem::at(origin, text)),
        }
    }
}

/// A default as the registry has it.
fn default_value(toml: &str) -> Result<Value, String> {
    let parsed = toml::de::DeValue::parse(toml).map_err(|error| error.message().to_owned())?;
    Ok(Value::from_toml(parsed.get_ref()))
}

/// Whether users other than the owner and the group may read the file.
fn readable_by_everyone(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
