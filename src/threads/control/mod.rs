//! The control thread: every call's machine.
//!
//! Runs in: one control thread. Owns the machines; carries out their orders by sending messages.
//! Never blocks but in its park; opens no socket.
//! Invariant: a slot is given free only after telephony, dsp and gemini have let go of the call; and a deadline that
//! [`Control::step`] returns is computed behind all of the step's work, which may have made an earlier one.

mod calls;
mod channels;
mod credentials;
mod ending;
mod legs;
pub mod live;
mod living;
pub mod load;
mod orders;
mod record;
mod recording;
mod requests;
mod run;
#[cfg(test)]
mod tests;
mod unheld;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::{debug, info, warn};

use crate::admission::{LegCredentials, Opening};
use crate::agents::Choice;
use crate::agents::warn_of_unknown_agent;
use crate::base::{CallId, Instant, LegReport, RecordId};
use crate::call::events::LegEnd;
use crate::call::machine::Phase;
use crate::call::outcome::Cause;
use crate::call::refused::RefusedCalls;
use crate::call::{Fact, Machine, OutboundCalls, Outcome, Part};
use crate::sync::{CallShared, Doorbell, Mailbox, Outbox};
use crate::threads::dsp::{DspCall, DspOrder};
use crate::threads::messages::{
    ControlInput, DialRequest, Drain, EslOrder, GeminiOrder, Offer, TelephonyOrder,
};
use crate::threads::places::Place;
use crate::threads::recorder::RecorderOrder;
use crate::threads::relay::Relay;
use crate::threads::store::{LivingDoor, RecordDoor};
use crate::threads::tools::ToolPool;
use calls::{Armed, Calls};
use channels::Channels;
use credentials::Dialled;
use legs::Presence;
use living::{LivingCalls, Told};
use load::LoadMeter;
use recording::{CallTap, Unrecorded};
use requests::{Early, Requests};

/// How soon what another thread had no room for is sent again.
const SEND_AGAIN_MS: u64 = 1;

/// Has a connection made, or says why it will not be ([`crate::threads::dial::DialPool::request`]).
pub type Dial = Box<dyn FnMut(DialRequest) -> Result<(), String> + Send>;

/// Gives 128 bits that nobody can guess ([`random::bits128`], but in simulations).
///
/// [`random::bits128`]: crate::sync::random::bits128
pub type Random = Box<dyn FnMut() -> u128 + Send>;

/// What the thread is built from.
pub struct ControlParts {
    /// Its mailbox.
    pub inbox: Mailbox<ControlInput>,
    /// Its own bell.
    pub own: Doorbell,
    /// The telephony thread of each shard.
    pub telephony: Vec<Outbox<TelephonyOrder>>,
    /// The gemini thread of each shard.
    pub gemini: Vec<Outbox<GeminiOrder>>,
    /// The esl thread, if there is an event socket.
    pub esl: Option<Outbox<EslOrder>>,
    /// The recorder.
    pub recorder: Outbox<RecorderOrder>,
    /// Every dsp worker.
    pub workers: Vec<Outbox<DspOrder>>,
    /// Removed calls come back here, from each worker.
    pub retired: Vec<rtrb::Consumer<Box<DspCall>>>,
    /// Connects links.
    pub dial: Dial,
    /// Carries out HTTP tools.
    pub tools: ToolPool,
    /// Where names and words come from that nobody may guess.
    pub random: Random,
    /// How often the counters are logged; never if `None`.
    pub stats_interval: Option<Duration>,
    /// Measures how many more calls are carried, but in simulations.
    pub load: Option<LoadMeter>,
    /// Where records of calls go, if they are kept.
    pub records: Option<RecordDoor>,
    /// Where it is told how calls are that live, if records are kept.
    pub living: Option<LivingDoor>,
}

struct Call {
    id: CallId,
    /// Its name in the record, the recording, the API and on the page.
    record_id: RecordId,
    machine: Machine,
    shared: Arc<CallShared>,
    place: Place,
    peer: std::net::SocketAddr,
    credentials: LegCredentials,
    opening: Opening,
    presence: Presence,
    /// The name of the credential of its newest link.
    credential: Option<Arc<str>>,
    dialled: Option<Dialled>,
    /// What a credential said that refused a link, until one is set up.
    refusal: Option<String>,
    tap: CallTap,
    told: Told,
    armed: Armed,
}

