//! How the control thread carries out what a call's machine orders: by messages to the threads that can.
//!
//! Runs in: the control thread. Owns nothing of its own.
//! Never blocks.
//! Invariant: the orders of a call are carried out in the order in which its machine gave them.

use std::sync::Arc;

use log::debug;

use super::Control;
use crate::base::{CallId, Instant};
use crate::call::agents::warn_of_unknown_agent;
use crate::call::{Choice, CredentialView, Fact, Order, Part};
use crate::codec::gemini::close::LinkEnd;
use crate::codec::gemini::tools;
use crate::threads::dsp::DspOrder;
use crate::threads::messages::{DialRequest, EslOrder, GeminiOrder, LinkRequest, TelephonyOrder};

/// The key of section `[gemini]`.
const ONLY_CREDENTIAL: CredentialView<'static> =
    CredentialView { number: 0, model_prefix: None, vertex: false };

impl Control {
    /// Says who answers a call that waits for it, by what is known of it now.
    fn choose_agent(&mut self, now: Instant, id: CallId, last: bool) {
        let agents = self.parts.agents.get();
        let Some(call) = self.call(id) else { return };
        let fields = call.machine.fields();
        if !last && !agents.is_settled(fields) {
            return;
        }
        warn_of_unknown_agent(id, &agents, fields);
        match agents.choose(fields) {
            Choice::Agent(agent) => call.machine.answer_with(now, agent),
            Choice::Refuse(reason) => call.machine.refuse(&reason),
        }
    }

    pub(super) fn carry_out(&mut self, now: Instant, id: CallId) {
        while let Some(call) = self.call(id) {
            let (shard, worker) = (call.shard, call.worker);
            let Some(order) = call.machine.next_order() else { return };
            match order {
                Order::ChooseAgent { last } => self.choose_agent(now, id, last),
                Order::Dial(link) => {
                    let timeout = call.machine.agent().terms.dial_timeout;
                    let deadline = now.plus_us(timeout.as_micros() as u64);
                    let setup = call.machine.setup(&ONLY_CREDENTIAL).into();
                    let target = Arc::clone(&self.parts.target);
                    let request = LinkRequest { id, link, target, setup, deadline, shard };
                    if let Err(why) = self.parts.dial.request(DialRequest::Link(request))
                        && let Some(call) = self.call(id)
                    {
                        call.machine.tell(now, Fact::LinkGone(link, LinkEnd::dropped(&why)));
                    }
                }
                Order::Prompt(link, text) => {
                    self.parts.gemini[shard].send(GeminiOrder::Prompt(id, link, text))
                }
                Order::Play(sound) => self.parts.gemini[shard].send(GeminiOrder::Play(id, sound)),
                Order::Command(number, command) => {
                    self.parts.telephony[shard].send(TelephonyOrder::Command(id, number, command));
                }
                Order::EventSocket { number, channel, command, send_by } => {
                    // The machine orders this only where there is an event socket.
                    if let Some(esl) = &mut self.parts.esl {
                        esl.send(EslOrder::Command { id, number, channel, command, send_by });
                    }
                }
                Order::AnswerTool(link, call, result) => {
                    debug!("call {id}: the model's {}: {result:?}", call.name);
                    let response = tools::response(&call, &result);
                    self.parts.gemini[shard].send(GeminiOrder::AnswerTool(id, link, response));
                }
                Order::Answer(requester, result) => self.requests.answer(id, &requester, result),
                Order::CloseLink(link) => self.parts.gemini[shard].send(GeminiOrder::CloseLink(id, link)),
                Order::CloseLeg(close) => self.parts.telephony[shard].send(TelephonyOrder::Close(id, close)),
                Order::Retire(Part::Dsp) => self.parts.workers[worker].send(DspOrder::Remove(id)),
                Order::Retire(Part::Gemini) => self.parts.gemini[shard].send(GeminiOrder::Retire(id)),
                Order::Finish(outcome) => self.finish(now, id, &outcome),
            }
        }
    }
}
