//! Why a link to Gemini ended: close codes, their reasons and HTTP statuses turned into one typed cause.
//!
//! Runs in: the gemini and the dial thread, once per link; pure. Owns what Google's words mean.
//! Never trusts a reason's size or characters.
//! Invariant: every code, reason and status has exactly one cause.

use crate::base::excerpt::{CLOSE_REASON_BYTES_MAX, excerpt};
use crate::call::model::{LinkEnd, LinkEndKind};

/// The most bytes of an HTTP answer's body that are looked at and kept.
const HTTP_BODY_BYTES_MAX: usize = 300;

/// The end of a link by a close frame; `code` is `None` for a frame without one (RFC 6455: 1005). A reason longer
/// than a close frame can hold, cut within a character, or not UTF-8 does no harm.
pub(crate) fn end_of_close(code: Option<u16>, reason: &[u8]) -> LinkEnd {
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
    LinkEnd { kind, close_code: code, http_status: None, reason }
}

/// The end of a link before it began: the upgrade was answered by something else than 101.
pub(crate) fn end_of_status(status: u16, body: &[u8]) -> LinkEnd {
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
    LinkEnd { kind, close_code: None, http_status: Some(status), reason }
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
        end_of_close(Some(code), reason.as_bytes()).kind
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
        assert_eq!(end_of_close(None, b"").kind, Normal);
    }

    #[test]
    fn http_statuses_have_their_cause() {
        use LinkEndKind::*;
        let kind = |status, body: &str| end_of_status(status, body.as_bytes()).kind;
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
        let fatal = |code, reason: &str| end_of_close(Some(code), reason.as_bytes()).is_fatal_at_setup();
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
        let end = end_of_close(Some(1011), b"Internal error\r\nencountered.");
        assert_eq!(
            end.to_string(),
            "Gemini reports an internal error: usually passes by itself (close code 1011, \"Internal error\\\\r\\\\nencountered.\")"
        );
        let end = end_of_status(404, b"");
        assert!(end.to_string().ends_with("the API version (HTTP status 404)"), "{end}");
        let end = end_of_close(None, b"");
        assert_eq!(end.to_string(), LinkEndKind::Normal.remedy());
    }

    proptest! {
        #[test]
        fn any_code_and_reason_gives_one_short_line(
            code in any::<Option<u16>>(),
            reason in prop::collection::vec(any::<u8>(), 0..1000),
        ) {
            for end in [end_of_close(code, &reason), end_of_status(code.unwrap_or(500), &reason)] {
                prop_assert!(end.reason.len() <= HTTP_BODY_BYTES_MAX + '…'.len_utf8());
                prop_assert!(end.to_string().chars().all(|character| !character.is_control()));
            }
        }
    }
}
