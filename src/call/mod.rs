//! Floor 3: a call as a machine without I/O: it takes facts and a time, and gives orders and a next deadline.
//!
//! Runs in: the control thread (registry and expected: also the accept thread), and tests in virtual time. Opens no socket, reads
//! no clock, never blocks.

pub mod agent;
pub mod agents;
pub(crate) mod allowances;
pub(crate) mod commands;
pub(crate) mod configured;
pub(crate) mod credentials;
pub(crate) mod endings;
pub mod events;
pub(crate) mod expected;
pub(crate) mod guesses;
pub(crate) mod known;
pub mod leg;
pub(crate) mod leg_note;
pub mod machine;
pub mod model;
pub(crate) mod outbound;
pub(crate) mod outcome;
pub mod record;
pub(crate) mod refused;
pub(crate) mod registry;
pub(crate) mod session;
pub mod tool;
pub mod transcript;

pub use agent::{Agent, CallTerms, CredentialView};
pub use agents::{Agents, Choice, CurrentAgents};
pub use commands::{Ask, CommandError, CommandResult, Requester};
pub use credentials::{CredentialTerms, Pool};
pub use endings::{Ending, Endings};
pub use events::{
    EventSocketOrder, Fact, LegOrder, ModelOrder, Order, Part, RecordingOrder, ToolOrder, WorkerOrder,
};
pub use expected::Expected;
pub use known::{Arrival, Known, LegCredentials, Opening};
pub use leg::LegKind;
pub use leg_note::{LegNote, LegNotes};
pub use machine::Machine;
pub use outbound::{OutboundCall, OutboundCalls};
pub use outcome::{Cause, Outcome, Party};
pub use record::{CallDetail, CallRecord};
pub use registry::Registry;
