//! What the upgrade request tells about a call: URL, headers, token, kind of module.
//!
//! Runs in: the accept thread, once per call, before the 101; pure. Owns nothing.
//! Never fails: a request that tells nothing is a call of which nothing is known.
//! Invariant: the URL's word counts more than a header's, and a header's more than the metadata's.
use super::page::PageSigns;
use crate::base::call_name;
use crate::call::leg::fields::{CallFields, FieldNote, Problem, Source, note};
use crate::call::leg::{LegKind, PresentedToken, TOKEN_BYTES_MAX};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// Longest ticket of the telephone in the browser: a UUID has 36.
const TICKET_BYTES_MAX: usize = 64;
/// Most parameters of a query that are looked at.
pub(crate) const QUERY_PARAMETERS_MAX: usize = 64;
/// Most headers that are looked at.
pub(crate) const HEADERS_MAX: usize = 100;

/// What the upgrade request told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// Fields of the path and the query.
    pub url: CallFields,
    /// Fields of the `X-` headers.
    pub headers: CallFields,
    /// The token, from `Authorization: Bearer` or the password of `Authorization: Basic`, else `X-Tandem-Token`, else the query's `token`.
    pub token: Option<PresentedToken>,
    /// What asks.
    pub kind: LegKind,
    /// The subprotocol that the answer to the upgrade must name, if one of those offered is known.
    pub subprotocol: Option<&'static str>,
    /// The ticket of the telephone in the browser, from `Sec-WebSocket-Protocol: …, ticket.TICKET`; at most 64 characters.
    pub ticket: Option<String>,
    /// A web page in a browser asks, as its `Origin` says.
    pub is_browser: bool,
    /// What was left out and why; to be logged once.
    pub notes: Vec<FieldNote>,
}

impl RequestFacts {
    /// Reads the request `target` (as in the request line, `/path?query`) and the `headers` (names in any case, values
    /// with or without spaces around them).
    pub fn from_request<'a>(target: &str, headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut facts = Self::default();
        let query_token = facts.read_target(target);
        let header_token = facts.read_headers(headers);
        facts.token = header_token.or(query_token);
        facts
    }

    /// The fields of the call once its metadata is known, or without it: URL, then headers, then metadata.
    pub fn merged(&self, metadata: &CallFields) -> CallFields {
        self.url.clone().or(self.headers.clone()).or(metadata.clone())
    }

    fn read_target(&mut self, target: &str) -> Option<PresentedToken> {
        // No request has a fragment (RFC 9112 section 3.2): a # is one of a number as it was dialled.
        if target.contains('#') {
            self.note_url(Problem::Hash);
        }
        let (path, query) = match target.split_once('?') {
            None if target.contains('=') => {
                self.note_url(Problem::NoQuestionMark);
                (target, target.rsplit('/').next().unwrap_or_default())
            }
            parts => parts.unwrap_or((target, "")),
        };
        let mut pairs: Vec<(Cow<'_, str>, Option<Cow<'_, str>>)> = Vec::new();
        let mut token = None;
        for (position, (name, value)) in form_urlencoded::parse(query.as_bytes()).enumerate() {
            let name = match name.strip_prefix("amp;") {
                Some(rest) => {
                    self.note_url(Problem::EscapedAmpersand);
                    Cow::Owned(rest.to_owned())
                }
                None => name,
            };
            if position == QUERY_PARAMETERS_MAX {
                note(&mut self.notes, FieldNote::new(Source::Url, "query", Problem::TooMany(position), b""));
                break;
            }
            if name.eq_ignore_ascii_case("token") {
                token = token.or(self.token(Source::Url, value.as_bytes()));
            } else {
                pairs.push((name, Some(unspaced_plus(value))));
            }
        }
        self.url = CallFields::from_pairs(&pairs, Source::Url, &mut self.notes);
        if self.url.uuid.is_none() {
            self.url.uuid = path.split('/').find(|segment| call_name::is_uuid(segment)).map(str::to_owned);
        }
        token
    }

    /// Says something of the URL as a whole, once.
    fn note_url(&mut self, problem: Problem) {
        let new = FieldNote::new(Source::Url, "text", problem, b"");
        if !self.notes.contains(&new) {
            note(&mut self.notes, new);
        }
    }

    fn read_headers<'a>(
        &mut self,
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Option<PresentedToken> {
        let mut pairs: Vec<(&str, Option<Cow<'_, str>>)> = Vec::new();
        let mut bearer = None;
        let mut own_header = None;
        let mut signs = PageSigns::default();
        for (name, value) in headers.into_iter().take(HEADERS_MAX) {
            let value = value.trim_ascii();
            if name.eq_ignore_ascii_case("user-agent")
                && is_ixwebsocket(value)
                && self.kind == LegKind::default()
            {
                self.kind = LegKind::Ixwebsocket;
            }
            if name.eq_ignore_ascii_case("sec-websocket-protocol") {
                self.ticket = self.ticket.take().or_else(|| ticket(value));
                if let Some((kind, subprotocol)) = LegKind::of_subprotocols(value)
                    && self.subprotocol.is_none()
                {
                    (self.kind, self.subprotocol) = (kind, Some(subprotocol));
                }
            }
            signs.see(name, value);
            if name.eq_ignore_ascii_case("authorization") {
                let presented =
                    bearer_token(value).map(Cow::Borrowed).or_else(|| basic_password(value).map(Cow::Owned));
                let token = presented.and_then(|token| self.token(Source::Header, &token));
                bearer = bearer.or(token);
            } else if name.eq_ignore_ascii_case("x-tandem-token") {
                own_header = own_header.or(self.token(Source::Header, value));
            } else if let Some(field_name) = name.get(2..).filter(|_| starts_with_x_dash(name)) {
                pairs.push((field_name, Some(String::from_utf8_lossy(value))));
            }
        }
        self.headers = CallFields::from_pairs(&pairs, Source::Header, &mut self.notes);
        let token = bearer.or(own_header);
        self.is_browser = signs.is_page(token.is_some());
        token
    }

    fn token(&mut self, source: Source, value: &[u8]) -> Option<PresentedToken> {
        let token = PresentedToken::new(value);
        if token.is_none() && !value.is_empty() {
            note(&mut self.notes, FieldNote::new(source, "token", Problem::TooLong(TOKEN_BYTES_MAX), b""));
        }
        token
    }
}

