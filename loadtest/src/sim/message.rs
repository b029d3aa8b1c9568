//! Client messages: bytes to meaning. A message that only carries audio takes a short way without a JSON tree.
//!
//! Runs in: the simulator's thread: pure. Owns nothing.
//! Invariant: the short way accepts nothing that the long way would refuse; both understand both spellings and both
//! base64 alphabets.

use base64::{
    Engine,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{model::Refusal, schema};

/// One thing that a client says. A `realtimeInput` may say several at once.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ClientMessage {
    /// `setup`, its fields checked.
    Setup(Map<String, Value>),
    /// `realtimeInput.audio`.
    Audio(Audio),
    /// `realtimeInput.video`.
    Video,
    /// `realtimeInput.text`.
    Text(String),
    /// `realtimeInput.audioStreamEnd`.
    AudioStreamEnd,
    /// `realtimeInput.activityStart`.
    ActivityStart,
    /// `realtimeInput.activityEnd`.
    ActivityEnd,
    /// `clientContent`.
    Content {
        /// How many turns it appends.
        turns: usize,
        /// Whether an answer is wanted.
        turn_complete: bool,
    },
    /// `toolResponse`.
    ToolResponse(Vec<ToolResult>),
    /// `contextUpdate`.
    ContextUpdate,
}

/// The answer to one tool call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToolResult {
    /// Which call it answers.
    pub id: String,
    /// When the model is to speak of it; only for functions that do not block.
    pub scheduling: Option<Scheduling>,
    /// More answers to the same call will follow.
    pub will_continue: bool,
}

/// When the model speaks of the answer of a function that does not block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheduling {
    /// Not at all.
    Silent,
    /// When it has nothing else to say: the default.
    WhenIdle,
    /// At once.
    Interrupt,
}

/// Decoded audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Audio {
    /// Samples a second, from the mime type.
    pub rate_hz: u32,
    /// The bytes as decoded: 16 bit, little endian, mono; always whole samples.
    pub pcm: Vec<u8>,
}

impl Audio {
    /// The samples.
    pub(super) fn samples(&self) -> impl ExactSizeIterator<Item = i16> + '_ {
        self.pcm.as_chunks::<2>().0.iter().map(|pair| i16::from_le_bytes(*pair))
    }
}

const fn base64_engine(alphabet: &Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

static BASE64: GeneralPurpose = base64_engine(&STANDARD);
static BASE64_URL: GeneralPurpose = base64_engine(&URL_SAFE);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnlyAudio<'a> {
    #[serde(borrow, rename = "realtimeInput", alias = "realtime_input")]
    realtime_input: OnlyAudioInput<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OnlyAudioInput<'a> {
    #[serde(borrow)]
    audio: Blob<'a>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Blob<'a> {
    #[serde(rename = "mimeType", alias = "mime_type")]
    mime_type: &'a str,
    data: &'a str,
}

/// Reads one message. Nearly all of them carry audio only, so that case comes alone and cheap.
///
/// # Errors
/// Close 1007 for what the API does not understand.
pub(super) fn read(payload: &[u8]) -> Result<Vec<ClientMessage>, Refusal> {
    if let Ok(only) = serde_json::from_slice::<OnlyAudio<'_>>(payload) {
        let Blob { mime_type, data } = only.realtime_input.audio;
        return Ok(vec![ClientMessage::Audio(audio(mime_type, data)?)]);
    }
    let mut message = schema::normalise(payload)?;
    let mut kinds = message.keys();
    let (Some(kind), None) = (kinds.next().cloned(), kinds.next()) else {
        return Err(Refusal::invalid(
            "Exactly one of setup, client_content, realtime_input, tool_response and context_update must be set.",
        ));
    };
    let Some(Value::Object(body)) = message.remove(&kind) else { return Ok(Vec::new()) };
    match kind.as_str() {
        "setup" => Ok(vec![ClientMessage::Setup(body)]),
        "realtimeInput" => realtime_input(&body),
        "clientContent" => Ok(vec![ClientMessage::Content {
            turns: body.get("turns").and_then(Value::as_array).map_or(0, Vec::len),
            turn_complete: body.get("turnComplete").and_then(Value::as_bool).unwrap_or(false),
        }]),
        "toolResponse" => tool_response(&body),
        _ => Ok(vec![ClientMessage::ContextUpdate]),
    }
}

