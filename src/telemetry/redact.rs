//! Cuts credentials out of text that is about to be logged.
//!
//! Runs in: whichever thread logs, never a media thread. Owns the list of what looks like a credential. Never shortens
//! or changes anything else. Invariant: redacting twice is the same as redacting once.

use std::borrow::Cow;

/// What stands where a credential stood.
const REDACTED: &str = "(redacted)";

/// A name that ends like this names a credential: `key=`, `"apiKey":`, `x-goog-api-key:`, `TANDEM_TOKEN=`.
const CREDENTIAL_ENDINGS: [&str; 5] = ["key", "token", "authorization", "password", "secret"];

/// Names that end so and are none: a path, and the nonce of RFC 6455 section 4.1.
const HARMLESS_NAMES: [&str; 2] = ["tls_key", "sec-websocket-key"];

/// How Google's credentials begin: API keys old and new, OAuth access tokens, ephemeral tokens.
const CREDENTIAL_BEGINNINGS: [&str; 4] = ["AIza", "AQ.", "ya29.", "auth_tokens/"];

/// Shorter than any of these credentials, longer than an English word that begins by chance like one.
const CREDENTIAL_CHARACTERS_MIN: usize = 16;

/// `text` with every credential replaced by `(redacted)`: the value after a name such as `key=`, `token:` or
/// `Authorization:`, in a URL, a header or JSON, and anything that looks like a credential of Google by itself.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut redacted = String::new();
    let mut kept = 0;
    let mut position = 0;
    while let Some((start, end)) = next_credential(text, position) {
        redacted.push_str(&text[kept..start]);
        redacted.push_str(REDACTED);
        (kept, position) = (end, end);
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    redacted.push_str(&text[kept..]);
    Cow::Owned(redacted)
}

/// Where the next credential at or after `from` begins and ends.
fn next_credential(text: &str, from: usize) -> Option<(usize, usize)> {
    let mut position = from;
    loop {
        let start = position + text[position..].find(is_word)?;
        let rest = &text[start..];
        if CREDENTIAL_BEGINNINGS.iter().any(|beginning| rest.starts_with(beginning)) {
            let length = rest.find(|c| !is_word(c) && c != '.' && c != '/').unwrap_or(rest.len());
            if length >= CREDENTIAL_CHARACTERS_MIN {
                return Some((start, start + length));
            }
        }
        let name_length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(name_length);
        if let Some(value) = names_credential(name).then(|| value_span(name, after)).flatten() {
            return Some((start + name_length + value.0, start + name_length + value.1));
        }
        position = start + name_length;
    }
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}

fn names_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    CREDENTIAL_ENDINGS.iter().any(|ending| name.ends_with(ending)) && !HARMLESS_NAMES.contains(&name.as_str())
}

/// Where the value lies in `after`, the text behind a credential's name, if a value follows at all.
fn value_span(name: &str, after: &str) -> Option<(usize, usize)> {
    // The quotation mark that closes a JSON name may itself be escaped, when JSON is logged as a string.
    let separator = after.trim_start_matches(['"', '\'', '\\', ' ']);
    let value = match separator.strip_prefix("%3D").or_else(|| separator.strip_prefix("%3d")) {
        Some(value) => value,
        None => separator.strip_prefix(['=', ':'])?,
    };
    let value = value.trim_start_matches([' ', '\t', '"', '\'', '\\']);
    let start = after.len() - value.len();
    // A scheme and a credential follow `Authorization:`, so a space does not end it.
    let whole_line = name.to_ascii_lowercase().ends_with("authorization");
    let ends = |c: char| match c {
        '"' | '\'' | '\\' | '\r' | '\n' => true,
        '&' | ',' | ';' | ')' | '}' | ']' | '>' | '#' => !whole_line,
        other => other.is_whitespace() && !whole_line,
    };
    let harmless = ["(set)", "(not set)", REDACTED].iter().any(|shown| value.starts_with(shown));
    let length = value.find(ends).unwrap_or(value.len());
    (length > 0 && !harmless).then_some((start, start + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn credentials_are_cut_out_wherever_they_stand() {
        for (text, expected) in [
            ("GET /ws?key=abc123&alt=ws HTTP/1.1", "GET /ws?key=(redacted)&alt=ws HTTP/1.1"),
            ("wss://h/ws?access_token=auth_tokens/xyz", "wss://h/ws?access_token=(redacted)"),
            ("x-goog-api-key: abc123\r\nhost: h", "x-goog-api-key: (redacted)\r\nhost: h"),
            ("Authorization: Token abc def\r\nA: b", "Authorization: (redacted)\r\nA: b"),
            ("proxy-authorization:Basic YTpi", "proxy-authorization:(redacted)"),
            (r#"{"apiKey": "abc", "a": 1}"#, r#"{"apiKey": "(redacted)", "a": 1}"#),
            (r#""{\"token\":\"abc\"}""#, r#""{\"token\":\"(redacted)\"}""#),
            ("path=/call%3Ftoken%3Dabc", "path=/call%3Ftoken%3D(redacted)"),
            ("TANDEM_TOKEN=abc tandem", "TANDEM_TOKEN=(redacted) tandem"),
            ("key = 'a' and token='b'", "key = '(redacted)' and token='(redacted)'"),
            ("AIzaSyA1234567890abcdefghij_klmno-pq is bad", "(redacted) is bad"),
            ("got <AQ.Ab8RN6ABCDEFGHIJKL>", "got <(redacted)>"),
            ("ya29.a0AfH6SMBx-123.456_78", "(redacted)"),
            ("password=hünter, next", "password=(redacted), next"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn what_is_no_credential_stays_and_costs_no_copy() {
        for text in [
            "call 5: leg connected from 10.0.0.1:4000",
            "gemini.api_key = (set) (environment GEMINI_API_KEY)",
            "listen.token = (not set) (default)",
            "refusals_total{reason=\"token\"}=3",
            "listen.tls_key = \"/etc/tls/key.pem\"",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "the key is missing; token=",
            "AIzawa and AQ.x are short",
            "",
        ] {
            assert!(matches!(redact(text), Cow::Borrowed(same) if same == text), "{text}: {}", redact(text));
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_redacted_and_twice_is_once(text in "[ -~äé€\n\r\t]{0,80}") {
            let once = redact(&text).into_owned();
            prop_assert_eq!(redact(&once), once.as_str());
        }

        #[test]
        fn a_value_behind_a_credential_name_never_survives(
            name in "(api_key|key|token|X-Goog-Api-Key|accessToken|password)",
            separator in "(=|: |\": \"| = )",
            value in "Q[A-Za-z0-9_./+]{6,40}Q",
        ) {
            let text = format!("before {name}{separator}{value} after");
            prop_assert!(!redact(&text).contains(&value));
        }
    }
}
