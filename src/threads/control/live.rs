//! Running calls as whoever watches them sees them.
//!
//! Runs in: the control thread, when it is asked, and then the admin thread, which writes them as JSON. Owns copies.
//! Invariant: making the list costs a few copies a call and nothing while nobody asks; unknown things are null.

use serde::{Serialize, Serializer};
use tokio::sync::oneshot;

use super::{Call, Control};
use crate::base::{Instant, RecordId};
use crate::call::machine::Phase;
use crate::call::record::{TranscriptTurn, rfc3339};

/// The level of silence, in dBFS.
const SILENCE_DBFS: f64 = -96.0;

/// A running call. Times are milliseconds since 1970 here and RFC 3339 in JSON; unknown things are null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LiveCall {
    /// Its record's id.
    #[serde(serialize_with = "as_text")]
    pub id: RecordId,
    /// The switch's UUID.
    pub uuid: Option<String>,
    /// The number that was called.
    pub did: Option<String>,
    /// Who calls.
    pub caller: Option<String>,
    /// Who answers.
    pub agent: String,
    /// The model.
    pub model: String,
    /// The name of the credential of its newest link.
    pub credential: Option<String>,
    /// What is on the line.
    pub leg: &'static str,
    /// Where the switch is.
    pub peer: String,
    /// `dialing`, `live`, `resuming`, `detached` or `closing`.
    pub state: &'static str,
    /// When it was admitted.
    #[serde(serialize_with = "as_time")]
    pub offered_at: u64,
    /// When the model was first ready.
    #[serde(serialize_with = "as_time_if_known")]
    pub answered_at: Option<u64>,
    /// How long it lasts.
    pub duration_s: f64,
    /// The caller speaks now.
    pub caller_speaking: bool,
    /// The caller hears the agent now.
    pub agent_speaking: bool,
    /// The caller's level, −96 to 0.
    pub caller_level_dbfs: f64,
    /// The agent's level, −96 to 0.
    pub agent_level_dbfs: f64,
    /// Half of its answers came within this time, from the end of the caller's speech until the caller heard them.
    pub answer_ms_p50: Option<u32>,
    /// The latest answer.
    pub answer_ms_max: Option<u64>,
    /// Turns in which the model spoke.
    pub turns: u64,
    /// Times that the caller interrupted.
    pub barge_ins: u64,
    /// Links that went on with the conversation.
    pub resumptions: u64,
    /// The longest time without a link.
    pub gap_ms_max: u64,
    /// Times that playout ran dry in the middle of a turn.
    pub underruns: u64,
    /// Frames of the caller that were given up.
    pub lost_frames: u64,
    /// It is recorded.
    pub recorded: bool,
    /// Its recording pauses.
    pub recording_paused: bool,
}

/// Where what is said in a running call is sent; nothing where it does not run.
pub type SaidReply = oneshot::Sender<Vec<TranscriptTurn>>;
/// Where a list of running calls is sent.
pub type LiveReply = oneshot::Sender<Vec<LiveCall>>;

impl Control {
    /// Tells whoever asked of every running call, the oldest first.
    pub(super) fn tell_live(&self, now: Instant, reply: LiveReply) {
        let mut calls: Vec<_> = self.calls.iter().map(|call| call.live(now)).collect();
        calls.sort_unstable_by_key(|call| call.id);
        // Whoever asked may have given up.
        _ = reply.send(calls);
    }

    /// Tells whoever asked what was said so far in the call with this record id.
    pub(super) fn tell_said(&self, id: RecordId, reply: SaidReply) {
        if let Some(call) = self.calls.iter().find(|call| call.record_id == id) {
            _ = reply.send(call.machine.transcript().turns().map(TranscriptTurn::from).collect());
        }
    }
}

impl Call {
    /// What is seen of it at `now`.
    fn live(&self, now: Instant) -> LiveCall {
        let (machine, tally) = (&self.machine, self.shared.tally.snapshot());
        let (fields, events) = (machine.fields(), machine.events());
        // Its record's id was made at the offer. Reckoned from there, a time is the same in every list.
        let wall = |at: Instant| self.record_id.unix_ms() + at.since_ms(machine.offered_at());
        LiveCall {
            id: self.record_id,
            uuid: fields.uuid_shown(),
            did: fields.did.clone(),
            caller: fields.caller.clone(),
            agent: machine.agent().name.clone(),
            model: machine.agent().setup.model.clone(),
            credential: self.credential.as_deref().map(str::to_owned),
            leg: self.machine.leg_kind().label(),
            peer: self.peer.to_string(),
            state: match machine.phase() {
                Phase::Offered | Phase::Dialing => "dialing",
                Phase::Live if machine.has_live_link() => "live",
                Phase::Live => "resuming",
                Phase::Detached => "detached",
                Phase::Closing | Phase::Ended => "closing",
            },
            offered_at: wall(machine.offered_at()),
            answered_at: machine.answered_at().map(wall),
            duration_s: now.since_ms(machine.offered_at()) as f64 / 1000.0,
            caller_speaking: tally.caller_speaks > 0,
            agent_speaking: tally.heard_at_us > now.as_micros(),
            caller_level_dbfs: dbfs(tally.caller_peak),
            agent_level_dbfs: dbfs(tally.agent_peak),
            answer_ms_p50: self.shared.answer_ms_p50(),
            answer_ms_max: (tally.answers > 0).then_some(tally.answer_us_max / 1000),
            turns: events.turns,
            barge_ins: events.interruptions,
            resumptions: events.resumptions,
            gap_ms_max: events.gap_ms_max,
            underruns: tally.underruns,
            lost_frames: tally.uplink_frames_dropped + tally.caller_messages_dropped,
            recorded: machine.is_recorded().0,
            recording_paused: machine.is_recorded().1,
        }
    }
}

/// A level of 0 to 32767 as dBFS with one decimal.
pub fn dbfs(level: u64) -> f64 {
    let dbfs = 20.0 * (level.max(1) as f64 / 32_768.0).log10();
    (dbfs * 10.0).round().clamp(SILENCE_DBFS * 10.0, 0.0) / 10.0
}

fn as_text<S: Serializer>(id: &RecordId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// Writes a point of time, in milliseconds since 1970, as RFC 3339.
///
/// # Errors
/// Those of the serializer.
pub fn as_time<S: Serializer>(unix_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*unix_ms))
}

fn as_time_if_known<S: Serializer>(unix_ms: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    match unix_ms {
        Some(unix_ms) => as_time(unix_ms, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_dbfs_between_silence_and_full_scale() {
        let levels = [0, 1, 3277, 32_767, u64::MAX].map(dbfs);
        assert_eq!(levels, [-90.3, -90.3, -20.0, 0.0, 0.0]);
    }
}
