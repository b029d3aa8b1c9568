//! Why a link to Gemini ended: close codes, their reasons and HTTP statuses turned into one typed cause.
//!
//! Runs in: the gemini and the dial thread, once per link; pure. Owns the list of causes with label and remedy.
//! Never trusts a reason's size or characters; never decides what happens next, only tells what happened.
//! Invariant: every code, reason and status has exactly one cause, and every cause a label and a sentence.

use crate::base::Quoted;
use crate::codec::excerpt::{CLOSE_REASON_BYTES_MAX, excerpt};
use std::fmt;

/// The most bytes of an HTTP answer's body that are looked at and kept.
const HTTP_BODY_BYTES_MAX: usize = 300;

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkEndKind {
    /// Closed in order: 1000, or no code at all.
    Normal,
    /// The key is not one.
    BadKey,
    /// The key has expired.
    KeyExpired,
    /// The key may not use the API, the project or the model.
    PermissionDenied,
    /// Google does not serve the API to this country.
    LocationUnsupported,
    /// No such model, or not for this API.
    ModelNotFound,
    /// The model does not offer what was asked for.
    Unsupported,
    /// A field or value of a message was refused.
    InvalidArgument,
    /// The conversation has outgrown the model's context.
    ContextExhausted,
    /// Quota or rate limit.
    Quota,
    /// The service is overloaded, restarting or going away.
    Unavailable,
    /// The server aborted the operation.
    Aborted,
    /// The server's own deadline for a connection has passed.
    DeadlineExpired,
    /// We did not leave after `goAway`.
    GoAwayIgnored,
    /// An error inside the service.
    Internal,
    /// One side broke the WebSocket protocol or a size limit.
    Protocol,
    /// The address is wrong: no such path, API version, or a redirect.
    WrongEndpoint,
    /// The connection ended without a close.
    Dropped,
    /// There was no link: every credential is left alone, or has no session left.
    NoCredential,
    /// A code or status with no meaning here.
    Other,
}

impl LinkEndKind {
    /// Every cause, for registering metrics.
    pub const ALL: [Self; 20] = [
        Self::Normal,
        Self::BadKey,
        Self::KeyExpired,
        Self::PermissionDenied,
        Self::LocationUnsupported,
        Self::ModelNotFound,
        Self::Unsupported,
        Self::InvalidArgument,
        Self::ContextExhausted,
        Self::Quota,
        Self::Unavailable,
        Self::Aborted,
        Self::DeadlineExpired,
        Self::GoAwayIgnored,
        Self::Internal,
        Self::Protocol,
        Self::WrongEndpoint,
        Self::Dropped,
        Self::NoCredential,
        Self::Other,
    ];

    /// A short snake_case name, for metrics and records.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::BadKey => "bad_key",
            Self::KeyExpired => "key_expired",
            Self::PermissionDenied => "permission_denied",
            Self::LocationUnsupported => "location_unsupported",
            Self::ModelNotFound => "model_not_found",
            Self::Unsupported => "unsupported",
            Self::InvalidArgument => "invalid_argument",
            Self::ContextExhausted => "context_exhausted",
            Self::Quota => "quota",
            Self::Unavailable => "unavailable",
            Self::Aborted => "aborted",
            Self::DeadlineExpired => "deadline_expired",
            Self::GoAwayIgnored => "go_away_ignored",
            Self::Internal => "internal",
            Self::Protocol => "protocol",
            Self::WrongEndpoint => "wrong_endpoint",
            Self::Dropped => "dropped",
            Self::NoCredential => "no_credential",
            Self::Other => "other",
        }
    }

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
    /// The end of a link by a close frame; `code` is `None` for a frame without one (RFC 6455: 1005). A reason longer
    /// than a close frame can hold, cut within a character, or not UTF-8 does no harm.
    pub fn from_close(code: Option<u16>, reason: &[u8]) -> Self {
        let reason = excerpt(reason, CLOSE_REASON_BYTES_MAX);
        let by_code = match code {
            None | Some(1000 | 1005) => LinkEndKind::Normal,
            Some(1001 | 1012..=1014) => LinkEndKind::Unavailable,
            Some(1002 | 1003 | 1009 | 1010 | 1015) => LinkEndKind::Protocol,
            Some(1006) => LinkEndKind::Dropped,
            Some(1007) => LinkEndKind::InvalidArgument,
            Some(1008) => LinkEndKind::Unsupported,
            Some(1011) => LinkEndKind::Internal,
            Some(_) => LinkEndKind::Other,
        };
        // The reason is more exact than the code, which Google uses for several causes each.
        let kind =
            if by_code == LinkEndKind::Normal { by_code } else { kind_of_reason(&reason).unwrap_or(by_code) };
        Self { kind, close_code: code, http_status: None, reason }
    }

    /// The end of a link before it began: the upgrade was answered by something else than 101.
    pub fn from_http_status(status: u16, body: &[u8]) -> Self {
        let reason = excerpt(body, HTTP_BODY_BYTES_MAX);
        let by_status = match status {
            400 => LinkEndKind::InvalidArgument,
            401 => LinkEndKind::BadKey,
            403 => LinkEndKind::PermissionDenied,
            300..=399 | 404 | 405 | 426 => LinkEndKind::WrongEndpoint,
            408 | 500..=599 => LinkEndKind::Unavailable,
            429 => LinkEndKind::Quota,
            _ => LinkEndKind::Other,
        };
        // A body names the cause only where the status leaves it open: a 503 may well talk about quotas.
        let kind = match status {
            400 | 401 | 403 => kind_of_reason(&reason).unwrap_or(by_status),
            _ => by_status,
        };
        Self { kind, close_code: None, http_status: Some(status), reason }
    }

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

