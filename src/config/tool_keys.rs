//! The keys of a tool that is an HTTP request, `[tools.NAME]`.
//!
//! Runs in: anywhere: pure. Owns its part of the registry. Never reads anything. Invariant: as in [`super::keys`].

use super::model::{ToolBehavior, ToolConfig, ToolMethod};
use super::registry::{Key, Kind, integer, text};
use super::setters::{millis, name_of, tool_parameters, tool_url};

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
