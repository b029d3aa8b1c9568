//! Admission: which call gets a slot, decided from memory before the switch is answered.
//!
//! Runs in: the accept and the admin thread (admit), the control and dial threads (give slots free), behind a lock that no
//! media thread touches. Owns the free slots, how often each address called, the calls that are
//! known by their UUID ([`Known`]), and how those of late ended ([`Endings`]).
//! Invariant: never more calls than the limit, a slot given again has a higher generation, and with a slot a call's lease
//! of a credential is given and taken back.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::admission::Pool;
use crate::admission::allowances::{Allowances, Rate};
use crate::admission::endings::Endings;
use crate::admission::known::Known;
use crate::base::{CallId, Instant};
use crate::telemetry::RefusalReason;

struct Slots {
    /// Free slots, each with the generation of its next call; the slot used last is given first, its memory is warm.
    free: Vec<CallId>,
    allowances: Allowances,
    intake: Intake,
}

/// Whether new calls are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    Open,
    /// No more: the relay is to end. Whether the calls that run are moved to other relays.
    Draining {
        moves: bool,
    },
    /// Never again: the last call is over.
    Over,
}

/// See the head of this file.
pub struct Registry {
    slots: Mutex<Slots>,
    max_calls: usize,
    /// As [`crate::admission::headroom`] finds.
    overloaded: AtomicBool,
    known: Known,
    endings: Endings,
    credentials: Option<Arc<Pool>>,
}

impl Registry {
    /// A registry with room for `max_calls` calls, which need no credential.
    pub(crate) fn new(max_calls: usize, rate: Rate) -> Self {
        let free = (0..max_calls as u32).rev().map(|slot| CallId { slot, generation: 1 }).collect();
        let slots = Mutex::new(Slots { free, allowances: Allowances::new(rate), intake: Intake::Open });
        let (known, endings) = (Known::default(), Endings::default());
        Self { slots, max_calls, overloaded: AtomicBool::new(false), known, endings, credentials: None }
    }

    /// The calls that are known by their UUID.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// How calls ended of late.
    pub fn endings(&self) -> &Endings {
        &self.endings
    }

    /// The same, for calls that need a lease of one of these.
    pub fn with_credentials(self, credentials: Arc<Pool>) -> Self {
        Self { credentials: Some(credentials), ..self }
    }

    /// Gives a new call its slot, and a credential's lease.
    ///
    /// # Errors
    /// The reason to refuse: shutting down, overloaded, too many calls from this address, too many calls, or no credential for it.
    pub fn admit(&self, now: Instant, address: IpAddr) -> Result<CallId, RefusalReason> {
        if self.is_draining() {
            return Err(RefusalReason::Draining);
        }
        self.admit_accepted(now, address)
    }

    /// The same while draining, too, for a connection that was accepted before, where others wait to be accepted by the next
    /// relay.
    ///
    /// # Errors
    /// As of [`Self::admit`].
    pub(crate) fn admit_accepted(&self, now: Instant, address: IpAddr) -> Result<CallId, RefusalReason> {
        let id = self.give_slot(now, address)?;
        let lease = self.credentials.as_ref().map_or(Ok(()), |credentials| credentials.admit(now, id));
        // A slot that was never used may be given again as it is, for nobody has heard of it.
        lease.map(|()| id).inspect_err(|_| self.slots.lock().free.push(id))
    }

    fn give_slot(&self, now: Instant, address: IpAddr) -> Result<CallId, RefusalReason> {
        let mut slots = self.slots.lock();
        if self.is_overloaded() {
            return Err(RefusalReason::Overloaded);
        }
        if !slots.allowances.take(now, address) {
            return Err(RefusalReason::RateLimited);
        }
        slots.free.pop().ok_or(RefusalReason::TooManyCalls)
    }

    /// Whether a call would get a slot now, whoever it comes from.
    ///
    /// # Errors
    /// The reason to refuse it.
    pub fn would_admit(&self, now: Instant) -> Result<(), RefusalReason> {
        let (draining, full) = {
            let slots = self.slots.lock();
            (slots.intake != Intake::Open, slots.free.is_empty())
        };
        match (draining, full, &self.credentials) {
            (true, ..) => Err(RefusalReason::Draining),
            _ if self.is_overloaded() => Err(RefusalReason::Overloaded),
            (false, true, _) => Err(RefusalReason::TooManyCalls),
            (false, false, Some(credentials)) => credentials.would_admit(now),
            (false, false, None) => Ok(()),
        }
    }

    /// Takes slot and lease of a call back that has ended everywhere.
    pub fn release(&self, now: Instant, id: CallId) {
        if let Some(credentials) = &self.credentials {
            credentials.release(now, id);
        }
        let generation = id.generation.wrapping_add(1).max(1);
        self.slots.lock().free.push(CallId { slot: id.slot, generation });
    }

    /// Whether every new call is refused.
    pub fn is_draining(&self) -> bool {
        self.slots.lock().intake != Intake::Open
    }

    /// Whether the calls that run are moved to other relays meanwhile.
    pub fn is_moving(&self) -> bool {
        self.slots.lock().intake == Intake::Draining { moves: true }
    }

    /// Whether new calls are refused because the present ones are more than the machine carries.
    pub fn is_overloaded(&self) -> bool {
        self.overloaded.load(Ordering::Relaxed)
    }

    /// Refuses new calls for that, or takes them again.
    pub(crate) fn set_overloaded(&self, overloaded: bool) {
        self.overloaded.store(overloaded, Ordering::Relaxed);
    }