/// The ticket among the subprotocols that are offered.
fn ticket(offered: &[u8]) -> Option<String> {
    let mut offered = offered.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let ticket = offered.find_map(|one| one.strip_prefix(b"ticket."))?;
    let well_formed = (1..=TICKET_BYTES_MAX).contains(&ticket.len())
        && ticket.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    well_formed.then(|| String::from_utf8_lossy(ticket).into_owned())
}

fn is_ixwebsocket(user_agent: &[u8]) -> bool {
    let name = user_agent.get(..b"ixwebsocket".len());
    name.is_some_and(|name| name.eq_ignore_ascii_case(b"ixwebsocket"))
}

fn starts_with_x_dash(name: &str) -> bool {
    name.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("x-"))
}

/// The credentials of `Authorization: Bearer …` (RFC 6750 section 2.1; the scheme's case does not matter).
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

/// The password of `Authorization: Basic …` (RFC 7617 section 2), which is what `username` and `password` of Asterisk's
/// websocket_client.conf and jambonz' `wsAuth` become; the name where the password is empty.
fn basic_password(value: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = value.split_at_checked(b"basic ".len())?;
    let rest = rest.trim_ascii();
    if !scheme.eq_ignore_ascii_case(b"basic ") || rest.len() > TOKEN_BYTES_MAX * 4 {
        return None;
    }
    let decoded = STANDARD_ANY_PADDING.decode(rest).ok()?;
    let colon = decoded.iter().position(|&byte| byte == b':')?;
    let (name, password) = (&decoded[..colon], &decoded[colon + 1..]);
    Some(if password.is_empty() { name } else { password }.to_vec())
}

