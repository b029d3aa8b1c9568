//! Agents as calls need them, made of the configuration.
//!
//! Runs in: the main thread. Owns nothing.
//! Invariant: what is not configured is not sent in a setup.

use crate::call::agent::{Agent, CallTerms};
use crate::call::machine::ControlTerms;
use crate::codec::gemini::setup::SetupRequest;
use crate::codec::gemini::tools;
use crate::config::{AgentConfig, Config};

/// The agent with this name and configuration.
pub(crate) fn agent(config: &Config, name: &str, agent: &AgentConfig) -> Agent {
    Agent { name: name.to_owned(), terms: terms(config, agent), setup: setup(agent) }
}

fn terms(config: &Config, agent: &AgentConfig) -> CallTerms {
    CallTerms {
        dial_timeout: config.gemini.connect_timeout,
        setup_timeout: config.gemini.setup_timeout,
        max_call: config.leg.max_call,
        greeting: agent.greeting.clone(),
        give_up: config.session.give_up,
        greeting_sound: None,
        fallback_sound: None,
        fallback_transfer: None,
        control: ControlTerms {
            event_socket: config.esl.host.is_some(),
            variables: config.control.variables.clone(),
            tell_keys: agent.tell_keys,
            model_may_end: agent.end_call,
            model_destinations: agent.transfer_destinations.clone(),
        },
    }
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
        functions: tools::declarations(agent.end_call, &agent.transfer_destinations),
        ..SetupRequest::default()
    }
}
