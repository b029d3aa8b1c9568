//! A tool that is an HTTP request, `[tools.NAME]`.
//!
//! Runs in: anywhere: pure, but for what the environment says of headers. Owns its settings. Never sends anything.
//! Invariant: as in [`super::settings`].

use std::time::Duration;

use super::listing::Loaded;
use super::problem::Problem;
use super::secret::Secret;
use super::setters::{header_value, name, tool_url};
use super::settings::{from_checked, settings};
use super::variables::Variables;
use crate::base::model_options::{Behavior, Scheduling};
use crate::base::parameters::Parameters;
use crate::base::{Words, words};

settings! {
    /// A tool that the model may use where its agent names it: an HTTP request with the model's arguments.
    pub struct ToolConfig {
        /// What the tool does and when to use it, for the model.
        pub description: Option<String>,
            text("a sentence or two"), like "Says what the weather will be in a city.";
        /// Where the request goes. http:// is allowed to loopback and private addresses only (numbers, or localhost).
        pub url: String,
            text("a URL such as \"https://tools.example/weather\"", tool_url),
            like "https://tools.example/weather";
        /// POST sends the arguments as a JSON object, GET as the URL's query.
        pub method: Method = "POST", choice(Method::WORDS);
        /// What the model has to say to use the tool, as a JSON schema. None by default.
        pub parameters: Parameters,
            text("a JSON schema of type object"),
            example r#"'{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'"#;
        /// From the model's call to the whole answer, repetitions included.
        pub timeout "timeout_ms": Duration = 8000, integer(100, 120_000);
        /// Attempts after the first, where there was no connection, it was lost, or the server answered 5xx. 1 for
        /// GET and 0 for POST by default: a POST that is repeated may be done twice.
        pub retries: Option<u32>, integer(0, 5), like 2;
        /// A header that is sent with it, for a secret; together with header_env.
        pub header: Option<String>,
            text("the name of a header such as \"Authorization\"", |v| name(v, "-_")), like "Authorization";
        /// The environment variable that holds the value of that header.
        pub header_env: Option<String>,
            text("the name of an environment variable such as \"WEATHER_TOKEN\"", |v| name(v, "_")),
            like "WEATHER_TOKEN";
        /// Whether the model waits for the result (blocking) or talks on (non_blocking). The model's own by default;
        /// one that cannot is not asked to (docs/tools.md).
        pub behavior: Option<Behavior>, choice(Behavior::WORDS), like "non_blocking";
        /// What the model does with a result that it did not wait for: speak of it when_idle, interrupt itself, or be
        /// silent. The model's own by default.
        pub scheduling: Option<Scheduling>, choice(Scheduling::WORDS), like "interrupt";
        /// Keep the caller's speech back until the result is there, and send it then.
        pub hold_uplink: bool = false, switch();
        + /// The name that the model calls it by.
        pub name: String;
        + /// The value of its header, once the configuration was checked.
        pub header_value: Option<Secret>;
    }
}

from_checked! {
    Parameters: Text(schema) => Self::read(&schema), nothing => Ok(Self::default());
}

words! {
    /// How a tool's server is asked.
    pub enum Method {
        /// The arguments become the query; tried again where `retries` is not set.
        Get = "GET",
        /// The arguments become a JSON body.
        Post = "POST",
    }
}

/// Takes the values of the tools' headers out of the environment.
pub(super) fn read_secrets(loaded: &mut Loaded, environment: &Variables<'_>, problems: &mut Vec<Problem>) {
    let mut tools = std::mem::take(&mut loaded.config.tools);
    for tool in &mut tools {
        let Some(variable) = &tool.header_env else { continue };
        let value = environment.get(variable).map(|(value, _)| value);
        let read = match value.map(|value| value.to_str()) {
            None => Err("is not set"),
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
