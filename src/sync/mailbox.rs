//! Mailboxes: bounded channels into a thread that come with its doorbell.
//!
//! Runs in: any thread. Owns a crossbeam channel; a full channel is kept back in the sender, never waited for.
//! Invariant: messages of one outbox arrive in order, none is lost while its sender keeps calling [`Outbox::flush`].

use std::collections::VecDeque;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use crate::base::limits::CHANNEL_MESSAGES;
use crate::sync::Doorbell;

/// The receiving end, owned by the thread whose doorbell the senders ring.
pub struct Mailbox<T> {
    messages: Receiver<T>,
}

impl<T> Mailbox<T> {
    /// The next message, if one waits. Never blocks, so senders never meet a blocked receiver and take no lock.
    pub fn take(&self) -> Option<T> {
        self.messages.try_recv().ok()
    }

    /// Whether a message waits.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

/// A sending end, owned by one producer thread.
pub struct Outbox<T> {
    messages: Sender<T>,
    bell: Doorbell,
    held: VecDeque<T>,
}

impl<T> Outbox<T> {
    /// Sends, or keeps the message back until [`Outbox::flush`] finds room; rings the doorbell.
    pub fn send(&mut self, message: T) {
        if !self.flush() {
            self.held.push_back(message);
        } else if let Err(TrySendError::Full(message)) = self.messages.try_send(message) {
            self.held.push_back(message);
        }
        self.bell.ring();
    }

    /// Sends without ringing and without keeping back; for a sender that must hear "no".
    ///
    /// # Errors
    /// Returns the message when the channel is full, when older messages are still kept back, or when the thread is
    /// gone.
    pub fn try_send(&mut self, message: T) -> Result<(), T> {
        if !self.flush() {
            return Err(message);
        }
        let sent = self.messages.try_send(message).map_err(TrySendError::into_inner);
        self.bell.ring();
        sent
    }

    /// Sends what was kept back. Returns whether nothing is kept back any more.
    pub fn flush(&mut self) -> bool {
        while let Some(message) = self.held.pop_front() {
            if let Err(TrySendError::Full(message)) = self.messages.try_send(message) {
                self.held.push_front(message);
                return false;
            }
        }
        true
    }
}

impl<T> Clone for Outbox<T> {
    fn clone(&self) -> Self {
        Self { messages: self.messages.clone(), bell: self.bell.clone(), held: VecDeque::new() }
    }
}

/// A mailbox for the thread behind `bell`, and a first outbox into it, to be cloned for each producer.
pub fn mailbox<T>(bell: Doorbell) -> (Outbox<T>, Mailbox<T>) {
    let (tx, rx) = crossbeam_channel::bounded(CHANNEL_MESSAGES);
    (Outbox { messages: tx, bell, held: VecDeque::new() }, Mailbox { messages: rx })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_channel_keeps_the_order_and_loses_nothing() {
        let (mut outbox, mailbox) = mailbox(Doorbell::for_parked(std::thread::current()));
        let total = CHANNEL_MESSAGES + 100;
        for n in 0..total {
            outbox.send(n);
        }
        assert!(outbox.try_send(total).is_err(), "a sender that must hear no hears it");
        let mut taken = Vec::new();
        while let Some(n) = mailbox.take() {
            taken.push(n);
            outbox.flush();
        }
        assert_eq!(taken, (0..total).collect::<Vec<_>>());
    }
}
