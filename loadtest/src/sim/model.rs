//! What each model accepts in a setup, and what a setup that is accepted means for the session.
//!
//! Runs in: the simulator's thread: pure. Owns nothing.
//! Invariant: a setup that the real service is known to refuse is refused with the same code. Where Google's words
//! are known they are used; the codes are what a client may rely on.

use std::{error::Error, fmt};

use serde_json::{Map, Value};

use super::upgrade::Platform;

/// A close code and reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// 1007, 1008 or 1011.
    pub code: u16,
    /// What the close frame says, cut to 123 bytes when it is sent.
    pub reason: String,
}

impl Refusal {
    /// 1007, an invalid argument.
    pub(super) fn invalid(reason: impl Into<String>) -> Self {
        Self { code: 1007, reason: reason.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "close {} {:?}", self.code, self.reason)
    }
}

impl Error for Refusal {}

/// The families of Live models; a family accepts and refuses the same things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    /// `gemini-3.8-live`.
    Live38,
    /// `gemini-3.8-live-extended-thinking`.
    Live38Thinking,
    /// `gemini-3.1-flash-live-preview`.
    Live31,
    /// `gemini-2.5-flash-native-audio-preview-…` and, on Vertex, `gemini-live-2.5-flash-native-audio`.
    Native25,
    /// `gemini-3.5-live-translate-preview`.
    Translate35,
}

/// The prebuilt voices; names are case-sensitive.
const VOICES: [&str; 30] = [
    "Zephyr",
    "Puck",
    "Charon",
    "Kore",
    "Fenrir",
    "Leda",
    "Orus",
    "Aoede",
    "Callirrhoe",
    "Autonoe",
    "Enceladus",
    "Iapetus",
    "Umbriel",
    "Algieba",
    "Despina",
    "Erinome",
    "Algenib",
    "Rasalgethi",
    "Laomedeia",
    "Achernar",
    "Alnilam",
    "Schedar",
    "Gacrux",
    "Pulcherrima",
    "Achird",
    "Zubenelgenubi",
    "Vindemiatrix",
    "Sadachbia",
    "Sadaltager",
    "Sulafat",
];

/// Fields of `generationConfig` that exist but are not supported by the Live API.
const UNSUPPORTED: [&str; 7] = [
    "responseLogprobs",
    "responseMimeType",
    "logprobs",
    "responseSchema",
    "stopSequences",
    "routingConfig",
    "audioTimestamp",
];

/// What an accepted setup means for the session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    /// Which rules hold for later messages.
    pub family: Family,
    /// The client says when the caller speaks (`automaticActivityDetection.disabled`).
    pub manual_activity: bool,
    /// Speech does not interrupt (`NO_INTERRUPTION`).
    pub never_interrupted: bool,
    /// `silenceDurationMs`, where the model minds it.
    pub silence_ms: Option<u32>,
    /// The caller's words are wanted.
    pub input_transcription: bool,
    /// The model's words are wanted.
    pub output_transcription: bool,
    /// Resumption is wanted.
    pub resumable: bool,
    /// The handle to resume by.
    pub handle: Option<String>,
    /// The index of consumed messages is wanted (Vertex).
    pub transparent: bool,
    /// The declared functions.
    pub functions: Vec<Function>,
    /// The context window is compressed.
    pub compressed: bool,
    /// The first `clientContent` only seeds the history.
    pub seeded: bool,
}

/// A declared function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    /// Its name.
    pub name: String,
    /// Whether the model waits for it, where the declaration says. Where it does not, the simulator's model waits, but takes
    /// the answers of functions that do not block as well: which of the two the real ones do differs between them.
    pub blocking: Option<bool>,
}

fn get<'a>(value: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(value.get(*first)?, |value, name| value.get(name))
}

fn flag(setup: &Map<String, Value>, path: &[&str]) -> Option<bool> {
    get(setup, path)?.as_bool()
}