impl Call {
    /// Tells the machine until when the caller hears what was handed to the switch.
    fn tell_what_is_heard(&mut self, now: Instant) {
        let heard_at_us = self.shared.tally.heard_at_us.load(Ordering::Relaxed);
        self.machine.hears_until(now, Instant::from_micros(heard_at_us));
    }
}

/// The thread's state.
pub struct Control {
    relay: Relay,
    parts: ControlParts,
    calls: Calls,
    drain: Option<Drain>,
    /// Until when a dialplan may ask what is next for the caller of the call that ended last.
    asked_until: Instant,
    next_stats: Option<Instant>,
    requests: Requests,
    channels: Channels,
    /// Calls that learnt a UUID late which another call has, and since when.
    named_late: Vec<(CallId, Instant)>,
    /// Requests for calls whose offer is on its way.
    early: Vec<Early>,
    /// Records that wait for their recording.
    unrecorded: Vec<Unrecorded>,
    /// Outbound calls that have no leg yet.
    outbound: OutboundCalls,
    /// Calls that were refused and have a record.
    refused: RefusedCalls,
    living: LivingCalls,
}

impl Control {
    /// The thread's state before its first pass.
    pub fn new(relay: Relay, mut parts: ControlParts) -> Self {
        let calls = Calls::new(relay.registry.max_calls());
        let living = LivingCalls::new(parts.living.take());
        let requests = Requests::default();
        Self {
            relay,
            parts,
            calls,
            drain: None,
            asked_until: Instant::default(),
            next_stats: None,
            requests,
            channels: Channels::default(),
            named_late: Vec::new(),
            early: Vec::new(),
            unrecorded: Vec::new(),
            outbound: OutboundCalls::default(),
            refused: RefusedCalls::default(),
            living,
        }
    }

    /// Does everything that there is to do. Returns when there will be more to do by itself.
    pub fn step(&mut self, now: Instant) -> Option<Instant> {
        while let Some(input) = self.parts.inbox.take() {
            self.take(now, input);
        }
        self.take_retired(now);
        self.tick(now);
        let again = (!self.flush()).then(|| now.plus_ms(SEND_AGAIN_MS));
        // Nothing may change behind this.
        let own = [
            self.drain.map(|drain| drain.by).filter(|by| now < *by),
            self.drain.map(|_| self.asked_until).filter(|until| now < *until),
            self.next_stats,
            self.named_late_deadline(now),
            self.unrecorded_deadline(),
            self.outbound.deadline(),
            self.early_deadline(now),
            self.living.deadline(),
            again,
        ];
        own.into_iter().flatten().chain(self.calls.deadline()).min()
    }

    fn take(&mut self, now: Instant, input: ControlInput) {
        if let Some(input) = self.put_off(now, input) {
            self.take_now(now, input);
        }
    }

    fn take_now(&mut self, now: Instant, input: ControlInput) {
        match input {
            ControlInput::Offered(offer) => self.offered(now, *offer),
            ControlInput::Returned(leg) => self.returned(now, *leg),
            ControlInput::Challenged(id) => self.challenged(id),
            ControlInput::Fact(id, fact) => self.tell(now, id, fact),
            ControlInput::Refused(call) => self.refused(now, *call),
            ControlInput::Outbound(call, until) => self.outbound_begun(*call, until),
            ControlInput::Noted(id, note) => self.noted(now, id, &note),
            ControlInput::OnChannel(channel, what) => self.on_channel(now, &channel, what),
            ControlInput::Asked(name, ask, reply) => self.asked(now, &name, ask, reply),
            ControlInput::Listen(name, reply) => self.listen(now, &name, reply),
            ControlInput::Unheard(id, asked) => self.unheard(id, asked),
            ControlInput::RecordingFailed(id, why) => self.recording_failed(now, id, &why),
            ControlInput::Recorded(id, kept) => self.recorded(id, kept),
            ControlInput::Live(reply) => self.tell_live(now, reply),
            ControlInput::Said(id, reply) => self.tell_said(id, reply),
            ControlInput::Retired(id, part) => self.tell(now, id, Fact::Retired(part)),
            ControlInput::LogCounters => self.log_counters(),
            ControlInput::Drain(drain) => self.drain(now, drain),
        }
    }

