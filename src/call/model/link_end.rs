//! How a link to a model ended: one typed cause, with label, remedy and what the peer said.
//!
//! Runs in: anywhere: pure. Owns the list of causes. Never decides what happens next, only tells what happened.
//! Invariant: every cause has a label and a sentence.

use std::fmt;

use crate::base::Quoted;
use crate::base::excerpt::{CLOSE_REASON_BYTES_MAX, excerpt};
use crate::base::words;

words! {
    /// Why a link ended.
    pub enum LinkEndKind {
        /// Closed in order: 1000, or no code at all.
        Normal = "normal",
        /// The key is not one.
        BadKey = "bad_key",
        /// The key has expired.
        KeyExpired = "key_expired",
        /// The key may not use the API, the project or the model.
        PermissionDenied = "permission_denied",
        /// Google does not serve the API to this country.
        LocationUnsupported = "location_unsupported",
        /// No such model, or not for this API.
        ModelNotFound = "model_not_found",
        /// The model does not offer what was asked for.
        Unsupported = "unsupported",
        /// A field or value of a message was refused.
        InvalidArgument = "invalid_argument",
        /// The conversation has outgrown the model's context.
        ContextExhausted = "context_exhausted",
        /// Quota or rate limit.
        Quota = "quota",
        /// The service is overloaded, restarting or going away.
        Unavailable = "unavailable",
        /// The server aborted the operation.
        Aborted = "aborted",
        /// The server's own deadline for a connection has passed.
        DeadlineExpired = "deadline_expired",
        /// We did not leave after `goAway`.
        GoAwayIgnored = "go_away_ignored",
        /// An error inside the service.
        Internal = "internal",
        /// One side broke the WebSocket protocol or a size limit.
        Protocol = "protocol",
        /// The address is wrong: no such path, API version, or a redirect.
        WrongEndpoint = "wrong_endpoint",
        /// The connection ended without a close.
        Dropped = "dropped",
        /// There was no link: every credential is left alone, or has no session left.
        NoCredential = "no_credential",
        /// A code or status with no meaning here.
        Other = "other",
    }
}

impl LinkEndKind {
    /// What happened and what the operator can do, as one sentence for the log.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Normal => "Gemini closed the link in order; nothing to do",
            Self::BadKey => "Gemini refused the API key; check GEMINI_API_KEY (no quotes, no spaces)",
            Self::KeyExpired => "the API key has expired: create a new one and set GEMINI_API_KEY",
            Self::PermissionDenied => {
                "the key may not use this API or model: enable the Generative Language API for its project and check \
                 the key's restrictions"
            }
            Self::LocationUnsupported => {
                "Gemini is not offered to this host's location: run where it is, or use Vertex"
            }
            Self::ModelNotFound => "Gemini has no such model for live use: check the agent's model",
            Self::Unsupported => {
                "the model does not offer something that the agent asks for: remove optional settings or change the model"
            }
            Self::InvalidArgument => {
                "Gemini refused a message as invalid: check the agent's settings against what its model knows"
            }
            Self::ContextExhausted => {
                "the conversation outgrew the model's context: shorten the instructions or use context compression"
            }
            Self::Quota => "the quota of the key is used up: raise it, add a key, or admit fewer calls",
            Self::Unavailable => {
                "Gemini is unavailable for the moment: retried; if it lasts, see Google's status page"
            }
            Self::Aborted => "Gemini aborted the operation: usually passes by itself",
            Self::DeadlineExpired => "Gemini's own time limit of a link has passed: a new link goes on",
            Self::GoAwayIgnored => "the link was not left in time after goAway: please report this",
            Self::Internal => "Gemini reports an internal error: usually passes by itself",
            Self::Protocol => {
                "the two sides disagree about the WebSocket protocol: check for a proxy in between"
            }
            Self::WrongEndpoint => {
                "no Gemini Live API at this address: check GEMINI_BASE_URL and the API version"
            }
            Self::Dropped => "the connection to Gemini broke: check the network if it repeats",
            Self::NoCredential => {
                "no credential could take the call: the log says which are left alone and why; add one, or raise max_sessions"
            }
            Self::Other => "Gemini ended the link for a reason not known here: see the code and the text",
        }
    }

    /// Whether this end, met before `setupComplete`, would meet every further attempt too, so that trying again is
    /// useless until someone changes a setting, a key or a quota. After `setupComplete` every end is worth a resumed
    /// link, whose own setup then tells.
    pub const fn is_fatal_at_setup(self) -> bool {
        match self {
            Self::BadKey
            | Self::KeyExpired
            | Self::PermissionDenied
            | Self::LocationUnsupported
            | Self::ModelNotFound
            | Self::Unsupported
            | Self::InvalidArgument
            | Self::ContextExhausted
            | Self::Quota
            | Self::WrongEndpoint
            | Self::NoCredential => true,
            Self::Normal
            | Self::Unavailable
            | Self::Aborted
            | Self::DeadlineExpired
            | Self::GoAwayIgnored
            | Self::Internal
            | Self::Protocol
            | Self::Dropped
            | Self::Other => false,
        }
    }
}

/// The end of a link, with what the peer said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkEnd {
    /// The cause.
    pub kind: LinkEndKind,
    /// The WebSocket close code, where there was one.
    pub close_code: Option<u16>,
    /// The HTTP status, where the upgrade was refused.
    pub http_status: Option<u16>,
    /// The peer's words: one printable line, of limited length.
    pub reason: String,
}

impl LinkEnd {
    /// The end of a link without a close frame; `what` says how it was noticed.
    pub fn dropped(what: &str) -> Self {
        Self {
            kind: LinkEndKind::Dropped,
            close_code: None,
            http_status: None,
            reason: excerpt(what.as_bytes(), CLOSE_REASON_BYTES_MAX),
        }
    }

    /// That there was no credential to connect a link with; `last` is what was said by one that refused it, if any did.
    pub fn no_credential(last: &str) -> Self {
        Self { kind: LinkEndKind::NoCredential, ..Self::dropped(last) }
    }

    /// The end of a link that we gave up because the peer broke the protocol or a limit; `what` says which.
    pub fn protocol(what: &str) -> Self {
        Self { kind: LinkEndKind::Protocol, ..Self::dropped(what) }
    }

    /// What the peer said, in a few words: its own, or the code where it had none.
    pub fn said(&self) -> String {
        match (self.reason.as_str(), self.http_status, self.close_code) {
            ("", Some(status), _) => format!("HTTP status {status}"),
            ("", None, Some(code)) => format!("close code {code}"),
            (reason, ..) => reason.to_owned(),
        }
    }

    /// See [`LinkEndKind::is_fatal_at_setup`].
    pub const fn is_fatal_at_setup(&self) -> bool {
        self.kind.is_fatal_at_setup()
    }
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.remedy())?;
        let mut separator = " (";
        if let Some(code) = self.close_code {
            write!(f, "{separator}close code {code}")?;
            separator = ", ";
        }
        if let Some(status) = self.http_status {
            write!(f, "{separator}HTTP status {status}")?;
            separator = ", ";
        }
        if !self.reason.is_empty() {
            write!(f, "{separator}{}", Quoted(&self.reason))?;
            separator = ", ";
        }
        if separator == ", " { f.write_str(")") } else { Ok(()) }
    }
}
