//! Serde visitors of the server message: JSON read once, strings borrowed, audio decoded on the way.
//!
//! Runs in: the gemini thread, for every message; pure. Owns nothing beyond one call.
//! Never builds a tree of the message, save the arguments of tool calls.
//! Invariant: `null` means absent, unknown keys are skipped, a key that comes twice is read twice.

use super::server::{
    AudioError, FunctionCall, GoAway, InteractionStatus, ResumptionUpdate, ServerDecodeError, ServerMessage,
    TurnCompleteReason, audio_rate, parse_duration,
};
use super::usage::Usage;
use super::wire::{
    FEW, Few, Scalar, Text, WireBlob, WireCancellation, WireFunctionCall, WireGoAway, WireModality, WirePart,
    WireResumption, WireSetupComplete, WireToolCall, WireTranscription, WireUsage,
};
use crate::base::SampleRate;
use crate::call::model::OUTPUT_RATE;
use crate::codec::base64;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The most parts of a message, which has one or two; a million empty ones would keep the thread from all other calls
/// for as long as it takes to read them.
const PARTS_MAX: usize = 1024;
/// Bytes of one tool call's arguments; a model writes a few hundred.
const ARGUMENTS_BYTES_MAX: usize = 64 * 1024;

/// See [`super::server::decode`].
pub(super) fn server_message<'a, S: FnMut(SampleRate, &[i16])>(
    bytes: &'a [u8],
    sink: S,
) -> Result<ServerMessage<'a>, ServerDecodeError> {
    let mut reading = Reading { message: ServerMessage::default(), sink, fault: None };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    deserializer.deserialize_map(TopLevel(&mut reading))?;
    deserializer.end()?;
    match reading.fault {
        Some(fault) => Err(ServerDecodeError::Audio(fault)),
        None => Ok(reading.message),
    }
}

/// The message so far, where its audio goes, and the first thing wrong with that audio.
struct Reading<'a, S> {
    message: ServerMessage<'a>,
    sink: S,
    fault: Option<AudioError>,
}

impl<S: FnMut(SampleRate, &[i16])> Reading<'_, S> {
    fn audio(&mut self, mime_type: Option<&str>, base64_text: &[u8]) {
        if self.fault.is_some() {
            return;
        }
        let rate = match mime_type.map_or(Ok(OUTPUT_RATE), audio_rate) {
            Ok(rate) => rate,
            Err(error) => {
                self.fault = Some(error);
                return;
            }
        };
        match base64::decode_samples(base64_text, |block| (self.sink)(rate, block)) {
            Ok(samples) => self.message.audio_samples += samples,
            Err(error) => self.fault = Some(AudioError::Base64(error)),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier)]
enum TopKey {
    #[serde(rename = "serverContent", alias = "server_content")]
    ServerContent,
    #[serde(rename = "setupComplete", alias = "setup_complete")]
    SetupComplete,
    #[serde(rename = "toolCall", alias = "tool_call")]
    ToolCall,
    #[serde(rename = "toolCallCancellation", alias = "tool_call_cancellation")]
    ToolCallCancellation,
    #[serde(rename = "goAway", alias = "go_away")]
    GoAway,
    #[serde(rename = "sessionResumptionUpdate", alias = "session_resumption_update")]
    SessionResumptionUpdate,
    #[serde(rename = "usageMetadata", alias = "usage_metadata")]
    UsageMetadata,
    #[serde(other)]
    Unknown,
}

struct TopLevel<'r, 'a, S>(&'r mut Reading<'a, S>);

