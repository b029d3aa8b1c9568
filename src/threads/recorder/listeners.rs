//! Those who listen in on a call.
//!
//! Runs in: the recorder thread. Owns the sending ends of their queues.
//! Never waits: who is too slow loses audio, and nobody else does.
//! Invariant: at most [`PER_CALL_MAX`] for a call.

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::timeline::Pair;

/// Listeners of one call.
pub(crate) const PER_CALL_MAX: usize = 8;
/// Listeners of all calls together.
pub(crate) const LISTENERS_MAX: usize = 32;
/// Pieces of 100 ms that wait for one of them.
const WAITING_MAX: usize = 20;

/// What a listener reads: pieces of 16-bit stereo, little-endian, the caller left, the agent right, 16,000 a second.
pub(crate) type Heard = Receiver<Bytes>;

/// See the head of this file.
#[derive(Default)]
pub(crate) struct Listeners(Vec<Sender<Bytes>>);

impl Listeners {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody listens.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One more; `None` where there are too many.
    pub(crate) fn add(&mut self) -> Option<Heard> {
        if self.0.len() >= PER_CALL_MAX {
            return None;
        }
        let (heard, reader) = channel(WAITING_MAX);
        self.0.push(heard);
        Some(reader)
    }

    /// Tells all of them, and forgets those who have gone.
    pub(crate) fn tell(&mut self, pairs: &[Pair]) {
        if self.0.is_empty() || pairs.is_empty() {
            return;
        }
        let piece: Bytes = pairs.iter().flatten().flat_map(|sample| sample.to_le_bytes()).collect();
        self.0.retain(|listener| !matches!(listener.try_send(piece.clone()), Err(TrySendError::Closed(_))));
    }

    /// Forgets those who have gone.
    pub(crate) fn look(&mut self) {
        self.0.retain(|listener| !listener.is_closed());
    }
}
