//! Puts the sources together: defaults, then the file, then the environment, then `--set`; the later wins.
//!
//! Runs in: the main thread, at start. Owns the order of precedence and the reading of the files that keys name. Never
//! stops at the first error. Invariant: every source is checked completely, overridden values included, because a wrong
//! line that happens to be overridden today is an outage tomorrow.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::file;
use super::installed::{self, Installation, ROOT_VARIABLE};
use super::listing::{Loaded, Setting};
use super::model::{Config, KEYS};
use super::problem::{Origin, Problem, Problems, key_named, nearest, unknown_key};
use super::registry::{Key, is_hidden};
use super::store::StoreUrl;
use super::tables::{self, Row, Table, Written};
use super::tool;
use super::validate;
use super::value::Value;
use super::variables::{EnvironmentFile, Variables};

/// The configuration file read when nobody names one and it exists.
pub(super) const DEFAULT_FILE: &str = "tandem.toml";

/// Names the configuration file when `--config` does not.
pub(super) const FILE_VARIABLE: &str = "TANDEM_CONFIG";

/// Which configuration file to read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum FileChoice {
    /// The one `TANDEM_CONFIG` names, else `tandem.toml` in the working directory if it exists, else that of the
    /// [installation](Sources::installation) if there is one.
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
    /// Where an installed relay has its configuration, if that is looked at.
    pub installation: Option<Installation>,
}

/// Reads all sources.
///
/// # Errors
/// Everything that is wrong in any of them: unknown keys, wrong types, values out of range, files that cannot be read,
/// keys that contradict each other.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut loading = Loading::new();
    let file = loading.chosen_file(sources);
    if let Some(path) = &file {
        loading.apply_file(path);
    }
    // The installation that this configuration is of.
    let installed = |path: &PathBuf| sources.installation.as_ref().filter(|own| own.is_configured_by(path));
    let installation = file.as_ref().and_then(installed);
    let of_service = installation.filter(|_| !installed::is_service(&sources.environment));
    let read = of_service.map(|installation| loading.environment_file(installation));
    let variables = Variables::new(&sources.environment, read.unwrap_or_default());
    loading.apply_environment(&variables);
    loading.apply_sets(&sources.sets);
    loading.apply_profile();
    if let Some(installation) = installation {
        loading.apply_state(installation, &variables);
    }
    loading.fill_tables(&variables);
    tool::read_secrets(&mut loading.loaded, &variables, &mut loading.problems);
    if loading.problems.is_empty() {
        validate::check(&mut loading.loaded, &mut loading.problems);
    }
    if loading.problems.is_empty() { Ok(loading.loaded) } else { Err(Problems(loading.problems)) }
}

/// The work half done.
struct Loading {
    loaded: Loaded,
    /// Agents, tools, credentials and routes as they were written; they are filled when `[agent]` is complete.
    rows: Vec<Row>,
    /// Values that `--set` gives for them, which win over the environment's.
    sets: Vec<(Table, String, Written)>,
    problems: Vec<Problem>,
}

impl Loading {
    /// Begins with the defaults.
    fn new() -> Self {
        let setting = |key: &Key<Config>| Setting {
            name: key.name.into(),
            shown: key.shown_default(),
            origin: Origin::Default,
        };
        let settings = KEYS.iter().map(setting).collect();
        let (read, unread, warnings) = (Vec::new(), Vec::new(), Vec::new());
        let loaded = Loaded { config: Config::default(), settings, read, unread, warnings };
        Self { loaded, rows: Vec::new(), sets: Vec::new(), problems: Vec::new() }
    }

