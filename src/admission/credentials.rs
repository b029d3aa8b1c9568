//! The credential pool: which key or project a call's session counts against, and which ones are left alone for a while.
//!
//! Runs in: the accept and the admin thread (admit), the control thread (choose, report, release) and the thread of tokens,
//! behind a lock that no media thread touches. Owns the leases and one breaker a credential; knows no secret.
//! Never reads a clock; never logs: what changed is returned once, to be logged and counted by whoever reported it.
//! Invariant: a call has at most one lease, and the leases of a credential are never more than its limit, but where a
//! reload has lowered the limit below them.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::base::{CallId, Instant};
use crate::call::model::LinkEnd;
use crate::telemetry::RefusalReason;

mod verdict;

pub(crate) use verdict::is_worth_another_credential;
use verdict::{Guilt, guilt};

/// Setups in a row that a credential may fail before it is left, where a single one may be chance.
const FAILURES_MAX: u32 = 3;
/// The longest time for which a credential is left alone.
const BACKOFF_MS_MAX: u64 = 300_000;

/// A credential as the pool needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialTerms {
    /// Its name in the configuration, which may be logged. Under the same name a credential keeps number and leases at a
    /// reload.
    pub name: Arc<str>,
    /// Sessions at one time; 0 for no limit.
    pub max_sessions: usize,
    /// What stands before a model's name; `models/` if `None`.
    pub model_prefix: Option<Arc<str>>,
    /// It cannot be used before [`Pool::token_ready`] was told.
    pub needs_token: bool,
}

/// The credential with which a link is to be connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Its number, which never belongs to another credential.
    pub number: usize,
    /// What the configuration says.
    pub terms: CredentialTerms,
    /// The call had another one before.
    pub moved: bool,
}

/// News of a credential, once for each change of its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// No new session uses it for a while.
    Left {
        /// Its name.
        name: Arc<str>,
        /// What Gemini said.
        why: String,
        /// For how long.
        for_ms: u64,
    },
    /// It works again.
    TakenBack {
        /// Its name.
        name: Arc<str>,
    },
    /// There is no token for it.
    NoToken {
        /// Its name.
        name: Arc<str>,
        /// Why not.
        why: String,
    },
    /// There is a token for it again, or for the first time.
    Token {
        /// Its name.
        name: Arc<str>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Left { name, why, for_ms } => write!(
                f,
                "credential {name:?} is left alone for {:.1} s, then one call tries it: {why}",
                *for_ms as f64 / 1000.0
            ),
            Self::TakenBack { name } => write!(f, "credential {name:?} works again"),
            Self::NoToken { name, why } => {
                write!(f, "credential {name:?} is not used until there is a token for it: {why}")
            }
            Self::Token { name } => write!(f, "there is a token for credential {name:?}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breaker {
    /// In use; setups that failed in a row.
    Closed(u32),
    /// Left alone until then; with `certain`, for a reason that one setup under way elsewhere does not disprove.
    Open { until: Instant, backoff_ms: u64, certain: bool },
    /// This call tries it, with the back-off that led here.
    Trial { by: CallId, backoff_ms: u64, certain: bool },
}

/// What is known of a credential's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// It is there, or none is needed.
    There,
    /// It was not asked for yet.
    Awaited,
    /// There is none, and that was said.
    Missing,
}

struct Entry {
    terms: CredentialTerms,
    breaker: Breaker,
    sessions: usize,
    token: Token,
}

#[derive(Clone, Copy)]
struct Lease {
    number: usize,
    /// A session of this call was ready with it.
    proven: bool,
}

#[derive(Default)]
struct State {
    /// By number. What is configured no longer stays as a shell, so that numbers stay unique.
    entries: Vec<Entry>,
    /// Numbers of what is configured, in the order of the file.
    order: Vec<usize>,
    leases: HashMap<CallId, Lease>,
}

/// See the head of this file.
pub struct Pool {
    state: Mutex<State>,
    first_backoff_ms: u64,
}

impl Pool {
    /// A pool without credentials, which leaves one that fails alone for `first_backoff_ms`, and twice as long each time
    /// that it fails again at once, up to five minutes; with 0 none is left alone.
    pub fn new(first_backoff_ms: u64) -> Self {
        Self { state: Mutex::default(), first_backoff_ms: first_backoff_ms.min(BACKOFF_MS_MAX) }
    }

    /// Puts these credentials, in order of preference, in the place of all others, and gives their numbers. Leases stay;
    /// whoever was left alone gets another chance, since a reload often follows a repair.
    pub(crate) fn replace(&self, list: Vec<CredentialTerms>) -> Vec<usize> {
        let mut state = self.state.lock();
        let State { entries, order, .. } = &mut *state;
        order.clear();
        for terms in list {
            let known = entries.iter().position(|entry| entry.terms.name == terms.name);
            let sessions = known.map_or(0, |number| entries[number].sessions);
            let token = if terms.needs_token { Token::Awaited } else { Token::There };
            let entry = Entry { terms, breaker: Breaker::Closed(0), sessions, token };
            match known {
                Some(number) => {
                    entries[number] = entry;
                    order.push(number);
                }
                None => {
                    order.push(entries.len());
                    entries.push(entry);
                }
            }
        }
        order.clone()
    }

