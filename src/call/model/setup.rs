//! What is asked for when a link to a model is set up: model, voice and behaviour.
//!
//! Runs in: anywhere: pure. Owns nothing.
//! Invariant: what is `None` was not asked for, and is the model's own.

use super::function::Function;
use crate::base::model_options::{Sensitivity, ThinkingLevel, TurnCoverage};

/// What a link is asked for at its setup.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SetupRequest {
    /// The model, with or without `models/`, for example `gemini-3.8-live`.
    pub model: String,
    /// A prebuilt voice by its case-sensitive name, for example `Puck`.
    pub voice: Option<String>,
    /// BCP 47 language of the speech, for example `en-US`.
    pub language: Option<String>,
    /// The system instruction.
    pub instructions: Option<String>,
    /// Sampling temperature; a value that is not finite is left out, because JSON cannot say it.
    pub temperature: Option<f32>,
    /// Nucleus sampling mass; as `temperature`.
    pub top_p: Option<f32>,
    /// The most tokens of one answer.
    pub max_output_tokens: Option<u32>,
    /// How much the model thinks before it speaks.
    pub(crate) thinking: Option<Thinking>,
    /// Ask the model to answer in the mood of the caller.
    pub affective_dialog: bool,
    /// Ask the model to speak of its own accord, and to be silent where nothing was said to it.
    pub proactive_audio: bool,
    /// How the server finds out when the caller speaks, and what follows from it.
    pub(crate) turns: TurnTaking,
    /// `None`: the session ends when its context is full. `Some`: older parts are left out then.
    pub(crate) compression: Option<Compression>,
    /// Ask for the text of what the caller said.
    pub input_transcription: bool,
    /// Languages that the caller may speak (BCP 47), as hints for that text.
    pub transcription_languages: Vec<String>,
    /// Words that the caller may say, as hints for that text.
    pub transcription_vocabulary: Vec<String>,
    /// Ask for the text of what the model said.
    pub output_transcription: bool,
    /// The tools that the model may call.
    pub functions: Vec<Function>,
    /// `None`: the session cannot be resumed. `Some`: ask for handles, and resume where one is given.
    pub(crate) resumption: Option<SessionResumption>,
}

/// How much a model thinks; the API takes one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Thinking {
    /// In words.
    Level(ThinkingLevel),
    /// In tokens; 0 is none.
    Budget(u32),
}

/// Turn taking as the setup asks for it; what is `None` is the server's own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TurnTaking {
    /// The server does not listen for speech: we say when the caller begins and ends. The four below mean nothing then,
    /// and are not sent.
    pub detection_disabled: bool,
    /// How readily a sound is taken for the beginning of speech.
    pub start_sensitivity: Option<Sensitivity>,
    /// How readily silence is taken for its end.
    pub end_sensitivity: Option<Sensitivity>,
    /// Speech of this length, in milliseconds, before it counts as begun.
    pub prefix_padding_ms: Option<u32>,
    /// Silence of this length, in milliseconds, before speech counts as ended.
    pub silence_duration_ms: Option<u32>,
    /// Whether the caller interrupts the model.
    pub interrupts: Option<bool>,
    /// What belongs to the caller's turn.
    pub coverage: Option<TurnCoverage>,
}

/// Context window compression; what is `None` is the server's own (80 % of the window, and half of that).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Compression {
    /// Tokens in the context at which it is cut.
    pub trigger_tokens: Option<u32>,
    /// Tokens that are left then.
    pub target_tokens: Option<u32>,
}

/// The session resumption part of a setup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SessionResumption {
    /// The newest handle of the session to resume; `None` starts a new resumable session.
    pub handle: Option<String>,
}

impl SetupRequest {
    /// The same, with the model as a credential's API calls it: `model_prefix` and its own name. A path of Vertex AI that
    /// was configured as it is stays so.
    pub fn for_credential(&self, model_prefix: Option<&str>) -> Self {
        let name = self.model.strip_prefix("models/").unwrap_or(&self.model);
        match model_prefix.filter(|_| !name.contains('/')) {
            Some(prefix) => Self { model: format!("{prefix}{name}"), ..self.clone() },
            None => self.clone(),
        }
    }
}

/// What is asked for that a model is not known to take, by the key of an agent that asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unfit {
    /// The key, `voice`, without the agent before it.
    pub key: &'static str,
    /// What is wrong and what to do, as a whole sentence without the key's name.
    pub text: String,
    /// Whether the relay can run with it.
    pub is_warning: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_as_its_credential_wants_it_unless_it_is_a_path() {
        let called = |model: &str, prefix| {
            SetupRequest { model: model.to_owned(), ..SetupRequest::default() }.for_credential(prefix).model
        };
        let prefix = "projects/p/locations/l/publishers/google/models/";
        assert_eq!(called("models/m", Some(prefix)), format!("{prefix}m"));
        assert_eq!(called("m", Some(prefix)), format!("{prefix}m"));
        assert_eq!(called("tunedModels/m", Some(prefix)), "tunedModels/m");
        assert_eq!(called("models/m", None), "models/m");
    }
}