    /// Calls at one time at most.
    pub fn max_calls(&self) -> usize {
        self.max_calls
    }

    /// The credentials of which each call needs a lease, if it does.
    pub fn credentials(&self) -> Option<&Arc<Pool>> {
        self.credentials.as_ref()
    }

    /// Refuses every new call from here on.
    pub fn drain(&self, moves: bool) {
        let mut slots = self.slots.lock();
        if slots.intake != Intake::Over {
            slots.intake = Intake::Draining { moves };
        }
    }

    /// Takes new calls again. Returns whether it does: after the last call it is too late.
    pub(crate) fn resume(&self) -> bool {
        let mut slots = self.slots.lock();
        if slots.intake != Intake::Over {
            slots.intake = Intake::Open;
        }
        slots.intake == Intake::Open
    }

    /// Ends it, if no call is left. Returns whether it has.
    pub(crate) fn end(&self) -> bool {
        let mut slots = self.slots.lock();
        if slots.intake != Intake::Open && slots.free.len() == self.max_calls {
            slots.intake = Intake::Over;
        }
        slots.intake == Intake::Over
    }

    /// Calls that have a slot.
    pub fn live_calls(&self) -> usize {
        self.max_calls - self.slots.lock().free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    #[test]
    fn calls_beyond_the_limit_are_refused_until_one_ends() {
        let registry = Registry::new(2, Rate { per_second: 100, burst: 100 });
        let first = registry.admit(at(0), address(1)).expect("room");
        registry.admit(at(0), address(1)).expect("room");
        assert_eq!(registry.admit(at(0), address(1)), Err(RefusalReason::TooManyCalls));
        assert_eq!(registry.live_calls(), 2);
        assert_eq!(registry.would_admit(at(0)), Err(RefusalReason::TooManyCalls));
        registry.release(at(0), first);
        let again = registry.admit(at(0), address(1)).expect("room again");
        assert_eq!((again.slot, again.generation), (first.slot, first.generation + 1));
    }

    #[test]
    fn without_a_credential_for_it_a_call_gets_no_slot_either() {
        let pool = Arc::new(Pool::new(1000));
        let terms = |name: &str| crate::admission::credentials::CredentialTerms {
            name: name.into(),
            max_sessions: 1,
            model_prefix: None,
            needs_token: false,
        };
        pool.replace(vec![terms("a"), terms("b")]);
        let registry =
            Registry::new(9, Rate { per_second: 100, burst: 100 }).with_credentials(Arc::clone(&pool));
        let first = registry.admit(at(0), address(1)).expect("a");
        registry.admit(at(0), address(1)).expect("b");
        for _ in 0..20 {
            assert_eq!(registry.admit(at(0), address(1)), Err(RefusalReason::NoCapacity));
        }
        assert_eq!((registry.live_calls(), registry.would_admit(at(0))), (2, Err(RefusalReason::NoCapacity)));
        registry.release(at(1), first);
        assert_eq!((registry.live_calls(), pool.sessions("a")), (1, 0));
        assert!(!registry.is_draining());
        registry.drain(false);
        assert!(registry.is_draining());
        assert_eq!(registry.would_admit(at(1)), Err(RefusalReason::Draining));
    }

    #[test]
    fn an_address_that_calls_too_often_is_refused_and_others_are_not() {
        let registry = Registry::new(100, Rate { per_second: 2, burst: 3 });
        for _ in 0..3 {
            assert!(registry.admit(at(0), address(1)).is_ok());
        }
        assert_eq!(registry.admit(at(499), address(1)), Err(RefusalReason::RateLimited));
        assert!(registry.admit(at(499), address(2)).is_ok());
        assert!(registry.admit(at(1000), address(1)).is_ok());
    }

    #[test]
    fn nothing_is_admitted_while_overloaded_and_running_calls_are_left_alone() {
        let registry = Registry::new(9, Rate { per_second: 100, burst: 100 });
        let running = registry.admit(at(0), address(1)).expect("room");
        registry.set_overloaded(true);
        assert_eq!(registry.admit(at(0), address(2)), Err(RefusalReason::Overloaded));
        assert_eq!(registry.would_admit(at(0)), Err(RefusalReason::Overloaded));
        assert_eq!(registry.live_calls(), 1);
        registry.set_overloaded(false);
        assert!(registry.admit(at(0), address(2)).is_ok());
        registry.release(at(0), running);
    }

    #[test]
    fn nothing_is_admitted_while_draining() {
        let registry = Registry::new(1, Rate { per_second: 1, burst: 1 });
        assert_eq!(registry.would_admit(at(0)), Ok(()));
        registry.drain(true);
        assert!(registry.is_moving());
        assert_eq!(registry.would_admit(at(0)), Err(RefusalReason::Draining));
        assert_eq!(registry.admit(at(0), address(1)), Err(RefusalReason::Draining));
    }

    #[test]
    fn a_drain_is_taken_back_until_the_last_call_is_over() {
        let registry = Registry::new(2, Rate { per_second: 9, burst: 9 });
        assert!(!registry.end(), "who takes calls does not end");
        let running = registry.admit(at(0), address(1)).expect("room");
        registry.drain(true);
        assert!(!registry.end());
        assert!(registry.resume() && !registry.is_draining() && !registry.is_moving());
        registry.admit(at(0), address(1)).map(|id| registry.release(at(0), id)).expect("room");
        registry.drain(false);
        registry.release(at(1), running);
        assert!(registry.end());
        registry.drain(true);
        assert!(!registry.resume() && registry.is_draining(), "too late");
    }
}