/// Judges a setup whose fields [`schema::normalise`](super::schema::normalise) has checked.
///
/// # Errors
/// 1008 for a model that does not exist, 1007 for what the model or the platform refuses.
pub(super) fn judge(setup: &Map<String, Value>, platform: Platform) -> Result<Terms, Refusal> {
    let model = setup.get("model").and_then(Value::as_str).unwrap_or_default();
    let family = family(model, platform)?;
    judge_generation(setup, model, family, platform)?;
    let functions = judge_tools(setup, family)?;
    judge_rest(setup, family, platform)?;
    let silence_ms = get(setup, &["realtimeInputConfig", "automaticActivityDetection", "silenceDurationMs"]);
    Ok(Terms {
        family,
        manual_activity: flag(setup, &["realtimeInputConfig", "automaticActivityDetection", "disabled"])
            == Some(true),
        never_interrupted: get(setup, &["realtimeInputConfig", "activityHandling"])
            .is_some_and(|handling| handling == "NO_INTERRUPTION"),
        silence_ms: silence_ms
            .and_then(Value::as_u64)
            .and_then(|ms| u32::try_from(ms).ok())
            .filter(|_| family != Family::Live31),
        input_transcription: setup.contains_key("inputAudioTranscription"),
        output_transcription: setup.contains_key("outputAudioTranscription"),
        resumable: setup.contains_key("sessionResumption"),
        handle: get(setup, &["sessionResumption", "handle"])
            .and_then(Value::as_str)
            .filter(|handle| !handle.is_empty())
            .map(str::to_owned),
        transparent: flag(setup, &["sessionResumption", "transparent"]) == Some(true),
        functions,
        compressed: setup.contains_key("contextWindowCompression"),
        seeded: flag(setup, &["historyConfig", "initialHistoryInClientContent"]) == Some(true),
    })
}

fn family(model: &str, platform: Platform) -> Result<Family, Refusal> {
    let name = match platform {
        Platform::Developer(_) => model.strip_prefix("models/"),
        Platform::Vertex => model
            .strip_prefix("projects/")
            .or_else(|| model.strip_prefix("publishers/"))
            .and_then(|rest| rest.rsplit_once("models/"))
            .map(|(_, name)| name),
    };
    let Some(name) = name else {
        return Err(Refusal::invalid(format!(
            "* BidiGenerateContentRequest.setup.model: unexpected model name format {model:?}"
        )));
    };
    let vertex = platform == Platform::Vertex;
    match name {
        "gemini-3.8-live" => Ok(Family::Live38),
        "gemini-3.8-live-extended-thinking" if !vertex => Ok(Family::Live38Thinking),
        "gemini-3.1-flash-live-preview" if !vertex => Ok(Family::Live31),
        "gemini-2.5-flash-native-audio-preview-12-2025" if !vertex => Ok(Family::Native25),
        "gemini-live-2.5-flash-native-audio" if vertex => Ok(Family::Native25),
        "gemini-3.5-live-translate-preview" if !vertex => Ok(Family::Translate35),
        _ => {
            let version = if let Platform::Developer(version) = platform { version } else { "v1" };
            Err(Refusal {
                code: 1008,
                reason: format!(
                    "{model} is not found for API version {version}, or is not supported for bidiGenerateContent."
                ),
            })
        }
    }
}

fn judge_generation(
    setup: &Map<String, Value>,
    model: &str,
    family: Family,
    platform: Platform,
) -> Result<(), Refusal> {
    let nothing = Map::new();
    let config = setup.get("generationConfig").and_then(Value::as_object).unwrap_or(&nothing);
    if let Some(field) = UNSUPPORTED.into_iter().find(|field| config.contains_key(*field)) {
        return Err(Refusal::invalid(format!("generation_config.{field} is not supported by the Live API.")));
    }
    if let Some(Value::Array(modalities)) = config.get("responseModalities") {
        match modalities.as_slice() {
            [only] if only == "AUDIO" => {}
            [only] => {
                return Err(Refusal::invalid(format!(
                    "The requested combination of response modalities ({}) is not supported by the model. {model}",
                    only.as_str().unwrap_or_default()
                )));
            }
            [] => {}
            _ => {
                return Err(Refusal::invalid(
                    "At most one response modality can be specified in the setup request.",
                ));
            }
        }
    }
    if get(config, &["speechConfig", "multiSpeakerVoiceConfig"]).is_some() {
        return Err(Refusal::invalid("multi_speaker_voice_config is not supported in the Live API."));
    }
    let voices = [
        get(config, &["speechConfig", "voiceConfig", "prebuiltVoiceConfig", "voiceName"]),
        get(config, &["speechConfig", "voiceConfig", "voice"]),
    ];
    for voice in voices.into_iter().flatten().filter_map(Value::as_str) {
        if !VOICES.contains(&voice) {
            return Err(Refusal::invalid(format!(
                "Requested voice api_name '{voice}' is not available for model {model}"
            )));
        }
    }
    judge_thinking(config, family)?;
    let alpha = matches!(platform, Platform::Vertex | Platform::Developer("v1alpha"));
    if config.contains_key("enableAffectiveDialog") && !(family == Family::Native25 && alpha) {
        return Err(Refusal::invalid(
            "enable_affective_dialog is not supported by this model and API version.",
        ));
    }
    if config.contains_key("translationConfig") && family != Family::Translate35 {
        return Err(Refusal::invalid("translation_config is only supported by translation models."));
    }
    Ok(())
}

