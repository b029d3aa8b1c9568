//! Why a connection was refused before it became a call: the label in the metric and the answer to the peer.
//!
//! Runs in: anywhere: pure. Owns the list of reasons. Never says anything to a peer that is not constant text.
//! Invariant: one label, one status and one explanation for each reason.

use crate::base::words;

words! {
    /// Why a connection did not become a call.
    pub enum RefusalReason {
        /// The peer's address is in no network of `listen.allow`.
        AddressNotAllowed = "address",
        /// The token is missing or wrong.
        Token = "token",
        /// `listen.max_handshakes` connections have not finished their handshake.
        TooManyHandshakes = "handshakes",
        /// `listen.max_calls` calls are running.
        TooManyCalls = "calls",
        /// The calls that run are more than the machine carries.
        Overloaded = "overloaded",
        /// The address opens more calls a second than it may.
        RateLimited = "rate",
        /// The request is not valid HTTP, or larger than it may be, or its settings are not understood.
        BadRequest = "bad_request",
        /// The handshake did not finish within `listen.handshake_timeout_ms`.
        HandshakeTimeout = "handshake_timeout",
        /// The TLS handshake failed.
        TlsFailed = "tls",
        /// The process has run out of file descriptors.
        Descriptors = "descriptors",
        /// The process is ending and lets only running calls finish.
        Draining = "draining",
        /// Valid HTTP that does not ask for a WebSocket.
        NotWebSocket = "not_websocket",
        /// The peer left before its handshake was complete.
        Abandoned = "abandoned",
        /// An AudioSocket whose UUID nobody announced.
        NotExpected = "not_expected",
        /// A route says that nobody answers this number or caller.
        Route = "route",
        /// A call with this UUID is running, on a leg that lives or with other credentials.
        UuidInUse = "uuid_in_use",
        /// Every credential that works has all the sessions that it may have.
        NoCapacity = "no_capacity",
        /// No credential works at the moment.
        Credentials = "credentials",
        /// A web page that has no ticket.
        WebPage = "web_page",
        /// The connection is in clear, and `listen.tls_required` is set.
        TlsRequired = "tls_required",
    }
}

/// What a peer and the log are told: the reason, and the words for it.
pub(crate) type Refused<'a> = (RefusalReason, &'a str);

impl RefusalReason {
    /// The reason in words of its own.
    pub(crate) const fn explained(self) -> Refused<'static> {
        (self, self.explanation())
    }

    /// Status code and reason phrase of the answer (RFC 9110 section 15, RFC 6585 section 4), or `None` where there is
    /// no HTTP to answer in: after a failed TLS handshake, or nobody.
    pub const fn http_status(self) -> Option<(u16, &'static str)> {
        Some(match self {
            Self::AddressNotAllowed | Self::NotExpected | Self::Route | Self::WebPage | Self::TlsRequired => {
                (403, "Forbidden")
            }
            Self::Token => (401, "Unauthorized"),
            Self::UuidInUse => (409, "Conflict"),
            Self::TooManyHandshakes
            | Self::TooManyCalls
            | Self::Overloaded
            | Self::Descriptors
            | Self::Draining
            | Self::NoCapacity
            | Self::Credentials => (503, "Service Unavailable"),
            Self::RateLimited => (429, "Too Many Requests"),
            Self::BadRequest => (400, "Bad Request"),
            Self::HandshakeTimeout => (408, "Request Timeout"),
            Self::NotWebSocket => (426, "Upgrade Required"),
            Self::TlsFailed | Self::Abandoned => return None,
        })
    }

    /// Whether the same request would be refused again, whenever it comes: a status of 4xx but those that tell of a
    /// moment. Our script is told so by a close frame, because mod_audio_stream keeps the status to itself
    /// (docs/control.md).
    pub const fn is_final(self) -> bool {
        matches!(self.http_status(), Some((400..500, _)))
            && !matches!(self, Self::RateLimited | Self::HandshakeTimeout)
    }

    /// A line for the body of the answer and the log. Names the setting that decided, which an operator needs and which
    /// is no secret.
    pub const fn explanation(self) -> &'static str {
        match self {
            Self::AddressNotAllowed => "this address is in no network of listen.allow",
            Self::Token => "the token is missing or wrong (listen.token)",
            Self::TooManyHandshakes => "too many unfinished handshakes (listen.max_handshakes)",
            Self::TooManyCalls => "too many calls (listen.max_calls)",
            Self::Overloaded => {
                "the calls that run are as many as this machine carries (listen.refuse_when_overloaded)"
            }
            Self::RateLimited => {
                "too many new calls a second from this address (listen.max_calls_per_second_per_address)"
            }
            Self::BadRequest => "the request is not understood",
            Self::HandshakeTimeout => "the handshake took too long (listen.handshake_timeout_ms)",
            Self::TlsFailed => "the TLS handshake failed",
            Self::Descriptors => "out of file descriptors (raise the limit with ulimit -n or LimitNOFILE=)",
            Self::Draining => "the relay is shutting down",
            Self::Abandoned => "the peer left before its handshake was complete",
            Self::NotExpected => "nobody announced this UUID (POST /api/expect; listen.require_expected)",
            Self::Route => "a route refuses this call ([[routes]])",
            Self::UuidInUse => "a call with this UUID is running, and each call needs its own",
            Self::NoCapacity => "every credential for Gemini has all the sessions it may have (max_sessions)",
            Self::Credentials => "no credential for Gemini works at the moment: the relay's log says why",
            Self::WebPage => {
                "a web page needs a ticket, which is for one call within a minute (POST /api/telephone); of a switch behind a \
                 proxy, Origin and Host have to be the same, or its token in the header Authorization"
            }
            Self::TlsRequired => {
                "this port takes encrypted connections only (listen.tls_required): connect with wss:// (AudioSocket has no \
                 TLS: use chan_websocket)"
            }
            Self::NotWebSocket => "this is a WebSocket server; the request asks for no upgrade",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_label_and_explanation() {
        let labels: HashSet<_> = RefusalReason::ALL.iter().map(|reason| reason.label()).collect();
        let explanations: HashSet<_> = RefusalReason::ALL.iter().map(|reason| reason.explanation()).collect();
        assert_eq!((labels.len(), explanations.len()), (RefusalReason::ALL.len(), RefusalReason::ALL.len()));
        for (position, reason) in RefusalReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, position);
        }
    }

    #[test]
    fn an_explanation_names_only_settings_that_exist() {
        for reason in RefusalReason::ALL {
            for word in reason.explanation().split(['(', ')', ' ']).filter(|word| word.starts_with("listen."))
            {
                assert!(include_str!("../../docs/configuration.md").contains(&format!("`{word}`")), "{word}");
            }
        }
    }

    #[test]
    fn a_refusal_that_can_pass_has_a_status_that_says_so() {
        for reason in RefusalReason::ALL {
            let passes = reason.http_status().is_none_or(|(status, _)| matches!(status, 408 | 429 | 500..));
            assert_eq!(reason.is_final(), !passes, "{}", reason.label());
        }
    }

    #[test]
    fn only_a_failed_tls_handshake_and_a_peer_that_left_have_no_status() {
        for reason in RefusalReason::ALL {
            let nobody_to_tell = matches!(reason, RefusalReason::TlsFailed | RefusalReason::Abandoned);
            assert_eq!(reason.http_status().is_none(), nobody_to_tell);
            assert!(reason.http_status().is_none_or(|(status, _)| (400..=599).contains(&status)));
        }
    }
}