    /// Numbers of credentials that are configured no longer and that no call uses any more.
    pub fn unused(&self) -> Vec<usize> {
        let state = self.state.lock();
        let unused = |number: &usize| !state.order.contains(number) && state.entries[*number].sessions == 0;
        (0..state.entries.len()).filter(unused).collect()
    }

    /// Gives a new call its lease.
    ///
    /// # Errors
    /// [`RefusalReason::NoCapacity`] where a credential works and has no session left, [`RefusalReason::Credentials`]
    /// where none works.
    pub fn admit(&self, now: Instant, id: CallId) -> Result<(), RefusalReason> {
        let mut state = self.state.lock();
        match state.with_room(now, &[]) {
            Some(number) => {
                state.take(now, id, number);
                Ok(())
            }
            None => Err(state.why_not(now)),
        }
    }

    /// Every credential that is configured, in order of preference: its name, its sessions, and whether it takes calls, room
    /// left aside.
    pub fn states(&self, now: Instant) -> Vec<(Arc<str>, usize, bool)> {
        let state = self.state.lock();
        let entries = state.order.iter().filter_map(|number| state.entries.get(*number));
        entries.map(|entry| (Arc::clone(&entry.terms.name), entry.sessions, entry.is_usable(now))).collect()
    }

    /// Whether a new call would get a lease now.
    ///
    /// # Errors
    /// As [`Pool::admit`].
    pub fn would_admit(&self, now: Instant) -> Result<(), RefusalReason> {
        let state = self.state.lock();
        state.with_room(now, &[]).map(|_| ()).ok_or_else(|| state.why_not(now))
    }

    /// Takes the lease of a call back, if it has one.
    pub fn release(&self, now: Instant, id: CallId) {
        self.state.lock().release(now, id);
    }

    /// The credential for the call's next link, but none of `avoid`: the one that it has, or else, where that is left
    /// alone, the first other one with room, to which the lease moves. A call that has spoken with its credential before
    /// may try it again although it is left alone: nothing is lost by it but a refusal. `None` if there is none.
    pub(crate) fn choose(&self, now: Instant, id: CallId, avoid: &[usize]) -> Option<Chosen> {
        let mut state = self.state.lock();
        let lease = state.leases.get(&id).copied();
        let own = lease.filter(|lease| !avoid.contains(&lease.number));
        let usable = own.filter(|lease| state.entries[lease.number].is_usable_by(now, id));
        let number = match usable {
            Some(lease) => lease.number,
            None => match state.with_room(now, avoid) {
                Some(number) => number,
                None => own.filter(|lease| state.entries[lease.number].may_be_kept_by(lease))?.number,
            },
        };
        if lease.map(|lease| lease.number) != Some(number) {
            state.release(now, id);
            state.take(now, id, number);
        } else {
            state.begin_trial(now, id, number);
        }
        let moved = lease.is_some_and(|lease| lease.number != number);
        Some(Chosen { number, terms: state.entries[number].terms.clone(), moved })
    }

    /// Notes that a link of the call was set up with this credential.
    pub(crate) fn ready(&self, id: CallId, number: usize) -> Option<Change> {
        let mut state = self.state.lock();
        if let Some(lease) = state.leases.get_mut(&id)
            && lease.number == number
        {
            lease.proven = true;
        }
        let entry = state.entries.get_mut(number)?;
        let disproved = match entry.breaker {
            Breaker::Closed(_) => {
                entry.breaker = Breaker::Closed(0);
                false
            }
            Breaker::Open { certain, .. } => !certain,
            Breaker::Trial { by, certain, .. } => by == id || !certain,
        };
        disproved.then(|| {
            entry.breaker = Breaker::Closed(0);
            Change::TakenBack { name: Arc::clone(&entry.terms.name) }
        })
    }

    /// Notes how a link of the call, or one made ahead of all calls, ended that was made with this credential, or why
    /// there was none.
    pub(crate) fn link_ended(
        &self,
        now: Instant,
        id: Option<CallId>,
        number: usize,
        end: &LinkEnd,
        during_setup: bool,
    ) -> Option<Change> {
        let certain = match guilt(end.kind, during_setup) {
            _ if self.first_backoff_ms == 0 => return None,
            Guilt::None => return None,
            Guilt::Perhaps => false,
            Guilt::Certain => true,
        };
        let mut state = self.state.lock();
        let entry = state.entries.get_mut(number)?;
        let backoff_ms = match entry.breaker {
            Breaker::Closed(failures) if !certain && failures + 1 < FAILURES_MAX => {
                entry.breaker = Breaker::Closed(failures + 1);
                return None;
            }
            Breaker::Closed(_) => self.first_backoff_ms,
            Breaker::Trial { by, backoff_ms, .. } if Some(by) == id => (backoff_ms * 2).min(BACKOFF_MS_MAX),
            // What others say now was under way before.
            Breaker::Open { .. } | Breaker::Trial { .. } => return None,
        };
        entry.breaker = Breaker::Open { until: now.plus_ms(backoff_ms), backoff_ms, certain };
        Some(Change::Left { name: Arc::clone(&entry.terms.name), why: end.to_string(), for_ms: backoff_ms })
    }

