//! The record of a call: who called, what was said, what happened, as it is stored, searched and shown.
//!
//! Runs in: anywhere: pure. Owns plain values; the control thread makes them, the store thread keeps them.
//! Never logged: it holds what people said. Invariant: the JSON of these structures is that of the API, of the spool and
//! of `tandem calls --json`; unknown things are null, never left out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::call::transcript::{Said, Speaker};

/// Events that a record holds; more are counted by the last one.
pub const EVENTS_MAX: usize = 500;
/// The kind of the event that the call's recording could not be written, or not to its end.
pub const RECORDING_FAILED: &str = "recording_failed";
/// Characters of an event's detail.
pub const EVENT_DETAIL_CHARACTERS_MAX: usize = 200;

/// What is known of a call that has ended. Times are RFC 3339 in UTC with milliseconds, durations numbers whose unit ends
/// the name; `_s` has a fraction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CallRecord {
    /// Its name for ever, [`crate::base::RecordId`] as text.
    pub id: String,
    /// The switch's UUID of the channel.
    pub uuid: Option<String>,
    /// The number that was called.
    pub did: Option<String>,
    /// Who called.
    pub caller: Option<String>,
    /// The agent who answered.
    pub agent: String,
    /// The model, as the configuration names it.
    pub model: Option<String>,
    /// The name of the credential of its last link.
    pub credential: Option<String>,
    /// What the switch spoke: `mod_audio_stream`, `audiosocket`, `chan_websocket`.
    pub leg: String,
    /// The address of the switch.
    pub peer: String,
    /// When the relay admitted it.
    pub offered_at: String,
    /// When the model was ready.
    pub answered_at: Option<String>,
    /// When the model was first heard to speak.
    pub first_audio_at: Option<String>,
    /// When everything of it was let go.
    pub ended_at: String,
    /// From the offer to the end.
    pub duration_s: f64,
    /// `caller`, `model`, `us` or `network`.
    pub ended_by: String,
    /// The outcome's word, as in the metric ([`crate::call::Outcome::label`]).
    pub outcome: String,
    /// The outcome in words, as in the log.
    pub reason: String,
    /// The caller's talkspurts together.
    pub caller_talk_s: f64,
    /// The rest of the caller's audio.
    pub caller_silence_s: f64,
    /// Speech of the agent that was handed to the switch.
    pub agent_talk_s: f64,
    /// The rest of the time since the model was ready.
    pub agent_silence_s: f64,
    /// Turns in which the model spoke.
    pub turns: u64,
    /// Times that the caller interrupted.
    pub barge_ins: u64,
    /// The most audio that the switch already had at a barge-in; null without one.
    pub barge_in_residual_ms_max: Option<u64>,
    /// Links that went on with the conversation.
    pub resumptions: u64,
    /// Links with a new conversation, told of the old one.
    pub fresh_sessions: u64,
    /// The longest time without a link.
    pub gap_ms_max: u64,
    /// All times without a link together.
    pub gap_ms_total: u64,
    /// Times that the server was told to take what it had heard as a turn.
    pub watchdog_commits: u64,
    /// Times that the model was told in words that the caller waits.
    pub watchdog_nudges: u64,
    /// Links left because the model did not answer.
    pub watchdog_resumptions: u64,
    /// Conversations begun anew because the model did not answer.
    pub watchdog_sessions: u64,
    /// Times that the model answered after such a step.
    pub watchdog_healed: u64,
    /// Half of the answers came sooner after the caller stopped speaking, as heard by the caller; null without any.
    pub answer_ms_p50: Option<u64>,
    /// The latest answer.
    pub answer_ms_max: Option<u64>,
    /// Times that the caller's ear ran dry in the middle of a turn.
    pub underruns: u64,
    /// Those times together.
    pub underrun_ms: u64,
    /// Times that the switch reports silence where speech came too late for its player; those of the ear among them.
    #[serde(default)]
    pub switch_gaps: u64,
    /// Those times together.
    #[serde(default)]
    pub switch_gap_ms: u64,
    /// Frames of the caller, 20 ms each, that were given up.
    pub lost_frames: u64,
    /// Tokens of the prompt side, those of every turn added up: each is billed.
    pub prompt_tokens: u64,
    /// Tokens of the answer side, added up.
    pub response_tokens: u64,
    /// What the tokens cost by the price table, an estimate; null without a price for the model.
    pub cost: Option<f64>,
    /// The currency of the cost.
    pub cost_currency: Option<String>,
    /// Calls of tools by the model.
    pub tools_called: u64,
    /// Those of them that failed or had no result in time.
    pub tools_failed: u64,
    /// Where it was recorded to, if it was.
    pub recording: Option<RecordingFile>,
}

