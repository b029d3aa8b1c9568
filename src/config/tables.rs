//! The tables of which there can be several: agents, tools, credentials, prices and routes, from what was written to what they are.
//!
//! Runs in: the main thread, when configuration is read; pure. Owns the rows while they are read. Never stops at the
//! first error. Invariant: a row's keys are checked like all others, and a row that is wrong is a problem.

use super::agent::AgentConfig;
use super::credential::CredentialConfig;
use super::listing::{Loaded, Setting};
use super::problem::{Origin, Problem, nearest};
use super::registry::Key;
use super::routes::{DEFAULT_AGENT, RouteConfig};
use super::store::PriceConfig;
use super::tool::ToolConfig;
use super::value::Value;

/// Rows of one table; more are a mistake, and all are held in memory.
const ROWS_MAX: usize = 1_000;

/// Characters of a row's name.
const NAME_CHARACTERS_MAX: usize = 64;

/// A table of which a configuration can hold several rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// `[agents.NAME]`.
    Agents,
    /// `[[routes]]`.
    Routes,
    /// `[tools.NAME]`.
    Tools,
    /// `[credentials.NAME]`.
    Credentials,
    /// `[prices.NAME]`.
    Prices,
}

impl Table {
    /// All of them, in the order of the sample file.
    pub const ALL: [Self; 5] = [Self::Agents, Self::Routes, Self::Tools, Self::Credentials, Self::Prices];

    /// The first part of its name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Routes => "routes",
            Self::Tools => "tools",
            Self::Credentials => "credentials",
            Self::Prices => "prices",
        }
    }

    /// How one row is headed in the file.
    pub fn heading(self, name: &str) -> String {
        match self {
            Self::Routes => "[[routes]]".to_owned(),
            _ => format!("[{}.{name}]", self.word()),
        }
    }

    /// What it is about.
    pub fn about(self) -> &'static str {
        match self {
            Self::Agents => {
                "An agent with a name of its own, chosen by a route, the dialplan or the API. It has every key of [agent]; \
                 what it does not set is as [agent] has it (docs/agents.md)."
            }
            Self::Routes => RouteConfig::ABOUT,
            Self::Tools => ToolConfig::ABOUT,
            Self::Credentials => CredentialConfig::ABOUT,
            Self::Prices => PriceConfig::ABOUT,
        }
    }

    /// The table whose rows begin with this word.
    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.word() == word)
    }

    /// Its keys, without what they fill.
    pub(super) fn keys(self) -> Vec<Key<()>> {
        fn described<T>(keys: &[Key<T>]) -> Vec<Key<()>> {
            keys.iter().map(Key::described).collect()
        }
        match self {
            Self::Agents => described(AgentConfig::keys::<AgentConfig>()),
            Self::Routes => described(RouteConfig::keys::<RouteConfig>()),
            Self::Tools => described(ToolConfig::keys::<ToolConfig>()),
            Self::Credentials => described(CredentialConfig::keys::<CredentialConfig>()),
            Self::Prices => described(PriceConfig::keys::<PriceConfig>()),
        }
    }

    /// The names of its keys, with whether their values are secret.
    pub fn fields(self) -> Vec<(&'static str, bool)> {
        self.keys().iter().map(|key| (key.field(), key.is_secret())).collect()
    }

    fn is_secret(self, field: &str) -> bool {
        self.fields().iter().any(|(name, secret)| *name == field && *secret)
    }
}

/// A value of a row as it was written.
pub(super) struct Written {
    pub(super) field: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// One agent, tool, credential or route as it was written. Of two values of a field the later wins.
pub(super) struct Row {
    pub(super) table: Table,
    /// The name; for a route its position in the file, from 1.
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) values: Vec<Written>,
}

impl Row {
    /// `agents.sales`.
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.table.word(), self.name)
    }

    /// Whether a secret is written in it.
    pub(super) fn holds_secret(&self) -> bool {
        self.values.iter().any(|written| self.table.is_secret(&written.field) && !written.value.is_empty())
    }

    /// The environment variable of a field: `credentials.first.api_key` is `TANDEM_CREDENTIALS_FIRST_API_KEY`.
    pub(super) fn variable(&self, field: &str) -> String {
        format!("TANDEM_{}_{field}", self.path()).replace(['.', '-'], "_").to_ascii_uppercase()
    }
}

