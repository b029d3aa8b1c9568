//! What a gemini thread is built from.
//!
//! Runs in: the main thread makes it, the gemini thread takes it apart. Owns what the thread will own.
//! Invariant: `own` is the bell of the mailbox and of the poll.

use std::sync::Arc;

use mio::Poll;

use super::model_side::ModelSideLimits;
use crate::sync::{Clock, Doorbell, Mailbox, Outbox};
use crate::telemetry::counters::Counters;
use crate::threads::messages::{ControlInput, GeminiOrder};

/// What the thread is built from.
pub struct GeminiParts {
    /// Its poll, whose waker is `own`.
    pub poll: Poll,
    /// Its mailbox.
    pub inbox: Mailbox<GeminiOrder>,
    /// To the control thread.
    pub control: Outbox<ControlInput>,
    /// Its own bell.
    pub own: Doorbell,
    /// The shard's telephony thread.
    pub telephony: Doorbell,
    /// The shard's dsp workers.
    pub workers: Vec<Doorbell>,
    /// The process's counters.
    pub counters: Arc<Counters>,
    /// What of the configuration it needs.
    pub limits: ModelSideLimits,
    /// Bytes of speech that may wait in the shard.
    pub speech_bytes: usize,
    /// The clock.
    pub clock: Clock,
    /// Calls in the process at most: slots are below it.
    pub max_calls: usize,
}
