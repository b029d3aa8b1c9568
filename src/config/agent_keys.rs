//! The keys of an agent: of `[agent]`, the default agent, and of every `[agents.NAME]`.
//!
//! Runs in: anywhere: pure. Owns its part of the registry; [`super::keys`] joins the parts. Never reads anything.
//! Invariant: as in [`super::keys`]; a key that an agent does not set is as `[agent]` has it.

use super::agent::AgentConfig;
use super::registry::{Key, Kind, integer, integer_or_zero, text};
use super::setters::{
    call_variables, chosen, digits_terminator, fallback, languages, millis, name_of, names, path, seconds,
    set_destinations, unless_zero, vocabulary,
};
use crate::base::model_options::{Sensitivity, ThinkingLevel, TurnCoverage};

/// What may be written for a sound.
const SOUND: &str = "the path of a WAV file: 16 bits, mono, 8000, 16000, 24000, 32000 or 48000 Hz";

/// What may be written for a sensitivity.
const SENSITIVITIES: &[&str] = &["default", "high", "low"];

/// The keys, for whatever holds one agent: the whole configuration (its default agent), or an agent itself.
pub(super) const fn agent_keys<T: AsMut<AgentConfig> + 'static>() -> &'static [Key<T>] {
    const {
        &[
        Key::<T>::new(
            "agent.model",
            r#""gemini-3.8-live""#,
            text("a model name such as \"gemini-3.8-live\"", |a, v| {
                a.as_mut().model = name_of(v, "-._/")?;
                Ok(())
            }),
            "The model that answers.",
        ),
        Key::<T>::new(
            "agent.voice",
            "",
            text("a voice such as \"Puck\"", |a, v| {
                a.as_mut().voice = v.map(|v| name_of(Some(v), "-_")).transpose()?;
                Ok(())
            }),
            "Prebuilt voice; upper and lower case matter. The model's own by default.",
        )
        .example(r#""Puck""#),
        Key::<T>::new(
            "agent.language",
            "",
            text("a language code such as \"en-US\"", |a, v| {
                a.as_mut().language = v.map(|v| name_of(Some(v), "-")).transpose()?;
                Ok(())
            }),
            "Language code (BCP 47). The model listens and decides by default.",
        )
        .example(r#""en-US""#),
        Key::<T>::new(
            "agent.instructions",
            "",
            text("text", |a, v| {
                a.as_mut().instructions = v.map(str::to_owned);
                Ok(())
            }),
            "System instructions: who the model is on the telephone and how it should speak. {caller}, {did}, {uuid}, \
             {agent}, {date}, {time} and {weekday} stand for what is known of the call; {{caller}} is the word in braces.",
        )
        .example(r#""You answer the telephone of a bicycle shop. Be brief and friendly.""#),
        Key::<T>::new(
            "agent.instructions_file",
            "",
            text("the path of a text file", |a, v| {
                a.as_mut().instructions_file = path(v);
                Ok(())
            }),
            "A UTF-8 text file with the system instructions, instead of agent.instructions.",
        )
        .example(r#""/etc/tandem/instructions.txt""#),
        Key::<T>::new(
            "agent.greeting",
            "",
            text("text", |a, v| {
                a.as_mut().greeting = v.map(str::to_owned);
                Ok(())
            }),
            "What the model is told when the call begins, so that it speaks first. The caller speaks first by default. \
             Variables as in the instructions.",
        )
        .example(r#""Greet the caller and ask how you can help.""#),
        Key::<T>::new(
            "agent.variables",
            "[]",
            Kind::List {
                form: "names such as \"customer\", or \"tier=standard\" with what stands there if nothing is said (separated by \
                       commas outside the file)",
                set: |a, v| {
                    a.as_mut().variables = call_variables(v)?;
                    Ok(())
                },
            },
            "More variables of instructions and greeting, which the switch says for each call (docs/agents.md).",
        ),
        Key::<T>::new(
            "agent.temperature",
            "",
            Kind::Number { min: 0.0, max: 2.0, set: |a, v| a.as_mut().temperature = v },
            "Sampling temperature. The model's own by default.",
        )
        .example("0.7"),
        Key::<T>::new(
            "agent.greeting_sound",
            "",
            text(SOUND, |a, v| {
                a.as_mut().greeting_sound = path(v);
                Ok(())
            }),
            "A greeting that is played at once, while the model gets ready; the greeting above, if set, follows it.",
        )
        .example(r#""/etc/tandem/welcome.wav""#),
        Key::<T>::new(
            "agent.top_p",
            "",
            Kind::Number { min: 0.0, max: 1.0, set: |a, v| a.as_mut().top_p = v },
            "Nucleus sampling mass. The model's own by default.",
        )
        .example("0.95"),
        Key::<T>::new(
            "agent.max_output_tokens",
            "0",
            integer_or_zero(1, 65_536, "the model's own", |a, v| {
                a.as_mut().max_output_tokens = (v > 0).then_some(v as u32);
            }),
            "The most tokens of one answer.",
        ),
        Key::<T>::new(
            "agent.thinking_level",
            r#""default""#,
            Kind::Choice {
                choices: &["default", "minimal", "low", "medium", "high", "xhigh"],
                set: |a, i| a.as_mut().thinking_level = chosen(&ThinkingLevel::ALL, i),
            },
            "How much the model thinks before it speaks, where it can be told. Thinking makes it slower to answer.",
        ),
        Key::<T>::new(
            "agent.thinking_budget",
            "0",
            integer_or_zero(1, 65_536, "not said", |a, v| {
                a.as_mut().thinking_budget = (v > 0).then_some(v as u32);
            }),
            "The same as a number of tokens, for models that want it so.",
        ),
        Key::<T>::new(
            "agent.affective_dialog",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().affective_dialog = v },
            "Answer in the mood of the caller, where the model can be told to.",
        ),
        Key::<T>::new(
            "agent.proactive_audio",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().proactive_audio = v },
            "Speak of its own accord, and not where nothing was said to it, where the model can be told to.",
        ),
        Key::<T>::new(
            "agent.start_sensitivity",
            r#""default""#,
            Kind::Choice {
                choices: SENSITIVITIES,
                set: |a, i| a.as_mut().start_sensitivity = chosen(&Sensitivity::ALL, i),
            },
            "How readily the server takes a sound for the beginning of speech. Its default is high, on Vertex AI low.",
        ),
        Key::<T>::new(
            "agent.end_sensitivity",
            r#""default""#,
            Kind::Choice {
                choices: SENSITIVITIES,
                set: |a, i| a.as_mut().end_sensitivity = chosen(&Sensitivity::ALL, i),
            },
            "How readily the server takes silence for the end of speech. Its default is high, on Vertex AI low.",
        ),
        Key::<T>::new(
            "agent.prefix_padding_ms",
            "0",
            integer_or_zero(1, 5_000, "the server's own", |a, v| {
                a.as_mut().prefix_padding_ms = (v > 0).then_some(v as u32);
            }),
            "Speech of this length before the server counts it as begun. Lower it where short words are not heard.",
        ),
        Key::<T>::new(
            "agent.silence_duration_ms",
            "0",
            integer_or_zero(1, 10_000, "the server's own", |a, v| {
                a.as_mut().silence_duration_ms = (v > 0).then_some(v as u32);
            }),
            "Silence of this length before the server counts speech as ended. Raise it where callers are cut off in a \
             pause; the answer comes later by as much.",
        ),
        Key::<T>::new(
            "agent.activity_handling",
            r#""default""#,
            Kind::Choice {
                choices: &["default", "interrupt", "no_interruption"],
                set: |a, i| a.as_mut().interruptions = chosen(&[true, false], i),
            },
            "Whether a caller who speaks interrupts the model. The server's default is interrupt.",
        ),
        Key::<T>::new(
            "agent.turn_coverage",
            r#""default""#,
            Kind::Choice {
                choices: &["default", "only_activity", "all_input", "activity_and_video"],
                set: |a, i| a.as_mut().turn_coverage = chosen(&TurnCoverage::ALL, i),
            },
            "What belongs to the caller's turn: what was found to be speech, or all that was heard.",
        ),
        Key::<T>::new(
            "agent.compression",
            "true",
            Kind::Switch { set: |a, v| a.as_mut().compression = v },
            "Let the server leave out older parts of a conversation that fills the model's context. Without it a \
             conversation ends after about 15 minutes.",
        ),
        Key::<T>::new(
            "agent.compression_trigger_tokens",
            "0",
            integer_or_zero(1_000, 1_000_000, "the server's own", |a, v| {
                a.as_mut().compression_trigger_tokens = (v > 0).then_some(v as u32);
            }),
            "Tokens in the context at which that happens. Fewer keep the answers of a long call quick.",
        ),
        Key::<T>::new(
            "agent.compression_target_tokens",
            "0",
            integer_or_zero(500, 1_000_000, "the server's own", |a, v| {
                a.as_mut().compression_target_tokens = (v > 0).then_some(v as u32);
            }),
            "Tokens that are left then.",
        ),
        Key::<T>::new(
            "agent.max_call_seconds",
            "0",
            integer_or_zero(1, 86_400, "leg.max_call_seconds", |a, v| {
                a.as_mut().max_call = unless_zero(v, seconds);
            }),
            "The longest call of this agent. leg.max_call_seconds holds beside it.",
        ),
        Key::<T>::new(
            "agent.max_tokens",
            "0",
            integer_or_zero(1, 1_000_000_000, "no limit", |a, v| {
                a.as_mut().max_tokens = (v > 0).then_some(v);
            }),
            "Tokens of a call at which it is ended: all that are billed of each turn, thoughts too, added up.",
        ),
        Key::<T>::new(
            "agent.silence_seconds",
            "0",
            integer_or_zero(5, 3_600, "never", |a, v| {
                a.as_mut().max_silence = unless_zero(v, seconds);
            }),
            "A call in which neither the caller nor the model has said anything for so long is ended.",
        ),
        Key::<T>::new(
            "agent.fallback",
            r#""switch""#,
            text("switch, hangup, or the extension or number to transfer to", |a, v| {
                a.as_mut().fallback = fallback(v)?;
                Ok(())
            }),
            "What becomes of a call that cannot go on, because the model is not to be had. With switch the switch decides: our \
             script sends the caller to its fallback extension, Asterisk's dialplan goes on.",
        ),
        Key::<T>::new(
            "agent.fallback_sound",
            "",
            text(SOUND, |a, v| {
                a.as_mut().fallback_sound = path(v);
                Ok(())
            }),
            "What the caller hears before that.",
        )
        .example(r#""/etc/tandem/sorry.wav""#),
        Key::<T>::new(
            "agent.transcript",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().transcript = v },
            "Ask for the transcripts of both sides.",
        ),
        Key::<T>::new(
            "agent.input_transcription",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().input_transcription = v },
            "Ask for a transcript of what the caller says.",
        ),
        Key::<T>::new(
            "agent.output_transcription",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().output_transcription = v },
            "Ask for a transcript of what the model says.",
        ),
        Key::<T>::new(
            "agent.transcription_languages",
            "[]",
            Kind::List {
                form: "language codes such as \"de-DE\" (separated by commas outside the file)",
                set: |a, v| {
                    a.as_mut().transcription_languages = languages(v)?;
                    Ok(())
                },
            },
            "Languages that callers speak, as hints for their transcript. Any by default. The model understands them without.",
        ),
        Key::<T>::new(
            "agent.transcription_vocabulary",
            "[]",
            Kind::List {
                form: "words or names such as \"Tandem\" (separated by commas outside the file)",
                set: |a, v| {
                    a.as_mut().transcription_vocabulary = vocabulary(v)?;
                    Ok(())
                },
            },
            "Words and names that callers say and a transcript would not know.",
        ),
        Key::<T>::new(
            "agent.turn_taking",
            r#""server""#,
            Kind::Choice { choices: &["server", "relay"], set: |a, i| a.as_mut().relay_turns = i == 1 },
            "Who finds out when the caller begins and ends to speak: Gemini, or this relay, which then tells Gemini \
             (docs/turn-taking.md).",
        ),
        Key::<T>::new(
            "agent.hangover_ms",
            "600",
            integer(100, 3_000, |a, v| a.as_mut().hangover = millis(v)),
            "Without speech for so long the caller has finished, as the relay sees it. With turn_taking = \"relay\" a longer \
             pause for thought ends the turn.",
        ),
        Key::<T>::new(
            "agent.local_barge_in",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().local_barge_in = v },
            "Pause the model's speech as soon as the caller speaks, and go on with it if the model does not stop. Echo on the \
             line pauses it too.",
        ),
        Key::<T>::new(
            "agent.protect_greeting_ms",
            "0",
            integer_or_zero(1_000, 30_000, "never", |a, v| a.as_mut().protect_greeting = unless_zero(v, millis)),
            "Let the greeting be spoken to its end: what the caller says meanwhile is sent to the model afterwards, or after so \
             long. 0 lets the caller interrupt it.",
        ),
        Key::<T>::new(
            "agent.answer_within_ms",
            "4000",
            integer_or_zero(1_000, 60_000, "never", |a, v| a.as_mut().answer_within = unless_zero(v, millis)),
            "Without an answer to what the caller said for so long, the relay heals step by step, so long for each \
             (docs/turn-taking.md). 0 never does.",
        ),
        Key::<T>::new(
            "agent.progress_within_ms",
            "60000",
            integer(1_000, 600_000, |a, v| a.as_mut().progress_within = millis(v)),
            "A model that says that it is at work on an answer is waited for so long from when it last said so, instead of \
             answer_within_ms, if that is not longer.",
        ),
        Key::<T>::new(
            "agent.tell_keys",
            "true",
            Kind::Switch { set: |a, v| a.as_mut().tell_keys = v },
            "Tell the model which keys the caller presses, as text, once no other has followed for digits_timeout_ms.",
        ),
        Key::<T>::new(
            "agent.keys_interrupt",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().keys_interrupt = v },
            "A key that the caller presses stops what the agent is saying, as speech does. A protected greeting and a consent \
             announcement are heard to their end.",
        ),
        Key::<T>::new(
            "agent.transfer_destinations",
            "[]",
            Kind::List {
                form: "extensions or numbers such as \"2000\" (separated by commas outside the file)",
                set: set_destinations,
            },
            "Where the model may transfer a call to, and nowhere else: a caller can talk a model round. With none it gets no \
             transfer_call tool.",
        ),
        Key::<T>::new(
            "agent.end_call",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().end_call = v },
            "Give the model the end_call tool, with which it hangs up once what it said was played.",
        ),
        Key::<T>::new(
            "agent.digits_timeout_ms",
            "1500",
            integer(100, 30_000, |a, v| a.as_mut().digits_timeout = millis(v)),
            "Without another key for this long, what the caller typed is complete.",
        ),
        Key::<T>::new(
            "agent.digits_terminator",
            "",
            text("one of 0-9 A-D * #", |a, v| {
                a.as_mut().digits_terminator = v.map(digits_terminator).transpose()?;
                Ok(())
            }),
            "A key that ends what the caller types at once, and is not told with it. None by default.",
        )
        .example(r##""#""##),
        Key::<T>::new(
            "agent.send_dtmf",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().send_dtmf = v },
            "Give the model the send_dtmf tool, with which it sends telephone tones to the other side.",
        ),
        Key::<T>::new(
            "agent.call_info",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().call_info = v },
            "Give the model the get_call_info tool: the numbers, how long the call has lasted, the local date and time.",
        ),
        Key::<T>::new(
            "agent.record",
            "false",
            Kind::Switch { set: |a, v| a.as_mut().record = v },
            "Record the calls (docs/recordings.md). The model gets the pause_recording tool, for card numbers.",
        ),
        Key::<T>::new(
            "agent.consent_sound",
            "",
            text(SOUND, |a, v| {
                a.as_mut().consent_sound = path(v);
                Ok(())
            }),
            "What a caller whose call is recorded hears first, and nothing interrupts: that it is recorded.",
        )
        .example(r#""/etc/tandem/recorded.wav""#),
        Key::<T>::new(
            "agent.tools",
            "[]",
            Kind::List {
                form: "names of tools: NAME of [tools.NAME] (separated by commas outside the file)",
                set: |a, v| {
                    a.as_mut().tools = names(v)?;
                    Ok(())
                },
            },
            "The HTTP tools that the model may use.",
        ),
]
    }
}
