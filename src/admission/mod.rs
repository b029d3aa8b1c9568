//! Floor 3: who may call, as which call, and with which credential: slots, what is known of calls, and what is used up.
//!
//! Runs in: the accept, admin, control, dial and keeper threads. Owns its tables, each behind a lock that is held for a moment.
//! Opens no socket, reads no clock, never waits for anything else.

pub(crate) mod allowances;
pub(crate) mod credentials;
mod endings;
pub(crate) mod expected;
pub(crate) mod guesses;
pub(crate) mod headroom;
pub(crate) mod known;
mod registry;

pub use credentials::{CredentialTerms, Pool};
pub use endings::{Ending, Endings};
pub use expected::Expected;
pub use known::{Arrival, Known, LegCredentials, Opening};
pub use registry::Registry;
