//! Floor 3: a call as a machine without I/O: it takes facts and a time, and gives orders and a next deadline.
//!
//! Runs in: the control thread, and tests in virtual time. Opens no socket and no file, takes no lock, reads no clock, never blocks.

pub mod agent;
pub(crate) mod commands;
pub mod events;
pub(crate) mod export;
pub mod leg;
pub(crate) mod leg_note;
pub mod living;
pub mod machine;
pub mod model;
pub(crate) mod outbound;
pub(crate) mod outcome;
pub mod record;
pub(crate) mod refused;
pub(crate) mod session;
pub mod tool;
pub mod transcript;
pub mod verdict;

pub use agent::{Agent, CallTerms, CredentialView};
pub use commands::{Ask, CommandError, CommandResult, Requester};
pub use events::{
    EventSocketOrder, Fact, LegOrder, ModelOrder, Order, Part, RecordingOrder, ToolOrder, WorkerOrder,
};
pub use export::ExportFormat;
pub use leg::LegKind;
pub use leg_note::{LegNote, LegNotes};
pub use machine::Machine;
pub use outbound::{OutboundCall, OutboundCalls};
pub use outcome::{Cause, Outcome, Party};
pub use record::{CallDetail, CallRecord};
pub use verdict::Ending;
