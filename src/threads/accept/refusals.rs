//! Refusing: the answer to the peer, the counter, and a line in the log for each, as far as one address may fill it.
//!
//! Runs in: the accept thread. Owns nothing between refusals.
//! Invariant: every refusal is counted, and named in the log or among those of its reason and address that were left out.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};

use log::{debug, warn};

use super::Acceptor;
use super::handshake::Step;
use super::request::{Upgrade, refusal};
use crate::admission::Ending;
use crate::base::Instant;
use crate::call::leg::{CallFields, Next};
use crate::call::refused::is_call;
use crate::telemetry::{RefusalReason, Refused};
use crate::threads::messages::{ControlInput, RefusedCall};

impl Acceptor {
    /// Refuses a connection that does not deserve a handshake.
    pub(super) fn turn_away(
        &self,
        now: Instant,
        mut socket: &TcpStream,
        peer: SocketAddr,
        refused: Refused<'_>,
    ) {
        _ = socket.write(&refusal(refused));
        _ = socket.shutdown(Shutdown::Write);
        self.refuse_counted(now, Some(peer), refused);
    }

    /// Counts a refusal and names it in the log.
    pub(super) fn refuse_counted(&self, now: Instant, peer: Option<SocketAddr>, refused: Refused<'_>) {
        self.name_refusal(now, peer, refused, &CallFields::default());
    }

    /// Refuses a complete request.
    pub(super) fn refuse(&mut self, now: Instant, key: usize, upgrade: Upgrade, refused: Refused<'_>) {
        self.tell_refusal(now, &upgrade, refused);
        let Some(handshake) = self.handshakes.get_mut(key) else { return };
        if matches!(handshake.refuse_request(now, upgrade, refused), Step::Over) {
            self.handshakes.remove(key);
        }
    }

    /// Counts and names a refused request, and has a record made where it was a call.
    pub(super) fn tell_refusal(&mut self, now: Instant, upgrade: &Upgrade, refused: Refused<'_>) {
        let fields = upgrade.facts.url.clone().or(upgrade.facts.headers.clone());
        self.name_refusal(now, Some(upgrade.peer), refused, &fields);
        let (reason, why) = refused;
        if is_call(reason) {
            if let Some(uuid) = &fields.uuid {
                let next = if reason.is_final() { Next::Fallback } else { Next::Again };
                let ending = Ending { over: false, next, reason: reason.label().to_owned() };
                self.relay.registry.endings().note(uuid, ending);
            }
            let (peer, kind, why) = (upgrade.peer, upgrade.facts.kind, why.to_owned());
            let refused = RefusedCall { fields, peer, kind, reason, why };
            // Where control is far behind, a record is the least of it.
            _ = self.parts.control.try_send(ControlInput::Refused(Box::new(refused)));
        }
    }

    fn name_refusal(
        &self,
        now: Instant,
        peer: Option<SocketAddr>,
        refused: Refused<'_>,
        fields: &CallFields,
    ) {
        let (reason, why) = refused;
        self.relay.counters.refuse(reason);
        let label = reason.label();
        let address = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let Some(left_out) = self.relay.limiter.allow(now, label, address) else { return };
        let peer = peer.map_or("a connection".to_owned(), |peer| peer.to_string());
        if *fields == CallFields::default() {
            warn!("refused {peer} ({label}): {why}{left_out}");
        } else {
            warn!("refused {peer} ({label}): {why}: {fields}{left_out}");
        }
    }

    /// A peer left before its handshake was complete, or before it had said anything, as a look at whether the port is
    /// open does: that is no refusal of ours, and not worth a line each time.
    pub(super) fn abandoned(&self, now: Instant, peer: SocketAddr, has_spoken: bool) {
        let reason = RefusalReason::Abandoned;
        if has_spoken {
            self.refuse_counted(now, Some(peer), reason.explained());
        } else {
            self.relay.counters.refuse(reason);
            debug!("{peer} left without a word");
        }
    }

    /// Says what was left out of the log and is not going to be said by another line.
    pub(super) fn name_left_out(&self, now: Instant) {
        for (what, address, count) in self.relay.limiter.overdue(now) {
            let whose = match address {
                IpAddr::V4(Ipv4Addr::UNSPECIFIED) => "other addresses".to_owned(),
                address => address.to_string(),
            };
            warn!("{count} more lines about {whose} ({what}) were left out");
        }
    }
}
