//! The keeper thread: tokens fetched before the old ones end, links connected before a call wants them.
//!
//! Runs in: one keeper thread, which may block for a token. Owns nothing but its schedule.
//! Never stands in the way of a call: what calls use is in memory, here it is only renewed.
//! Invariant: a credential whose token has ended is not used, and the log says why once.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use log::{debug, warn};

use crate::base::Instant;
use crate::threads::credentials::Access;
use crate::threads::dial::DialPool;
use crate::threads::messages::{DialRequest, WarmRequest};
use crate::threads::relay::Relay;
use crate::threads::tokens::{self, TokenSource};

/// How often warm links are looked at.
const WARM_EVERY_MS: u64 = 1_000;
/// The longest rest.
const REST_MS_MAX: u64 = 60_000;
/// After a token could not be fetched: at first, and at most.
const RETRY_MS: (u64, u64) = (1_000, 60_000);

/// What the thread is built from.
pub(crate) struct Keeper {
    /// Whose tokens and links it keeps.
    pub relay: Relay,
    /// Connects links.
    pub dial: DialPool,
    /// How long connecting may take.
    pub connect_within: Duration,
}

impl Keeper {
    /// Serves until the credentials are stopped.
    ///
    /// # Errors
    /// None so far.
    pub(crate) fn run(self) -> io::Result<()> {
        while !self.relay.credentials.stopped().load(Ordering::Acquire) {
            let mut next = self.relay.clock.now().plus_ms(REST_MS_MAX);
            for (number, access) in self.relay.credentials.in_use() {
                if let Some(source) = access.source() {
                    next = next.min(self.keep_token(number, &access, source));
                }
            }
            self.relay.credentials.forget_unused();
            let now = self.relay.clock.now();
            if self.relay.warm.is_used() {
                self.keep_warm(now);
                next = next.min(now.plus_ms(WARM_EVERY_MS));
            }
            self.relay.credentials.wait(next.since(now));
        }
        Ok(())
    }

    /// Renews a token if it is time. Returns when it has to be looked at again.
    fn keep_token(&self, number: usize, access: &Access, source: &TokenSource) -> Instant {
        let now = self.relay.clock.now();
        let state = access.token_state();
        let had_one = access.target().is_some();
        let expired = had_one && now >= state.valid_until;
        if now < state.next_fetch && !expired {
            return if had_one { state.next_fetch.min(state.valid_until) } else { state.next_fetch };
        }
        let fetched = tokens::fetch(source, self.relay.clock, self.relay.credentials.stopped());
        let now = self.relay.clock.now();
        let fetched = fetched.and_then(|fetched| {
            access.set_token(&fetched.token, now.plus_ms(fetched.life_ms))?;
            Ok(fetched)
        });
        match fetched {
            Ok(fetched) => {
                self.relay.counters.token_fetches.increment();
                access.schedule(now, now.plus_ms(fetched.again_ms), 0);
                self.relay.credentials.note(self.relay.credentials.pool().token_ready(number));
                now.plus_ms(fetched.again_ms.min(fetched.life_ms))
            }
            Err(why) => {
                self.relay.counters.token_failures.increment();
                let failures = state.failures + 1;
                let pause_ms = (RETRY_MS.0 << failures.min(16)).min(RETRY_MS.1) / 2;
                access.schedule(now, now.plus_ms(pause_ms), failures);
                if access.target().is_none() {
                    self.relay.credentials.note(self.relay.credentials.pool().token_lost(number, &why));
                } else if failures == 1 {
                    let left_s = state.valid_until.since(now).as_secs();
                    warn!("no new token, the old one is good for {left_s} s: {why}");
                } else {
                    debug!("no token after {failures} tries: {why}");
                }
                now.plus_ms(pause_ms)
            }
        }
    }

    fn keep_warm(&self, now: Instant) {
        let pool = self.relay.credentials.pool();
        self.relay.warm.expire(now, |number| pool.is_open_to_more(number));
        for (number, access) in self.relay.credentials.in_use() {
            while pool.is_open_to_more(number)
                && let Some(target) = access.target()
                && self.relay.warm.begin(number)
            {
                let deadline = now.plus(self.connect_within);
                let request = WarmRequest { credential: number, target, deadline };
                if self.dial.request(DialRequest::Warm(request)).is_err() {
                    self.relay.warm.put(now, number, None);
                    return;
                }
            }
        }
    }
}
