//! A tool that is an HTTP request, `[tools.NAME]`: what it is, and its keys.
//!
//! Runs in: anywhere: pure. Owns its part of the registry. Never reads anything. Invariant: as in [`super::keys`].

use std::time::Duration;

use super::registry::{Key, Kind, integer, text};
use super::setters::{millis, name_of, tool_parameters, tool_url};

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
    /// JSON schema of the arguments, the text of an object.
    pub parameters: Option<String>,
    /// All attempts together.
    pub timeout: Duration,
    /// Attempts after the first.
    pub retries: u32,
    /// A header that is sent with it; set if and only if `header_env` is.
    pub header: Option<String>,
    /// The environment variable with the header's value.
    pub header_env: Option<String>,
    /// Whether the model waits.
    pub behavior: ToolBehavior,
    /// Keep the caller's speech back meanwhile.
    pub hold_uplink: bool,
}

/// Method of a tool's request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolMethod {
    /// GET: the arguments go into the query.
    Get,
    /// POST, with the arguments as JSON, as for the two below.
    Post,
    /// PUT.
    Put,
    /// PATCH.
    Patch,
    /// DELETE: as GET.
    Delete,
}

impl ToolMethod {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];
    /// Their words, in that order.
    pub const WORDS: &'static [&'static str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];
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

impl ToolConfig {
    /// The structure before any key was applied.
    pub(super) fn blank(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: None,
            url: String::new(),
            method: ToolMethod::Post,
            parameters: None,
            timeout: Duration::ZERO,
            retries: 0,
            header: None,
            header_env: None,
            behavior: ToolBehavior::Blocking,
            hold_uplink: false,
        }
    }
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
        text("a URL that begins with https:// or http://", |t, v| {
            t.url = tool_url(v)?;
            Ok(())
        }),
        "Where the request goes.",
    )
    .example(r#""https://tools.example/weather""#),
    Key::<ToolConfig>::new(
        "method",
        r#""POST""#,
        Kind::Choice { choices: ToolMethod::WORDS, set: |t, i| t.method = ToolMethod::ALL[i] },
        "Its method.",
    ),
    Key::<ToolConfig>::new(
        "parameters",
        "",
        text("a JSON schema of type object", |t, v| {
            t.parameters = tool_parameters(v)?;
            Ok(())
        }),
        "What the model has to say to use the tool, as a JSON schema. None by default.",
    )
    .example(r#"'{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'"#),
    Key::<ToolConfig>::new(
        "timeout_ms",
        "5000",
        integer(100, 120_000, |t, v| t.timeout = millis(v)),
        "From the first attempt to the whole answer of the last.",
    ),
    Key::<ToolConfig>::new(
        "retries",
        "1",
        integer(0, 5, |t, v| t.retries = v as u32),
        "Attempts after the first, where the server could not be reached or answered 5xx or 429.",
    ),
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
        r#""blocking""#,
        Kind::Choice { choices: ToolBehavior::WORDS, set: |t, i| t.behavior = ToolBehavior::ALL[i] },
        "Whether the model waits for the result, or talks on meanwhile where it can.",
    ),
    Key::<ToolConfig>::new(
        "hold_uplink",
        "false",
        Kind::Switch { set: |t, v| t.hold_uplink = v },
        "Keep the caller's speech back until the result is there, and send it then.",
    ),
];