    fn offered(&mut self, now: Instant, offer: Offer) {
        let Offer { id, shared, fields, told, peer, credentials, opening, place, leg } = offer;
        let shard = place.shard;
        let kind = opening.kind;
        let record_id = RecordId::new(self.relay.clock.unix_ms(), (self.parts.random)());
        debug!("call {id}: offered from {peer}, {fields}; its record is {record_id}");
        self.relay.counters.calls.increment();
        if fields.uuid.as_deref().is_some_and(|uuid| self.outbound.connected(uuid)) {
            self.relay.counters.outbound_connected.increment();
        }
        let agents = self.relay.agents.get();
        warn_of_unknown_agent(id, &agents, &fields);
        let settled = agents.is_settled(&fields) && !(kind.traits().has_metadata && agents.lacks(&fields));
        let mut machine = match agents.choose(&fields) {
            Choice::Agent(agent) if settled => Machine::new(now, agent, fields),
            _ => {
                let wait = if settled { Duration::ZERO } else { agents.metadata_wait() };
                Machine::offered(now, Arc::clone(agents.default_agent()), fields, now.plus(wait))
            }
        };
        machine.set_begun(self.relay.clock.unix_seconds());
        machine.set_leg(opening.kind, (self.parts.random)() as u32);
        if self.drain.is_some_and(|drain| drain.moves) {
            machine.tell(now, Fact::SendAway(true));
        }
        self.calls.insert(Box::new(Call {
            id,
            record_id,
            machine,
            shared,
            place,
            peer,
            credentials,
            opening,
            presence: Presence::Unnamed,
            credential: None,
            dialled: None,
            refusal: None,
            tap: CallTap::default(),
            told: Told::default(),
            armed: Armed::default(),
        }));
        self.parts.telephony[shard].send(TelephonyOrder::Add(leg));
        self.channel_begins(now, id, kind, told);
        self.living.begin(now, id);
        self.carry_out(now, id);
    }

