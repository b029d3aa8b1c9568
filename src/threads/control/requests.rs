//! What outsiders ask of calls: commands of the API, and what the event socket says of a channel.
//!
//! Runs in: the control thread. Owns the requests of the API that are not answered yet.
//! Invariant: a request is answered at most once, and forgotten with its answer; whoever asked does not wait for ever.

use std::collections::HashMap;

use log::{info, warn};
use tokio::sync::mpsc::Sender;

use super::Control;
use crate::base::call_name::is_same;
use crate::base::{CallId, Instant, RecordId};
use crate::call::machine::Phase;
use crate::call::{Ask, CommandResult, Fact, Requester};
use crate::threads::messages::{CommandReply, ControlInput, OnChannel};

/// See the head of this file.
#[derive(Default)]
pub(super) struct Requests {
    last: u64,
    waiting: HashMap<u64, Sender<CommandReply>>,
}

impl Requests {
    /// Whether all are answered.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

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

/// How long a request waits for a call that the door has let in and whose offer is still on its way here.
const OFFER_WITHIN_MS: u64 = 1_000;
/// How often it looks.
const LOOK_MS: u64 = 5;

/// A request that names a call which is not known yet, and until when it waits for it.
pub(super) struct Early(ControlInput, Instant);

impl Control {
    /// Keeps a request of the API back that names a call which is not known, while calls are let in of which nothing was
    /// heard here: a switch has its answer a moment before. Gives back what need not wait.
    pub(super) fn put_off(&mut self, now: Instant, input: ControlInput) -> Option<ControlInput> {
        let (ControlInput::Asked(name, ..) | ControlInput::Listen(name, _)) = &input else {
            return Some(input);
        };
        if self.call_on(name).is_some() || self.relay.registry.live_calls() <= self.calls.len() {
            return Some(input);
        }
        self.early.push(Early(input, now.plus_ms(OFFER_WITHIN_MS)));
        None
    }

    /// Takes up requests whose call is known now, or is not going to be.
    pub(super) fn look_at_early(&mut self, now: Instant) {
        for Early(input, until) in std::mem::take(&mut self.early) {
            match self.put_off(now, input) {
                Some(input) => self.take_now(now, input),
                None if now >= until => {
                    if let Some(Early(input, _)) = self.early.pop() {
                        self.take_now(now, input);
                    }
                }
                None => {
                    if let Some(kept) = self.early.last_mut() {
                        kept.1 = until;
                    }
                }
            }
        }
    }

    /// When requests that wait for their call are looked at again.
    pub(super) fn early_deadline(&self, now: Instant) -> Option<Instant> {
        (!self.early.is_empty()).then(|| now.plus_ms(LOOK_MS))
    }

    /// What the API asks of the call with this record id or UUID.
    pub(super) fn asked(&mut self, now: Instant, name: &str, ask: Ask, reply: Sender<CommandReply>) {
        let Some(id) = self.call_on(name) else {
            _ = reply.try_send(None);
            return;
        };
        self.requests.last += 1;
        let number = self.requests.last;
        info!("call {id}: request {number} of the API: {ask}");
        self.requests.waiting.insert(number, reply);
        let Some(call) = self.call(id) else { return };
        let result = match ask {
            Ask::Command(command) => {
                return self.tell(now, id, Fact::Commanded(Requester::Api(number), command));
            }
            Ask::Say(text) => call
                .machine
                .put(now, format!("Say this to the caller now, word for word and nothing else: {text}")),
            Ask::Prompt(text) => call.machine.put(now, text),
            Ask::PauseRecording(paused) => call.machine.pause_recording(paused),
        };
        self.requests.answer(id, &Requester::Api(number), result);
        self.carry_out(now, id);
    }

    /// News of a channel, which may or may not be one of our calls.
    pub(super) fn on_channel(&mut self, now: Instant, channel: &str, what: OnChannel) {
        let Some(id) = self.call_on(channel) else { return self.on_outbound_channel(now, channel, what) };
        if !self.is_heard_of(now, id, &what) {
            return;
        }
        let fact = match what {
            // It says whose the channel is, and nothing of the call.
            OnChannel::Said(_) => return,
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

    /// The call with this record id, or the newest call with this UUID that has not ended: a script that starts the stream anew may be ahead of the end of
    /// the older one.
    pub(super) fn call_on(&self, channel: &str) -> Option<CallId> {
        let record_id = RecordId::parse(channel);
        let calls = self.calls.iter();
        let named = calls.filter(|call| {
            Some(call.record_id) == record_id
                || call.machine.fields().uuid.as_deref().is_some_and(|uuid| is_same(uuid, channel))
        });
        named
            .max_by_key(|call| (call.machine.phase() != Phase::Closing, call.machine.offered_at()))
            .map(|call| call.id)
    }
}
