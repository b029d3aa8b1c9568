//! The credentials as the relay uses them: the pool of leases, and for each credential where its links go and with what.
//!
//! Runs in: the control thread (choose, report), the dial and the keeper thread; replaced by whoever reloads the
//! configuration. Owns keys and tokens, in headers that are marked as secret.
//! Never logs a secret; never waits for a token: what is in memory is used, or nothing.
//! Invariant: every change of a credential's state is logged and counted once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use http::{HeaderValue, header};
use log::{info, warn};
use parking_lot::{Mutex, RwLock};

use crate::admission::Pool;
use crate::admission::credentials::{Change, Chosen, CredentialTerms};
use crate::base::{CallId, Instant};
use crate::config::Secret;
use crate::net::dial::Target;
use crate::sync::Clock;
use crate::telemetry::Counters;
use crate::threads::tokens::{self, TokenSource};

/// How links are made with one credential.
pub struct Access {
    /// Without the token.
    target: Arc<Target>,
    source: Option<TokenSource>,
    token: Mutex<TokenState>,
}

/// What is known of a credential's token, and when it is looked at again.
#[derive(Clone, Default)]
pub(super) struct TokenState {
    /// Where links go, the token among the headers.
    target: Option<Arc<Target>>,
    /// Until when the token is good.
    pub(super) valid_until: Instant,
    /// When the next one is fetched.
    pub(super) next_fetch: Instant,
    /// Fetches in a row that failed.
    pub(super) failures: u32,
}

impl Access {
    /// Links to `target`, whose headers are complete.
    pub fn with_key(target: Target) -> Self {
        Self { target: Arc::new(target), source: None, token: Mutex::default() }
    }

    /// Links to `target`, to whose headers a token of this source is added.
    pub(crate) fn with_tokens(target: Target, source: TokenSource) -> Self {
        Self { target: Arc::new(target), source: Some(source), token: Mutex::default() }
    }

    /// Where its tokens come from, if it needs any.
    pub(crate) fn source(&self) -> Option<&TokenSource> {
        self.source.as_ref()
    }

    /// Where links go and with which headers; `None` without a token.
    pub(crate) fn target(&self) -> Option<Arc<Target>> {
        match self.source {
            None => Some(Arc::clone(&self.target)),
            Some(_) => self.token.lock().target.clone(),
        }
    }

    /// Fetches a token at once, where one is needed, which may take 20 s; for whoever tries a credential outside a call.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn fetch_token(&self, clock: Clock) -> Result<(), String> {
        let Some(source) = &self.source else { return Ok(()) };
        let fetched = tokens::fetch(source, clock, &AtomicBool::new(false))?;
        self.set_token(&fetched.token, clock.now().plus_ms(fetched.life_ms))
    }

    pub(super) fn token_state(&self) -> TokenState {
        self.token.lock().clone()
    }

    /// Notes when the token is looked at again; without `valid_until` in the future it is gone.
    pub(super) fn schedule(&self, now: Instant, next_fetch: Instant, failures: u32) {
        let mut state = self.token.lock();
        (state.next_fetch, state.failures) = (next_fetch, failures);
        if now >= state.valid_until {
            state.target = None;
        }
    }

    /// Puts a token into the headers.
    ///
    /// # Errors
    /// That it does not fit there.
    pub(super) fn set_token(&self, token: &Secret, valid_until: Instant) -> Result<(), String> {
        let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
        let mut value = value.map_err(|_| "the token holds characters that no header may have".to_owned())?;
        value.set_sensitive(true);
        let mut target = Target::clone(&self.target);
        target.headers.push((header::AUTHORIZATION, value));
        let mut state = self.token.lock();
        (state.target, state.valid_until) = (Some(Arc::new(target)), valid_until);
        Ok(())
    }
}

/// See the head of this file.
pub struct Credentials {
    pool: Arc<Pool>,
    /// By the numbers of the pool.
    accesses: RwLock<Vec<Option<Arc<Access>>>>,
    counters: Arc<Counters>,
    wake: Sender<()>,
    woken: Receiver<()>,
    stopped: AtomicBool,
}

impl Credentials {
    /// No credentials yet.
    pub(crate) fn new(pool: Arc<Pool>, counters: Arc<Counters>) -> Self {
        let (wake, woken) = crossbeam_channel::bounded(1);
        let (accesses, stopped) = (RwLock::default(), AtomicBool::new(false));
        Self { pool, accesses, counters, wake, woken, stopped }
    }

    /// The leases.
    pub(crate) fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// Puts these credentials, in order of preference, in the place of all others. Running calls keep what they have;
    /// a token stays good where it still comes from the same source.
    pub fn replace(&self, list: Vec<(CredentialTerms, Access)>) {
        let (terms, list): (Vec<_>, Vec<_>) = list.into_iter().unzip();
        let mut accesses = self.accesses.write();
        let numbers = self.pool.replace(terms);
        for (number, access) in numbers.into_iter().zip(list) {
            if accesses.len() <= number {
                accesses.resize(number + 1, None);
            }
            if let Some(before) = &accesses[number]
                && access.source.is_some()
                && before.source == access.source
            {
                let mut state = before.token_state();
                let bearer = state.target.as_ref().and_then(|target| target.headers.last().cloned());
                state.target = bearer.map(|bearer| {
                    let mut target = Target::clone(&access.target);
                    target.headers.push(bearer);
                    Arc::new(target)
                });
                if state.target.is_some() {
                    self.pool.token_ready(number);
                }
                *access.token.lock() = state;
            }
            accesses[number] = Some(Arc::new(access));
        }
        drop(accesses);
        self.forget_unused();
        self.wake_keeper();
    }