/// Phrases of Google's close reasons, in lower case, the more exact before the more general.
const PHRASES: [(&str, LinkEndKind); 24] = [
    ("api key expired", LinkEndKind::KeyExpired),
    ("api key not valid", LinkEndKind::BadKey),
    ("api_key_invalid", LinkEndKind::BadKey),
    ("api key not found", LinkEndKind::BadKey),
    ("unregistered callers", LinkEndKind::BadKey),
    ("invalid authentication credential", LinkEndKind::BadKey),
    ("location is not supported", LinkEndKind::LocationUnsupported),
    ("permission", LinkEndKind::PermissionDenied),
    ("has not been used in project", LinkEndKind::PermissionDenied),
    ("goaway", LinkEndKind::GoAwayIgnored),
    ("exceeded your current quota", LinkEndKind::Quota),
    ("resource_exhausted", LinkEndKind::Quota),
    ("resource has been exhausted", LinkEndKind::Quota),
    ("quota exceeded", LinkEndKind::Quota),
    ("deadline expired", LinkEndKind::DeadlineExpired),
    ("context window", LinkEndKind::ContextExhausted),
    ("token count exceeds", LinkEndKind::ContextExhausted),
    ("not implemented, or supported, or enabled", LinkEndKind::Unsupported),
    ("not supported by the model", LinkEndKind::Unsupported),
    ("aborted", LinkEndKind::Aborted),
    ("unavailable", LinkEndKind::Unavailable),
    ("invalid argument", LinkEndKind::InvalidArgument),
    ("invalid json payload", LinkEndKind::InvalidArgument),
    ("internal error", LinkEndKind::Internal),
];

