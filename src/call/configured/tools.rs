//! The tools of an agent, made of the configuration.
//!
//! Runs in: the main thread, and the signal thread. Owns nothing.
//! Invariant: a tool says of itself only what the agent's model understands.

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::Unusable;
use crate::call::tool::{HttpTool, Method};
use crate::codec::gemini::models;
use crate::codec::gemini::tools::{Behavior, Scheduling};
use crate::config::{AgentConfig, Config, ToolBehavior, ToolConfig, ToolMethod, ToolScheduling};

/// The tool as a call needs it, for this model.
pub(super) fn http_tool(tool: &ToolConfig, model: &str) -> HttpTool {
    let (behavior, scheduling) = waiting(tool, model);
    let method = match tool.method {
        ToolMethod::Get => Method::Get,
        ToolMethod::Post => Method::Post,
    };
    HttpTool {
        name: tool.name.clone(),
        description: tool.description.clone().unwrap_or_default(),
        url: tool.url.clone(),
        method,
        parameters: tool.parameters.clone(),
        timeout: tool.timeout,
        retries: tool.retries.unwrap_or(u32::from(method == Method::Get)),
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

/// Whether the model waits for a tool and what it does with its result, as far as this model can be told.
fn waiting(tool: &ToolConfig, model: &str) -> (Option<Behavior>, Option<Scheduling>) {
    let model = models::known(model).unwrap_or(&models::UNKNOWN);
    // What becomes of a result that the model does not wait for is said only where it does not wait.
    let wanted = tool.behavior.or(tool.scheduling.map(|_| ToolBehavior::NonBlocking));
    let behavior = match wanted {
        Some(ToolBehavior::NonBlocking) if model.non_blocking_functions => Some(Behavior::NonBlocking),
        // A model that knows nothing else is not told.
        Some(ToolBehavior::Blocking) if model.blocking_functions && model.non_blocking_functions => {
            Some(Behavior::Blocking)
        }
        _ => None,
    };
    let scheduling = tool.scheduling.map(|scheduling| match scheduling {
        ToolScheduling::WhenIdle => Scheduling::WhenIdle,
        ToolScheduling::Interrupt => Scheduling::Interrupt,
        ToolScheduling::Silent => Scheduling::Silent,
    });
    (behavior, scheduling.filter(|_| model.scheduling && behavior == Some(Behavior::NonBlocking)))
}

/// What the tools of an agent say of themselves that its model does not take, and so is not told.
pub(super) fn check(config: &Config, agent: &AgentConfig, problems: &mut Vec<Unusable>) {
    let named = config.tools.iter().filter(|tool| agent.tools.contains(&tool.name));
    let known = models::known(&agent.model);
    for tool in named {
        let (name, model) = (&tool.name, &agent.model);
        let mut warn = |text: String| problems.push(Unusable { key: "tools", text, is_warning: true });
        let (behavior, scheduling) = waiting(tool, model);
        let unsaid = match (tool.behavior, tool.scheduling) {
            (_, Some(_)) if scheduling.is_none() => "scheduling",
            (Some(_), _) if behavior.is_none() && !is_so_anyway(tool, known) => "behavior",
            _ => continue,
        };
        warn(match known {
            Some(_) => {
                format!("the model {model} refuses {unsaid}, so that of tools.{name} is not sent to it")
            }
            None => format!(
                "the model {model} is not one of those that Tandem knows, so {unsaid} of tools.{name} is not sent to it"
            ),
        });
    }
    if known.is_some_and(|model| model.functions_in_full) {
        let refers = |tool: &&ToolConfig| tool.parameters.schema().is_some_and(has_reference);
        for tool in config.tools.iter().filter(|tool| agent.tools.contains(&tool.name)).filter(refers) {
            let text = format!(
                "the model {} takes no $ref in tools.{}.parameters: write what it stands for in its place",
                agent.model, tool.name
            );
            problems.push(Unusable { key: "tools", text, is_warning: false });
        }
    }
}

/// Whether the model does what the tool asks for without being told.
fn is_so_anyway(tool: &ToolConfig, model: Option<&models::Model>) -> bool {
    model.is_some_and(|model| match tool.behavior {
        Some(ToolBehavior::Blocking) => !model.non_blocking_functions,
        Some(ToolBehavior::NonBlocking) => !model.blocking_functions,
        None => true,
    })
}

fn has_reference(schema: &Value) -> bool {
    match schema {
        Value::Object(keywords) => keywords.contains_key("$ref") || keywords.values().any(has_reference),
        Value::Array(schemas) => schemas.iter().any(has_reference),
        _ => false,
    }
}
