//! Many at the door at once: which unfinished handshake gives way, and TLS handshakes, whose arithmetic another thread does.
//!
//! Runs in: the accept thread. Owns nothing between connections. Never waits for the tls thread.
//! Invariant: what one address has begun is bounded before it costs anything, and costs itself first.

use std::collections::HashMap;

use super::Acceptor;
use crate::admission::allowances::{Allowances, Rate};
use crate::base::Instant;
use crate::base::address::party;
use crate::config::ListenConfig;
use crate::net::greeting::{Greeted, Greeting};
use crate::telemetry::RefusalReason;
use crate::threads::tls::{HandshakeId, TlsJob};

/// How many TLS handshakes an address may begin for each call that it may: a switch that is told that it calls too often is
/// told so in HTTP.
const GREETINGS_PER_CALL: u32 = 2;

/// How often addresses may begin a TLS handshake.
pub(super) fn greetings(listen: &ListenConfig) -> Allowances {
    let calls = Rate {
        per_second: listen.max_calls_per_second_per_address,
        burst: listen.max_calls_burst_per_address,
    };
    Allowances::new(calls.times(GREETINGS_PER_CALL))
}

impl Acceptor {
    /// Makes room for a new handshake: of the address that has most of them, the oldest goes. An honest peer finishes in
    /// milliseconds, and one that opens many and says nothing displaces its own.
    pub(super) fn evict(&mut self, now: Instant) {
        let mut by_address: HashMap<_, (usize, u64, usize)> = HashMap::new();
        for (key, handshake) in &self.handshakes {
            let (count, oldest, of) =
                by_address.entry(party(handshake.peer.ip())).or_insert((0, u64::MAX, key));
            *count += 1;
            if handshake.number < *oldest {
                (*oldest, *of) = (handshake.number, key);
            }
        }
        let most = by_address.into_values().max_by_key(|(count, oldest, _)| (*count, u64::MAX - oldest));
        if let Some(handshake) = most.and_then(|(_, _, key)| self.handshakes.try_remove(key))
            && !handshake.is_refused()
        {
            self.refuse_counted(now, Some(handshake.peer), RefusalReason::TooManyHandshakes.explained());
        }
    }

    /// A step of a TLS handshake was done.
    pub(super) fn greeted(&mut self, now: Instant, id: HandshakeId, greeted: Greeted) {
        let handshake = self.handshakes.get_mut(id.key).filter(|handshake| handshake.number == id.number);
        let Some(handshake) = handshake else { return };
        let may_go_on = matches!(greeted, Greeted::Done(_));
        let step = handshake.greeted(greeted);
        self.take(now, id.key, step);
        if may_go_on {
            // What came behind the handshake was read with it, and no edge will tell.
            self.step(now, id.key);
        }
    }

    /// Has the tls thread do a step, if this address may have it done.
    pub(super) fn greet(&mut self, now: Instant, key: usize, greeting: Greeting) {
        let Some(handshake) = self.handshakes.get_mut(key) else { return };
        let (peer, deadline) = (handshake.peer, handshake.deadline);
        let is_first = matches!(greeting, Greeting::Begun(_));
        let refused = if is_first && !self.greetings.take(now, peer.ip()) {
            Some((
                RefusalReason::RateLimited,
                "too many TLS handshakes from this address \
                (listen.max_calls_per_second_per_address)",
            ))
        } else {
            let id = HandshakeId { key, number: handshake.number };
            let job = TlsJob { id, address: peer.ip(), deadline, greeting };
            let sent = self.parts.tls.as_ref().map(|tls| tls.try_send(job));
            (!matches!(sent, Some(Ok(())))).then_some((
                RefusalReason::TooManyHandshakes,
                "more TLS handshakes are under way than can be kept",
            ))
        };
        if let Some(refused) = refused {
            self.handshakes.remove(key);
            self.refuse_counted(now, Some(peer), refused);
        }
    }
}
