//! How the control thread carries out what a call's machine orders: by messages to the threads that can.
//!
//! Runs in: the control thread. Owns nothing of its own.
//! Never blocks.
//! Invariant: the orders of a call are carried out in the order in which its machine gave them.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use log::{debug, warn};
use serde_json::Value;

use super::Control;
use crate::admission::Ending;
use crate::agents::Choice;
use crate::agents::warn_of_unknown_agent;
use crate::base::{CallId, Instant, Quoted};
use crate::call::leg::LegCloseCode;
use crate::call::tool::{ToolFailure, ToolNumber, ToolRun};
use crate::call::{Fact, LegOrder, ModelOrder, Order, RecordingOrder, ToolOrder};
use crate::threads::dsp::DspOrder;
use crate::threads::messages::{GeminiOrder, TelephonyOrder};
use crate::threads::recorder::RecorderOrder;

impl Control {
    /// Says who answers a call that waits for it, by what is known of it now.
    fn choose_agent(&mut self, now: Instant, id: CallId, last: bool) {
        let agents = self.relay.agents.get();
        let Some(call) = self.calls.get_mut(id) else { return };
        let (fields, peer) = (call.machine.fields(), call.peer);
        if !last && (!agents.is_settled(fields) || agents.lacks(fields)) {
            return;
        }
        warn_of_unknown_agent(id, &agents, fields);
        if !agents.is_settled(fields)
            && let Some(left_out) = self.relay.limiter.allow(now, "metadata_wait", peer.ip())
        {
            warn!(
                "call {id} from {peer}: neither URL nor metadata told in time (leg.metadata_wait_ms) which number was called, or who \
                 calls, so the routes decide without: {fields}{left_out}"
            );
        }
        match agents.choose(fields) {
            Choice::Agent(agent) => call.machine.answer_with(now, agent),
            Choice::Refuse(reason) => call.machine.refuse(&reason),
        }
    }

    pub(super) fn carry_out(&mut self, now: Instant, id: CallId) {
        self.keep_known(now, id);
        while let Some(call) = self.call(id) {
            let (shard, worker) = (call.place.shard, call.place.worker);
            let Some(order) = call.machine.next_order() else { return };
            match order {
                Order::ChooseAgent { last } => self.choose_agent(now, id, last),
                Order::Dial(link) => self.dial(now, id, link),
                Order::Model(order) => {
                    match &order {
                        ModelOrder::AnswerTool(_, call, answer) => {
                            debug!("call {id}: the model's {}: {:?}", Quoted(&call.name), answer.result);
                        }
                        ModelOrder::CloseLink(link) => self.link_closed(now, id, *link),
                        _ => {}
                    }
                    self.parts.gemini[shard].send(GeminiOrder::Call(id, order));
                }
                Order::Leg(order) => {
                    if let LegOrder::Close(close) | LegOrder::SendAway(close) = &order
                        && let Some(uuid) = call.machine.fields().uuid.clone()
                    {
                        let (over, next) = (close.code() == LegCloseCode::Normal, call.machine.next(close));
                        let ending = Ending { over, next, reason: close.reason().to_owned() };
                        self.relay.registry.endings().note(&uuid, ending);
                    }
                    self.parts.telephony[shard].send(TelephonyOrder::Call(id, order));
                }
                Order::Dsp(order) => self.parts.workers[worker].send(DspOrder::Call(id, order)),
                Order::Recording(RecordingOrder::Begin) => self.record(now, id),
                Order::Recording(RecordingOrder::Pause(paused)) => {
                    self.parts.recorder.send(RecorderOrder::Pause(id, now, paused));
                }
                Order::EventSocket(order) => self.over_event_socket(now, id, order),
                Order::Tool(ToolOrder::Run(number, run)) => self.run_tool(now, id, number, *run),
                Order::Tool(ToolOrder::Cancel(number)) => self.parts.tools.take_back(id, number),
                Order::Answer(requester, result) => self.requests.answer(id, &requester, result),
                Order::Finish(outcome) => self.finish(now, id, &outcome),
            }
        }
    }

    /// What is known of the call is said at once; another server is asked on a thread that may wait for it.
    fn run_tool(&mut self, now: Instant, id: CallId, number: ToolNumber, run: ToolRun) {
        let result = match run {
            ToolRun::CallInfo(mut known) => {
                known.insert("local_time".to_owned(), local_time(self.relay.clock.wall()).into());
                Ok(Value::Object(known))
            }
            ToolRun::Http { tool, arguments, caller } => {
                match self.parts.tools.run(now, (id, number), tool, arguments, caller) {
                    Ok(()) => return,
                    Err(why) => Err(ToolFailure::NotAsked(why)),
                }
            }
        };
        if let Some(call) = self.call(id) {
            call.machine.tell(now, Fact::ToolDone(number, result));
        }
    }
}

/// The time of the wall clock where `TZ` says that we are, as a model reads it.
fn local_time(wall: SystemTime) -> String {
    match Timestamp::try_from(wall) {
        Ok(moment) => {
            moment.to_zoned(TimeZone::system()).strftime("%A, %Y-%m-%d %H:%M:%S %Z (%:z)").to_string()
        }
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_time_names_day_and_zone() {
        let text = local_time(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000));
        assert!(text.contains("2001-09-0") && text.contains(", ") && text.contains(':'), "{text}");
        assert!(text.starts_with("Sunday") || text.starts_with("Saturday"), "{text}");
    }
}
