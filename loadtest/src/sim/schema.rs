//! The fields that a client message may have, as proto3 JSON: names in either spelling, and the kind of each value.
//!
//! Runs in: the simulator's thread: pure. Owns nothing. Knows nothing of models: `model` does.
//! Invariant: what passes has known names only, all in lowerCamelCase, each value of the right kind; what does not
//! pass is refused as the real service refuses it (close 1007).
//!
//! Agrees with the pydantic types of google-genai 3.4.0 and its `_live_converters.py`.

use serde_json::{Map, Value};

use super::model::Refusal;

/// The kind of a value.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Flag,
    /// A number, or a string of digits as proto3 writes 64 bit integers.
    Number,
    /// One of these names, in any case.
    OneOf(&'static [&'static str]),
    /// Base64 of either alphabet; decoded where it is used.
    Bytes,
    Object(&'static Fields),
    List(&'static Self),
    /// Any object: field names are the client's own, or the structure is not the simulator's concern.
    Struct,
    Any,
}

type Fields = [(&'static str, Kind)];

static MESSAGE: &Fields = &[
    ("setup", Kind::Object(SETUP)),
    ("clientContent", Kind::Object(CLIENT_CONTENT)),
    ("realtimeInput", Kind::Object(REALTIME_INPUT)),
    ("toolResponse", Kind::Object(TOOL_RESPONSE)),
    ("contextUpdate", Kind::Object(CONTEXT_UPDATE)),
];
static SETUP: &Fields = &[
    ("model", Kind::Text),
    ("generationConfig", Kind::Object(GENERATION_CONFIG)),
    ("systemInstruction", Kind::Object(CONTENT)),
    ("tools", Kind::List(&Kind::Object(TOOL))),
    ("realtimeInputConfig", Kind::Object(REALTIME_INPUT_CONFIG)),
    ("inputAudioTranscription", Kind::Object(TRANSCRIPTION_CONFIG)),
    ("outputAudioTranscription", Kind::Object(TRANSCRIPTION_CONFIG)),
    ("sessionResumption", Kind::Object(&[("handle", Kind::Text), ("transparent", Kind::Flag)])),
    (
        "contextWindowCompression",
        Kind::Object(&[
            ("triggerTokens", Kind::Number),
            ("slidingWindow", Kind::Object(&[("targetTokens", Kind::Number)])),
        ]),
    ),
    ("proactivity", Kind::Object(&[("proactiveAudio", Kind::Flag), ("proactiveVideo", Kind::Flag)])),
    ("historyConfig", Kind::Object(&[("initialHistoryInClientContent", Kind::Flag)])),
    ("avatarConfig", Kind::Struct),
    ("safetySettings", Kind::List(&Kind::Struct)),
    ("labels", Kind::Struct),
    ("explicitVadSignal", Kind::Flag),
];
static GENERATION_CONFIG: &Fields = &[
    (
        "responseModalities",
        Kind::List(&Kind::OneOf(&["MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO", "VIDEO"])),
    ),
    ("temperature", Kind::Number),
    ("topP", Kind::Number),
    ("topK", Kind::Number),
    ("maxOutputTokens", Kind::Number),
    ("seed", Kind::Number),
    ("presencePenalty", Kind::Number),
    ("frequencyPenalty", Kind::Number),
    ("candidateCount", Kind::Number),
    (
        "mediaResolution",
        Kind::OneOf(&[
            "MEDIA_RESOLUTION_UNSPECIFIED",
            "MEDIA_RESOLUTION_LOW",
            "MEDIA_RESOLUTION_MEDIUM",
            "MEDIA_RESOLUTION_HIGH",
        ]),
    ),
    (
        "speechConfig",
        Kind::Object(&[
            (
                "voiceConfig",
                Kind::Object(&[
                    ("prebuiltVoiceConfig", Kind::Object(&[("voiceName", Kind::Text)])),
                    ("replicatedVoiceConfig", Kind::Struct),
                    ("voice", Kind::Text),
                ]),
            ),
            ("languageCode", Kind::Text),
            ("multiSpeakerVoiceConfig", Kind::Struct),
        ]),
    ),
    (
        "thinkingConfig",
        Kind::Object(&[
            ("includeThoughts", Kind::Flag),
            ("thinkingBudget", Kind::Number),
            (
                "thinkingLevel",
                Kind::OneOf(&["THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH"]),
            ),
        ]),
    ),
    ("enableAffectiveDialog", Kind::Flag),
    (
        "translationConfig",
        Kind::Object(&[("targetLanguageCode", Kind::Text), ("echoTargetLanguage", Kind::Flag)]),
    ),
    // Known to the API, refused in a Live setup: see `model`.
    ("responseLogprobs", Kind::Any),
    ("responseMimeType", Kind::Any),
    ("logprobs", Kind::Any),
    ("responseSchema", Kind::Any),
    ("stopSequences", Kind::Any),
    ("routingConfig", Kind::Any),
    ("audioTimestamp", Kind::Any),
];
static CONTENT: &Fields = &[("role", Kind::Text), ("parts", Kind::List(&Kind::Object(PART)))];
static PART: &Fields = &[
    ("text", Kind::Text),
    ("inlineData", Kind::Object(BLOB)),
    ("fileData", Kind::Struct),
    ("functionCall", Kind::Struct),
    ("functionResponse", Kind::Struct),
    ("executableCode", Kind::Struct),
    ("codeExecutionResult", Kind::Struct),
    ("videoMetadata", Kind::Struct),
    ("mediaResolution", Kind::Any),
    ("partMetadata", Kind::Struct),
    ("thought", Kind::Flag),
    ("thoughtSignature", Kind::Bytes),
];
static BLOB: &Fields = &[("mimeType", Kind::Text), ("data", Kind::Bytes), ("displayName", Kind::Text)];
static TOOL: &Fields = &[
    (
        "functionDeclarations",
        Kind::List(&Kind::Object(&[
            ("name", Kind::Text),
            ("description", Kind::Text),
            ("parameters", Kind::Struct),
            ("parametersJsonSchema", Kind::Any),
            ("response", Kind::Struct),
            ("responseJsonSchema", Kind::Any),
            ("behavior", Kind::OneOf(&["UNSPECIFIED", "BLOCKING", "NON_BLOCKING"])),
        ])),
    ),
    ("googleSearch", Kind::Struct),
    ("googleSearchRetrieval", Kind::Struct),
    ("googleMaps", Kind::Struct),
    ("codeExecution", Kind::Struct),
    ("urlContext", Kind::Struct),
    ("retrieval", Kind::Struct),
    ("computerUse", Kind::Struct),
    ("fileSearch", Kind::Struct),
    ("enterpriseWebSearch", Kind::Struct),
    ("mcpServers", Kind::List(&Kind::Struct)),
];
static REALTIME_INPUT_CONFIG: &Fields = &[
    (
        "automaticActivityDetection",
        Kind::Object(&[
            ("disabled", Kind::Flag),
            (
                "startOfSpeechSensitivity",
                Kind::OneOf(&[
                    "START_SENSITIVITY_UNSPECIFIED",
                    "START_SENSITIVITY_HIGH",
                    "START_SENSITIVITY_LOW",
                ]),
            ),
            (
                "endOfSpeechSensitivity",
                Kind::OneOf(&["END_SENSITIVITY_UNSPECIFIED", "END_SENSITIVITY_HIGH", "END_SENSITIVITY_LOW"]),
            ),
            ("prefixPaddingMs", Kind::Number),
            ("silenceDurationMs", Kind::Number),
        ]),
    ),
    (
        "activityHandling",
        Kind::OneOf(&["ACTIVITY_HANDLING_UNSPECIFIED", "START_OF_ACTIVITY_INTERRUPTS", "NO_INTERRUPTION"]),
    ),
    (
        "turnCoverage",
        Kind::OneOf(&[
            "TURN_COVERAGE_UNSPECIFIED",
            "TURN_INCLUDES_ONLY_ACTIVITY",
            "TURN_INCLUDES_ALL_INPUT",
            "TURN_INCLUDES_AUDIO_ACTIVITY_AND_ALL_VIDEO",
        ]),
    ),
    ("interimTranscriptTimestampEnabled", Kind::Flag),
];
static TRANSCRIPTION_CONFIG: &Fields = &[
    ("languageCodes", Kind::List(&Kind::Text)),
    ("languageAuto", Kind::Struct),
    ("languageHints", Kind::Struct),
    ("customVocabulary", Kind::List(&Kind::Text)),
    ("adaptationPhrases", Kind::List(&Kind::Text)),
    ("wordTimestamp", Kind::Flag),
    ("diarization", Kind::Flag),
    ("mode", Kind::OneOf(&["MODE_UNSPECIFIED", "VERBATIM", "SMART"])),
    ("sourceText", Kind::Text),
];
static CLIENT_CONTENT: &Fields =
    &[("turns", Kind::List(&Kind::Object(CONTENT))), ("turnComplete", Kind::Flag)];
static REALTIME_INPUT: &Fields = &[
    ("audio", Kind::Object(BLOB)),
    ("video", Kind::Object(BLOB)),
    ("text", Kind::Text),
    ("audioStreamEnd", Kind::Flag),
    ("activityStart", Kind::Object(&[])),
    ("activityEnd", Kind::Object(&[])),
    ("mediaChunks", Kind::List(&Kind::Object(BLOB))),
];
static TOOL_RESPONSE: &Fields = &[(
    "functionResponses",
    Kind::List(&Kind::Object(&[
        ("id", Kind::Text),
        ("name", Kind::Text),
        ("response", Kind::Struct),
        ("scheduling", Kind::OneOf(&["SCHEDULING_UNSPECIFIED", "SILENT", "WHEN_IDLE", "INTERRUPT"])),
        ("willContinue", Kind::Flag),
        ("parts", Kind::List(&Kind::Struct)),
    ])),
)];
static CONTEXT_UPDATE: &Fields = &[
    ("systemInstruction", Kind::Object(CONTENT)),
    ("tools", Kind::Object(&[("tools", Kind::List(&Kind::Object(TOOL)))])),
];

/// Checks a client message against the fields that the API knows, and gives it back with every known name in
/// lowerCamelCase and the nulls left out.
///
/// # Errors
/// Close 1007 with Google's words for an unknown name, a wrong kind of value, or JSON that is none.
pub(super) fn normalise(payload: &[u8]) -> Result<Map<String, Value>, Refusal> {
    let value: Value = serde_json::from_slice(payload)
        .map_err(|_| Refusal::invalid("Invalid JSON payload received. Unexpected token."))?;
    match check(&Kind::Object(MESSAGE), value, "")? {
        Value::Object(message) => Ok(message),
        _ => Err(Refusal::invalid("Invalid JSON payload received. A message is an object.")),
    }
}

fn check(kind: &Kind, value: Value, path: &str) -> Result<Value, Refusal> {
    let wrong = |expected: &str, value: &Value| {
        Err(Refusal::invalid(format!("Invalid value at '{path}' ({expected}), {value}")))
    };
    match (kind, value) {
        (Kind::Object(fields), Value::Object(object)) => {
            check_object(fields, object, path).map(Value::Object)
        }
        (Kind::List(of), Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(n, item)| check(of, item, &format!("{path}[{n}]")))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        (Kind::OneOf(names), Value::String(name)) => {
            match names.iter().find(|known| known.eq_ignore_ascii_case(&name)) {
                Some(known) => Ok(Value::from(*known)),
                None => wrong("enum", &Value::String(name)),
            }
        }
        (Kind::Number, Value::String(digits)) => match digits.parse::<i64>() {
            Ok(number) => Ok(Value::from(number)),
            Err(_) => wrong("TYPE_NUMBER", &Value::String(digits)),
        },
        (Kind::Text | Kind::Bytes, value @ Value::String(_))
        | (Kind::Flag, value @ Value::Bool(_))
        | (Kind::Number, value @ Value::Number(_))
        | (Kind::Struct, value @ Value::Object(_))
        | (Kind::Any, value) => Ok(value),
        (kind, value) => {
            let expected = match kind {
                Kind::Text => "TYPE_STRING",
                Kind::Bytes => "TYPE_BYTES",
                Kind::Flag => "TYPE_BOOL",
                Kind::Number => "TYPE_NUMBER",
                Kind::OneOf(_) => "enum",
                Kind::List(_) => "list",
                Kind::Object(_) | Kind::Struct | Kind::Any => "object",
            };
            wrong(expected, &value)
        }
    }
}

fn check_object(
    fields: &Fields,
    object: Map<String, Value>,
    path: &str,
) -> Result<Map<String, Value>, Refusal> {
    let mut checked = Map::new();
    for (name, value) in object {
        let camel = camel_case(&name);
        let Some((known, kind)) = fields.iter().find(|(known, _)| *known == camel) else {
            let place = if path.is_empty() { String::new() } else { format!(" at '{path}'") };
            return Err(Refusal::invalid(format!(
                "Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field."
            )));
        };
        if value.is_null() {
            continue; // proto3 JSON: null is "not set".
        }
        let snake = snake_case(known);
        let inner = if path.is_empty() { snake } else { format!("{path}.{snake}") };
        if checked.insert((*known).to_owned(), check(kind, value, &inner)?).is_some() {
            return Err(Refusal::invalid(format!("Invalid JSON payload received. \"{name}\" is set twice.")));
        }
    }
    Ok(checked)
}

/// `mime_type` to `mimeType`; what has no underscore stays as it is.
fn camel_case(name: &str) -> String {
    let mut camel = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        if letter == '_' && !camel.is_empty() {
            upper = true;
        } else if std::mem::take(&mut upper) {
            camel.extend(letter.to_uppercase());
        } else {
            camel.push(letter);
        }
    }
    camel
}

/// `mimeType` to `mime_type`, as Google's messages name fields.
fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_come_out_the_same() {
        let camel =
            normalise(br#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm","data":"AAA="}}}"#).unwrap();
        let snake =
            normalise(br#"{"realtime_input":{"audio":{"mime_type":"audio/pcm","data":"AAA="}}}"#).unwrap();
        assert_eq!(camel, snake);
        let enums =
            normalise(br#"{"setup":{"generation_config":{"response_modalities":["audio"]}}}"#).unwrap();
        assert_eq!(enums["setup"]["generationConfig"]["responseModalities"][0], "AUDIO");
    }

    #[test]
    fn names_inside_free_structures_are_left_alone() {
        let json =
            br#"{"toolResponse":{"functionResponses":[{"id":"1","response":{"room_temperature":21}}]}}"#;
        let message = normalise(json).unwrap();
        assert_eq!(message["toolResponse"]["functionResponses"][0]["response"]["room_temperature"], 21);
    }

    #[test]
    fn what_the_api_does_not_know_is_refused_with_its_place() {
        for (json, reason) in [
            (
                r#"{"config":{}}"#,
                "Invalid JSON payload received. Unknown name \"config\": Cannot find field.",
            ),
            (
                r#"{"setup":{"generationConfig":{"speech":1}}}"#,
                "Invalid JSON payload received. Unknown name \"speech\" at 'setup.generation_config': Cannot find \
                 field.",
            ),
            (
                r#"{"setup":{"systemInstruction":"Be brief"}}"#,
                "Invalid value at 'setup.system_instruction' (object)",
            ),
            (
                r#"{"setup":{"generationConfig":{"responseModalities":["SMELL"]}}}"#,
                "Invalid value at 'setup.generation_config.response_modalities[0]' (enum), \"SMELL\"",
            ),
            (
                r#"{"setup":{"generationConfig":{"seed":"one"}}}"#,
                "Invalid value at 'setup.generation_config.seed'",
            ),
            (r#"{"clientContent":{"turnComplete":1}}"#, "Invalid value at 'client_content.turn_complete'"),
            ("{", "Invalid JSON payload received."),
            ("[]", "Invalid value at ''"),
        ] {
            let refusal = normalise(json.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, 1007, "{json}");
            assert!(refusal.reason.starts_with(reason), "{json}: {}", refusal.reason);
        }
    }
}