/// A recording of a call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecordingFile {
    /// Its path within the directory of recordings.
    pub file: String,
    /// `wav` or `opus`.
    pub format: String,
    /// Its length.
    pub seconds: f64,
    /// Its size.
    pub bytes: u64,
}

/// A turn of the transcript. Times are milliseconds since the call was offered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TranscriptTurn {
    /// Who spoke.
    pub speaker: Speaker,
    /// When it began.
    pub start_ms: u64,
    /// When it ended or was cut off.
    pub end_ms: u64,
    /// What was said, as the model transcribed it.
    pub text: String,
    /// The caller spoke over it.
    pub interrupted: bool,
    /// The part of the text that was heard.
    pub heard_text: String,
}

/// Something that happened in a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallEvent {
    /// When, in milliseconds since the call was offered.
    pub at_ms: u64,
    /// What: `answered`, `link_lost`, `resumed`, `barge_in`, `tool` and so on; docs/records.md lists them.
    pub kind: String,
    /// More of it, where there is more to say: never what somebody said, and never a key that was pressed.
    pub detail: Option<String>,
}

/// A record with what was said and what happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CallDetail {
    /// The call.
    #[serde(flatten)]
    pub record: CallRecord,
    /// What was said, in the order in which the turns began.
    pub transcript: Vec<TranscriptTurn>,
    /// What happened, in its order.
    pub events: Vec<CallEvent>,
}

impl From<&Said> for TranscriptTurn {
    fn from(said: &Said) -> Self {
        Self {
            speaker: said.speaker,
            start_ms: said.start_ms,
            end_ms: said.end_ms,
            text: said.text.trim().to_owned(),
            interrupted: said.interrupted,
            heard_text: said.heard().trim().to_owned(),
        }
    }
}

/// A millisecond since 1970 as a record writes it: `2026-11-23T01:50:51.000Z`. All have the same length until the year
/// 9999, so that they sort as text.
pub fn rfc3339(unix_ms: u64) -> String {
    let moment = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", moment.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_milliseconds_always() {
        assert_eq!(rfc3339(1_795_398_651_000), "2026-11-23T01:50:51.000Z");
        assert_eq!(rfc3339(1), "1970-01-01T00:00:00.001Z");
        assert_eq!(rfc3339(u64::MAX).len(), rfc3339(0).len());
    }

    #[test]
    fn the_json_of_a_call_is_flat_names_every_field_and_is_read_back() {
        let turn = TranscriptTurn {
            speaker: Speaker::Model,
            start_ms: 1,
            end_ms: 2,
            text: "Hello".into(),
            interrupted: false,
            heard_text: "Hello".into(),
        };
        let event = CallEvent { at_ms: 5, kind: "answered".into(), detail: None };
        let record = CallRecord { id: "x".into(), duration_s: 1.5, ..CallRecord::default() };
        let detail = CallDetail { record, transcript: vec![turn], events: vec![event] };
        let json = serde_json::to_value(&detail).unwrap();
        assert_eq!(json["duration_s"], 1.5);
        assert!(json.as_object().unwrap().contains_key("answer_ms_p50"), "unknown things are null");
        assert_eq!(json["transcript"][0]["speaker"], "agent");
        assert!(json["events"][0]["detail"].is_null());
        assert_eq!(serde_json::from_value::<CallDetail>(json).unwrap(), detail);
    }
}
