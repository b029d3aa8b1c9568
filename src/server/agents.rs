//! Agents as calls need them, made of the configuration.
//!
//! Runs in: the main thread. Owns nothing.
//! Invariant: what is not configured is not sent in a setup.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::call::agent::{Agent, CallTerms, TurnTerms};
use crate::call::machine::{ControlTerms, DigitTerms};
use crate::call::tool::{HttpTool, Method, ToolTerms};
use crate::codec::gemini::models;
use crate::codec::gemini::setup::{SetupRequest, TurnTaking};
use crate::codec::gemini::tools::{Behavior, Scheduling};
use crate::config::{AgentConfig, Config, ToolBehavior, ToolConfig, ToolMethod, ToolScheduling};
use crate::dsp::ListenTerms;

/// What the model hears of the caller from before a talkspurt was found: two syllables, of which the first may be soft.
const PRE_ROLL_MS: u32 = 240;

/// The agent with this name and configuration.
pub(crate) fn agent(config: &Config, name: &str, agent: &AgentConfig) -> Agent {
    Agent { name: name.to_owned(), terms: terms(config, agent), setup: setup(agent) }
}

fn terms(config: &Config, agent: &AgentConfig) -> CallTerms {
    let named = agent.tools.iter().filter_map(|name| config.tools.iter().find(|tool| tool.name == *name));
    CallTerms {
        dial_timeout: config.gemini.connect_timeout,
        setup_timeout: config.gemini.setup_timeout,
        max_call: config.leg.max_call,
        greeting: agent.greeting.clone(),
        give_up: config.session.give_up,
        greeting_sound: None,
        fallback_sound: None,
        fallback_transfer: None,
        turns: TurnTerms {
            listen: ListenTerms {
                hangover_ms: agent.hangover.as_millis() as u32,
                pre_roll_ms: if agent.relay_turns { PRE_ROLL_MS } else { 0 },
                local_barge_in: agent.local_barge_in,
            },
            relay: agent.relay_turns,
            protect_greeting: agent.protect_greeting,
            answer_within: agent.answer_within,
        },
        control: ControlTerms {
            event_socket: config.esl.host.is_some(),
            variables: config.control.variables.clone(),
            tell_keys: agent.tell_keys,
            model_may_end: agent.end_call,
            model_destinations: agent.transfer_destinations.clone(),
            digits: DigitTerms { pause: agent.digits_timeout, terminator: agent.digits_terminator },
        },
        tools: ToolTerms {
            send_dtmf: agent.send_dtmf,
            call_info: agent.call_info,
            // Those that are not there were refused when the configuration was read.
            http: named.map(|tool| Arc::new(http_tool(tool, &agent.model))).collect(),
        },
    }
}

fn http_tool(tool: &ToolConfig, model: &str) -> HttpTool {
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

fn setup(agent: &AgentConfig) -> SetupRequest {
    SetupRequest {
        model: agent.model.clone(),
        voice: agent.voice.clone(),
        language: agent.language.clone(),
        instructions: agent.instructions.clone(),
        temperature: agent.temperature.map(|value| value as f32),
        input_transcription: agent.input_transcription,
        output_transcription: agent.output_transcription,
        turns: TurnTaking { detection_disabled: agent.relay_turns, ..TurnTaking::default() },
        ..SetupRequest::default()
    }
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
    (behavior, scheduling.filter(|_| behavior == Some(Behavior::NonBlocking)))
}
