//! Which running call a UUID belongs to, so that a leg that comes back finds its call, and a second one is refused.
//!
//! Runs in: the accept thread (a leg arrives) and the control thread (a leg is lost, a call ends), behind a lock that no
//! media thread touches. Owns one entry a call at most. Never reads a clock.
//! Invariant: a UUID names one call, which is neither closing nor ended; and a lost leg is given to one arrival.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{CallId, Instant, call_name};
use crate::call::leg::{CallFields, LegKind, PresentedToken};
use crate::sync::CallShared;

/// How often a question that [`lives`] leaves open is asked again.
pub(crate) const LOOK_MS: u64 = 20;
/// A first leg that says nothing for so long, not even the answer to a ping, is dead: mod_audio_stream sends audio every
/// 20 ms, and it gives its own request up after 1 s.
const SILENT_MS: u64 = 700;
/// What arrives just behind the second leg may have been on its way for longer.
const ON_ITS_WAY_MS: u64 = 100;

/// Whether a call's leg lives, by what it has sent since a second one arrived and it was pinged; not known yet if `None`.
pub(crate) fn lives(first: &CallShared, second_since: Instant, now: Instant) -> Option<bool> {
    if first.leg_heard_at() > second_since.plus_ms(ON_ITS_WAY_MS) {
        return Some(true);
    }
    (now.since_ms(second_since) >= SILENT_MS).then_some(false)
}

/// Whether it is time to ping the first leg: what it says by itself mostly answers the question before.
pub(crate) fn ask_first(second_since: Instant, now: Instant) -> bool {
    now.since_ms(second_since) >= ON_ITS_WAY_MS
}

/// What a leg showed at the door.
#[derive(Debug, Clone)]
pub struct LegCredentials {
    /// The token that it presented, whether one was asked for or not.
    pub token: Option<PresentedToken>,
    /// Where it came from.
    pub address: IpAddr,
}

impl LegCredentials {
    /// Whether who shows these may take over a call that was begun with `other`: with a token the same token, which is
    /// compared in constant time, from wherever; without one, the same address, which is all that there is beside the UUID.
    pub fn are_those_of(&self, other: &Self) -> bool {
        match (&self.token, &other.token) {
            (Some(own), Some(other)) => own == other,
            (None, None) => self.address == other.address,
            _ => false,
        }
    }
}

/// How a leg was opened: what its call was built from.
#[derive(Debug, Clone)]
pub struct Opening {
    /// What is on the line.
    pub kind: LegKind,
    /// What URL and headers said.
    pub fields: CallFields,
}

impl Opening {
    /// Whether a leg that is opened so can be the leg of a call that was opened like `other`: the same audio format, and no
    /// other number or agent.
    pub fn is_like(&self, other: &Self) -> bool {
        let (own, other_fields) = (&self.fields, &other.fields);
        let no_other = |own: &Option<String>, other: &Option<String>| match (own, other) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        self.kind.label() == other.kind.label()
            && (own.rate, own.mix, own.playback)
                == (other_fields.rate, other_fields.mix, other_fields.playback)
            && no_other(&own.did, &other_fields.did)
            && no_other(&own.agent, &other_fields.agent)
    }
}

struct KnownCall {
    id: CallId,
    credentials: LegCredentials,
    opening: Opening,
    shared: Arc<CallShared>,
    lost: bool,
}

/// What a leg with a UUID is to the running calls.
#[derive(Debug)]
pub enum Arrival {
    /// The leg of a new call.
    New,
    /// The lost leg of this call, which is its own from here on.
    Returns(CallId),
    /// Of another call, while this one with the same UUID waits for its leg in vain; it is forgotten from here on.
    Replaces(CallId),
    /// This call has a leg with the same UUID and credentials; whether that lives, its numbers tell.
    Second(CallId, Arc<CallShared>),
    /// The credentials are not those of the call with this UUID.
    Stranger,
}

/// See the head of this file.
#[derive(Default)]
pub struct Known {
    calls: Mutex<HashMap<String, KnownCall>>,
}

impl Known {
    /// Looks an arriving leg up by its UUID, in any case.
    pub fn arrive(&self, uuid: &str, credentials: &LegCredentials, opening: &Opening) -> Arrival {
        let mut calls = self.calls.lock();
        let uuid = call_name::key(uuid);
        let Some(call) = calls.get_mut(&uuid) else { return Arrival::New };
        let id = call.id;
        if !credentials.are_those_of(&call.credentials) {
            return Arrival::Stranger;
        }
        if !call.lost {
            return Arrival::Second(id, Arc::clone(&call.shared));
        }
        if opening.is_like(&call.opening) {
            call.lost = false;
            return Arrival::Returns(id);
        }
        calls.remove(&uuid);
        Arrival::Replaces(id)
    }

    /// Whether the call `id`, whose leg is dead, may be taken over by a leg that is opened so.
    pub fn may_take_over(&self, uuid: &str, id: CallId, opening: &Opening) -> bool {
        let calls = self.calls.lock();
        let call = calls.get(&call_name::key(uuid)).filter(|call| call.id == id);
        call.is_some_and(|call| opening.is_like(&call.opening))
    }

