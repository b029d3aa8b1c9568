//! What the model says: one server message from its bytes, its audio handed straight to the caller's sink.
//!
//! Runs in: the gemini thread, for every message; pure. Owns nothing. Never copies base64 text, nor allocates, for a
//! message that holds audio and flags (texts with escapes and tool calls are copied; they are rare).
//! Invariant: every field of a message is reported, in whatever order and number they came; unknown ones are skipped.

use super::parse;
use super::usage::Usage;
use crate::base::excerpt::excerpt;
use crate::base::{Quoted, SampleRate};
use crate::call::model::OUTPUT_RATE;
use crate::codec::base64::Base64Error;
use std::borrow::Cow;
use std::time::Duration;
use thiserror::Error;

/// The most bytes of a peer's text that an error quotes.
const QUOTED_BYTES_MAX: usize = 80;

/// Everything that one server message says. Any number of fields can be set at once, none of them for `{}`: look at
/// all of them, never `else if`.
///
/// Audio is not in here: [`decode`] handed it to the sink. **Audio beside `interrupted` belongs to the cancelled
/// turn**, wherever the two stand in the JSON: the message is one moment of the server, at which it had not yet heard
/// the caller out and so cannot have begun the next answer. Whoever queues the audio therefore drops what came with
/// the message when it sees `interrupted`, and the same order needs no second thought: first queue, then flush.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerMessage<'a> {
    /// The setup was accepted; audio may be sent from now on.
    pub setup_complete: bool,
    /// Samples handed to the sink.
    pub audio_samples: usize,
    /// The model's turn has parts that are text, or thoughts, whose audio is not handed over.
    pub has_text: bool,
    /// The model has finished generating; its audio may still be playing.
    pub generation_complete: bool,
    /// The turn is over, as the server reckons playback.
    pub turn_complete: bool,
    /// The caller spoke over the model: stop and flush playout, audio of this message included.
    pub interrupted: bool,
    /// The model waits for more input before it answers.
    pub waiting_for_input: bool,
    /// Whether the model is at work or idle (thinking models: `turn_complete` is not idle).
    pub interaction_status: Option<InteractionStatus<'a>>,
    /// Why the turn ended, where it did not end by itself.
    pub turn_complete_reason: Option<TurnCompleteReason<'a>>,
    /// A piece of what the caller said. Pieces are deltas, in no fixed order against the audio.
    pub input_transcription: Option<Cow<'a, str>>,
    /// A piece of what the model said.
    pub output_transcription: Option<Cow<'a, str>>,
    /// Functions the model wants called: those of `toolCall`, and of parts of its turn, in which some models write them.
    pub tool_calls: Vec<FunctionCall<'a>>,
    /// Ids of calls that must not be answered any more.
    pub cancelled_tool_calls: Vec<Cow<'a, str>>,
    /// The link will be closed soon.
    pub go_away: Option<GoAway>,
    /// Whether, and with which handle, the session can be resumed.
    pub resumption: Option<ResumptionUpdate<'a>>,
    /// Tokens used; may come beside any other field.
    pub usage: Option<Usage>,
}

/// The value of `interactionStatus`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InteractionStatus<'a> {
    /// The model is at work.
    InProgress,
    /// The model has nothing to do (`IDLE`, and its deprecated spelling `REQUIRES_ACTION`).
    Idle,
    /// The model waits for the caller.
    WaitingForInput,
    /// A value not known here.
    Other(Cow<'a, str>),
}

/// The value of `turnCompleteReason`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnCompleteReason<'a> {
    /// The model produced a function call that cannot be parsed.
    MalformedFunctionCall,
    /// The answer was held back by a filter.
    ResponseRejected,
    /// The model wants to hear more.
    NeedMoreInput,
    /// A value not known here.
    Other(Cow<'a, str>),
}

impl TurnCompleteReason<'_> {
    /// As the server names it, cut to a length that may be logged.
    pub fn label(&self) -> String {
        match self {
            Self::MalformedFunctionCall => "MALFORMED_FUNCTION_CALL".to_owned(),
            Self::ResponseRejected => "RESPONSE_REJECTED".to_owned(),
            Self::NeedMoreInput => "NEED_MORE_INPUT".to_owned(),
            Self::Other(text) => excerpt(text.as_bytes(), QUOTED_BYTES_MAX),
        }
    }
}

/// A function that the model wants called.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FunctionCall<'a> {
    /// To be repeated in the answer.
    pub id: Option<Cow<'a, str>>,
    /// The declared name.
    pub name: Cow<'a, str>,
    /// The arguments, an object; `Null` where none came.
    pub args: serde_json::Value,
}