fn judge_thinking(config: &Map<String, Value>, family: Family) -> Result<(), Refusal> {
    let level = get(config, &["thinkingConfig", "thinkingLevel"]).and_then(Value::as_str);
    let budget = get(config, &["thinkingConfig", "thinkingBudget"]);
    match family {
        Family::Live38 | Family::Translate35 if config.contains_key("thinkingConfig") => {
            Err(Refusal::invalid("Thinking is not supported by this model: leave thinking_config out."))
        }
        _ if level.is_some() && budget.is_some() => {
            Err(Refusal::invalid("You can only set one of thinking_budget and thinking_level."))
        }
        Family::Live38Thinking if !(budget.is_some() || matches!(level, Some("LOW" | "MEDIUM" | "HIGH"))) => {
            Err(Refusal::invalid(
                "This model needs a thinking_level of low, medium or high, or a thinking_budget.",
            ))
        }
        _ => Ok(()),
    }
}

fn judge_tools(setup: &Map<String, Value>, family: Family) -> Result<Vec<Function>, Refusal> {
    let mut functions = Vec::new();
    for tool in setup.get("tools").and_then(Value::as_array).into_iter().flatten() {
        for refused in ["codeExecution", "urlContext"] {
            if tool.get(refused).is_some() && matches!(family, Family::Live38 | Family::Live38Thinking) {
                return Err(Refusal::invalid(format!("{refused} is not supported by this model.")));
            }
        }
        for declaration in tool.get("functionDeclarations").and_then(Value::as_array).into_iter().flatten() {
            let name = declaration.get("name").and_then(Value::as_str).unwrap_or_default();
            if name.is_empty() {
                return Err(Refusal::invalid("function_declarations.name: must not be empty"));
            }
            if functions.iter().any(|known: &Function| known.name == name) {
                return Err(Refusal::invalid(format!("Duplicate function declaration found: {name}")));
            }
            let in_full = declaration.get("behavior").and_then(Value::as_str) == Some("NON_BLOCKING")
                && declaration.get("parameters").is_some();
            if family == Family::Live38Thinking && !in_full {
                return Err(Refusal::invalid(format!(
                    "function_declarations.{name}: this model needs behavior NON_BLOCKING and parameters."
                )));
            }
            let behavior = declaration.get("behavior").and_then(Value::as_str);
            let blocking = match behavior {
                Some("BLOCKING") => Some(true),
                Some("NON_BLOCKING") => Some(false),
                // Known to do nothing but these (`judge` refuses the other behaviour).
                _ => match family {
                    Family::Live31 => Some(true),
                    Family::Live38Thinking => Some(false),
                    _ => None,
                },
            };
            match (family, behavior) {
                (Family::Live31, Some("NON_BLOCKING")) => {
                    return Err(Refusal::invalid("Asynchronous functions are not supported by this model."));
                }
                _ => functions.push(Function { name: name.to_owned(), blocking }),
            }
        }
    }
    Ok(functions)
}

