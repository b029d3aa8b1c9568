//! Records of calls that never had a machine: outbound ones that nobody answered, and those that were refused at the door.
//!
//! Runs in: the control thread. Owns nothing of its own.
//! Invariant: an outbound call that the switch has begun with leaves one record, this one or that of its leg's call; refused
//! calls leave no more than their allowance.

use log::{info, warn};

use super::Control;
use crate::base::{Instant, RecordId};
use crate::call::outbound::{OutboundCall, OutboundEnd, Unheld};
use crate::call::record::{CallEvent, rfc3339};
use crate::call::refused::Recorded;
use crate::call::{CallDetail, CallRecord, CommandError};
use crate::config::DEFAULT_AGENT;
use crate::threads::messages::{OnChannel, RefusedCall};

impl Control {
    /// The switch has begun with an outbound call.
    pub(super) fn outbound_begun(&mut self, call: OutboundCall, until: Instant) {
        let uuid = call.uuid.clone();
        if self.call_on(&uuid).is_none() && !self.outbound.begun(call, until) {
            warn!("outbound call {uuid}: too many are under way: it leaves no record if nobody answers");
        }
    }

    /// News of a channel that is no running call's: it may be that of an outbound call.
    pub(super) fn on_outbound_channel(&mut self, now: Instant, channel: &str, what: OnChannel) {
        let over = match what {
            OnChannel::Answered => self.outbound.answered(now, channel),
            OnChannel::NotAnswered(CommandError::Refused(cause)) => {
                self.outbound.not_answered(channel, &cause)
            }
            OnChannel::NotAnswered(_) => self.outbound.unconfirmed(channel),
            OnChannel::HungUp(cause) => self.outbound.hung_up(channel, &cause),
            OnChannel::Key(_) | OnChannel::AnsweringMachine | OnChannel::Said(_) => None,
        };
        if let Some(over) = over {
            self.record_unheld(now, over);
        }
    }

    /// Gives outbound calls up of which nothing more is heard.
    pub(super) fn look_at_outbound(&mut self, now: Instant) {
        while let Some(over) = self.outbound.overdue(now) {
            // Its leg may have said its UUID late.
            if self.call_on(&over.0.uuid).is_none() {
                self.record_unheld(now, over);
            }
        }
    }

    /// A call was refused at the door.
    pub(super) fn refused(&mut self, now: Instant, call: RefusedCall) {
        let RefusedCall { fields, peer, kind, reason, why } = call;
        match self.refused.refused(now, fields.uuid.as_deref()) {
            Recorded::Yes => {}
            Recorded::Already => return,
            Recorded::TooMany => return self.relay.counters.refusals_unrecorded.increment(),
        }
        let unix_ms = self.relay.clock.unix_ms();
        let at = rfc3339(unix_ms);
        let record = CallRecord {
            id: RecordId::new(unix_ms, (self.parts.random)()).to_string(),
            uuid: fields.uuid,
            did: fields.did,
            caller: fields.caller,
            agent: fields.agent.unwrap_or_else(|| DEFAULT_AGENT.to_owned()),
            leg: kind.label().to_owned(),
            peer: peer.to_string(),
            offered_at: at.clone(),
            ended_at: at,
            ended_by: "us".to_owned(),
            outcome: "refused".to_owned(),
            reason: format!("{}: {why}", reason.label()),
            ..CallRecord::default()
        };
        self.keep_record(Box::new(CallDetail { record, transcript: Vec::new(), events: Vec::new() }));
    }

    fn record_unheld(&mut self, now: Instant, over: Unheld) {
        let (call, end, cause) = over;
        let reason = reason_of(end, cause.as_deref());
        let counters = &self.relay.counters;
        match end {
            OutboundEnd::Busy => counters.outbound_busy.increment(),
            OutboundEnd::NoAnswer => counters.outbound_no_answer.increment(),
            OutboundEnd::Rejected => counters.outbound_rejected.increment(),
            OutboundEnd::NotConnected => counters.outbound_not_connected.increment(),
            OutboundEnd::NoLeg => counters.outbound_no_leg.increment(),
            OutboundEnd::Unknown => counters.outbound_not_known.increment(),
        }
        let ms = now.since_ms(call.begun_at);
        info!("outbound call {} to {}: {}: {reason}, after {} ms", call.uuid, call.to, end.label(), ms);
        let begun_ms = call.record_id.unix_ms();
        let record = CallRecord {
            id: call.record_id.to_string(),
            uuid: Some(call.uuid),
            did: Some(call.to.to_string()),
            caller: call.from.map(|from| from.to_string()),
            agent: call.agent.map_or_else(|| DEFAULT_AGENT.to_owned(), |agent| agent.to_string()),
            leg: "outbound".to_owned(),
            peer: call.switch,
            offered_at: rfc3339(begun_ms),
            ended_at: rfc3339(begun_ms + ms),
            duration_s: ms as f64 / 1000.0,
            ended_by: end.by().to_owned(),
            outcome: end.label().to_owned(),
            reason,
            hang_up_cause: cause.clone(),
            ..CallRecord::default()
        };
        let hung_up = |cause| CallEvent { at_ms: ms, kind: "hung_up".to_owned(), detail: Some(cause) };
        let events = cause.map(hung_up).into_iter().collect();
        self.keep_record(Box::new(CallDetail { record, transcript: Vec::new(), events }));
    }
}

/// What became of an outbound call, in an operator's words.
fn reason_of(end: OutboundEnd, cause: Option<&str>) -> String {
    let said = cause.map_or(String::new(), |cause| format!(" ({cause})"));
    match end {
        OutboundEnd::Busy => format!("the line was busy{said}"),
        OutboundEnd::NoAnswer => format!("nobody answered{said}"),
        OutboundEnd::Rejected => format!("the call was declined{said}"),
        OutboundEnd::NotConnected => format!("the switch could not connect the call{said}"),
        OutboundEnd::NoLeg => {
            format!("it was answered and never connected to the relay{said}: see esl.answered_application")
        }
        OutboundEnd::Unknown => "the switch did not say what became of it".to_owned(),
    }
}
