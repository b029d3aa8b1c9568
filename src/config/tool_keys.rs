//! A tool that is an HTTP request, `[tools.NAME]`: what it is, and its keys.
//!
//! Runs in: anywhere: pure. Owns its part of the registry. Never reads anything. Invariant: as in [`super::keys`].

use std::ffi::OsString;
use std::time::Duration;

use super::listing::Loaded;
use super::problem::Problem;
use super::registry::{Key, Kind, integer, text};
use super::secret::Secret;
use super::setters::{header_value, millis, name_of, tool_url};
use crate::base::parameters::Parameters;

/// One `[tools.NAME]`: a tool that is an HTTP request.
#[derive(Debug, Clone)]
pub struct ToolConfig {
    /// The name that the model calls it by.
    pub name: String,
    /// What it does, for the model.
    pub description: Option<String>,
    /// Where the request goes; empty until it was checked that there is one.
    pub url: String,
    /// The request's method.
    pub method: ToolMethod,
    /// What arguments it takes.
    pub parameters: Parameters,
    /// All attempts together.
    pub timeout: Duration,
    /// Attempts after the first; by its method if `None`.
    pub retries: Option<u32>,
    /// A header that is sent with it; set if and only if `header_env` is.
    pub header: Option<String>,
    /// The environment variable with the header's value.
    pub header_env: Option<String>,
    /// The value itself, once the configuration was checked.
    pub header_value: Option<Secret>,
    /// Whether the model waits.
    pub behavior: Option<ToolBehavior>,
    /// What the model does with a result that it did not wait for.
    pub scheduling: Option<ToolScheduling>,
    /// Keep the caller's speech back meanwhile.
    pub hold_uplink: bool,
}

/// Method of a tool's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolMethod {
    /// GET: the arguments go into the query.
    Get,
    /// POST: the arguments are its body, as a JSON object.
    Post,
}

impl ToolMethod {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Get, Self::Post];
    /// Their words, in that order.
    pub const WORDS: &'static [&'static str] = &["GET", "POST"];
}

/// Whether the model waits for a tool's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolBehavior {
    /// It waits.
    Blocking,
    /// It talks on.
    NonBlocking,
}

impl ToolBehavior {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Blocking, Self::NonBlocking];
    /// Their words, in that order.
    pub const WORDS: &'static [&'static str] = &["blocking", "non_blocking"];
}

/// What the model does with a result that it did not wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolScheduling {
    /// It speaks of it when it has finished what it is saying.
    WhenIdle,
    /// It speaks of it at once.
    Interrupt,
    /// It keeps it for later.
    Silent,
}

impl ToolScheduling {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::WhenIdle, Self::Interrupt, Self::Silent];
    /// Their words, in that order.
    pub const WORDS: &'static [&'static str] = &["when_idle", "interrupt", "silent"];
}

impl ToolConfig {
    /// The structure before any key was applied.
    pub(super) fn blank(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: None,
            url: String::new(),
            method: ToolMethod::Post,
            parameters: Parameters::default(),
            timeout: Duration::ZERO,
            retries: None,
            header: None,
            header_env: None,
            header_value: None,
            behavior: None,
            scheduling: None,
            hold_uplink: false,
        }
    }
}

/// Takes the values of the tools' headers out of the environment.
pub(super) fn read_secrets(
    loaded: &mut Loaded,
    environment: &[(OsString, OsString)],
    problems: &mut Vec<Problem>,
) {
    let mut tools = std::mem::take(&mut loaded.config.tools);
    for tool in &mut tools {
        let Some(variable) = &tool.header_env else { continue };
        let value = environment.iter().find(|(name, _)| *name == **variable).map(|(_, value)| value);
        let read = match value.map(|value| value.to_str()) {
            None | Some(Some("")) => Err("is not set"),
            Some(None) => Err("is not UTF-8 text"),
            Some(Some(text)) => header_value(text),
        };
        match read {
            Ok(secret) => tool.header_value = Some(secret),
            Err(wrong) => {
                let key = format!("tools.{}.header_env", tool.name);
                let text = format!(
                    "{key}: the environment variable {variable} {wrong}: set it to the header's value"
                );
                problems.push(Problem::at(loaded.origin(&key), text));
            }
        }
    }
    loaded.config.tools = tools;
}

