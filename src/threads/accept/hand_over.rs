//! A call is given to its threads: rings made, a shard and a worker chosen, each thread told before the next one.
//!
//! Runs in: the accept thread. Owns nothing between calls.
//! Invariant: see the head of [`super`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::Acceptor;
use crate::admission::{LegCredentials, Opening};
use crate::base::{CallId, Instant};
use crate::call::leg::{CallFields, LegKind};
use crate::sync::rings::call_rings;
use crate::sync::{CallShared, Outbox};
use crate::threads::dsp::{DspCall, DspOrder};
use crate::threads::messages::{ControlInput, DialledLeg, GeminiOrder, NewLeg, NewModelSide, Offer};
use crate::threads::telephony::connection::LegConnection;

/// A call that was admitted and whose handshake is complete.
pub(super) struct NewCall {
    pub(super) id: CallId,
    pub(super) peer: SocketAddr,
    pub(super) credentials: LegCredentials,
    pub(super) opening: Opening,
    pub(super) fields: CallFields,
    pub(super) told: bool,
    pub(super) connection: LegConnection,
}

impl Acceptor {
    /// Takes a leg that the relay itself has connected to. Only Asterisk's chan_websocket waits for that.
    pub(super) fn dialled(&mut self, now: Instant, leg: DialledLeg) {
        let DialledLeg { id, fields, peer, connection } = leg;
        let connection = LegConnection::WebSocket(connection);
        let credentials = LegCredentials { token: None, address: peer.ip() };
        let opening = Opening { kind: LegKind::ChanWebsocket, fields: fields.clone() };
        let told = false;
        self.hand_over(now, NewCall { id, peer, credentials, opening, fields, told, connection });
    }

    /// Gives the call to its threads.
    pub(super) fn hand_over(&mut self, now: Instant, new: NewCall) {
        let NewCall { id, peer, credentials, opening, fields, told, connection } = new;
        let kind = opening.kind;
        let format = self.parts.defaults.format(kind, &fields);
        let shared = Arc::new(CallShared::new(id, format));
        if let Some(uuid) = &fields.uuid {
            let (credentials, opening) = (credentials.clone(), opening.clone());
            self.relay.registry.known().begin(uuid, credentials, opening, Arc::clone(&shared));
        }
        let connection = Some(connection);
        let (telephony_rings, dsp_rings, gemini_rings) = call_rings();
        let place = self.parts.places.take();
        let shard = &mut self.parts.shards[place.shard];
        let worker = &mut shard.workers[place.worker - shard.first_worker];
        // Each thread must have its part of the call before another one can speak to it about the call.
        let call = DspCall::new(now, dsp_rings, Arc::clone(&shared), self.parts.stream_end_after_ms);
        worker.send(DspOrder::Add(Box::new(call)));
        let model_side = NewModelSide { id, shared: Arc::clone(&shared), rings: gemini_rings };
        shard.gemini.send(GeminiOrder::Add(Box::new(model_side)));
        settle(worker);
        settle(&mut shard.gemini);
        let offer = Offer {
            id,
            shared: Arc::clone(&shared),
            fields: fields.clone(),
            told,
            peer,
            credentials,
            opening,
            place,
            leg: Box::new(NewLeg { id, shared, rings: telephony_rings, connection, fields, kind }),
        };
        self.parts.control.send(ControlInput::Offered(Box::new(offer)));
    }
}

/// Waits until the mailbox has taken what was sent. It is full only while its thread is far behind, and new calls are
/// the last thing that it needs then.
fn settle<T>(outbox: &mut Outbox<T>) {
    while !outbox.flush() {
        thread::sleep(Duration::from_millis(1));
    }
}
