//! The setup message: the first message of every link, which chooses model, voice and behaviour.
//!
//! Runs in: the dial thread, once per link; pure. Owns nothing. Never sends a field that was not asked for.
//! Invariant: an optional field that is `None` is absent from the JSON, because each model refuses (close 1007) the
//! optional fields it does not know.

use serde::Serialize;
use serde_json::Value;

use super::tools;
use crate::base::model_options::{Sensitivity, TurnCoverage};
use crate::call::model::{SetupRequest, Thinking, TurnTaking};

/// The setup message as one JSON text.
pub(crate) fn message(request: &SetupRequest) -> String {
    let functions = tools::declarations(request);
    let setup = SetupMessage {
        setup: Setup {
            model: model_path(&request.model),
            generation_config: GenerationConfig {
                response_modalities: ["AUDIO"],
                temperature: request.temperature.filter(|value| value.is_finite()),
                top_p: request.top_p.filter(|value| value.is_finite()),
                max_output_tokens: request.max_output_tokens,
                speech_config: speech_config(request),
                thinking_config: request.thinking.map(ThinkingConfig::of),
                enable_affective_dialog: request.affective_dialog.then_some(true),
            },
            system_instruction: request
                .instructions
                .as_deref()
                .map(|text| Content { parts: [Part { text }] }),
            input_audio_transcription: request.input_transcription.then_some(InputTranscription {
                language_codes: &request.transcription_languages,
                custom_vocabulary: &request.transcription_vocabulary,
            }),
            output_audio_transcription: request.output_transcription.then_some(Empty {}),
            tools: (!functions.is_empty()).then_some([Tool { function_declarations: &functions }]),
            realtime_input_config: realtime_input(&request.turns),
            session_resumption: request
                .resumption
                .as_ref()
                .map(|resumption| Resumption { handle: resumption.handle.as_deref() }),
            context_window_compression: request.compression.map(|compression| WindowCompression {
                trigger_tokens: compression.trigger_tokens,
                sliding_window: SlidingWindow { target_tokens: compression.target_tokens },
            }),
            proactivity: request.proactive_audio.then_some(Proactivity { proactive_audio: true }),
        },
    };
    serde_json::to_string(&setup).expect("strings, numbers and lists always serialise")
}

fn speech_config(request: &SetupRequest) -> Option<SpeechConfig<'_>> {
    let voice_config = request
        .voice
        .as_deref()
        .map(|voice_name| VoiceConfig { prebuilt_voice_config: PrebuiltVoiceConfig { voice_name } });
    let language_code = request.language.as_deref();
    (voice_config.is_some() || language_code.is_some())
        .then_some(SpeechConfig { voice_config, language_code })
}

fn realtime_input(turns: &TurnTaking) -> Option<RealtimeInputConfig> {
    let detection = match turns.detection_disabled {
        true => ActivityDetection { disabled: Some(true), ..ActivityDetection::default() },
        false => ActivityDetection {
            disabled: None,
            start_of_speech_sensitivity: turns.start_sensitivity.map(|sensitivity| match sensitivity {
                Sensitivity::High => "START_SENSITIVITY_HIGH",
                Sensitivity::Low => "START_SENSITIVITY_LOW",
            }),
            end_of_speech_sensitivity: turns.end_sensitivity.map(|sensitivity| match sensitivity {
                Sensitivity::High => "END_SENSITIVITY_HIGH",
                Sensitivity::Low => "END_SENSITIVITY_LOW",
            }),
            prefix_padding_ms: turns.prefix_padding_ms,
            silence_duration_ms: turns.silence_duration_ms,
        },
    };
    let config = RealtimeInputConfig {
        automatic_activity_detection: Some(detection)
            .filter(|detection| *detection != ActivityDetection::default()),
        activity_handling: turns.interrupts.map(|interrupts| match interrupts {
            true => "START_OF_ACTIVITY_INTERRUPTS",
            false => "NO_INTERRUPTION",
        }),
        turn_coverage: turns.coverage.map(|coverage| match coverage {
            TurnCoverage::OnlyActivity => "TURN_INCLUDES_ONLY_ACTIVITY",
            TurnCoverage::AllInput => "TURN_INCLUDES_ALL_INPUT",
            TurnCoverage::AudioActivityAndAllVideo => "TURN_INCLUDES_AUDIO_ACTIVITY_AND_ALL_VIDEO",
        }),
    };
    Some(config).filter(|config| *config != RealtimeInputConfig::default())
}

/// The model as the API wants it: `models/NAME`. A name that already holds a path (`models/…`, `projects/…` of
/// Vertex, `tunedModels/…`) is kept.
fn model_path(model: &str) -> String {
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
    input_audio_transcription: Option<InputTranscription<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_audio_transcription: Option<Empty>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<[Tool<'a>; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    realtime_input_config: Option<RealtimeInputConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_resumption: Option<Resumption<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_window_compression: Option<WindowCompression>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proactivity: Option<Proactivity>,
}

#[derive(Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct RealtimeInputConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    automatic_activity_detection: Option<ActivityDetection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activity_handling: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    turn_coverage: Option<&'static str>,
}

#[derive(Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct ActivityDetection {
    #[serde(skip_serializing_if = "Option::is_none")]
    disabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_of_speech_sensitivity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_of_speech_sensitivity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix_padding_ms: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    silence_duration_ms: Option<u32>,
}

#[derive(Serialize)]
enum ThinkingConfig {
    #[serde(rename = "thinkingLevel")]
    Level(String),
    #[serde(rename = "thinkingBudget")]
    Budget(u32),
}

