//! Names to addresses: a small cache in front of the system's resolver, which nobody waits for longer than a deadline.
//!
//! Runs in: the dial threads; the look-ups themselves on threads that the dial pool starts for them, for the system's
//! resolver knows no deadline. Without such threads (the doctor) a look-up blocks its caller.
//! Owns the addresses of a few hosts. Never asks twice for one host at one time.
//! Invariant: addresses that have gone stale are used while newer ones are asked for, so that a slow or dead name server
//! costs a running relay nothing.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use thiserror::Error;

use crate::base::Instant;
use crate::sync::Clock;

/// How long a host's addresses are used before they are asked for again.
const VALID_MS: u64 = 60_000;
/// How long they may be used where nothing newer can be had.
const STALE_MS_MAX: u64 = 3_600_000;
/// How long a failed look-up is answered with from memory.
const FAILURE_VALID_MS: u64 = 1_000;
/// Hosts whose addresses are kept; one relay talks to a handful.
const HOSTS_MAX: usize = 64;

/// Starts a thread with this work.
pub(crate) type StartThread = Box<dyn Fn(Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;

type LookUp = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Why there are no addresses.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ResolveError {
    /// The look-up failed; what the system said.
    #[error("{0}")]
    Failed(String),
    /// It was not answered before the deadline.
    #[error("no answer in time")]
    Late,
}

#[derive(Default)]
struct Host {
    addresses: Vec<SocketAddr>,
    found_at: Option<Instant>,
    failed: Option<(Instant, String)>,
    looking_up: bool,
}

impl Host {
    fn is_found_within(&self, now: Instant, age_ms: u64) -> bool {
        self.found_at.is_some_and(|at| now.since_ms(at) < age_ms)
    }
}

type HostPort = (String, u16);

struct Shared {
    clock: Clock,
    valid_ms: u64,
    hosts: Mutex<HashMap<HostPort, Host>>,
    news: Condvar,
    look_up: Box<LookUp>,
}

/// See the head of this file.
pub(crate) struct Resolver {
    shared: Arc<Shared>,
    start: Option<StartThread>,
}

impl Resolver {
    /// A resolver with an empty cache, whose look-ups block their caller.
    pub(crate) fn new(clock: Clock) -> Self {
        Self::with(
            clock,
            VALID_MS,
            Box::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect)),
        )
    }

    fn with(clock: Clock, valid_ms: u64, look_up: Box<LookUp>) -> Self {
        let shared = Shared { clock, valid_ms, hosts: Mutex::default(), news: Condvar::new(), look_up };
        Self { shared: Arc::new(shared), start: None }
    }

    /// From now on look-ups run on threads of their own.
    pub(crate) fn start_threads_with(&mut self, start: StartThread) {
        self.start = Some(start);
    }

    /// The addresses of `host`, the one that connected last first.
    ///
    /// # Errors
    /// Why there are none before `deadline`.
    pub(crate) fn resolve(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, ResolveError> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let key = (host.to_owned(), port);
        let mut hosts = self.shared.hosts.lock();
        loop {
            let now = self.shared.clock.now();
            if hosts.len() >= HOSTS_MAX && !hosts.contains_key(&key) {
                hosts.retain(|_, host| host.looking_up);
            }
            if hosts.len() >= HOSTS_MAX && !hosts.contains_key(&key) {
                return Err(ResolveError::Failed("too many names are being looked up".into()));
            }
            let known = hosts.entry(key.clone()).or_default();
            let usable = known.is_found_within(now, STALE_MS_MAX);
            if known.is_found_within(now, self.shared.valid_ms) {
                return Ok(known.addresses.clone());
            }
            if let Some((at, why)) = &known.failed
                && now.since_ms(*at) < FAILURE_VALID_MS
            {
                let why = || ResolveError::Failed(why.clone());
                return usable.then(|| known.addresses.clone()).ok_or_else(why);
            }
            if !known.looking_up {
                known.looking_up = true;
                drop(hosts);
                self.look_up(key.clone());
                hosts = self.shared.hosts.lock();
                continue;
            }
            if usable {
                return Ok(known.addresses.clone());
            }
            let left = deadline.since(now);
            if left.is_zero() {
                return Err(ResolveError::Late);
            }
            self.shared.news.wait_for(&mut hosts, left);
        }
    }

    /// Notes that this address connected: it comes first from now on.
    pub(crate) fn prefer(&self, host: &str, port: u16, address: SocketAddr) {
        if let Some(known) = self.shared.hosts.lock().get_mut(&(host.to_owned(), port))
            && let Some(position) = known.addresses.iter().position(|one| *one == address)
        {
            known.addresses[..=position].rotate_right(1);
        }
    }

    /// Notes that no address connected: perhaps they have changed.
    pub(crate) fn forget(&self, host: &str, port: u16) {
        if let Some(known) = self.shared.hosts.lock().get_mut(&(host.to_owned(), port)) {
            known.found_at = None;
        }
    }

    fn look_up(&self, key: HostPort) {
        let Some(start) = &self.start else { return self.shared.look_up(key) };
        let shared = Arc::clone(&self.shared);
        let of = key.clone();
        if let Err(error) = start(Box::new(move || shared.look_up(of))) {
            self.shared.note(key, Err(error));
        }
    }
}