    fn chosen_file(&mut self, sources: &Sources) -> Option<PathBuf> {
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
                    None => self.usual_file(sources.installation.as_ref()),
                }
            }
        }
    }

    /// That of the working directory, else that of the installation.
    fn usual_file(&mut self, installation: Option<&Installation>) -> Option<PathBuf> {
        let beside = Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.exists());
        let Some(installation) = installation else { return beside };
        let installed = installation.configuration();
        let place = installed.display();
        match (beside, installed::is_there(&installed)) {
            (Some(path), Ok(true)) if !installation.is_configured_by(&path) => {
                self.loaded
                    .read
                    .push(format!("{DEFAULT_FILE} of the working directory was read, {place} was not"));
                Some(path)
            }
            (Some(path), _) => Some(path),
            (None, Ok(true)) => {
                self.loaded.read.push(format!("{place} was read"));
                Some(installed)
            }
            (None, Ok(false)) => None,
            (None, Err(error)) => {
                self.loaded.unread.push(format!(
                    "{place} cannot be read ({error}), so defaults are in force: be root or a member of the group tandem, or \
                     name another file with --config"
                ));
                None
            }
        }
    }

    /// The file that systemd hands to the service, so that the command line sees what the service sees.
    fn environment_file(&mut self, installation: &Installation) -> EnvironmentFile {
        let path = installation.environment_file();
        match std::fs::read(&path) {
            Ok(text) => {
                self.loaded.read.push(format!("{} was read", path.display()));
                let mut problems = Vec::new();
                let file = EnvironmentFile::read(path, &text, &mut problems);
                self.loaded.unread.extend(problems.iter().map(ToString::to_string));
                file
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => EnvironmentFile::default(),
            Err(error) => {
                self.loaded.unread.push(format!(
                    "{} cannot be read ({error}), so what it gives the service is not seen here: be root for that",
                    path.display()
                ));
                EnvironmentFile::default()
            }
        }
    }

    /// Where the service keeps what nobody has given another place: systemd says it by `STATE_DIRECTORY`, which a shell does not
    /// have.
    fn apply_state(&mut self, installation: &Installation, variables: &Variables<'_>) {
        let state = installation.state();
        if variables.get("STATE_DIRECTORY").is_some() || !state.is_dir() {
            return;
        }
        let place = state.display();
        let mut places = vec![("recording.directory", format!("{place}/recordings"))];
        if !matches!(self.loaded.config.store.url, StoreUrl::Sqlite(_)) {
            places.push(("store.spool_directory", format!("{place}/tandem-spool")));
        }
        places.push(("store.url", format!("sqlite:{place}/tandem.db")));
        for (name, value) in places {
            if self.loaded.origin(name) == Origin::Default
                && let Some(key) = key_named(name)
            {
                self.apply(key, &Value::Untyped(value), Origin::Installation);
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
        let file::Contents { entries, rows } = file::read(path, &text, &mut self.problems);
        let holds_secret = entries.iter().any(|entry| entry.key.is_secret() && entry.value.is_hidden());
        if (holds_secret || rows.iter().any(Row::holds_secret)) && readable_by_everyone(path) {
            self.loaded.warnings.push(format!(
                "{} holds a secret and can be read by every user of this machine: chmod o-r it, or put the secret \
                 into the environment",
                path.display()
            ));
        }
        self.rows = rows;
        for entry in entries {
            self.apply(entry.key, &entry.value, entry.origin);
        }
    }

    fn apply_environment(&mut self, variables: &Variables<'_>) {
        for key in KEYS {
            for variable in key.variables_weakest_first() {
                if let Some((value, origin)) = self.value_of(variables, &variable, key.name) {
                    self.apply(key, &value, origin);
                }
            }
        }
    }

    /// What a variable holds for the key `name`, if it is set.
    fn value_of(&mut self, variables: &Variables<'_>, variable: &str, name: &str) -> Option<(Value, Origin)> {
        let (value, origin) = variables.get(variable)?;
        match value.to_str() {
            Some(text) => Some((Value::Untyped(text.to_owned()), origin)),
            None => {
                self.problems.push(Problem::at(origin, format!("{name} is not UTF-8 text")));
                None
            }
        }
    }

    /// Agents, tools, credentials and routes. The environment speaks of those that the file or `--set` has, since a
    /// variable's name does not tell where a table's name ends.
    fn fill_tables(&mut self, variables: &Variables<'_>) {
        let sets = std::mem::take(&mut self.sets);
        for (table, name, set) in &sets {
            tables::row_named(&mut self.rows, *table, name, &set.origin);
        }
        self.warn_of_unknown_variables(variables);
        let mut rows = std::mem::take(&mut self.rows);
        for row in rows.iter_mut().filter(|row| row.table != Table::Routes) {
            for (field, _) in row.table.fields() {
                let name = format!("{}.{field}", row.path());
                if let Some((value, origin)) = self.value_of(variables, &row.variable(field), &name) {
                    row.values.push(Written { field: field.to_owned(), value, origin });
                }
            }
        }
        for (table, name, set) in sets {
            let origin = set.origin.clone();
            tables::row_named(&mut rows, table, &name, &origin).values.push(set);
        }
        tables::fill(&rows, &mut self.loaded, &mut self.problems);
    }

    /// A misspelt variable is a warning, not an error: others may own variables that begin with `TANDEM_` (Kubernetes
    /// sets `TANDEM_PORT` for a service of that name).
    fn warn_of_unknown_variables(&mut self, variables: &Variables<'_>) {
        let of_rows = |row: &Row| -> Vec<String> {
            row.table.fields().iter().map(|(field, _)| row.variable(field)).collect()
        };
        let of_keys = KEYS.iter().flat_map(Key::variables_weakest_first);
        let known: Vec<String> = of_keys.chain(self.rows.iter().flat_map(of_rows)).collect();
        for (name, origin) in variables.names().filter(|(name, _)| name.starts_with("TANDEM_")) {
            if [FILE_VARIABLE, ROOT_VARIABLE].contains(&name) || known.iter().any(|variable| variable == name)
            {
                continue;
            }
            let remedy = match nearest(name, known.iter().map(String::as_str)) {
                Some(variable) => format!("did you mean {variable}?"),
                None => "docs/configuration.md lists the variables".to_owned(),
            };
            let place = match origin {
                Origin::File { .. } => format!("{origin}: {name}"),
                _ => format!("environment {name}"),
            };
            self.loaded.warnings.push(format!("{place} is no setting and is ignored: {remedy}"));
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
            if let Some((table, row, field)) = part_of_table(name) {
                let secret = table.fields().contains(&(field, true));
                if secret && !value.is_empty() {
                    let variable = format!("TANDEM_{name}").replace(['.', '-'], "_").to_ascii_uppercase();
                    self.warn_of_open_secret(name, &variable);
                }
                let written = Written {
                    field: field.to_owned(),
                    value: Value::Untyped(value.to_owned()),
                    origin: Origin::Argument,
                };
                self.sets.push((table, row.to_owned(), written));
                continue;
            }
            let Some(key) = key_named(name) else {
                self.problems.push(Problem::at(Origin::Argument, unknown_key(name)));
                continue;
            };
            if key.is_secret() && is_hidden(value) {
                let variable =
                    key.environment.first().map_or_else(|| key.own_variable(), |v| (*v).to_owned());
                self.warn_of_open_secret(name, &variable);
            }
            self.apply(key, &Value::Untyped(value.to_owned()), Origin::Argument);
        }
    }

    /// What the profile changes, where nobody has written anything else.
    fn apply_profile(&mut self) {
        for (name, value) in self.loaded.config.media.profile.defaults() {
            if self.loaded.origin(name) == Origin::Default
                && let Some(key) = key_named(name)
            {
                self.apply(key, &Value::Integer((*value).into()), Origin::Profile);
            }
        }
    }

    fn warn_of_open_secret(&mut self, name: &str, variable: &str) {
        self.loaded.warnings.push(format!(
            "{name} was given with --set, where every user of this machine can read it in the process list: use the \
             environment variable {variable} instead"
        ));
    }

    fn apply(&mut self, key: &'static Key<Config>, value: &Value, origin: Origin) {
        match key.apply(key.name, &mut self.loaded.config, value) {
            Ok(shown) => {
                self.loaded.config.written.insert(key.name);
                for setting in self.loaded.settings.iter_mut().filter(|setting| setting.name == key.name) {
                    (setting.shown, setting.origin) = (shown.clone(), origin.clone());
                }
            }
            Err(text) => self.problems.push(Problem::at(origin, text)),
        }
    }
}

/// Table, row and field of a name such as `agents.sales.voice`. Routes have no names, so the file alone has them.
fn part_of_table(name: &str) -> Option<(Table, &str, &str)> {
    let (word, rest) = name.split_once('.')?;
    let (row, field) = rest.split_once('.')?;
    let table = Table::named(word).filter(|table| *table != Table::Routes)?;
    Some((table, row, field))
}

/// Whether users other than the owner and the group may read the file.
fn readable_by_everyone(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o004 != 0)
}
