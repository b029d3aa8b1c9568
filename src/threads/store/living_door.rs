//! The way of living calls from control to the living thread.
//!
//! Runs in: the control thread. Owns the ends that the thread has not taken yet. Never waits.
//! Invariant: an end that was told arrives, behind everything that was told of its call before.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::base::RecordId;
use crate::call::living::LivingCall;
use crate::telemetry::Counters;

/// What may wait: 20 s of a thousand calls, for which a database may be silent before the thread gives up on it.
const WAITING_MAX: usize = 8_192;

/// What the living thread is told.
pub enum LivingOrder {
    /// How a call is now.
    Is(Box<LivingCall>),
    /// It is over, and its record is on its way.
    Over(RecordId),
}

/// See the head of this file.
pub struct LivingDoor {
    orders: Sender<LivingOrder>,
    /// Ends that found no room.
    held: VecDeque<RecordId>,
    counters: Arc<Counters>,
}

impl LivingDoor {
    /// A door, and what comes through it.
    pub fn new(counters: Arc<Counters>) -> (Self, Receiver<LivingOrder>) {
        let (orders, behind) = bounded(WAITING_MAX);
        (Self { orders, held: VecDeque::new(), counters }, behind)
    }

    /// Another way in: the thread serves until this one is closed, too.
    pub(crate) fn kept_open(&self) -> Sender<LivingOrder> {
        self.orders.clone()
    }

    /// Tells how a call is. Returns whether there was room for it; if not, it is to be told again.
    pub fn tell(&mut self, call: Box<LivingCall>) -> bool {
        let told = self.orders.try_send(LivingOrder::Is(call)).is_ok();
        if !told {
            self.counters.live_rows_put_off.increment();
        }
        told
    }

    /// Tells that a call is over.
    pub fn over(&mut self, id: RecordId) {
        self.held.push_back(id);
        self.flush();
    }

    /// Tells what found no room before.
    pub fn flush(&mut self) {
        while let Some(id) = self.held.front()
            && self.orders.try_send(LivingOrder::Over(*id)).is_ok()
        {
            self.held.pop_front();
        }
    }
}
