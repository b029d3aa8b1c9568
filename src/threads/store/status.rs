//! How the store fares, for the readiness of the relay, the metrics and the log.
//!
//! Runs in: written by the store thread, read by any. Owns a few numbers and the last trouble in words. Never blocks for
//! longer than a copy of that text. Invariant: it holds nothing of what people said.

use parking_lot::Mutex;

/// How the store fares.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StoreState {
    /// No records are kept (`store.url = "none"`).
    #[default]
    Off,
    /// Records are written to the database.
    Ok,
    /// The database does not take records; they wait on disk.
    Spooling {
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
        /// Records that wait.
        records: u64,
        /// Bytes on disk.
        bytes: u64,
        /// What the database said, without secrets.
        why: String,
    },
    /// Neither the database nor the disk takes records: those of ended calls are lost, or soon will be.
    Failing {
        /// Since when, in milliseconds since 1970.
        since_ms: u64,
        /// What the disk said.
        why: String,
    },
}

impl StoreState {
    /// Whether the record of a call that ends now is kept, or none is asked for.
    pub fn keeps_records(&self) -> bool {
        !matches!(self, Self::Failing { .. })
    }

    /// The word of the state: `off`, `ok`, `spooling`, `failing`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Ok => "ok",
            Self::Spooling { .. } => "spooling",
            Self::Failing { .. } => "failing",
        }
    }
}

/// The state, shared.
#[derive(Debug, Default)]
pub struct StoreStatus(Mutex<StoreState>);

impl StoreStatus {
    /// The state as it is now.
    pub fn get(&self) -> StoreState {
        self.0.lock().clone()
    }

    pub(super) fn set(&self, state: StoreState) {
        *self.0.lock() = state;
    }
}
