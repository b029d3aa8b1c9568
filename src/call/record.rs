//! The record of a call: who called, what was said, what happened, as it is stored, searched and shown.
//!
//! Runs in: anywhere: pure. Owns plain values; the control thread makes them, the store thread keeps them.
//! Never logged: it holds what people said. Invariant: the JSON of these structures is that of the API, of the spool and
//! of `tandem calls --json`; unknown things are null, never left out.
//! A field is declared once, here: its column, its place in the description of the API and in docs/records.md are made from that.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::call::transcript::{Said, Speaker};

/// Events that a record holds; more are counted by the last one.
pub const EVENTS_MAX: usize = 500;
/// The kind of the event that the call's recording could not be written, or not to its end.
pub const RECORDING_FAILED: &str = "recording_failed";
/// Characters of an event's detail.
pub const EVENT_DETAIL_CHARACTERS_MAX: usize = 200;

/// What a field holds, and a column of the database that keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FieldKind {
    Text,
    Integer,
    Real,
    Switch,
    /// Words in one text, with spaces between them.
    Words,
}

/// A field of one of the structures here: all that its column and its place in the API's description are made from.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: FieldKind,
    /// It may be unknown.
    pub(crate) optional: bool,
    /// What it says, with a space before it: for the documents that tests keep true.
    #[cfg(test)]
    pub(crate) summary: &'static str,
}

/// A type that fields have.
trait Kept {
    const KIND: FieldKind;
    const OPTIONAL: bool = false;
}

impl Kept for String {
    const KIND: FieldKind = FieldKind::Text;
}

impl Kept for Speaker {
    const KIND: FieldKind = FieldKind::Text;
}

impl Kept for u64 {
    const KIND: FieldKind = FieldKind::Integer;
}

impl Kept for f64 {
    const KIND: FieldKind = FieldKind::Real;
}

impl Kept for bool {
    const KIND: FieldKind = FieldKind::Switch;
}

impl Kept for Vec<String> {
    const KIND: FieldKind = FieldKind::Words;
}

impl<T: Kept> Kept for Option<T> {
    const KIND: FieldKind = T::KIND;
    const OPTIONAL: bool = true;
}

