//! What all parts of a machine are given: the moment, who answers whom, who speaks, what is heard, and where to put what follows.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the orders that were not taken, the counts and the history.
//! Never decides anything.
//! Invariant: orders are taken in the order in which they were given.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::counts::CallEvents;
use super::ear::Ear;
use super::floor::Floor;
use super::history::History;
use crate::base::Instant;
use crate::base::command::Destination;
use crate::call::agent::{Agent, CallTerms};
use crate::call::events::{ModelOrder, Order};
use crate::call::leg::CallFields;
use crate::call::model::SetupRequest;
use crate::call::record::CallEvent;
use crate::call::session::Session;

/// How long everybody else has, behind a time in which the relay did nothing, to be heard of what they did meanwhile.
const EXCUSED: Duration = Duration::from_secs(2);

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Shared {
    /// When that happens which is being looked at.
    pub(super) now: Instant,
    /// Until when the relay had no processor.
    pub(super) starved_until: Option<Instant>,
    pub(super) offered_at: Instant,
    /// When the model was first ready.
    pub(super) answered_at: Option<Instant>,
    /// When the model first spoke.
    pub(super) first_audio_at: Option<Instant>,
    /// When the call began, in seconds since 1970; 0: not known.
    pub(super) begun_s: u64,
    /// The caller has been sent elsewhere.
    pub(super) transferred: bool,
    /// Where the caller goes when the leg has been closed: whoever connected it asks.
    pub(super) transfer_to: Option<Destination>,
    pub(super) agent: Arc<Agent>,
    pub(super) fields: CallFields,
    pub(super) session: Session,
    pub(super) floor: Floor,
    pub(super) ear: Ear,
    pub(super) counts: CallEvents,
    history: History,
    orders: VecDeque<Order>,
}

impl Shared {
    /// A call that was offered at `now`.
    pub(super) fn new(now: Instant, agent: Arc<Agent>, fields: CallFields) -> Self {
        Self {
            now,
            starved_until: None,
            offered_at: now,
            answered_at: None,
            first_audio_at: None,
            begun_s: 0,
            transferred: false,
            transfer_to: None,
            agent,
            fields,
            session: Session::new(),
            floor: Floor::default(),
            ear: Ear::default(),
            counts: CallEvents::default(),
            history: History::default(),
            orders: VecDeque::new(),
        }
    }

    /// What is configured for the call.
    pub(super) fn terms(&self) -> &CallTerms {
        &self.agent.terms
    }

    /// When somebody else is late who had to do something by `at`: later, if it was the relay that did nothing.
    pub(super) fn excused(&self, at: Instant) -> Instant {
        self.starved_until.map_or(at, |until| at.max(until.plus(EXCUSED)))
    }

    /// The moment, in milliseconds since the call began.
    pub(super) fn now_ms(&self) -> u64 {
        self.now.since_ms(self.offered_at)
    }

    /// What a link is asked for, without what is the conversation's.
    pub(super) fn setup(&self) -> SetupRequest {
        self.agent.setup_for(&self.fields, self.begun_s)
    }

    /// The text with which the model is asked to speak first.
    pub(super) fn greeting(&self) -> Option<String> {
        self.agent.greeting_for(&self.fields, self.begun_s)
    }

    /// Forgets what the switch says that the agent who answers does not ask for.
    pub(super) fn keep_variables(&mut self) {
        let names = self.agent.terms.variables.iter().map(|variable| variable.name.as_str());
        self.fields.variables.keep(names);
    }

    /// The model speaks in a turn that it had not spoken in before.
    pub(super) fn turn_started(&mut self) {
        self.counts.turns += 1;
        self.first_audio_at.get_or_insert(self.now);
    }

    /// The caller hears the model, or will in a moment.
    pub(super) fn model_is_heard(&self) -> bool {
        self.floor.expects_more().is_some() || self.now < self.ear.is_free_at()
    }

    /// This is to be done next.
    pub(super) fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    /// This is to be done next on the model's side.
    pub(super) fn order_model(&mut self, order: ModelOrder) {
        self.order(Order::Model(order));
    }

    /// Tells the model something that it is to answer; again, if the link is lost before it does.
    pub(super) fn prompt(&mut self, text: String) {
        if let Some(link) = self.session.live() {
            self.floor.prompted(self.now, &text);
            self.order_model(ModelOrder::Prompt(link, text));
        }
    }

    /// The next order.
    pub(super) fn next_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Something happened, for the record.
    pub(super) fn note(&mut self, kind: &'static str) {
        self.history.add(self.now_ms(), kind, None);
    }

    /// Something happened of which there is more to say.
    pub(super) fn note_of(&mut self, kind: &'static str, detail: &str) {
        self.history.add(self.now_ms(), kind, Some(detail));
    }

    /// What happened so far.
    pub(super) fn history(&self) -> Vec<CallEvent> {
        self.history.events(self.now_ms())
    }
}
