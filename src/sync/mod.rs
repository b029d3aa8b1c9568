//! Floor 2: everything that threads share. The rings of a call, the doorbell, what is due, mailboxes, the numbers of a
//! call that cross threads, the one clock, and random numbers.
//!
//! Runs in: anywhere. Owns the only ring buffers and the only reading of the clock in the crate.
//! Invariant: nothing here blocks a media thread.

mod call_bell;
pub(crate) mod clock;
pub(crate) mod doorbell;
pub mod due;
pub mod mailbox;
pub(crate) mod pending;
pub(crate) mod random;
pub mod rings;
pub mod shared;

/// The atomics of [`pending`] and [`due`], under the name that their loom test replaces.
mod atomics {
    pub(super) use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
}

pub use call_bell::CallBell;
pub use clock::Clock;
pub use doorbell::Doorbell;
pub use due::DueSet;
pub use mailbox::{Mailbox, Outbox, mailbox};
pub use shared::CallShared;