/// The content of `goAway`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GoAway {
    /// How long the link may still live, where the message says so in a form that can be read.
    pub time_left: Option<Duration>,
}

/// The content of `sessionResumptionUpdate`; all empty (`{}`) means: cannot be resumed at this moment, keep the handle
/// from before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResumptionUpdate<'a> {
    /// The handle to resume with; to be kept only when `resumable`.
    pub new_handle: Option<Cow<'a, str>>,
    /// Whether the session can be resumed from here.
    pub resumable: bool,
}

/// Why audio of a message cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AudioError {
    /// The part is not 16-bit PCM; holds an excerpt of its `mimeType`.
    #[error(
        "the model sent {}, only audio/pcm (16-bit, mono) can be played: choose a model that speaks PCM",
        Quoted(.0)
    )]
    UnsupportedType(String),
    /// PCM of a rate that Tandem cannot resample; holds an excerpt of the `mimeType`.
    #[error(
        "the model sent {}, only 8000, 16000, 24000, 32000 and 48000 Hz can be played: choose a model that speaks at one \
         of these rates", Quoted(.0)
    )]
    UnsupportedRate(String),
    /// The audio is not base64.
    #[error("audio of the model: {0}")]
    Base64(Base64Error),
}

/// Why a server message cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ServerDecodeError {
    /// Not JSON, or a known field of a wrong type; holds serde's words with line and column.
    #[error("server message of the model cannot be read: {0}")]
    Json(String),
    /// Audio that cannot be played; what came before it has been handed over.
    #[error("{0}")]
    Audio(AudioError),
}

impl From<serde_json::Error> for ServerDecodeError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(excerpt(error.to_string().as_bytes(), QUOTED_BYTES_MAX))
    }
}

/// Decodes one server message, from a binary or a text frame, pretty-printed or not.
///
/// `sink` gets the model's audio in order (mono, in blocks of at most [`BLOCK_SAMPLES`]) while the message is read.
/// Texts borrow from `message` unless they hold escapes.
///
/// [`BLOCK_SAMPLES`]: crate::codec::base64::BLOCK_SAMPLES
///
/// # Errors
/// [`ServerDecodeError::Json`] for anything but one JSON object whose known fields have their types;
/// [`ServerDecodeError::Audio`] for audio that cannot be played. Audio before the fault has reached the sink.
pub fn decode<'a>(
    message: &'a [u8],
    sink: impl FnMut(SampleRate, &[i16]),
) -> Result<ServerMessage<'a>, ServerDecodeError> {
    parse::server_message(message, sink)
}

/// The rate that a `mimeType` such as `audio/pcm;rate=24000` names; parameters other than `rate` are ignored.
///
/// # Errors
/// A type other than `audio/pcm`, or a rate that no [`SampleRate`] has. `audio/L16` is refused too: its byte order
/// (RFC 3551 section 4.5.11: big-endian) is not what Google's services send under that name.
pub fn audio_rate(mime_type: &str) -> Result<SampleRate, AudioError> {
    let mut pieces = mime_type.split(';').map(str::trim);
    if !pieces.next().unwrap_or_default().eq_ignore_ascii_case("audio/pcm") {
        return Err(AudioError::UnsupportedType(excerpt(mime_type.as_bytes(), QUOTED_BYTES_MAX)));
    }
    let rate = pieces.filter_map(|piece| piece.split_once('=')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("rate").then(|| value.trim().trim_matches('"'))
    });
    match rate {
        None => Ok(OUTPUT_RATE),
        Some(rate) => rate
            .parse()
            .ok()
            .and_then(SampleRate::from_hz)
            .ok_or_else(|| AudioError::UnsupportedRate(excerpt(mime_type.as_bytes(), QUOTED_BYTES_MAX))),
    }
}

/// Reads a proto3 JSON Duration, for example `9.5s` or `50s`: seconds with at most nine decimals. A negative one is
/// zero; anything else is `None`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let seconds = text.trim().strip_suffix('s')?;
    let (negative, seconds) = match seconds.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, seconds),
    };
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let all_digits = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    if !all_digits(whole) || !all_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let missing_digits = 9 - u32::try_from(fraction.len()).ok()?;
    let nanoseconds = fraction.parse::<u32>().ok()?.checked_mul(10_u32.checked_pow(missing_digits)?)?;
    let duration = Duration::new(whole.parse().ok()?, nanoseconds);
    Some(if negative { Duration::ZERO } else { duration })
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
