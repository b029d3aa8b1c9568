//! The setup message: the first message of every link, which chooses model, voice and behaviour.
//!
//! Runs in: the gemini thread, once per link; pure. Owns nothing. Never sends a field that was not asked for.
//! Invariant: an optional field that is `None` is absent from the JSON, because each model refuses (close 1007) the
//! optional fields it does not know.

use serde::Serialize;
use serde_json::Value;

/// What the setup message asks for. Later needs (activity detection, context compression) become further
/// optional fields here and in the wire types below.
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
    /// Ask for the text of what the caller said.
    pub input_transcription: bool,
    /// Ask for the text of what the model said.
    pub output_transcription: bool,
    /// `functionDeclarations` of the tools that the model may call ([`super::tools`]).
    pub functions: Vec<Value>,
    /// `None`: the session cannot be resumed. `Some`: ask for handles, and resume where one is given.
    pub resumption: Option<SessionResumption>,
}

/// The session resumption part of a setup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SessionResumption {
    /// The newest handle of the session to resume; `None` starts a new resumable session (`{}` on the wire).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
}

impl SetupRequest {
    /// The setup message as one JSON text.
    pub fn to_json(&self) -> String {
        let setup = SetupMessage {
            setup: Setup {
                model: model_path(&self.model),
                generation_config: GenerationConfig {
                    response_modalities: ["AUDIO"],
                    temperature: self.temperature.filter(|value| value.is_finite()),
                    top_p: self.top_p.filter(|value| value.is_finite()),
                    max_output_tokens: self.max_output_tokens,
                    speech_config: self.speech_config(),
                },
                system_instruction: self
                    .instructions
                    .as_deref()
                    .map(|text| Content { parts: [Part { text }] }),
                input_audio_transcription: self.input_transcription.then_some(Empty {}),
                output_audio_transcription: self.output_transcription.then_some(Empty {}),
                tools: (!self.functions.is_empty())
                    .then_some([Tool { function_declarations: &self.functions }]),
                session_resumption: self.resumption.as_ref(),
            },
        };
        serde_json::to_string(&setup).expect("strings, numbers and lists always serialise")
    }

    fn speech_config(&self) -> Option<SpeechConfig<'_>> {
        let voice_config = self
            .voice
            .as_deref()
            .map(|voice_name| VoiceConfig { prebuilt_voice_config: PrebuiltVoiceConfig { voice_name } });
        let language_code = self.language.as_deref();
        (voice_config.is_some() || language_code.is_some())
            .then_some(SpeechConfig { voice_config, language_code })
    }
}

/// The model as the API wants it: `models/NAME`. A name that already holds a path (`models/…`, `projects/…` of
/// Vertex, `tunedModels/…`) is kept.
pub fn model_path(model: &str) -> String {
    if model.contains('/') { model.to_owned() } else { format!("models/{model}") }
}

#[derive(Serialize)]
struct SetupMessage<'a> {
    setup: Setup<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Setup<'a> {
    model: String,
    generation_config: GenerationConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_audio_transcription: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_audio_transcription: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tool<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_resumption: Option<&'a SessionResumption>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    response_modalities: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speech_config: Option<SpeechConfig<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpeechConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    voice_config: Option<VoiceConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    language_code: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VoiceConfig<'a> {
    prebuilt_voice_config: PrebuiltVoiceConfig<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PrebuiltVoiceConfig<'a> {
    voice_name: &'a str,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Part<'a>; 1],
}

#[derive(Serialize)]
struct Part<'a> {
    text: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    function_declarations: &'a [Value],
}

#[derive(Serialize)]
struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(request: &SetupRequest) -> Value {
        serde_json::from_str(&request.to_json()).expect("JSON")
    }

    #[test]
    fn nothing_but_the_model_and_audio_is_sent_unless_asked_for() {
        let request = SetupRequest { model: "gemini-3.8-live".to_owned(), ..SetupRequest::default() };
        assert_eq!(
            request.to_json(),
            r#"{"setup":{"model":"models/gemini-3.8-live","generationConfig":{"responseModalities":["AUDIO"]}}}"#
        );
    }

    #[test]
    fn everything_asked_for_is_sent_in_camel_case() {
        let request = SetupRequest {
            model: "models/gemini-3.8-live".to_owned(),
            voice: Some("Puck".to_owned()),
            language: Some("cs-CZ".to_owned()),
            instructions: Some("Řekni \"ahoj\".\n".to_owned()),
            temperature: Some(0.7),
            top_p: Some(0.95),
            max_output_tokens: Some(1024),
            input_transcription: true,
            output_transcription: true,
            functions: vec![json!({"name": "end_call"})],
            resumption: Some(SessionResumption { handle: Some("h1".to_owned()) }),
        };
        assert!(request.to_json().contains(r#""temperature":0.7,"#), "{}", request.to_json());
        let mut value = parsed(&request);
        value["setup"]["generationConfig"]["temperature"].take();
        value["setup"]["generationConfig"]["topP"].take();
        assert_eq!(
            value,
            json!({"setup": {
                "model": "models/gemini-3.8-live",
                "generationConfig": {
                    "responseModalities": ["AUDIO"], "temperature": null, "topP": null, "maxOutputTokens": 1024,
                    "speechConfig": {
                        "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Puck"}}, "languageCode": "cs-CZ"}},
                "systemInstruction": {"parts": [{"text": "Řekni \"ahoj\".\n"}]},
                "inputAudioTranscription": {},
                "outputAudioTranscription": {},
                "tools": [{"functionDeclarations": [{"name": "end_call"}]}],
                "sessionResumption": {"handle": "h1"}}})
        );
    }

    #[test]
    fn a_new_resumable_session_asks_with_an_empty_object() {
        let request =
            SetupRequest { resumption: Some(SessionResumption::default()), ..SetupRequest::default() };
        assert_eq!(parsed(&request)["setup"]["sessionResumption"], json!({}));
    }

    #[test]
    fn a_language_needs_no_voice() {
        let request = SetupRequest { language: Some("en-US".to_owned()), ..SetupRequest::default() };
        let config = &parsed(&request)["setup"]["generationConfig"]["speechConfig"];
        assert_eq!(*config, json!({"languageCode": "en-US"}));
    }

    #[test]
    fn a_temperature_that_json_cannot_say_is_left_out() {
        let request = SetupRequest { temperature: Some(f32::NAN), ..SetupRequest::default() };
        assert_eq!(parsed(&request)["setup"]["generationConfig"], json!({"responseModalities": ["AUDIO"]}));
    }

    #[test]
    fn a_model_that_holds_a_path_is_kept() {
        assert_eq!(model_path("m"), "models/m");
        assert_eq!(model_path("models/m"), "models/m");
        let vertex = "projects/p/locations/l/publishers/google/models/m";
        assert_eq!(model_path(vertex), vertex);
    }
}
