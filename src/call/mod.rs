//! Floor 2: a call as a machine without I/O: it takes facts and a time, and gives orders and a next deadline.
//!
//! Runs in: the control thread (registry and expected: also the accept thread), and tests in virtual time. Opens no socket, reads
//! no clock, never blocks.

pub mod agent;
pub mod agents;
pub mod allowances;
pub mod commands;
pub mod configured;
pub mod credentials;
pub mod endings;
pub mod events;
pub mod expected;
pub mod guesses;
pub mod known;
pub mod leg_note;
pub mod machine;
pub mod outbound;
pub mod outcome;
pub mod record;
pub mod refused;
pub mod registry;
pub mod session;
pub mod tool;
pub mod transcript;

pub use agent::{Agent, CallTerms, CredentialView};
pub use agents::{Agents, Choice, CurrentAgents};
pub use commands::{CommandError, CommandResult, LegKind, Requester};
pub use credentials::Pool;
pub use endings::{Ending, Endings};
pub use events::{Fact, Order, Part};
pub use expected::Expected;
pub use known::{Arrival, Known, LegCredentials, Opening};
pub use leg_note::{LegNote, LegNotes};
pub use machine::Machine;
pub use outbound::{OutboundCall, OutboundCalls};
pub use outcome::{Cause, Outcome, Party};
pub use record::{CallDetail, CallRecord};
pub use registry::Registry;
