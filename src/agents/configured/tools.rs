//! The tools of an agent, made of the configuration.
//!
//! Runs in: the main thread, and the signal thread. Owns nothing.
//! Invariant: a tool says of itself only what the agent's model understands.

use http::{HeaderName, HeaderValue};

use crate::call::model::Unfit;
use crate::call::tool::{HttpTool, Method};
use crate::codec::Provider;
use crate::config::ToolConfig;

/// The tool as a call needs it, for this model. What it says of itself that the model does not take is left out.
pub(super) fn http_tool(tool: &ToolConfig, model: &str, problems: &mut Vec<Unfit>) -> HttpTool {
    let (mut behavior, mut scheduling) = (tool.behavior, tool.scheduling);
    let told = (tool.name.as_str(), &tool.parameters);
    problems.extend(Provider::Gemini.fit_tool(model, told, &mut behavior, &mut scheduling));
    HttpTool {
        name: tool.name.clone(),
        description: tool.description.clone().unwrap_or_default(),
        url: tool.url.clone(),
        method: tool.method,
        parameters: tool.parameters.clone(),
        timeout: tool.timeout,
        retries: tool.retries.unwrap_or(u32::from(tool.method == Method::Get)),
        secret: secret(tool),
        behavior,
        scheduling,
        hold_uplink: tool.hold_uplink,
    }
}

/// The secret header, whose name and value were checked when the configuration was read.
fn secret(tool: &ToolConfig) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(tool.header.as_deref()?.as_bytes()).ok()?;
    let mut value = HeaderValue::from_str(tool.header_value.as_ref()?.expose()).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}