/// The row with this name, made if there is none.
pub(super) fn row_named<'a>(
    rows: &'a mut Vec<Row>,
    table: Table,
    name: &str,
    origin: &Origin,
) -> &'a mut Row {
    let known = rows.iter().position(|row| row.table == table && row.name == name);
    let position = known.unwrap_or_else(|| {
        rows.push(Row { table, name: name.to_owned(), origin: origin.clone(), values: Vec::new() });
        rows.len() - 1
    });
    &mut rows[position]
}

/// Fills agents, tools, credentials and routes. The default agent is complete by now.
pub(super) fn fill(rows: &[Row], loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    for table in Table::ALL {
        let of_table = || rows.iter().filter(|row| row.table == table);
        if let Some(beyond) = of_table().nth(ROWS_MAX) {
            let text = format!("more than {ROWS_MAX} of {}: no more are taken", table.heading("NAME"));
            problems.push(Problem::at(beyond.origin.clone(), text));
        }
        for row in of_table().take(ROWS_MAX) {
            fill_row(row, loaded, problems);
        }
    }
}

fn fill_row(row: &Row, loaded: &mut Loaded, problems: &mut Vec<Problem>) {
    if let Err(wrong) = check_name(row) {
        problems.push(Problem::at(row.origin.clone(), wrong));
        return;
    }
    let shown_name = match row.table {
        Table::Routes => format!("[{}]", row.path()),
        table => table.heading(&row.name),
    };
    loaded.settings.push(Setting {
        name: shown_name.into(),
        shown: String::new(),
        origin: row.origin.clone(),
    });
    let Loaded { config, settings, .. } = loaded;
    match row.table {
        Table::Agents => {
            let mut agent = config.agent.clone();
            let sets = |field: &str| row.values.iter().any(|written| written.field == field);
            // Instructions come from one place: its own are instead of those of the default agent.
            if sets("instructions") || sets("instructions_file") {
                (agent.instructions, agent.instructions_file) = (None, None);
            }
            store(row, AgentConfig::keys(), &mut agent, settings, problems);
            config.agents.insert(row.name.clone(), agent);
        }
        Table::Routes => {
            let mut route = RouteConfig { place: row.origin.clone(), ..RouteConfig::default() };
            store(row, RouteConfig::keys(), &mut route, settings, problems);
            config.routes.0.push(route);
        }
        Table::Tools => {
            let mut tool = ToolConfig { name: row.name.clone(), ..ToolConfig::default() };
            store(row, ToolConfig::keys(), &mut tool, settings, problems);
            config.tools.push(tool);
        }
        Table::Credentials => {
            let mut credential = CredentialConfig::named(&row.name);
            store(row, CredentialConfig::keys(), &mut credential, settings, problems);
            config.credentials.push(credential);
        }
        Table::Prices => {
            let mut price = PriceConfig::named(&row.name);
            store(row, PriceConfig::keys(), &mut price, settings, problems);
            config.prices.push(price);
        }
    }
}

fn check_name(row: &Row) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let (name, heading) = (&row.name, row.table.heading(&row.name));
    if name.is_empty() || name.len() > NAME_CHARACTERS_MAX || !name.chars().all(allowed) {
        let heading = super::listing::shortened(&heading);
        return Err(format!(
            "{heading} has no fitting name: write 1 to {NAME_CHARACTERS_MAX} of the characters a-z, 0-9, _ and -"
        ));
    }
    if row.table == Table::Agents && name == DEFAULT_AGENT {
        return Err(format!("{heading}: the default agent is [agent], write its keys there"));
    }
    Ok(())
}

/// Stores the values of a row in `target` and lists them.
fn store<T>(
    row: &Row,
    keys: &'static [Key<T>],
    target: &mut T,
    settings: &mut Vec<Setting>,
    problems: &mut Vec<Problem>,
) {
    for written in &row.values {
        let name = format!("{}.{}", row.path(), written.field);
        let Some(key) = keys.iter().find(|key| key.field() == written.field) else {
            let fields = keys.iter().map(|key| key.field());
            let remedy = match nearest(&written.field, fields.clone()) {
                Some(field) => format!("did you mean {field}?"),
                None => {
                    format!("{} has {}", row.table.heading("NAME"), fields.collect::<Vec<_>>().join(", "))
                }
            };
            problems.push(Problem::at(written.origin.clone(), format!("unknown key {name}: {remedy}")));
            continue;
        };
        match key.apply(&name, target, &written.value) {
            Ok(shown) => {
                settings.retain(|setting| setting.name != name);
                settings.push(Setting { name: name.into(), shown, origin: written.origin.clone() });
            }
            Err(text) => problems.push(Problem::at(written.origin.clone(), text)),
        }
    }
}