    /// Notes that there is a token for this credential.
    pub(crate) fn token_ready(&self, number: usize) -> Option<Change> {
        let mut state = self.state.lock();
        let entry = state.entries.get_mut(number).filter(|entry| !entry.has_token())?;
        entry.token = Token::There;
        Some(Change::Token { name: Arc::clone(&entry.terms.name) })
    }

    /// Notes that there is no valid token for this credential and why.
    pub(crate) fn token_lost(&self, number: usize, why: &str) -> Option<Change> {
        let mut state = self.state.lock();
        let entry = state.entries.get_mut(number).filter(|entry| entry.token != Token::Missing)?;
        entry.token = Token::Missing;
        Some(Change::NoToken { name: Arc::clone(&entry.terms.name), why: why.to_owned() })
    }

    /// Whether links may be made with this credential ahead of their calls: it works and has a session left.
    pub fn is_open_to_more(&self, number: usize) -> bool {
        let state = self.state.lock();
        state.order.contains(&number)
            && state.entries.get(number).is_some_and(|entry| {
                entry.has_token() && matches!(entry.breaker, Breaker::Closed(_)) && entry.has_room()
            })
    }

    /// Leases of the credential with this name.
    pub fn sessions(&self, name: &str) -> usize {
        let state = self.state.lock();
        state.entries.iter().find(|entry| *entry.terms.name == *name).map_or(0, |entry| entry.sessions)
    }

    /// The name of the credential whose lease the call has.
    pub fn name_of(&self, id: CallId) -> Option<Arc<str>> {
        let state = self.state.lock();
        let lease = state.leases.get(&id)?;
        Some(Arc::clone(&state.entries[lease.number].terms.name))
    }
}

impl Entry {
    fn has_token(&self) -> bool {
        self.token == Token::There
    }

    fn has_room(&self) -> bool {
        self.terms.max_sessions == 0 || self.sessions < self.terms.max_sessions
    }

    /// Whether it works as far as is known, or may be tried now.
    fn is_usable(&self, now: Instant) -> bool {
        self.has_token()
            && match self.breaker {
                Breaker::Closed(_) => true,
                Breaker::Open { until, .. } => now >= until,
                Breaker::Trial { .. } => false,
            }
    }

    /// Whether a call that has a lease may go on with it although the credential is left alone.
    fn may_be_kept_by(&self, lease: &Lease) -> bool {
        let may_pass = matches!(
            self.breaker,
            Breaker::Open { certain: false, .. } | Breaker::Trial { certain: false, .. }
        );
        self.has_token() && (lease.proven || may_pass)
    }

    fn is_usable_by(&self, now: Instant, id: CallId) -> bool {
        let is_own_trial = matches!(self.breaker, Breaker::Trial { by, .. } if by == id);
        self.is_usable(now) || (self.has_token() && is_own_trial)
    }
}

impl State {
    fn with_room(&self, now: Instant, avoid: &[usize]) -> Option<usize> {
        let fits = |number: &usize| {
            let entry = &self.entries[*number];
            !avoid.contains(number) && entry.is_usable(now) && entry.has_room()
        };
        self.order.iter().copied().find(fits)
    }

    fn why_not(&self, now: Instant) -> RefusalReason {
        let is_full = |number: &usize| self.entries[*number].is_usable(now);
        if self.order.iter().any(is_full) { RefusalReason::NoCapacity } else { RefusalReason::Credentials }
    }

    fn take(&mut self, now: Instant, id: CallId, number: usize) {
        // A call that is given a second lease would keep the first for ever.
        self.release(now, id);
        self.entries[number].sessions += 1;
        self.leases.insert(id, Lease { number, proven: false });
        self.begin_trial(now, id, number);
    }

    /// Whoever comes first after the back-off tries.
    fn begin_trial(&mut self, now: Instant, id: CallId, number: usize) {
        let breaker = &mut self.entries[number].breaker;
        if let Breaker::Open { until, backoff_ms, certain } = *breaker
            && now >= until
        {
            *breaker = Breaker::Trial { by: id, backoff_ms, certain };
        }
    }

    fn release(&mut self, now: Instant, id: CallId) {
        let Some(lease) = self.leases.remove(&id) else { return };
        let entry = &mut self.entries[lease.number];
        entry.sessions = entry.sessions.saturating_sub(1);
        // A trial that ended without a verdict: the next call tries.
        if let Breaker::Trial { by, backoff_ms, certain } = entry.breaker
            && by == id
        {
            entry.breaker = Breaker::Open { until: now, backoff_ms, certain };
        }
    }
}

#[cfg(test)]
mod tests;
