//! Legs that come back: what the registry is told of a call's leg, and which call a returned leg belongs to.
//!
//! Runs in: the control thread. Owns nothing of its own.
//! Invariant: the registry knows a call by its UUID from its offer, or from when it is told, until the call begins to end.

use std::sync::Arc;

use log::{debug, info, warn};

use super::Control;
use crate::admission::Arrival;
use crate::admission::known::{LOOK_MS, ask_first, lives};
use crate::base::{CallId, Instant};
use crate::call::events::LegEnd;
use crate::call::machine::Phase;
use crate::call::{Fact, LegNote};
use crate::threads::messages::{ReturnedLeg, TelephonyOrder};

/// What the registry knows of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Nothing: it has no UUID, or one that is another call's.
    Unnamed,
    /// It has a leg.
    There,
    /// It waits for its leg.
    Lost,
    /// Nothing any more.
    Over,
}

impl Control {
    /// Tells the registry what became of a call's leg.
    pub(super) fn keep_known(&mut self, now: Instant, id: CallId) {
        let Some(call) = self.calls.get_mut(id) else { return };
        let known = self.relay.registry.known();
        let Some(uuid) = &call.machine.fields().uuid else { return };
        let presence = match call.machine.phase() {
            Phase::Closing | Phase::Ended => Presence::Over,
            Phase::Detached => Presence::Lost,
            _ => Presence::There,
        };
        let before = std::mem::replace(&mut call.presence, presence);
        match (before, presence) {
            (before, now) if before == now => {}
            (Presence::Unnamed, Presence::There) => {
                let shared = Arc::clone(&call.shared);
                if !known.begin(uuid, call.credentials.clone(), call.opening.clone(), shared) {
                    self.named_late(now, id, now);
                }
            }
            (_, Presence::Over) => known.forget(uuid, id),
            (_, Presence::Lost) => {
                known.set_lost(uuid, id, true);
                let counters = &self.relay.counters;
                match call.machine.lost_leg() {
                    Some(LegEnd::SentAway) => &counters.legs_sent_away,
                    Some(end) if end.is_goodbye() => &counters.legs_held,
                    _ => &counters.legs_lost,
                }
                .increment();
            }
            (_, _) => known.set_lost(uuid, id, false),
        }
    }

    /// A call learnt `since` then a UUID that is another call's.
    fn named_late(&mut self, now: Instant, id: CallId, since: Instant) {
        let Some(call) = self.call(id) else { return };
        let (credentials, opening, shard) =
            (call.credentials.clone(), call.opening.clone(), call.place.shard);
        let shared = Arc::clone(&call.shared);
        let Some(uuid) = call.machine.fields().uuid.clone() else { return };
        let registry = Arc::clone(&self.relay.registry);
        let known = registry.known();
        let to = match known.arrive(&uuid, &credentials, &opening) {
            Arrival::Returns(to) => Some(to),
            Arrival::Second(to, first) => match lives(&first, since, now) {
                Some(true) => None,
                Some(false) => known.may_take_over(&uuid, to, &opening).then_some(to),
                None => {
                    if ask_first(since, now) {
                        self.challenged(to);
                    }
                    self.named_late.push((id, since));
                    return;
                }
            },
            Arrival::Stranger => None,
            Arrival::Replaces(old) => {
                known.begin(&uuid, credentials, opening, shared);
                return self.tell(now, old, Fact::Replaced);
            }
            Arrival::New => {
                known.begin(&uuid, credentials, opening, shared);
                return;
            }
        };
        match to {
            Some(to) => {
                debug!("call {id}: its leg is that of call {to}");
                self.parts.telephony[shard].send(TelephonyOrder::Move(id, to));
                self.tell(now, id, Fact::Moved);
            }
            None => self.tell(now, id, Fact::UuidInUse),
        }
    }

    /// Looks again at calls that learnt a UUID of which it was not clear whether its leg lives.
    pub(super) fn look_at_named_late(&mut self, now: Instant) {
        for (id, since) in std::mem::take(&mut self.named_late) {
            self.named_late(now, id, since);
        }
    }

    /// When to look again.
    pub(super) fn named_late_deadline(&self, now: Instant) -> Option<Instant> {
        (!self.named_late.is_empty()).then(|| now.plus_ms(LOOK_MS))
    }

    /// A leg is back.
    pub(super) fn returned(&mut self, now: Instant, mut leg: ReturnedLeg) {
        let id = leg.id;
        let Some(call) = self.call(id).filter(|call| call.machine.takes_leg_back()) else {
            // It ended in the moment in which its leg came back, whose connection is dropped here.
            warn!("call {id}: its leg came back from {} a moment after its end", leg.peer);
            return;
        };
        let before = call.machine.events().detached_ms;
        let was_lost = call.machine.phase() == Phase::Detached;
        call.peer = leg.peer;
        let shard = call.place.shard;
        call.machine.tell(now, Fact::LegReturned);
        leg.number = call.machine.leg_connection();
        let lost_ms = call.machine.events().detached_ms - before;
        if was_lost {
            info!("call {id}: its leg is back from {} after {lost_ms} ms", leg.peer);
        } else {
            info!("call {id}: its leg is back from {}, and the one before was dead", leg.peer);
        }
        // Accept and this thread see the leg come and go in their own order: the last word is said here.
        let uuid = call.machine.fields().uuid.clone().unwrap_or_default();
        call.presence = Presence::There;
        self.relay.registry.known().set_lost(&uuid, id, false);
        self.relay.counters.leg_reattachments.increment();
        self.parts.telephony[shard].send(TelephonyOrder::TakeBack(Box::new(leg)));
        self.carry_out(now, id);
    }

    /// Something of a call's leg is to be known: said once a call, and a few times a minute of one switch.
    pub(super) fn noted(&mut self, now: Instant, id: CallId, note: &LegNote) {
        let Some(call) = self.call(id) else { return };
        if let LegNote::Revised { is, .. } = note {
            call.machine.revise_leg(*is);
        }
        let peer = call.peer;
        if let Some(left_out) = self.relay.limiter.allow(now, note.kind(), peer.ip()) {
            warn!("call {id} from {peer}: {note}{left_out}");
        }
    }

    /// A second leg of a call has arrived.
    pub(super) fn challenged(&mut self, id: CallId) {
        if let Some(shard) = self.call(id).map(|call| call.place.shard) {
            self.parts.telephony[shard].send(TelephonyOrder::Ping(id));
        }
    }
}