    /// The machines of all calls, to look at.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.calls.iter().map(|call| &call.machine)
    }

    /// Whether nothing is left of any call, nor of what was asked for one.
    pub fn keeps_nothing(&self) -> bool {
        let calls = self.calls.len() == 0 && self.channels.is_empty() && self.named_late.is_empty();
        let asked = self.requests.is_empty() && self.early.is_empty() && self.parts.tools.is_idle();
        calls && asked && self.unrecorded.is_empty() && self.outbound.deadline().is_none()
    }

    fn call(&mut self, id: CallId) -> Option<&mut Call> {
        self.calls.get_mut(id)
    }

    fn tell(&mut self, now: Instant, id: CallId, fact: Fact) {
        if let Fact::ToolDone(number, _) = &fact {
            self.parts.tools.done(id, *number);
        }
        let agents = self.relay.agents.get();
        let Some(call) = self.call(id) else { return };
        let first_turn = matches!(fact, Fact::TurnStarted(_)) && call.machine.events().turns == 0;
        let unheard = fact == Fact::Reported(LegReport::Unheard);
        let unplayed = matches!(fact, Fact::Reported(LegReport::Unplayed(_)));
        let offered_at = call.machine.offered_at();
        match &fact {
            Fact::Identified(fields) => {
                debug!("call {id}: {fields}");
                // Where the agent is still to be chosen, the choice says it.
                if call.machine.phase() != Phase::Offered && call.machine.fields().agent.is_none() {
                    warn_of_unknown_agent(id, &agents, fields);
                }
            }
            Fact::LinkGone(link, end) => info!("call {id}: link {link} is gone: {end}"),
            // No fault: it waits for the caller to say more.
            Fact::TurnEndedBy(_, reason) if reason == "NEED_MORE_INPUT" => {
                debug!("call {id}: Gemini ended a turn of the model: {reason}");
            }
            Fact::TurnEndedBy(_, reason) => warn!("call {id}: Gemini ended a turn of the model: {reason}"),
            Fact::GoAway(_, left) => info!("call {id}: Gemini will end the link in {left:?}"),
            Fact::Reported(LegReport::Unheard) => {
                warn!(
                    "call {id}: {} cannot be hearing anything: file playback was sent audio and the script in the switch \
                     reports nothing as playing; is tandem_events.lua started (startup-script in lua.conf.xml) and \
                     FreeSWITCH's temp_dir writable?",
                    call.machine.fields()
                );
            }
            Fact::Reported(LegReport::Unplayed(why)) => {
                warn!("call {id}: {} hears nothing: {}", call.machine.fields(), why.explanation());
            }
            Fact::LegLost(_, LegEnd::SentAway) => info!("call {id}: its leg was sent to another relay"),
            Fact::LegLost(_, end) if end.is_goodbye() => debug!("call {id}: the leg was closed: {end:?}"),
            Fact::LegLost(_, end) => {
                info!("call {id}: the leg was lost: {}", Outcome::of(Cause::Leg(end.clone())));
            }
            Fact::SetupComplete(_) => debug!("call {id}: the model is ready"),
            _ => {}
        }
        if self.tell_pool(now, id, &fact) {
            return;
        }
        let Some(call) = self.call(id) else { return };
        call.tell_what_is_heard(now);
        let gap_ms_before = call.machine.events().gap_ms_total;
        call.machine.tell(now, fact);
        let gap_ms = call.machine.events().gap_ms_total - gap_ms_before;
        if gap_ms > 0 {
            self.relay.counters.session_gap.observe(Duration::from_millis(gap_ms));
        }
        if first_turn {
            self.relay.counters.first_audio.observe(now.since(offered_at));
        }
        if unplayed {
            self.relay.counters.leg_unplayed.increment();
        }
        if unheard {
            self.relay.counters.leg_unheard.increment();
        }
        self.carry_out(now, id);
    }

    /// Lets time pass for whatever is due.
    fn tick(&mut self, now: Instant) {
        self.look_at_named_late(now);
        self.look_at_unrecorded(now);
        self.look_at_outbound(now);
        self.look_at_early(now);
        if self.drain.is_some_and(|drain| now >= drain.by) {
            let running = self.calls.iter().filter(|call| call.machine.phase() != Phase::Closing);
            for id in running.map(|call| call.id).collect::<Vec<_>>() {
                self.tell(now, id, Fact::ShutDown);
            }
        }
        for id in self.calls.due(now) {
            if let Some(call) = self.call(id) {
                call.tell_what_is_heard(now);
                if call.machine.wants_played(now) {
                    let played = call.shared.tally.snapshot().played_samples;
                    call.machine.played(now, played);
                }
                call.machine.tick(now);
            }
            self.carry_out(now, id);
        }
        self.tell_of_living(now);
        if let Some(interval) = self.parts.stats_interval
            && now >= *self.next_stats.get_or_insert(now.plus(interval))
        {
            self.next_stats = Some(now.plus(interval));
            self.log_counters();
        }
    }

    fn take_retired(&mut self, now: Instant) {
        let mut ids = Vec::new();
        for retired in &mut self.parts.retired {
            while let Ok(call) = retired.pop() {
                ids.push(call.id);
            }
        }
        for id in ids {
            self.tell(now, id, Fact::Retired(Part::Dsp));
        }
    }

    fn flush(&mut self) -> bool {
        let mut sent = true;
        for outbox in &mut self.parts.telephony {
            sent &= outbox.flush();
        }
        for outbox in &mut self.parts.gemini {
            sent &= outbox.flush();
        }
        for outbox in &mut self.parts.workers {
            sent &= outbox.flush();
        }
        sent &= self.parts.recorder.flush();
        sent &= self.parts.esl.as_mut().is_none_or(Outbox::flush);
        sent &= self.parts.records.as_mut().is_none_or(RecordDoor::flush);
        sent
    }
}
