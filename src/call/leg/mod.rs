//! The seam to the telephone: what a call knows of its leg, whatever the leg speaks.
//!
//! Runs in: anywhere: pure. Imports only `base`, so that the codecs below the call can speak in these types too.

mod close;
pub(crate) mod fields;
mod kind;
mod next;
mod token;
mod variables;

pub use close::{LegClose, LegCloseCode};
pub use fields::{CallFields, FieldNote};
pub use kind::LegKind;
pub(crate) use kind::{Lead, LegSocket, Way};
pub use next::Next;
pub use token::PresentedToken;
pub(crate) use token::TOKEN_BYTES_MAX;
pub use variables::Variables;

/// The number of a command within its call. A script carries a number out at most once for one channel.
pub type OrderNumber = u32;
