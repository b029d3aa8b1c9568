//! What the end of a link says about the credential with which it was made.
//!
//! Runs in: the control, dial and keeper threads: pure. Owns nothing.
//! Invariant: each kind of end has one verdict.

use crate::call::model::LinkEndKind;

/// What the end of a link says about its credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guilt {
    /// Nothing: the link had its time, or the conversation was at fault.
    None,
    /// Perhaps: several in a row are no chance.
    Perhaps,
    /// That every further session would end so.
    Certain,
}

/// What an end of this kind says, met before the setup was complete or after.
pub(super) fn guilt(kind: LinkEndKind, during_setup: bool) -> Guilt {
    match kind {
        // Also in the middle of a call: Google ends running sessions for it.
        LinkEndKind::Quota => Guilt::Certain,
        _ if !during_setup => Guilt::None,
        LinkEndKind::BadKey
        | LinkEndKind::KeyExpired
        | LinkEndKind::PermissionDenied
        | LinkEndKind::LocationUnsupported => Guilt::Certain,
        LinkEndKind::ContextExhausted | LinkEndKind::GoAwayIgnored | LinkEndKind::NoCredential => Guilt::None,
        LinkEndKind::Normal
        | LinkEndKind::ModelNotFound
        | LinkEndKind::Unsupported
        | LinkEndKind::InvalidArgument
        | LinkEndKind::Unavailable
        | LinkEndKind::Aborted
        | LinkEndKind::DeadlineExpired
        | LinkEndKind::Internal
        | LinkEndKind::Protocol
        | LinkEndKind::WrongEndpoint
        | LinkEndKind::Dropped
        | LinkEndKind::Other => Guilt::Perhaps,
    }
}

/// Whether another credential may do better where a setup ended so: then the same link is tried with the next one.
pub(crate) fn is_worth_another_credential(kind: LinkEndKind) -> bool {
    matches!(
        kind,
        LinkEndKind::Quota
            | LinkEndKind::BadKey
            | LinkEndKind::KeyExpired
            | LinkEndKind::PermissionDenied
            | LinkEndKind::LocationUnsupported
            | LinkEndKind::ModelNotFound
            | LinkEndKind::WrongEndpoint
    )
}