impl Shared {
    fn look_up(&self, key: HostPort) {
        let found = (self.look_up)(&key.0, key.1);
        self.note(key, found);
    }

    fn note(&self, key: HostPort, found: io::Result<Vec<SocketAddr>>) {
        let now = self.clock.now();
        let name = key.0.clone();
        let mut hosts = self.hosts.lock();
        let host = hosts.entry(key).or_default();
        host.looking_up = false;
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                *host = Host { addresses, found_at: Some(now), ..Host::default() };
            }
            Ok(_) => host.failed = Some((now, format!("{name} has no address"))),
            Err(error) => host.failed = Some((now, format!("{name}: {error}"))),
        }
        self.news.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, last], 443))
    }

    /// Look-ups take the next of these answers, each of which must be asked for first; with how many were begun.
    fn scripted(
        clock: Clock,
        valid_ms: u64,
        answers: crossbeam_channel::Receiver<io::Result<Vec<SocketAddr>>>,
    ) -> (Resolver, Arc<AtomicUsize>) {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let mut resolver = Resolver::with(
            clock,
            valid_ms,
            Box::new(move |_, _| {
                count.fetch_add(1, Ordering::SeqCst);
                answers.recv().unwrap_or_else(|_| Err(io::Error::other("the test is over")))
            }),
        );
        resolver.start_threads_with(Box::new(|work| thread::Builder::new().spawn(work).map(drop)));
        (resolver, asked)
    }

    fn age(resolver: &Resolver, by_ms: u64) {
        let mut hosts = resolver.shared.hosts.lock();
        for host in hosts.values_mut() {
            let back = |at: Instant| Instant::from_micros(at.as_micros().saturating_sub(by_ms * 1000));
            host.found_at = host.found_at.map(back);
            host.failed = host.failed.take().map(|(at, why)| (back(at), why));
        }
    }

    fn clock_far_on() -> (Clock, Instant) {
        let clock = Clock::new();
        (clock, clock.now().plus_ms(20_000))
    }

    #[test]
    fn numbers_are_not_looked_up() {
        let (clock, deadline) = clock_far_on();
        let (resolver, asked) = scripted(clock, VALID_MS, crossbeam_channel::bounded(1).1);
        assert_eq!(resolver.resolve("127.0.0.9", 443, deadline), Ok(vec![address(9)]));
        assert_eq!(resolver.resolve("::1", 443, deadline).map(|found| found.len()), Ok(1));
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn a_look_up_that_hangs_does_not_outlive_the_deadline() {
        let clock = Clock::new();
        let (_answer, answers) = crossbeam_channel::bounded(1);
        let (resolver, asked) = scripted(clock, VALID_MS, answers);
        for _ in 0..3 {
            let begun = clock.now();
            assert_eq!(resolver.resolve("host", 443, begun.plus_ms(50)), Err(ResolveError::Late));
            assert!(clock.now().since_ms(begun) >= 50);
        }
        // The thread of the look-up may not even have begun.
        assert!(asked.load(Ordering::SeqCst) <= 1, "one look-up for all who wait");
    }

    #[test]
    fn a_failure_is_remembered_shortly_and_then_asked_again() {
        let (clock, deadline) = clock_far_on();
        let (answer, answers) = crossbeam_channel::bounded(2);
        let (resolver, asked) = scripted(clock, VALID_MS, answers);
        answer.send(Err(io::Error::other("no such name"))).expect("room");
        let failed = Err(ResolveError::Failed("host: no such name".into()));
        assert_eq!(resolver.resolve("host", 443, deadline), failed);
        assert_eq!(resolver.resolve("host", 443, deadline), failed);
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        age(&resolver, FAILURE_VALID_MS);
        answer.send(Ok(vec![address(1)])).expect("room");
        assert_eq!(resolver.resolve("host", 443, deadline), Ok(vec![address(1)]));
    }

    #[test]
    fn stale_addresses_are_used_while_newer_ones_are_asked_for() {
        let (clock, deadline) = clock_far_on();
        let (answer, answers) = crossbeam_channel::bounded(2);
        let (resolver, _) = scripted(clock, 0, answers);
        answer.send(Ok(vec![address(1), address(2)])).expect("room");
        assert_eq!(resolver.resolve("host", 443, deadline), Ok(vec![address(1), address(2)]));
        resolver.prefer("host", 443, address(2));
        // They are stale at once here, and the second look-up hangs.
        assert_eq!(resolver.resolve("host", 443, deadline), Ok(vec![address(2), address(1)]));
        resolver.forget("host", 443);
        let soon = clock.now().plus_ms(20);
        assert_eq!(resolver.resolve("host", 443, soon), Err(ResolveError::Late), "nothing is known any more");
        answer.send(Ok(vec![address(3)])).expect("room");
        assert_eq!(resolver.resolve("host", 443, deadline), Ok(vec![address(3)]));
    }
}