/// Base64 with or without its padding.
const STANDARD_ANY_PADDING: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A dial plan that writes `caller=${caller_id_number}` sends `+420…` unescaped, and form decoding makes the plus a
/// space: a leading space before a digit was that plus.
fn unspaced_plus(value: Cow<'_, str>) -> Cow<'_, str> {
    match value.as_bytes() {
        [b' ', b'0'..=b'9', ..] => Cow::Owned(value.replacen(' ', "+", 1)),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::SampleRate;
    use crate::base::{Mix, PlaybackFormat};
    use proptest::prelude::*;

    const UUID: &str = "2a162ce6-b85c-45d4-a03d-ffd4286da520";

    fn facts(target: &str, headers: &[(&str, &str)]) -> RequestFacts {
        RequestFacts::from_request(target, headers.iter().map(|(name, value)| (*name, value.as_bytes())))
    }

    #[test]
    fn the_query_names_everything() {
        let facts = facts(
            "/?uuid=u1&did=100&caller=%2B420123&playback=json&rate=8k&mix=stereo&agent=reception&x=y&token=t",
            &[],
        );
        let url = &facts.url;
        assert_eq!(url.uuid.as_deref(), Some("u1"));
        assert_eq!((url.did.as_deref(), url.caller.as_deref()), (Some("100"), Some("+420123")));
        assert_eq!((url.playback, url.rate), (Some(PlaybackFormat::Json), Some(SampleRate::Hz8000)));
        assert_eq!((url.mix, url.agent.as_deref()), (Some(Mix::Stereo), Some("reception")));
        assert!(facts.token.unwrap().matches(b"t"));
        assert!(facts.notes.is_empty());
    }

    #[test]
    fn a_browser_is_known_and_its_ticket_is_read_from_the_subprotocols() {
        let offered = ("Sec-WebSocket-Protocol", "tandem.telephone, ticket.ab-12");
        let browser = facts("/", &[offered, ("Host", "a"), ("Origin", "http://b")]);
        assert_eq!((browser.kind, browser.is_browser), (LegKind::Telephone, true));
        assert_eq!(browser.ticket.as_deref(), Some("ab-12"));
        for wrong in ["ticket.", "ticket.a b", &format!("ticket.{}", "a".repeat(65)), "tickets.a"] {
            assert_eq!(facts("/", &[("sec-websocket-protocol", wrong)]).ticket, None, "{wrong}");
        }
    }

    #[test]
    fn a_plus_that_nobody_escaped_is_still_a_plus() {
        let facts = facts("/?did=+420123&caller=Jan+Nov%C3%A1k&to= 5", &[]);
        assert_eq!(facts.url.did.as_deref(), Some("+420123"));
        assert_eq!(facts.url.caller.as_deref(), Some("Jan Novák"));
    }

    #[test]
    fn a_uuid_in_the_path_is_found_unless_the_query_names_one() {
        for target in [format!("/{UUID}"), format!("/call/{UUID}"), format!("/call/{UUID}/audio?x=1#f")] {
            assert_eq!(facts(&target, &[]).url.uuid.as_deref(), Some(UUID), "{target}");
        }
        assert_eq!(facts(&format!("/{UUID}?uuid=q"), &[]).url.uuid.as_deref(), Some("q"));
        for target in [
            "/",
            "",
            "*",
            "/call/1",
            "/2a162ce6b85c45d4a03dffd4286da520",
            "/zz162ce6-b85c-45d4-a03d-ffd4286da520",
        ] {
            assert_eq!(facts(target, &[]).url.uuid, None, "{target}");
        }
    }

    #[test]
    fn headers_count_after_the_url_and_before_the_metadata() {
        let facts = facts(
            "/?uuid=from-url",
            &[
                ("x-call-uuid", "from-header"),
                ("X-DID", "100"),
                ("X-RATE", "16000"),
                ("Accept", "x"),
                ("X", "y"),
            ],
        );
        let metadata = CallFields {
            uuid: Some("from-metadata".to_owned()),
            did: Some("999".to_owned()),
            agent: Some("sales".to_owned()),
            ..CallFields::default()
        };
        let merged = facts.merged(&metadata);
        assert_eq!(merged.uuid.as_deref(), Some("from-url"));
        assert_eq!((merged.did.as_deref(), merged.rate), (Some("100"), Some(SampleRate::Hz16000)));
        assert_eq!(merged.agent.as_deref(), Some("sales"));
    }

    #[test]
    fn the_user_agent_tells_the_old_module_where_nothing_else_does() {
        let kind = |headers: &[(&str, &str)]| facts("/", headers).kind;
        let (old, fork) =
            ("ixwebsocket/11.4.3 linux ssl/OpenSSL", ("Sec-WebSocket-Protocol", "audio.drachtio.org"));
        assert_eq!(kind(&[("User-Agent", old)]), LegKind::Ixwebsocket);
        assert_eq!(kind(&[fork, ("user-agent", old)]), LegKind::AudioFork);
        assert_eq!(kind(&[("user-agent", old), fork]), LegKind::AudioFork);
        assert_eq!(kind(&[("User-Agent", "curl")]), LegKind::ModAudioStream);
        assert_eq!(kind(&[("Host", "ixwebsocket")]), LegKind::ModAudioStream);
    }

    #[test]
    fn headers_without_the_prefix_are_not_ours() {
        let facts = facts("/", &[("From", "a@b"), ("To", "c"), ("Caller", "d"), ("é-Rate", "8k")]);
        assert_eq!(facts.headers, CallFields::default());
    }

    #[test]
    fn the_token_is_taken_from_the_safest_place_and_never_shown() {
        let both = facts("/?token=q", &[("X-Tandem-Token", "own"), ("authorization", "bearer  sesame ")]);
        assert!(both.token.as_ref().unwrap().matches(b"sesame"));
        assert!(!format!("{both:?}").contains("sesame"));
        assert!(facts("/?token=q", &[("X-Tandem-Token", "own")]).token.unwrap().matches(b"own"));
        assert_eq!(facts("/", &[("Authorization", "Digest eDp5"), ("X-Tandem-Token", "")]).token, None);
        let long = facts(&format!("/?token={}", "x".repeat(600)), &[]);
        assert_eq!(long.token, None);
        assert_eq!(long.notes[0].to_string(), "token in the call's URL ignored: is longer than 512 bytes");
    }

    #[test]
    fn a_password_is_a_token_too() {
        for (authorization, token) in [
            // x:y, x:y without padding, tandem:s:3, s3: and :s3.
            ("Basic eDp5", Some("y")),
            ("basic  dGFuZGVtOnM6Mw==", Some("s:3")),
            ("Basic dGFuZGVtOnM6Mw", Some("s:3")),
            ("Basic czM6", Some("s3")),
            ("Basic OnMz", Some("s3")),
            ("Basic eA==", None),
            ("Basic ***", None),
            ("Basic ", None),
        ] {
            let told = facts("/", &[("Authorization", authorization)]).token;
            assert_eq!(told.is_some(), token.is_some(), "{authorization}");
            assert!(token.is_none_or(|token| told.unwrap().matches(token.as_bytes())), "{authorization}");
        }
    }

    #[test]
    fn what_a_dialplan_forgets_to_escape_is_read_and_said_once() {
        let noted = |facts: &RequestFacts| facts.notes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let hash = facts("/?did=*21#&caller=#31#&uuid=u1", &[]);
        assert_eq!((hash.url.did.as_deref(), hash.url.caller.as_deref()), (Some("*21#"), Some("#31#")));
        assert_eq!(hash.url.uuid.as_deref(), Some("u1"));
        let notes = noted(&hash);
        assert!(notes.len() == 1 && notes[0].contains("write %23"), "{notes:?}");
        for target in ["/tandem&uuid=u1&did=5", "/uuid=u1&did=5", "/a/&uuid=u1&did=5"] {
            let told = facts(target, &[]);
            assert_eq!(
                (told.url.uuid.as_deref(), told.url.did.as_deref()),
                (Some("u1"), Some("5")),
                "{target}"
            );
            let notes = noted(&told);
            assert!(notes.len() == 1 && notes[0].contains("without a ?"), "{target}: {notes:?}");
        }
        let xml = facts("/?uuid=u1&amp;did=5&amp;caller=6", &[]);
        assert_eq!((xml.url.did.as_deref(), xml.url.caller.as_deref()), (Some("5"), Some("6")));
        assert_eq!(noted(&xml).len(), 1);
        assert!(facts("/a?x=1", &[]).notes.is_empty() && facts("/a/b", &[]).notes.is_empty());
    }

    #[test]
    fn what_is_not_utf_8_is_read_with_a_note_wherever_it_stands() {
        let url = facts("/?caller=J%F6rg&did=5", &[]);
        assert_eq!((url.url.caller.as_deref(), url.url.did.as_deref()), (Some("J\u{FFFD}rg"), Some("5")));
        assert_eq!(url.notes.len(), 1);
        let headers = RequestFacts::from_request("/", [("X-Caller", &b"J\xf6rg"[..]), ("X-DID", &b"5"[..])]);
        assert_eq!(headers.headers.caller.as_deref(), Some("J\u{FFFD}rg"));
        assert!(headers.notes[0].to_string().contains("not UTF-8"));
    }

    #[test]
    fn an_endless_query_is_cut_off() {
        let facts = facts(&format!("/?{}&uuid=late", "a=b&".repeat(64).trim_end_matches('&')), &[]);
        assert_eq!((facts.url.uuid, facts.notes.len()), (None, 1));
    }

    proptest! {
        #[test]
        fn any_request_gives_facts_fit_for_a_log(
            target in "[ -~]{0,40}(\\?(uuid|did|caller|rate|mix|agent|token)=(%[0-9a-f]{2}|[ -~]){0,80}){0,3}",
            name in "(x-(uuid|caller|did|rate)|authorization|[a-zA-Zé-]{0,12})",
            value in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let facts = RequestFacts::from_request(&target, [(name.as_str(), value.as_slice())]);
            let fields = facts.merged(&CallFields::default());
            for text in [fields.uuid, fields.did, fields.caller, fields.agent].into_iter().flatten() {
                prop_assert!(!text.is_empty() && text.len() <= 128);
                prop_assert!(text.chars().all(crate::base::excerpt::is_loggable));
            }
            for note in facts.notes {
                prop_assert!(note.to_string().len() < 250 && !note.to_string().contains(char::is_control));
            }
        }
    }
}
