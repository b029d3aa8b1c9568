//! An agent as calls need it, made of the configuration.
//!
//! Runs in: the main thread. Owns nothing; reads the sounds that an agent names, and the zone of the machine.
//! Invariant: what is not configured is not sent in a setup, nor what the model is known to refuse.

use std::path::Path;
use std::sync::Arc;

use jiff::tz::TimeZone;

use crate::base::{SampleRate, Sound};
use crate::call::agent::{Agent, CallTerms, ControlTerms, DigitTerms, Limits, TurnTerms};
use crate::call::leg::fields::is_field;
use crate::call::model::{Compression, SetupRequest, Thinking, TurnTaking, Unfit};
use crate::call::tool::ToolTerms;
use crate::codec::Provider;
use crate::config::template::unknown_variables;
use crate::config::{AgentConfig, CallVariable, Config};
use crate::dsp::ListenTerms;

mod tools;

/// What the model hears of the caller from before a talkspurt was found: two syllables, of which the first may be soft.
const PRE_ROLL_MS: u32 = 240;

/// The longest sound; a caller who hears it for longer has hung up.
const SOUND_SECONDS_MAX: u32 = 120;

/// The longest sound while a tool works: the model's answer waits for its end.
const EARCON_SECONDS_MAX: u32 = 3;

/// The agent with this name and configuration, and what is wrong with it. What its model would refuse is left out.
pub(crate) fn agent(config: &Config, name: &str, agent: &AgentConfig) -> (Agent, Vec<Unfit>) {
    let mut setup = setup(agent);
    let mut problems = Provider::Gemini.fit(&mut setup);
    check_thinking(agent, &mut problems);
    for (key, text) in [("instructions", &agent.instructions), ("greeting", &agent.greeting)] {
        check_variables(key, text.as_deref().unwrap_or_default(), agent, &mut problems);
    }
    check_own_variables(agent, &mut problems);
    check_transcription(agent, &mut problems);
    let terms = terms(config, agent, &mut problems);
    let price =
        config.prices.iter().find(|price| price.fits(setup.model.trim_start_matches("models/"))).cloned();
    (Agent { name: name.to_owned(), terms, setup, price, zone: TimeZone::system() }, problems)
}

/// A model takes one of the two settings.
fn check_thinking(agent: &AgentConfig, problems: &mut Vec<Unfit>) {
    if agent.thinking_level.is_some() && agent.thinking_budget.is_some() {
        let text = "thinking_level and thinking_budget are both set, one of them perhaps in [agent], and a model takes one: set \
                    thinking_level = \"default\" or thinking_budget = 0 here";
        problems.push(Unfit { key: "thinking_level", text: text.to_owned(), is_warning: false });
    }
}

fn check_variables(key: &'static str, text: &str, agent: &AgentConfig, problems: &mut Vec<Unfit>) {
    use crate::config::template::Variable;
    let own: Vec<&str> = agent.variables.iter().map(|variable| variable.name.as_str()).collect();
    for unknown in unknown_variables(text, &own) {
        let known = Variable::ALL.iter().map(|(name, _)| *name).chain(own.iter().copied());
        let remedy = match crate::config::nearest(unknown, known.clone()) {
            Some(name) => format!("did you mean {{{name}}}?"),
            None => format!("the variables are {}", known.collect::<Vec<_>>().join(", ")),
        };
        let text = format!(
            "{{{unknown}}} is no variable: {remedy} If the switch says it, name it in variables. To have the word in braces, double them: {{{{{unknown}}}}}"
        );
        problems.push(Unfit { key, text, is_warning: false });
    }
}

/// What the relay takes for something else cannot be a variable too.
fn check_own_variables(agent: &AgentConfig, problems: &mut Vec<Unfit>) {
    for CallVariable { name, .. } in &agent.variables {
        if is_field(name) || name == "token" {
            let text = format!(
                "{name:?} is what the relay takes for a field of its own (docs/freeswitch.md): name it otherwise"
            );
            problems.push(Unfit { key: "variables", text, is_warning: false });
        }
    }
}

/// Hints need a transcript that they are for.
fn check_transcription(agent: &AgentConfig, problems: &mut Vec<Unfit>) {
    for (key, hints) in [
        ("transcription_languages", &agent.transcription_languages),
        ("transcription_vocabulary", &agent.transcription_vocabulary),
    ] {
        if !hints.is_empty() && !agent.transcript && !agent.input_transcription {
            let text =
                "there is no transcript of the caller to give hints for: set transcript = true".to_owned();
            problems.push(Unfit { key, text, is_warning: true });
        }
    }
}

/// Reads a WAV file of so many seconds at most.
fn sound(
    key: &'static str,
    path: Option<&Path>,
    seconds_max: u32,
    problems: &mut Vec<Unfit>,
) -> Option<Arc<Sound>> {
    let path = path?;
    match read_sound(path, seconds_max) {
        Ok(sound) => Some(Arc::new(sound)),
        Err(wrong) => {
            let text = format!("{:?} {wrong}", path.display().to_string());
            problems.push(Unfit { key, text, is_warning: false });
            None
        }
    }
}

