//! What outsiders ask of calls: commands of the API, and what the event socket says of a channel.
//!
//! Runs in: the control thread. Owns the requests of the API that are not answered yet.
//! Invariant: a request is answered at most once, and forgotten with its answer; whoever asked does not wait for ever.

use std::collections::HashMap;

use log::{info, warn};
use tokio::sync::mpsc::Sender;

use super::Control;
use crate::base::command::Command;
use crate::base::{CallId, Instant, RecordId};
use crate::call::machine::Phase;
use crate::call::{CommandResult, Fact, Requester};
use crate::threads::messages::{CommandReply, OnChannel};

/// See the head of this file.
#[derive(Default)]
pub(super) struct Requests {
    last: u64,
    waiting: HashMap<u64, Sender<CommandReply>>,
}

impl Requests {
    /// Passes the answer on, and logs it.
    pub(super) fn answer(&mut self, id: CallId, requester: &Requester, result: CommandResult) {
        let who = match requester {
            Requester::Api(number) => format!("request {number} of the API"),
            Requester::Model(_, call) => format!("the model's {}", call.name),
            Requester::TakenBack(name) => format!("the model's {name}, which it took back"),
            Requester::Relay => "the last order of a call that is given up".to_owned(),
        };
        match &result {
            Ok(()) => info!("call {id}: {who}: done"),
            Err(error) => warn!("call {id}: {who}: {error}"),
        }
        if let Requester::Api(number) = requester
            && let Some(reply) = self.waiting.remove(number)
        {
            // Whoever asked may have given up.
            _ = reply.try_send(Some(result));
        }
    }
}

impl Control {
    /// A command of the API for the call with this UUID.
    pub(super) fn commanded(
        &mut self,
        now: Instant,
        channel: &str,
        command: Command,
        reply: Sender<CommandReply>,
    ) {
        let Some(id) = self.call_on(channel) else {
            _ = reply.try_send(None);
            return;
        };
        self.requests.last += 1;
        let number = self.requests.last;
        info!("call {id}: request {number} of the API: {command}");
        self.requests.waiting.insert(number, reply);
        self.tell(now, id, Fact::Commanded(Requester::Api(number), command));
    }

    /// News of a channel, which may or may not be one of our calls.
    pub(super) fn on_channel(&mut self, now: Instant, channel: &str, what: OnChannel) {
        let Some(id) = self.call_on(channel) else { return self.on_outbound_channel(now, channel, what) };
        let fact = match what {
            OnChannel::Key(key) => Fact::KeyOnEventSocket(key),
            OnChannel::AnsweringMachine => {
                info!("call {id}: an answering machine's tone");
                Fact::AnsweringMachine
            }
            OnChannel::HungUp(cause) => Fact::HungUp(cause),
            // Its leg has told of it before.
            OnChannel::Answered | OnChannel::NotAnswered(_) => return,
        };
        self.tell(now, id, fact);
    }

    /// A text of the API for the model of the call with this record id or UUID.
    pub(super) fn say(&mut self, now: Instant, name: &str, text: &str, reply: Sender<CommandReply>) {
        let Some(id) = self.call_on(name) else {
            _ = reply.try_send(None);
            return;
        };
        let Some(call) = self.call(id) else { return };
        let result = call.machine.say(now, text);
        info!(
            "call {id}: the API has the model say something: {}",
            if result.is_ok() { "asked" } else { "not asked" }
        );
        _ = reply.try_send(Some(result));
        self.carry_out(now, id);
    }

    /// The call with this record id, or the newest call with this UUID that has not ended: a script that starts the stream anew may be ahead of the end of
    /// the older one.
    pub(super) fn call_on(&self, channel: &str) -> Option<CallId> {
        let record_id = RecordId::parse(channel);
        let calls = self.calls.iter();
        let named = calls.filter(|call| {
            Some(call.record_id) == record_id || call.machine.fields().uuid.as_deref() == Some(channel)
        });
        named
            .max_by_key(|call| (call.machine.phase() != Phase::Closing, call.machine.offered_at()))
            .map(|call| call.id)
    }
}