fn kind_of_reason(reason: &str) -> Option<LinkEndKind> {
    let reason = reason.to_ascii_lowercase();
    let phrase = PHRASES.iter().find(|(phrase, _)| reason.contains(phrase)).map(|(_, kind)| *kind);
    // "models/x is not found for API version v1beta, or is not supported for bidiGenerateContent", cut anywhere.
    let model_missing = reason.contains("model")
        && (reason.contains("not found") || reason.contains("not supported for bidigeneratecontent"));
    phrase.or(model_missing.then_some(LinkEndKind::ModelNotFound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn kind(code: u16, reason: &str) -> LinkEndKind {
        LinkEnd::from_close(Some(code), reason.as_bytes()).kind
    }

    #[test]
    fn reasons_seen_in_the_field_have_their_cause() {
        use LinkEndKind::*;
        let seen = [
            (1000, "", Normal),
            (1006, "", Dropped),
            (1007, "API key not valid. Please pass a valid API key.", BadKey),
            (1007, "API key expired. Please renew the API key.", KeyExpired),
            (1007, "User location is not supported for the API use.", LocationUnsupported),
            (1007, "Request contains an invalid argument.", InvalidArgument),
            (1007, "Invalid JSON payload received. Unknown name \"x\" at 'setup'", InvalidArgument),
            (
                1007,
                "realtime_input.media_chunks is deprecated. Use audio, video, or text instead.",
                InvalidArgument,
            ),
            (1007, "The input token count exceeds the maximum number of tokens", ContextExhausted),
            (
                1008,
                "models/x is not found for API version v1beta, or is not supported for bidiGenerateContent",
                ModelNotFound,
            ),
            (
                1008,
                "Publisher Model `projects/p/locations/global/publishers/google/models/m` was not found",
                ModelNotFound,
            ),
            (1008, "Operation is not implemented, or supported, or enabled.", Unsupported),
            (
                1007,
                "The requested combination of response modalities (TEXT) is not supported by the model.",
                Unsupported,
            ),
            (1008, "The operation was aborted", Aborted),
            (
                1008,
                "Connection aborted because the client failed to close the connection after receiving a GoAway signal",
                GoAwayIgnored,
            ),
            (1011, "Internal error encountered.", Internal),
            (1011, "The service is currently unavailable.", Unavailable),
            (1011, "Deadline expired before operation could complete.", DeadlineExpired),
            (1011, "You exceeded your current quota, please check your plan and billing details.", Quota),
            (1011, "RESOURCE_EXHAUSTED", Quota),
            (1012, "", Unavailable),
            (4711, "whatever", Other),
        ];
        for (code, reason, expected) in seen {
            assert_eq!(kind(code, reason), expected, "{code} {reason}");
        }
        assert_eq!(LinkEnd::from_close(None, b"").kind, Normal);
    }

    #[test]
    fn http_statuses_have_their_cause() {
        use LinkEndKind::*;
        let kind = |status, body: &str| LinkEnd::from_http_status(status, body.as_bytes()).kind;
        assert_eq!(kind(400, r#"{"error":{"message":"API key not valid."}}"#), BadKey);
        assert_eq!(kind(400, ""), InvalidArgument);
        assert_eq!(kind(401, ""), BadKey);
        assert_eq!(kind(403, ""), PermissionDenied);
        assert_eq!(kind(403, "Method doesn't allow unregistered callers"), BadKey);
        assert_eq!(kind(404, ""), WrongEndpoint);
        assert_eq!(kind(301, ""), WrongEndpoint);
        assert_eq!(kind(429, ""), Quota);
        assert_eq!(kind(500, ""), Unavailable);
        assert_eq!(kind(503, "exceeded your current quota"), Unavailable);
        assert_eq!(kind(200, ""), Other);
    }

    #[test]
    fn only_what_trying_again_cannot_heal_is_fatal_at_setup() {
        let fatal =
            |code, reason: &str| LinkEnd::from_close(Some(code), reason.as_bytes()).is_fatal_at_setup();
        assert!(fatal(1007, "API key not valid."));
        assert!(fatal(1008, "models/x is not found"));
        assert!(fatal(1007, "anything"));
        assert!(fatal(1011, "You exceeded your current quota"));
        assert!(!fatal(1011, "Internal error encountered."));
        assert!(!fatal(1008, "The operation was aborted"));
        assert!(!LinkEnd::dropped("read: connection reset").is_fatal_at_setup());
    }

    #[test]
    fn labels_are_distinct_snake_case_and_remedies_are_one_line() {
        let labels: HashSet<_> = LinkEndKind::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!(labels.len(), LinkEndKind::ALL.len());
        for kind in LinkEndKind::ALL {
            assert!(kind.label().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
            assert!(!kind.remedy().contains('\n') && !kind.remedy().contains("  "), "{}", kind.remedy());
        }
    }

    #[test]
    fn the_sentence_holds_code_and_words() {
        let end = LinkEnd::from_close(Some(1011), b"Internal error\r\nencountered.");
        assert_eq!(
            end.to_string(),
            "Gemini reports an internal error: usually passes by itself (close code 1011, \"Internal error\\\\r\\\\nencountered.\")"
        );
        let end = LinkEnd::from_http_status(404, b"");
        assert!(end.to_string().ends_with("the API version (HTTP status 404)"), "{end}");
        let end = LinkEnd::from_close(None, b"");
        assert_eq!(end.to_string(), LinkEndKind::Normal.remedy());
    }

    proptest! {
        #[test]
        fn any_code_and_reason_gives_one_short_line(
            code in any::<Option<u16>>(),
            reason in prop::collection::vec(any::<u8>(), 0..1000),
        ) {
            for end in [LinkEnd::from_close(code, &reason), LinkEnd::from_http_status(code.unwrap_or(500), &reason)] {
                prop_assert!(end.reason.len() <= HTTP_BODY_BYTES_MAX + '…'.len_utf8());
                prop_assert!(end.to_string().chars().all(|character| !character.is_control()));
            }
        }
    }
}