fn read_sound(path: &Path, seconds_max: u32) -> Result<Sound, String> {
    let remedy = "convert it, for example with `sox IN.wav -b 16 -c 1 -r 16000 OUT.wav`";
    let mut file = hound::WavReader::open(path).map_err(|error| match error {
        hound::Error::IoError(error) => format!("cannot be read ({error}): correct the path or the file"),
        error => format!("is no WAV file that can be read ({error}): {remedy}"),
    })?;
    let spec = file.spec();
    let is_pcm16 = spec.sample_format == hound::SampleFormat::Int && spec.bits_per_sample == 16;
    let rate = SampleRate::from_hz(spec.sample_rate);
    let (true, 1, Some(rate)) = (is_pcm16, spec.channels, rate) else {
        return Err(format!(
            "has {} bits, {} channels and {} Hz, and not 16 bits, one channel and 8000, 16000, 24000, 32000 or 48000 \
             Hz: {remedy}",
            spec.bits_per_sample, spec.channels, spec.sample_rate
        ));
    };
    if file.duration() > seconds_max * rate.hz() {
        return Err(format!("is longer than {seconds_max} seconds: shorten it"));
    }
    let samples: Result<Vec<i16>, _> = file.samples::<i16>().collect();
    match samples {
        Ok(samples) if samples.is_empty() => Err("holds no sound".to_owned()),
        Ok(samples) => Ok(Sound { rate, samples }),
        Err(error) => Err(format!("ends too early ({error}): make it anew")),
    }
}

fn terms(config: &Config, agent: &AgentConfig, problems: &mut Vec<Unfit>) -> CallTerms {
    let named = agent.tools.iter().filter_map(|name| config.tools.iter().find(|tool| tool.name == *name));
    CallTerms {
        dial_timeout: config.gemini.connect_timeout,
        setup_timeout: config.gemini.setup_timeout,
        max_call: agent.max_call.unwrap_or(config.leg.max_call).min(config.leg.max_call),
        limits: Limits { tokens: agent.max_tokens, silence: agent.max_silence },
        detached: config.leg.detached,
        greeting: agent.greeting.clone(),
        give_up: config.session.give_up,
        greeting_sound: sound("greeting_sound", agent.greeting_sound.as_deref(), SOUND_SECONDS_MAX, problems),
        record: agent.record,
        consent_sound: sound("consent_sound", agent.consent_sound.as_deref(), SOUND_SECONDS_MAX, problems),
        fallback_sound: sound("fallback_sound", agent.fallback_sound.as_deref(), SOUND_SECONDS_MAX, problems),
        earcon: sound("earcon", agent.earcon.as_deref(), EARCON_SECONDS_MAX, problems),
        fallback: agent.fallback.clone(),
        variables: agent.variables.clone(),
        turns: TurnTerms {
            listen: ListenTerms {
                hangover_ms: agent.hangover.as_millis() as u32,
                pre_roll_ms: if agent.relay_turns { PRE_ROLL_MS } else { 0 },
                local_barge_in: agent.local_barge_in,
            },
            relay: agent.relay_turns,
            protect_greeting: agent.protect_greeting,
            answer_within: agent.answer_within,
            progress_within: agent.progress_within,
        },
        control: ControlTerms {
            event_socket: config.esl.host.is_some(),
            variables: config.control.variables.clone(),
            transfer_contexts: config.control.transfer_contexts.clone(),
            tell_keys: agent.tell_keys,
            keys_interrupt: agent.keys_interrupt,
            model_may_end: agent.end_call,
            model_destinations: agent.transfer_destinations.clone(),
            digits: DigitTerms { pause: agent.digits_timeout, terminator: agent.digits_terminator },
        },
        tools: ToolTerms {
            send_dtmf: agent.send_dtmf,
            call_info: agent.call_info,
            // Those that are not there were refused when the configuration was read.
            http: named.map(|tool| Arc::new(tools::http_tool(tool, &agent.model, problems))).collect(),
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
        top_p: agent.top_p.map(|value| value as f32),
        max_output_tokens: agent.max_output_tokens,
        thinking: agent
            .thinking_level
            .map(Thinking::Level)
            .or_else(|| agent.thinking_budget.map(Thinking::Budget)),
        affective_dialog: agent.affective_dialog,
        proactive_audio: agent.proactive_audio,
        turns: TurnTaking {
            detection_disabled: agent.relay_turns,
            start_sensitivity: agent.start_sensitivity,
            end_sensitivity: agent.end_sensitivity,
            prefix_padding_ms: agent.prefix_padding_ms,
            silence_duration_ms: agent.silence_duration_ms,
            interrupts: agent.interruptions,
            coverage: agent.turn_coverage,
        },
        compression: agent.compression.then_some(Compression {
            trigger_tokens: agent.compression_trigger_tokens,
            target_tokens: agent.compression_target_tokens,
        }),
        input_transcription: agent.input_transcription || agent.transcript,
        output_transcription: agent.output_transcription || agent.transcript,
        transcription_languages: agent.transcription_languages.clone(),
        transcription_vocabulary: agent.transcription_vocabulary.clone(),
        ..SetupRequest::default()
    }
}
