//! What the relay has one of, as the threads share it.
//!
//! Runs in: the main thread makes it, every thread that decides about calls has a clone. Owns nothing alone.
//! Never has what belongs to one thread or one call.
//! Invariant: clones are the same relay: what one of them counts, admits or replaces, all see.

use std::sync::Arc;

use crate::admission::allowances::Rate;
use crate::admission::{Expected, Pool, Registry};
use crate::agents::{Agents, CurrentAgents};
use crate::config::{Config, VerdictConfig};
use crate::sync::Clock;
use crate::telemetry::{Counters, Limiter};
use crate::threads::credentials::Credentials;
use crate::threads::store::StoreStatus;
use crate::threads::warm::WarmLinks;

/// See the head of this file.
#[derive(Clone)]
pub struct Relay {
    /// The clock.
    pub clock: Clock,
    /// The process's counters.
    pub counters: Arc<Counters>,
    /// How much of the log one address may fill.
    pub limiter: Arc<Limiter>,
    /// Who may have a slot.
    pub registry: Arc<Registry>,
    /// Who answers which number, or nobody.
    pub agents: Arc<CurrentAgents>,
    /// Calls that were announced.
    pub expected: Arc<Expected>,
    /// Where links go and with what.
    pub credentials: Arc<Credentials>,
    /// Links that wait for a call.
    pub warm: Arc<WarmLinks>,
    /// Whether records are kept as they should be.
    pub store: Arc<StoreStatus>,
    /// From where on a call counts as one with a problem.
    pub verdict: VerdictConfig,
}

impl Relay {
    /// As configured, still without calls and without credentials.
    ///
    /// # Errors
    /// Those of its agents.
    pub fn new(config: &Config) -> Result<Self, String> {
        let listen = &config.listen;
        let rate = Rate {
            per_second: listen.max_calls_per_second_per_address,
            burst: listen.max_calls_burst_per_address,
        };
        let counters = Arc::new(Counters::new());
        counters.headroom.set(listen.max_calls as u64);
        let pool = Arc::new(Pool::new(config.gemini.credential_backoff.as_millis() as u64));
        Ok(Self {
            clock: Clock::new(),
            limiter: Arc::default(),
            registry: Arc::new(Registry::new(listen.max_calls, rate).with_credentials(Arc::clone(&pool))),
            agents: Arc::new(CurrentAgents::new(Agents::new(config)?)),
            expected: Arc::default(),
            credentials: Arc::new(Credentials::new(pool, Arc::clone(&counters))),
            warm: Arc::new(WarmLinks::new(config.gemini.warm_links, Arc::clone(&counters))),
            store: Arc::default(),
            verdict: config.verdict.clone(),
            counters,
        })
    }
}
