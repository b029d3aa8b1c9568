//! The keys of an agent: of `[agent]`, the default agent, and of every `[agents.NAME]`.
//!
//! Runs in: anywhere: pure. Owns its part of the registry; [`super::keys`] joins the parts. Never reads anything.
//! Invariant: as in [`super::keys`]; a key that an agent does not set is as `[agent]` has it.

use super::model::AgentConfig;
use super::registry::{Key, Kind, text};
use super::setters::{name_of, names, path, set_destinations};

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
            "System instructions: who the model is on the telephone and how it should speak.",
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
            "What the model is told when the call begins, so that it speaks first. The caller speaks first by default.",
        )
        .example(r#""Greet the caller and ask how you can help.""#),
        Key::<T>::new(
            "agent.temperature",
            "",
            Kind::Number { min: 0.0, max: 2.0, set: |a, v| a.as_mut().temperature = v },
            "Sampling temperature. The model's own by default.",
        )
        .example("0.7"),
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
            "agent.tell_keys",
            "true",
            Kind::Switch { set: |a, v| a.as_mut().tell_keys = v },
            "Tell the model which keys the caller presses, as text, once no other has followed for 1.5 s.",
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