fn realtime_input(body: &Map<String, Value>) -> Result<Vec<ClientMessage>, Refusal> {
    if body.contains_key("mediaChunks") {
        return Err(Refusal::invalid(
            "realtime_input.media_chunks is deprecated. Use audio, video, or text instead.",
        ));
    }
    let mut said = Vec::new();
    if body.contains_key("activityStart") {
        said.push(ClientMessage::ActivityStart);
    }
    if let Some(blob) = body.get("audio") {
        let text = |name| blob.get(name).and_then(Value::as_str).unwrap_or_default();
        said.push(ClientMessage::Audio(audio(text("mimeType"), text("data"))?));
    }
    if body.contains_key("video") {
        said.push(ClientMessage::Video);
    }
    if let Some(text) = body.get("text").and_then(Value::as_str) {
        said.push(ClientMessage::Text(text.to_owned()));
    }
    if body.get("audioStreamEnd") == Some(&Value::Bool(true)) {
        said.push(ClientMessage::AudioStreamEnd);
    }
    if body.contains_key("activityEnd") {
        said.push(ClientMessage::ActivityEnd);
    }
    Ok(said)
}

fn tool_response(body: &Map<String, Value>) -> Result<Vec<ClientMessage>, Refusal> {
    let responses = body.get("functionResponses").and_then(Value::as_array);
    let results = responses
        .into_iter()
        .flatten()
        .map(|response| match response.get("id").and_then(Value::as_str) {
            Some(id) if !id.is_empty() => Ok(ToolResult {
                id: id.to_owned(),
                scheduling: match response.get("scheduling").and_then(Value::as_str) {
                    Some("SILENT") => Some(Scheduling::Silent),
                    Some("WHEN_IDLE") => Some(Scheduling::WhenIdle),
                    Some("INTERRUPT") => Some(Scheduling::Interrupt),
                    _ => None,
                },
                will_continue: response.get("willContinue") == Some(&Value::Bool(true)),
            }),
            _ => Err(Refusal::invalid("tool_response.function_responses.id: must be set")),
        })
        .collect::<Result<_, _>>()?;
    Ok(vec![ClientMessage::ToolResponse(results)])
}