impl<'de, S: FnMut(SampleRate, &[i16])> Visitor<'de> for TopLevel<'_, 'de, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a server message (an object)")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key()? {
            let message = &mut self.0.message;
            match key {
                TopKey::ServerContent => map.next_value_seed(Nullable(Content(self.0)))?,
                TopKey::SetupComplete => {
                    message.setup_complete |= map.next_value::<Option<WireSetupComplete>>()?.is_some();
                }
                TopKey::ToolCall => {
                    let wire = map.next_value::<Option<WireToolCall<'de>>>()?.unwrap_or_default();
                    for call in wire.function_calls.map_or(Vec::new(), |few| few.0) {
                        message.tool_calls.push(function_call(call)?);
                    }
                }
                TopKey::ToolCallCancellation => {
                    let wire = map.next_value::<Option<WireCancellation<'de>>>()?.unwrap_or_default();
                    let ids = wire.ids.map_or(Vec::new(), |few| few.0);
                    message.cancelled_tool_calls.extend(ids.into_iter().map(|id| id.0));
                }
                TopKey::GoAway => {
                    if let Some(wire) = map.next_value::<Option<WireGoAway<'de>>>()? {
                        message.go_away =
                            Some(GoAway { time_left: wire.time_left.text().and_then(parse_duration) });
                    }
                }
                TopKey::SessionResumptionUpdate => {
                    if let Some(wire) = map.next_value::<Option<WireResumption<'de>>>()? {
                        message.resumption = Some(ResumptionUpdate {
                            new_handle: text_of(wire.new_handle),
                            resumable: wire.resumable.unwrap_or(false),
                        });
                    }
                }
                TopKey::UsageMetadata => {
                    if let Some(wire) = map.next_value::<Option<WireUsage<'de>>>()? {
                        message.usage = Some(usage(&wire));
                    }
                }
                TopKey::Unknown => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier)]
enum ContentKey {
    #[serde(rename = "modelTurn", alias = "model_turn")]
    ModelTurn,
    #[serde(rename = "generationComplete", alias = "generation_complete")]
    GenerationComplete,
    #[serde(rename = "turnComplete", alias = "turn_complete")]
    TurnComplete,
    #[serde(rename = "interrupted")]
    Interrupted,
    #[serde(rename = "waitingForInput", alias = "waiting_for_input")]
    WaitingForInput,
    #[serde(rename = "interactionStatus", alias = "interaction_status")]
    InteractionStatus,
    #[serde(rename = "turnCompleteReason", alias = "turn_complete_reason")]
    TurnCompleteReason,
    #[serde(rename = "inputTranscription", alias = "input_transcription")]
    InputTranscription,
    #[serde(rename = "outputTranscription", alias = "output_transcription")]
    OutputTranscription,
    #[serde(other)]
    Unknown,
}

struct Content<'r, 'a, S>(&'r mut Reading<'a, S>);

impl<'de, S: FnMut(SampleRate, &[i16])> Visitor<'de> for Content<'_, 'de, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("serverContent (an object)")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key()? {
            let message = &mut self.0.message;
            match key {
                ContentKey::ModelTurn => map.next_value_seed(Nullable(ModelTurn(self.0)))?,
                ContentKey::GenerationComplete => message.generation_complete |= flag(&mut map)?,
                ContentKey::TurnComplete => message.turn_complete |= flag(&mut map)?,
                ContentKey::Interrupted => message.interrupted |= flag(&mut map)?,
                ContentKey::WaitingForInput => message.waiting_for_input |= flag(&mut map)?,
                ContentKey::InteractionStatus => {
                    message.interaction_status =
                        map.next_value::<Scalar<'de>>()?.into_text().map(interaction_status);
                }
                ContentKey::TurnCompleteReason => {
                    message.turn_complete_reason =
                        map.next_value::<Scalar<'de>>()?.into_text().map(turn_complete_reason);
                }
                ContentKey::InputTranscription => merge(&mut message.input_transcription, &mut map)?,
                ContentKey::OutputTranscription => merge(&mut message.output_transcription, &mut map)?,
                ContentKey::Unknown => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum ModelTurnKey {
    Parts,
    #[serde(other)]
    Unknown,
}

struct ModelTurn<'r, 'a, S>(&'r mut Reading<'a, S>);

impl<'de, S: FnMut(SampleRate, &[i16])> Visitor<'de> for ModelTurn<'_, 'de, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("modelTurn (an object)")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key()? {
            match key {
                ModelTurnKey::Parts => map.next_value_seed(Nullable(Parts(self.0)))?,
                ModelTurnKey::Unknown => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

struct Parts<'r, 'a, S>(&'r mut Reading<'a, S>);

impl<'de, S: FnMut(SampleRate, &[i16])> Visitor<'de> for Parts<'_, 'de, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "parts (a list of at most {PARTS_MAX})")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        let mut count = 0;
        while let Some(part) = parts.next_element::<Option<WirePart<'de>>>()? {
            count += 1;
            if count > PARTS_MAX {
                return Err(Error::invalid_length(count, &self));
            }
            let Some(part) = part else { continue };
            let message = &mut self.0.message;
            if part.thought.unwrap_or(false) {
                message.has_text = true;
                continue;
            }
            if let Some(call) = part.function_call {
                if message.tool_calls.len() >= FEW {
                    return Err(Error::custom("a message calls more tools than a model does"));
                }
                message.tool_calls.push(function_call(call)?);
            }
            message.has_text |= part.text.is_some();
            if let Some(WireBlob { mime_type, data: Some(base64_text) }) = part.inline_data {
                self.0.audio(mime_type.as_ref().map(|text| text.0.as_ref()), &base64_text.0);
            }
        }
        Ok(())
    }
}