fn judge_rest(setup: &Map<String, Value>, family: Family, platform: Platform) -> Result<(), Refusal> {
    if setup.contains_key("proactivity") {
        let accepted = match family {
            Family::Live38 | Family::Live38Thinking => {
                flag(setup, &["proactivity", "proactiveAudio"]) != Some(false)
            }
            Family::Native25 => matches!(platform, Platform::Vertex | Platform::Developer("v1alpha")),
            Family::Live31 | Family::Translate35 => false,
        };
        if !accepted {
            return Err(Refusal::invalid("This proactivity is not supported by this model and API version."));
        }
    }
    if platform != Platform::Vertex {
        if setup.contains_key("explicitVadSignal") {
            return Err(Refusal::invalid("explicit_vad_signal is only supported on Vertex AI."));
        }
        if get(setup, &["sessionResumption", "transparent"]).is_some() {
            return Err(Refusal::invalid("session_resumption.transparent is only supported on Vertex AI."));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BETA: Platform = Platform::Developer("v1beta");

    fn judged(setup: Value, platform: Platform) -> Result<Terms, Refusal> {
        judge(setup.as_object().unwrap(), platform)
    }

    fn live38(more: Value) -> Result<Terms, Refusal> {
        let mut setup = json!({"model": "models/gemini-3.8-live"});
        setup.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        judged(setup, BETA)
    }

    #[test]
    fn the_smallest_setup_is_accepted() {
        let terms = live38(json!({"generationConfig": {"responseModalities": ["AUDIO"]}})).unwrap();
        assert!(!terms.manual_activity && !terms.resumable && terms.functions.is_empty());
    }

    #[test]
    fn a_setup_is_read_into_terms() {
        let terms = live38(json!({
            "tools": [{"functionDeclarations": [{"name": "hang_up", "behavior": "BLOCKING"}]}, {"googleSearch": {}}],
            "realtimeInputConfig": {
                "automaticActivityDetection": {"disabled": true, "silenceDurationMs": 200},
                "activityHandling": "NO_INTERRUPTION"
            },
            "inputAudioTranscription": {}, "sessionResumption": {"handle": "h"},
            "historyConfig": {"initialHistoryInClientContent": true}
        }))
        .unwrap();
        let expected = Terms {
            family: Family::Live38,
            manual_activity: true,
            never_interrupted: true,
            silence_ms: Some(200),
            input_transcription: true,
            output_transcription: false,
            resumable: true,
            handle: Some("h".to_owned()),
            transparent: false,
            functions: vec![Function { name: "hang_up".to_owned(), blocking: Some(true) }],
            compressed: false,
            seeded: true,
        };
        assert_eq!(terms, expected);
    }

    #[test]
    fn gemini_3_8_refuses_what_it_is_known_to_refuse() {
        for refused in [
            json!({"generationConfig": {"thinkingConfig": {"thinkingBudget": 0}}}),
            json!({"generationConfig": {"enableAffectiveDialog": true}}),
            json!({"generationConfig": {"responseModalities": ["TEXT"]}}),
            json!({"generationConfig": {"responseModalities": ["AUDIO", "TEXT"]}}),
            json!({"generationConfig": {"responseMimeType": "text/plain"}}),
            json!({"generationConfig": {"translationConfig": {}}}),
            json!({"generationConfig": {"speechConfig": {"multiSpeakerVoiceConfig": {}}}}),
            json!({"generationConfig": {"speechConfig": {"voiceConfig": {"voice": "puck"}}}}),
            json!({"generationConfig": {"speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": "X"}}}}}),
            json!({"proactivity": {"proactiveAudio": false}}),
            json!({"tools": [{"codeExecution": {}}]}),
            json!({"tools": [{"functionDeclarations": [{"description": "nameless"}]}]}),
            json!({"sessionResumption": {"transparent": true}}),
            json!({"explicitVadSignal": true}),
        ] {
            assert_eq!(live38(refused.clone()).map_err(|refusal| refusal.code), Err(1007), "{refused}");
        }
    }

    #[test]
    fn other_models_have_their_own_rules() {
        let thinking = |config| {
            judged(
                json!({"model": "models/gemini-3.8-live-extended-thinking", "generationConfig": config}),
                BETA,
            )
            .is_ok()
        };
        assert!(thinking(json!({"thinkingConfig": {"thinkingLevel": "LOW"}})));
        assert!(thinking(json!({"thinkingConfig": {"thinkingBudget": 100}})));
        assert!(!thinking(json!({"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 100}})));
        assert!(!thinking(json!({"thinkingConfig": {"thinkingLevel": "MINIMAL"}})));
        assert!(!thinking(json!({})));
    }

    #[test]
    fn functions_are_declared_once_and_to_the_thinking_model_in_full() {
        let declare = |model: &str, functions: Value| {
            let setup = json!({
                "model": format!("models/{model}"),
                "generationConfig": if model.ends_with("thinking") {
                    json!({"thinkingConfig": {"thinkingLevel": "LOW"}})
                } else {
                    json!({})
                },
                "tools": [{"functionDeclarations": functions}]
            });
            judged(setup, BETA).is_ok()
        };
        let bare = json!([{"name": "a"}]);
        let full = json!([{"name": "a", "behavior": "NON_BLOCKING", "parameters": {"type": "OBJECT", "properties": {}}}]);
        assert!(declare("gemini-3.8-live", bare.clone()));
        assert!(!declare("gemini-3.8-live", json!([{"name": "a"}, {"name": "b"}, {"name": "a"}])));
        assert!(!declare("gemini-3.8-live-extended-thinking", bare));
        assert!(declare("gemini-3.8-live-extended-thinking", full));
        let affective = |platform| {
            let model = "models/gemini-2.5-flash-native-audio-preview-12-2025";
            judged(json!({"model": model, "generationConfig": {"enableAffectiveDialog": true}}), platform)
                .is_ok()
        };
        assert!(affective(Platform::Developer("v1alpha")) && !affective(BETA));
    }

    #[test]
    fn unknown_models_are_1008_and_malformed_names_1007() {
        let code =
            |model, platform| judged(json!({"model": model}), platform).map_err(|refusal| refusal.code);
        assert_eq!(code("models/gemini-0", BETA), Err(1008));
        assert_eq!(code("gemini-3.8-live", BETA), Err(1007));
        let vertex = "projects/p/locations/l/publishers/google/models/gemini-live-2.5-flash-native-audio";
        assert!(code(vertex, Platform::Vertex).is_ok());
        assert_eq!(code(vertex, BETA), Err(1007));
    }
}
