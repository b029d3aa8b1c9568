//! The control thread's loop: when it steps, what it does where a step comes far too late, and how it ends.
//!
//! Runs in: the control thread. Owns nothing beyond its state.
//! Never decides anything about a call. Invariant: a call that was kept waiting by the relay itself is told so before its
//! deadlines are looked at.

use std::thread;
use std::time::Duration;

use log::{info, warn};

use super::Control;
use crate::base::Instant;
use crate::call::Fact;
use crate::threads::dsp::DspOrder;
use crate::threads::messages::{Drain, EslOrder, GeminiOrder, TelephonyOrder};
use crate::threads::recorder::RecorderOrder;

/// How long the end waits for a store that takes no record.
const RECORDS_WITHIN: Duration = Duration::from_secs(2);
/// How long it rests where nothing is due.
const REST: Duration = Duration::from_secs(1);
/// A step that comes so much too late was kept from its processor, and the other threads as well.
const STARVED_MS: u64 = 250;

impl Control {
    /// Serves until drained, then stops the media threads.
    pub(crate) fn run(mut self) {
        let mut expected = self.relay.clock.now();
        loop {
            self.parts.own.answer();
            let now = self.relay.clock.now();
            if now.since_ms(expected) >= STARVED_MS {
                self.starved(now, expected);
            }
            if let Some(load) = &mut self.parts.load {
                load.look(now, &self.relay);
            }
            let deadline = self.step(now);
            if self.is_over(now) {
                break;
            }
            // A long pass is not slept in addition.
            let now = self.relay.clock.now();
            let look = self.parts.load.as_ref().map(|load| load.due(now));
            let deadline = deadline.into_iter().chain(look).min();
            let rest = deadline.map_or(REST, |deadline| deadline.since(now).min(REST));
            expected = now.plus(rest);
            if !self.parts.own.is_rung() {
                thread::park_timeout(rest);
            }
        }
        self.log_counters();
        self.stop_threads();
        if let Some(records) = self.parts.records.take() {
            records.finish(RECORDS_WITHIN);
        }
    }

    /// Nothing was done since then that should have been: no call is to believe that the others did nothing either.
    pub fn starved(&mut self, now: Instant, since: Instant) {
        warn!(
            "the relay was without a processor for {} ms: stopped, or on a machine that is given too little",
            now.since_ms(since)
        );
        self.relay.counters.starvations.increment();
        for id in self.calls.iter().map(|call| call.id).collect::<Vec<_>>() {
            if let Some(call) = self.call(id) {
                call.machine.starved(now);
            }
        }
    }

    /// Lets calls finish, or goes on as before.
    pub(super) fn drain(&mut self, now: Instant, drain: Option<Drain>) {
        let running = self.calls.len();
        match drain {
            Some(Drain { moves: true, .. }) => {
                info!(
                    "shutting down: no new calls; {running} running calls may finish, or are moved to other relays"
                );
            }
            Some(_) => info!("shutting down: no new calls; {running} running calls may finish"),
            None => info!("not shutting down any more: new calls are taken again"),
        }
        let moved = std::mem::replace(&mut self.drain, drain).is_some_and(|drain| drain.moves);
        let moves = drain.is_some_and(|drain| drain.moves);
        if moved != moves {
            for id in self.calls.iter().map(|call| call.id).collect::<Vec<_>>() {
                self.tell(now, id, Fact::SendAway(moves));
            }
        }
    }

    /// Whether it was told to end and the last call is over.
    fn is_over(&self, now: Instant) -> bool {
        // Asked of the registry, because a call admitted just before it was drained may not have been offered yet.
        self.drain.is_some()
            && now >= self.asked_until
            && self.unrecorded.is_empty()
            && self.relay.registry.end()
    }

    pub(super) fn log_counters(&self) {
        info!("counters: {}", self.relay.counters.to_json());
    }

    fn stop_threads(&mut self) {
        for outbox in &mut self.parts.telephony {
            outbox.send(TelephonyOrder::Stop);
        }
        for outbox in &mut self.parts.gemini {
            outbox.send(GeminiOrder::Stop);
        }
        for outbox in &mut self.parts.workers {
            outbox.send(DspOrder::Stop);
        }
        if let Some(esl) = &mut self.parts.esl {
            esl.send(EslOrder::Stop);
        }
        self.parts.recorder.send(RecorderOrder::Stop);
        self.parts.tools.stop();
    }
}