fn function_call<E: Error>(call: WireFunctionCall<'_>) -> Result<FunctionCall<'_>, E> {
    let (id, name) = (text_of(call.id), text_of(call.name).unwrap_or_default());
    Ok(FunctionCall { id, name, args: arguments(call.args)? })
}

fn usage(wire: &WireUsage<'_>) -> Usage {
    let tool_use = wire.tool_use_prompt_tokens_details.as_ref();
    Usage {
        prompt_tokens: wire.prompt_token_count.number(),
        prompt_text_tokens: tokens_of(wire.prompt_tokens_details.as_ref(), |is_text| is_text),
        response_tokens: wire.response_token_count.number().or(wire.candidates_token_count.number()),
        response_text_tokens: tokens_of(wire.response_tokens_details.as_ref(), |is_text| is_text),
        thoughts_tokens: wire.thoughts_token_count.number(),
        tool_use_tokens: wire.tool_use_prompt_token_count.number(),
        tool_use_other_tokens: tokens_of(tool_use, |is_text| !is_text),
        total_tokens: wire.total_token_count.number(),
    }
}

/// The tokens of the kinds that are wanted, text or not.
fn tokens_of(details: Option<&Few<WireModality<'_>>>, wanted: impl Fn(bool) -> bool) -> Option<u64> {
    let of_kind = details?.0.iter().filter(|detail| {
        wanted(detail.modality.text().is_some_and(|kind| kind.eq_ignore_ascii_case("text")))
    });
    Some(of_kind.filter_map(|detail| detail.token_count.number()).fold(0, u64::saturating_add))
}

fn arguments<E: Error>(text: Option<&RawValue>) -> Result<Value, E> {
    let Some(text) = text.map(RawValue::get) else { return Ok(Value::Null) };
    if text.len() > ARGUMENTS_BYTES_MAX {
        return Err(E::custom("a tool call's arguments have more than 64 KiB"));
    }
    serde_json::from_str(text).map_err(E::custom)
}

fn interaction_status(text: Cow<'_, str>) -> InteractionStatus<'_> {
    match text.as_ref() {
        "IN_PROGRESS" => InteractionStatus::InProgress,
        "IDLE" | "REQUIRES_ACTION" => InteractionStatus::Idle,
        "WAITING_FOR_INPUT" => InteractionStatus::WaitingForInput,
        _ => InteractionStatus::Other(text),
    }
}

fn turn_complete_reason(text: Cow<'_, str>) -> TurnCompleteReason<'_> {
    match text.as_ref() {
        "MALFORMED_FUNCTION_CALL" => TurnCompleteReason::MalformedFunctionCall,
        "RESPONSE_REJECTED" => TurnCompleteReason::ResponseRejected,
        "NEED_MORE_INPUT" => TurnCompleteReason::NeedMoreInput,
        _ => TurnCompleteReason::Other(text),
    }
}

fn flag<'de, M: MapAccess<'de>>(map: &mut M) -> Result<bool, M::Error> {
    Ok(map.next_value::<Option<bool>>()?.unwrap_or(false))
}

fn skip<'de, M: MapAccess<'de>>(map: &mut M) -> Result<(), M::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

fn text_of(text: Option<Text<'_>>) -> Option<Cow<'_, str>> {
    text.map(|text| text.0)
}

fn merge<'de, M: MapAccess<'de>>(whole: &mut Option<Cow<'de, str>>, map: &mut M) -> Result<(), M::Error> {
    let Some(wire) = map.next_value::<Option<WireTranscription<'de>>>()? else { return Ok(()) };
    let piece = text_of(wire.text).unwrap_or_default();
    match whole {
        Some(whole) => whole.to_mut().push_str(&piece),
        None => *whole = Some(piece),
    }
    Ok(())
}

/// An object or a list that may be `null`.
struct Nullable<V>(V);

impl<'de, V: Visitor<'de, Value = ()>> DeserializeSeed<'de> for Nullable<V> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, V: Visitor<'de, Value = ()>> Visitor<'de> for Nullable<V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self.0)
    }
}