/// See the head of this file.
pub static TOOL_KEYS: &[Key<ToolConfig>] = &[
    Key::<ToolConfig>::new(
        "description",
        "",
        text("a sentence or two", |t, v| {
            t.description = v.map(str::to_owned);
            Ok(())
        }),
        "What the tool does and when to use it, for the model.",
    )
    .example(r#""Says what the weather will be in a city.""#),
    Key::<ToolConfig>::new(
        "url",
        "",
        text("a URL such as \"https://tools.example/weather\"", |t, v| {
            t.url = tool_url(v)?;
            Ok(())
        }),
        "Where the request goes. http:// is allowed to loopback and private addresses only (numbers, or localhost).",
    )
    .example(r#""https://tools.example/weather""#),
    Key::<ToolConfig>::new(
        "method",
        r#""POST""#,
        Kind::Choice { choices: ToolMethod::WORDS, set: |t, i| t.method = ToolMethod::ALL[i] },
        "POST sends the arguments as a JSON object, GET as the URL's query.",
    ),
    Key::<ToolConfig>::new(
        "parameters",
        "",
        text("a JSON schema of type object", |t, v| {
            t.parameters = v.map(Parameters::read).transpose()?.unwrap_or_default();
            Ok(())
        }),
        "What the model has to say to use the tool, as a JSON schema. None by default.",
    )
    .example(r#"'{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'"#),
    Key::<ToolConfig>::new(
        "timeout_ms",
        "8000",
        integer(100, 120_000, |t, v| t.timeout = millis(v)),
        "From the model's call to the whole answer, repetitions included.",
    ),
    Key::<ToolConfig>::new(
        "retries",
        "",
        integer(0, 5, |t, v| t.retries = Some(v as u32)),
        "Attempts after the first, where there was no connection, it was lost, or the server answered 5xx. 1 for GET and 0 for \
         POST by default: a POST that is repeated may be done twice.",
    )
    .example("2"),
    Key::<ToolConfig>::new(
        "header",
        "",
        text("the name of a header such as \"Authorization\"", |t, v| {
            t.header = v.map(|v| name_of(Some(v), "-_")).transpose()?;
            Ok(())
        }),
        "A header that is sent with it, for a secret; together with header_env.",
    )
    .example(r#""Authorization""#),
    Key::<ToolConfig>::new(
        "header_env",
        "",
        text("the name of an environment variable such as \"WEATHER_TOKEN\"", |t, v| {
            t.header_env = v.map(|v| name_of(Some(v), "_")).transpose()?;
            Ok(())
        }),
        "The environment variable that holds the value of that header.",
    )
    .example(r#""WEATHER_TOKEN""#),
    Key::<ToolConfig>::new(
        "behavior",
        "",
        Kind::Choice { choices: ToolBehavior::WORDS, set: |t, i| t.behavior = Some(ToolBehavior::ALL[i]) },
        "Whether the model waits for the result (blocking) or talks on (non_blocking). The model's own by default; one that \
         cannot is not asked to (docs/tools.md).",
    )
    .example(r#""non_blocking""#),
    Key::<ToolConfig>::new(
        "scheduling",
        "",
        Kind::Choice { choices: ToolScheduling::WORDS, set: |t, i| t.scheduling = Some(ToolScheduling::ALL[i]) },
        "What the model does with a result that it did not wait for: speak of it when_idle, interrupt itself, or be silent. \
         The model's own by default.",
    )
    .example(r#""interrupt""#),
    Key::<ToolConfig>::new(
        "hold_uplink",
        "false",
        Kind::Switch { set: |t, v| t.hold_uplink = v },
        "Keep the caller's speech back until the result is there, and send it then.",
    ),
];