    /// The credential for the call's next link, see [`Pool::choose`], and where that goes.
    pub(crate) fn choose(&self, now: Instant, id: CallId, avoid: &[usize]) -> Option<(Chosen, Arc<Target>)> {
        let chosen = self.pool.choose(now, id, avoid);
        let found = chosen.and_then(|chosen| {
            let target = self.access(chosen.number)?.target()?;
            Some((chosen, target))
        });
        match &found {
            Some((chosen, _)) if chosen.moved => self.counters.credential_moves.increment(),
            Some(_) => {}
            None => self.counters.links_without_credential.increment(),
        }
        found
    }

    /// Logs and counts a change of a credential's state.
    pub(crate) fn note(&self, change: Option<Change>) {
        let Some(change) = change else { return };
        let counters = &self.counters;
        match &change {
            Change::Left { .. } => counters.credentials_left.increment(),
            Change::TakenBack { .. } => counters.credentials_taken_back.increment(),
            Change::NoToken { .. } => counters.credential_tokens_lost.increment(),
            Change::Token { .. } => {}
        }
        match &change {
            Change::Left { .. } | Change::NoToken { .. } => warn!("{change}"),
            Change::TakenBack { .. } | Change::Token { .. } => info!("{change}"),
        }
    }

    /// The credentials that are in use, with their numbers.
    pub(super) fn in_use(&self) -> Vec<(usize, Arc<Access>)> {
        let accesses = self.accesses.read();
        accesses
            .iter()
            .enumerate()
            .filter_map(|(n, access)| Some((n, Arc::clone(access.as_ref()?))))
            .collect()
    }

    pub(super) fn access(&self, number: usize) -> Option<Arc<Access>> {
        self.accesses.read().get(number)?.clone()
    }

    /// Drops keys and tokens of what is configured no longer and used by no call.
    pub(super) fn forget_unused(&self) {
        let mut accesses = self.accesses.write();
        for number in self.pool.unused() {
            if let Some(access) = accesses.get_mut(number) {
                *access = None;
            }
        }
    }

    fn wake_keeper(&self) {
        // One that waits already is enough.
        _ = self.wake.try_send(());
    }

    /// Waits, in the keeper, until the credentials were replaced, the keeper is to end, or the time is over.
    pub(super) fn wait(&self, longest: Duration) {
        _ = self.woken.recv_timeout(longest);
    }

    /// Ends the keeper.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake_keeper();
    }

    /// Whether the keeper is to end.
    pub(super) fn stopped(&self) -> &AtomicBool {
        &self.stopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str) -> Target {
        Target {
            host: "127.0.0.1".into(),
            port: 1,
            tls: false,
            url: url.parse().expect("a URL"),
            headers: Vec::new(),
            limits: tungstenite::protocol::WebSocketConfig::default(),
        }
    }

    fn terms(name: &str, needs_token: bool) -> CredentialTerms {
        CredentialTerms { name: name.into(), max_sessions: 1, model_prefix: None, needs_token }
    }

    fn tokens(path: &str) -> Access {
        Access::with_tokens(target("ws://127.0.0.1:1/vertex"), TokenSource::File(path.into()))
    }

    fn authorization(target: &Target) -> Option<&str> {
        target.headers.iter().find(|(name, _)| *name == header::AUTHORIZATION)?.1.to_str().ok()
    }

    #[test]
    fn a_link_has_the_token_that_is_in_memory_and_a_reload_keeps_it() {
        let pool = Arc::new(Pool::new(1000));
        let credentials = Credentials::new(Arc::clone(&pool), Arc::new(Counters::new()));
        let now = Instant::from_micros(0);
        let call = CallId { slot: 0, generation: 1 };
        credentials.replace(vec![(terms("vertex", true), tokens("/a"))]);
        assert_eq!(credentials.woken.try_recv(), Ok(()));
        assert!(credentials.choose(now, call, &[]).is_none());
        let access = credentials.access(0).expect("configured");
        access.set_token(&Secret::new("ya29.x"), now.plus_ms(1000)).expect("fits");
        credentials.note(pool.token_ready(0));
        let (_, chosen) = credentials.choose(now, call, &[]).expect("there is a token");
        assert_eq!(authorization(&chosen), Some("Bearer ya29.x"));
        assert!(!format!("{:?}", chosen.headers).contains("ya29"), "marked as secret");
        // The same source: the token goes over to the new access, and without a source it is not asked for.
        credentials.replace(vec![
            (terms("vertex", true), tokens("/a")),
            (terms("key", false), Access::with_key(target("ws://h/"))),
        ]);
        assert_eq!(credentials.choose(now, call, &[]).map(|(chosen, _)| chosen.number), Some(0));
        // Another source: another token is needed, and the other credential takes the call meanwhile.
        credentials.replace(vec![
            (terms("vertex", true), tokens("/b")),
            (terms("key", false), Access::with_key(target("ws://h/"))),
        ]);
        let (chosen, target) = credentials.choose(now, call, &[]).expect("the key");
        assert_eq!((chosen.number, chosen.moved, authorization(&target)), (1, true, None));
        pool.release(now, call);
        credentials.replace(vec![(terms("key", false), Access::with_key(self::target("ws://h/")))]);
        assert_eq!(credentials.in_use().len(), 1, "what nobody uses is dropped");
    }

    #[test]
    fn an_expired_token_is_gone() {
        let access = tokens("/a");
        access.set_token(&Secret::new("t"), Instant::from_micros(10)).expect("fits");
        access.schedule(Instant::from_micros(9), Instant::from_micros(10), 1);
        assert!(access.target().is_some());
        access.schedule(Instant::from_micros(10), Instant::from_micros(20), 2);
        assert!(access.target().is_none());
        assert!(access.set_token(&Secret::new("a\nb"), Instant::from_micros(30)).is_err());
    }
}