impl ThinkingConfig {
    fn of(thinking: Thinking) -> Self {
        match thinking {
            Thinking::Budget(tokens) => Self::Budget(tokens),
            Thinking::Level(level) => Self::Level(level.label().to_ascii_uppercase()),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WindowCompression {
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger_tokens: Option<u32>,
    sliding_window: SlidingWindow,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SlidingWindow {
    #[serde(skip_serializing_if = "Option::is_none")]
    target_tokens: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Proactivity {
    proactive_audio: bool,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enable_affective_dialog: Option<bool>,
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
#[serde(rename_all = "camelCase")]
struct InputTranscription<'a> {
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    language_codes: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    custom_vocabulary: &'a [String],
}

#[derive(Serialize)]
struct Resumption<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<&'a str>,
}

#[derive(Serialize)]
struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::model_options::ThinkingLevel;
    use crate::call::model::{Compression, Function, SessionResumption};
    use serde_json::json;

    fn parsed(request: &SetupRequest) -> Value {
        serde_json::from_str(&message(request)).expect("JSON")
    }

    #[test]
    fn nothing_but_the_model_and_audio_is_sent_unless_asked_for() {
        let request = SetupRequest { model: "gemini-3.8-live".to_owned(), ..SetupRequest::default() };
        assert_eq!(
            message(&request),
            r#"{"setup":{"model":"models/gemini-3.8-live","generationConfig":{"responseModalities":["AUDIO"]}}}"#
        );
    }

    #[test]
    fn hints_for_the_transcript_stand_beside_it_and_only_there() {
        let hints = |input_transcription| {
            let request = SetupRequest {
                input_transcription,
                output_transcription: true,
                transcription_languages: vec!["de-DE".to_owned(), "cs-CZ".to_owned()],
                transcription_vocabulary: vec!["Škoda".to_owned()],
                ..SetupRequest::default()
            };
            parsed(&request)["setup"].clone()
        };
        let setup = hints(true);
        let expected = json!({"languageCodes": ["de-DE", "cs-CZ"], "customVocabulary": ["Škoda"]});
        assert_eq!(setup["inputAudioTranscription"], expected);
        assert_eq!(setup["outputAudioTranscription"], json!({}));
        assert_eq!(hints(false).get("inputAudioTranscription"), None);
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
            thinking: Some(Thinking::Level(ThinkingLevel::XHigh)),
            affective_dialog: true,
            proactive_audio: true,
            turns: TurnTaking {
                detection_disabled: false,
                start_sensitivity: Some(Sensitivity::Low),
                end_sensitivity: Some(Sensitivity::High),
                prefix_padding_ms: Some(20),
                silence_duration_ms: Some(500),
                interrupts: Some(false),
                coverage: Some(TurnCoverage::AllInput),
            },
            compression: Some(Compression { trigger_tokens: Some(32_000), target_tokens: Some(16_000) }),
            input_transcription: true,
            transcription_languages: Vec::new(),
            transcription_vocabulary: Vec::new(),
            output_transcription: true,
            functions: vec![Function::EndCall],
            resumption: Some(SessionResumption { handle: Some("h1".to_owned()) }),
        };
        assert!(message(&request).contains(r#""temperature":0.7,"#), "{}", message(&request));
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
                        "voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "Puck"}}, "languageCode": "cs-CZ"},
                    "thinkingConfig": {"thinkingLevel": "XHIGH"},
                    "enableAffectiveDialog": true},
                "systemInstruction": {"parts": [{"text": "Řekni \"ahoj\".\n"}]},
                "inputAudioTranscription": {},
                "outputAudioTranscription": {},
                "tools": [{"functionDeclarations": tools::declarations(&request)}],
                "realtimeInputConfig": {
                    "automaticActivityDetection": {
                        "startOfSpeechSensitivity": "START_SENSITIVITY_LOW",
                        "endOfSpeechSensitivity": "END_SENSITIVITY_HIGH",
                        "prefixPaddingMs": 20, "silenceDurationMs": 500},
                    "activityHandling": "NO_INTERRUPTION",
                    "turnCoverage": "TURN_INCLUDES_ALL_INPUT"},
                "contextWindowCompression": {"triggerTokens": 32_000, "slidingWindow": {"targetTokens": 16_000}},
                "proactivity": {"proactiveAudio": true},
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
    fn where_we_take_turns_ourselves_the_servers_detection_is_off_and_nothing_else_is_said_of_it() {
        let turns = TurnTaking {
            detection_disabled: true,
            silence_duration_ms: Some(500),
            interrupts: Some(true),
            ..TurnTaking::default()
        };
        let request = SetupRequest { turns, ..SetupRequest::default() };
        assert_eq!(
            parsed(&request)["setup"]["realtimeInputConfig"],
            json!({
                "automaticActivityDetection": {"disabled": true},
                "activityHandling": "START_OF_ACTIVITY_INTERRUPTS"})
        );
    }

    #[test]
    fn compression_without_figures_is_asked_for_all_the_same() {
        let request = SetupRequest { compression: Some(Compression::default()), ..SetupRequest::default() };
        assert_eq!(parsed(&request)["setup"]["contextWindowCompression"], json!({"slidingWindow": {}}));
        let request = SetupRequest { thinking: Some(Thinking::Budget(0)), ..SetupRequest::default() };
        let config = &parsed(&request)["setup"]["generationConfig"]["thinkingConfig"];
        assert_eq!(*config, json!({"thinkingBudget": 0}));
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