/// A structure whose fields are listed as [`Field`]s; those behind `beside` are not.
macro_rules! kept {
    (
        $(#[$of:meta])* $name:ident {
            $($(#[doc = $summary:literal])+ $field:ident: $type:ty,)+
        } $(beside { $(#[$of_beside:meta])* $beside:ident: $beside_type:ty })?
    ) => {
        $(#[$of])*
        pub struct $name {
            $($(#[doc = $summary])+ pub $field: $type,)+
            $($(#[$of_beside])* pub $beside: $beside_type,)?
        }

        impl $name {
            /// Its fields, in the order of the columns.
            pub(crate) const FIELDS: &[Field] = &[$(Field {
                name: stringify!($field),
                kind: <$type as Kept>::KIND,
                optional: <$type as Kept>::OPTIONAL,
                #[cfg(test)]
                summary: concat!($($summary),+),
            }),+];
        }
    };
}

kept! {
    /// What is known of a call that has ended. Times are RFC 3339 in UTC with milliseconds, durations numbers whose unit ends
    /// the name; `_s` has a fraction.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    // What waits in a spool may be of a version that had fewer.
    #[serde(default)]
    CallRecord {
        /// Its name for ever, in recordings, the API and the page too: a UUID version 7.
        id: String,
        /// The switch's UUID of the channel.
        uuid: Option<String>,
        /// The number that was called.
        did: Option<String>,
        /// Who called.
        caller: Option<String>,
        /// The agent who answered.
        agent: String,
        /// The model, as the configuration names it.
        model: Option<String>,
        /// The name of the credential of its last link.
        credential: Option<String>,
        /// What was on the line: `mod_audio_stream`, `mod_audio_fork`, `audiosocket`, `chan_websocket`, `telephone`, or `outbound`
        /// for an outbound call that never had a leg.
        leg: String,
        /// The address of the switch.
        peer: String,
        /// When the relay admitted it.
        offered_at: String,
        /// When the model was ready.
        answered_at: Option<String>,
        /// When the model was first heard to speak.
        first_audio_at: Option<String>,
        /// When everything of it was let go.
        ended_at: String,
        /// From the offer to the end.
        duration_s: f64,
        /// Who ended it: `caller`, `model`, `us` or `network`.
        ended_by: String,
        /// The outcome's word, as in `tandem_calls_ended_total`.
        outcome: String,
        /// The outcome in words, as in the log.
        reason: String,
        /// Whether it went well, in words: `good`, or what was wrong, such as `slow answer (4.6 s), tool failed`; null until judged.
        verdict: Option<String>,
        /// What was wrong, by the words of `tandem_call_problems_total`; none where it went well, null until judged.
        problems: Option<Vec<String>>,
        /// The cause with which the switch hung the channel up, such as `NORMAL_CLEARING`, where the event socket told it.
        hang_up_cause: Option<String>,
        /// The caller's talkspurts together.
        caller_talk_s: f64,
        /// The rest of the caller's audio.
        caller_silence_s: f64,
        /// Speech of the agent that was handed to the switch.
        agent_talk_s: f64,
        /// The rest of the time since the model was ready.
        agent_silence_s: f64,
        /// Turns in which the model spoke.
        turns: u64,
        /// Times that the caller interrupted.
        barge_ins: u64,
        /// The most audio that the switch already had at a barge-in; null without one.
        barge_in_residual_ms_max: Option<u64>,
        /// Links that went on with the conversation.
        resumptions: u64,
        /// Links with a new conversation, told of the old one.
        fresh_sessions: u64,
        /// The longest time without a link.
        gap_ms_max: u64,
        /// All times without a link together.
        gap_ms_total: u64,
        /// Times that the server was told to take what it had heard as a turn (docs/turn-taking.md).
        watchdog_commits: u64,
        /// Times that the model was told in words that the caller waits.
        watchdog_nudges: u64,
        /// Links left because the model did not answer.
        watchdog_resumptions: u64,
        /// Conversations begun anew because the model did not answer.
        watchdog_sessions: u64,
        /// Times that the model answered after such a step.
        watchdog_healed: u64,
        /// From the caller's last word to the first that they heard of the answer: the median; null without any.
        answer_ms_p50: Option<u64>,
        /// The longest.
        answer_ms_max: Option<u64>,
        /// Times that the caller's ear ran dry in the middle of a turn.
        underruns: u64,
        /// Those times together.
        underrun_ms: u64,
        /// Times that the switch reports silence where speech came too late for its player; those of the ear among them.
        switch_gaps: u64,
        /// Those times together.
        switch_gap_ms: u64,
        /// Frames of the caller, 20 ms each, that were given up.
        lost_frames: u64,
        /// Tokens of the prompt side, those of every turn added up: each is billed.
        prompt_tokens: u64,
        /// Tokens of the answer side, added up.
        response_tokens: u64,
        /// What the tokens cost by the price table, an estimate; null without a price for the model.
        cost: Option<f64>,
        /// The currency of the cost.
        cost_currency: Option<String>,
        /// Calls of tools by the model.
        tools_called: u64,
        /// Those of them that failed or had no result in time.
        tools_failed: u64,
    } beside {
        /// Where it was recorded to, if it was.
        recording: Option<RecordingFile>
    }
}

kept! {
    /// A recording of a call.
    #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
    RecordingFile {
        /// Its path within the directory of recordings.
        file: String,
        /// `wav` or `opus`.
        format: String,
        /// Its length.
        seconds: f64,
        /// Its size.
        bytes: u64,
    }
}

kept! {
    /// A turn of the transcript. Times are milliseconds since the call was offered.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    TranscriptTurn {
        /// Who spoke.
        speaker: Speaker,
        /// When it began.
        start_ms: u64,
        /// When it ended or was cut off.
        end_ms: u64,
        /// What was said, as the model transcribed it.
        text: String,
        /// The caller spoke over it.
        interrupted: bool,
        /// The part of the text that was heard.
        heard_text: String,
    }
}

kept! {
    /// Something that happened in a call.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    CallEvent {
        /// When, in milliseconds since the call was offered.
        at_ms: u64,
        /// What: `answered`, `link_lost`, `resumed`, `barge_in`, `tool` and so on; docs/records.md lists them.
        kind: String,
        /// More of it, where there is more to say: never what somebody said, and never a key that was pressed.
        detail: Option<String>,
    }
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