/// `audio/pcm;rate=16000`: the rate is optional and 16000 then. The real service resamples what is not 16 kHz.
fn audio(mime_type: &str, base64: &str) -> Result<Audio, Refusal> {
    let mut parts = mime_type.split(';').map(str::trim);
    if !parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("audio/pcm")) {
        return Err(Refusal::invalid(format!("Unsupported mime type for audio: {mime_type:?}.")));
    }
    let rate_hz = match parts.find_map(|part| part.strip_prefix("rate=")) {
        None => 16_000,
        Some(rate) => rate
            .parse()
            .ok()
            .filter(|hz| (4_000..=192_000).contains(hz))
            .ok_or_else(|| Refusal::invalid(format!("Unsupported sample rate in {mime_type:?}.")))?,
    };
    let pcm = BASE64.decode(base64).or_else(|_| BASE64_URL.decode(base64)).map_err(|_| {
        Refusal::invalid("Invalid value at 'realtime_input.audio.data' (TYPE_BYTES), Base64 decoding failed")
    })?;
    if pcm.len() % 2 != 0 {
        return Err(Refusal::invalid("realtime_input.audio.data: an odd number of bytes is no 16 bit audio"));
    }
    Ok(Audio { rate_hz, pcm })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(json: &str) -> Audio {
        match read(json.as_bytes()).unwrap().as_slice() {
            [ClientMessage::Audio(audio)] => audio.clone(),
            other => panic!("{json}: {other:?}"),
        }
    }

    #[test]
    fn audio_is_the_same_in_both_spellings_alphabets_and_ways() {
        let camel = heard(r#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=16000","data":"+/8="}}}"#);
        assert_eq!(camel, Audio { rate_hz: 16_000, pcm: vec![0xfb, 0xff] });
        for other in [
            r#"{"realtime_input":{"audio":{"mime_type":"audio/pcm;rate=16000","data":"-_8="}}}"#,
            r#"{"realtime_input":{"audio":{"data":"-_8","mimeType":"audio/pcm"}}}"#,
            r#"{"realtimeInput":{"audio":{"mimeType":"audio\/pcm","data":"+\/8=","displayName":"x"}}}"#,
        ] {
            assert_eq!(heard(other), camel, "{other}");
        }
        let rate = heard(r#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=8000","data":""}}}"#);
        assert_eq!((rate.rate_hz, rate.samples().len()), (8_000, 0));
    }

    #[test]
    fn every_kind_of_message_is_understood() {
        for (json, expected) in [
            (r#"{"realtimeInput":{"text":"hello"}}"#, ClientMessage::Text("hello".to_owned())),
            (r#"{"realtimeInput":{"audioStreamEnd":true}}"#, ClientMessage::AudioStreamEnd),
            (r#"{"realtime_input":{"activity_start":{}}}"#, ClientMessage::ActivityStart),
            (r#"{"realtimeInput":{"activityEnd":{}}}"#, ClientMessage::ActivityEnd),
            (
                r#"{"client_content":{"turns":[{"role":"user","parts":[{"text":"hi"}]}],"turn_complete":true}}"#,
                ClientMessage::Content { turns: 1, turn_complete: true },
            ),
            (r#"{"clientContent":{}}"#, ClientMessage::Content { turns: 0, turn_complete: false }),
            (
                r#"{"toolResponse":{"functionResponses":[{"id":"7","name":"f","response":{}}]}}"#,
                ClientMessage::ToolResponse(vec![ToolResult {
                    id: "7".to_owned(),
                    scheduling: None,
                    will_continue: false,
                }]),
            ),
            (r#"{"contextUpdate":{"systemInstruction":{"parts":[]}}}"#, ClientMessage::ContextUpdate),
        ] {
            assert_eq!(read(json.as_bytes()), Ok(vec![expected]), "{json}");
        }
    }

    #[test]
    fn what_the_service_refuses_is_1007() {
        for (json, reason) in [
            (r#"{"realtimeInput":{"mediaChunks":[]}}"#, "realtime_input.media_chunks is deprecated."),
            (
                r#"{"toolResponse":{"functionResponses":[{"name":"f"}]}}"#,
                "tool_response.function_responses.id",
            ),
            (r#"{"realtimeInput":{"audio":{"mimeType":"audio/wav","data":""}}}"#, "Unsupported mime type"),
            (
                r#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm;rate=1","data":""}}}"#,
                "Unsupported sample rate",
            ),
            (
                r#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm","data":"AA"}}}"#,
                "realtime_input.audio.data: an odd",
            ),
            (
                r#"{"realtimeInput":{"audio":{"mimeType":"audio/pcm","data":"A*"}}}"#,
                "Invalid value at 'realtime_input",
            ),
            ("{}", "Exactly one of"),
            (r#"{"clientContent":{},"realtimeInput":{}}"#, "Exactly one of"),
            ("\u{fffd}", "Invalid JSON payload"),
        ] {
            let refusal = read(json.as_bytes()).unwrap_err();
            assert!(refusal.code == 1007 && refusal.reason.starts_with(reason), "{json}: {refusal}");
        }
    }
}