    /// Notes the UUID of a call that has a leg. Returns whether it is its own now: another call may have it.
    pub fn begin(
        &self,
        uuid: &str,
        credentials: LegCredentials,
        opening: Opening,
        shared: Arc<CallShared>,
    ) -> bool {
        match self.calls.lock().entry(call_name::key(uuid)) {
            Entry::Occupied(call) => call.get().id == shared.id(),
            Entry::Vacant(vacant) => {
                vacant.insert(KnownCall { id: shared.id(), credentials, opening, shared, lost: false });
                true
            }
        }
    }

    /// The leg of a call was lost, or is there again.
    pub fn set_lost(&self, uuid: &str, id: CallId, lost: bool) {
        let mut calls = self.calls.lock();
        if let Some(call) = calls.get_mut(&call_name::key(uuid)).filter(|call| call.id == id) {
            call.lost = lost;
        }
    }

    /// A call ends: no leg belongs to it any more.
    pub fn forget(&self, uuid: &str, id: CallId) {
        let mut calls = self.calls.lock();
        let uuid = call_name::key(uuid);
        if calls.get(&uuid).is_some_and(|call| call.id == id) {
            calls.remove(&uuid);
        }
    }

    /// Calls that are known by a UUID.
    pub fn len(&self) -> usize {
        self.calls.lock().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{LegFormat, SampleRate};

    fn credentials(token: Option<&str>, last: u8) -> LegCredentials {
        let token = token.and_then(|token| PresentedToken::new(token.as_bytes()));
        LegCredentials { token, address: IpAddr::from([127, 0, 0, last]) }
    }

    fn opening(rate: SampleRate, did: Option<&str>) -> Opening {
        let did = did.map(str::to_owned);
        let fields = CallFields { rate: Some(rate), did, ..CallFields::default() };
        Opening { kind: LegKind::ModAudioStream, fields }
    }

    fn call(slot: u32) -> Arc<CallShared> {
        let id = CallId { slot, generation: 1 };
        Arc::new(CallShared::new(id, LegFormat::new(SampleRate::Hz16000, 60, 20)))
    }

    #[test]
    fn a_lost_leg_is_given_to_one_arrival_with_its_credentials() {
        let known = Known::default();
        let wide = opening(SampleRate::Hz16000, None);
        let own = credentials(Some("secret"), 1);
        let first = call(0);
        assert!(matches!(known.arrive("A", &own, &wide), Arrival::New));
        assert!(known.begin("A", own.clone(), wide.clone(), Arc::clone(&first)));
        assert!(!known.begin("a", own.clone(), wide.clone(), call(1)), "another call has it");
        assert!(matches!(known.arrive("a", &own, &wide), Arrival::Second(id, _) if id == first.id()));
        known.set_lost("a", first.id(), true);
        for stranger in [credentials(Some("secreT"), 1), credentials(None, 1)] {
            assert!(matches!(known.arrive("a", &stranger, &wide), Arrival::Stranger));
        }
        let elsewhere = credentials(Some("secret"), 2);
        assert!(matches!(known.arrive("a", &elsewhere, &wide), Arrival::Returns(id) if id == first.id()));
        assert!(matches!(known.arrive("a", &own, &wide), Arrival::Second(..)), "it was given away");
        known.forget("a", CallId { slot: 0, generation: 2 });
        assert_eq!(known.len(), 1, "another call's end");
        known.forget("A", first.id());
        assert!(known.is_empty() && matches!(known.arrive("a", &own, &wide), Arrival::New));
    }

    #[test]
    fn a_leg_that_speaks_on_lives_and_one_that_is_silent_is_dead() {
        let first = call(0);
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        first.hear_leg(at(1_050));
        assert_eq!(lives(&first, at(1_000), at(1_100)), None, "that was on its way");
        assert_eq!(lives(&first, at(1_000), at(1_700)), Some(false));
        first.hear_leg(at(1_120));
        assert_eq!(lives(&first, at(1_000), at(1_120)), Some(true));
    }

    #[test]
    fn without_a_token_the_address_has_to_be_the_same() {
        assert!(credentials(None, 1).are_those_of(&credentials(None, 1)));
        assert!(!credentials(None, 1).are_those_of(&credentials(None, 2)));
        assert!(!credentials(Some("x"), 1).are_those_of(&credentials(None, 1)));
    }

    #[test]
    fn a_leg_of_another_format_number_or_agent_is_another_call() {
        let known = Known::default();
        let own = credentials(None, 1);
        let first = call(0);
        let opened = opening(SampleRate::Hz16000, Some("100"));
        known.begin("a", own.clone(), opened.clone(), Arc::clone(&first));
        known.set_lost("a", first.id(), true);
        assert!(opened.is_like(&opening(SampleRate::Hz16000, None)), "it need not say the number again");
        assert!(!known.may_take_over("a", first.id(), &opening(SampleRate::Hz16000, Some("200"))));
        let narrow = opening(SampleRate::Hz8000, Some("100"));
        assert!(matches!(known.arrive("a", &own, &narrow), Arrival::Replaces(id) if id == first.id()));
        assert!(matches!(known.arrive("a", &own, &narrow), Arrival::New));
    }
}
