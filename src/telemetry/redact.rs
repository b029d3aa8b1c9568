//! Cuts our own secrets out of text that is about to be logged: every configured key, token and password, by its value.
//!
//! Runs in: whichever thread logs, never a media thread; secrets are made known by main, the signal thread and whoever fetches
//! a token. Owns what is known. Never shortens or changes anything else: a caller's text that looks like a secret stays.
//! Invariant: no form of a known secret survives: as it is, escaped, percent-encoded, or within base64.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use parking_lot::RwLock;

/// What stands where a secret stood.
const REDACTED: &str = "(redacted)";
/// How Google's keys and tokens begin: API keys old and new, OAuth access tokens, ephemeral tokens. A key that somebody has put
/// in a wrong place is known by it.
const GOOGLE_BEGINNINGS: [&str; 4] = ["AIza", "AQ.", "ya29.", "auth_tokens/"];
/// Shorter than any of these, longer than an English word that begins by chance like one.
const GOOGLE_CHARACTERS_MIN: usize = 16;
/// Anything shorter would be found by chance in everything, and hides nothing from whoever can guess.
const SECRET_BYTES_MIN: usize = 4;
/// A shorter secret is cut out only where it stands alone: within a number or a word it is there by chance.
const SECRET_BYTES_ANYWHERE: usize = 8;
/// Beginnings of secrets that are cut out where a text was shortened.
const BEGINNING_BYTES_MIN: usize = 8;
/// Fetched tokens that are remembered; those before have expired.
const FETCHED_MAX: usize = 64;

static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);

/// Cuts the secrets of a configuration out of everything from now on. Those of the one before are remembered.
pub fn conceal<'a>(secrets: impl IntoIterator<Item = &'a str>) {
    let mut known = KNOWN.write();
    secrets.into_iter().for_each(|secret| known.add(secret));
}

/// The same for a token that was fetched and that another one will follow.
pub fn conceal_fetched(token: &str) {
    KNOWN.write().add_fetched(token);
}

/// `text` without our secrets.
pub fn redact(text: &str) -> Cow<'_, str> {
    KNOWN.read().redact(text)
}

/// A secret, and what it looks like within base64.
struct Forms {
    text: String,
    /// Its middle in base64, by how many bytes stand before it (modulo 3).
    encoded: Vec<String>,
}

impl Forms {
    fn of(secret: &str) -> Self {
        let encoded = (0..3).map(|before| {
            let bytes = [&[0; 2][..before], secret.as_bytes()].concat();
            let text = BASE64_STANDARD_NO_PAD.encode(&bytes);
            // The first and the last character are made of bits of neighbours, too.
            let begin = (before * 8).div_ceil(6);
            let end = bytes.len() * 8 / 6;
            text.get(begin..end).unwrap_or_default().to_owned()
        });
        let encoded = encoded.filter(|text| text.len() >= BEGINNING_BYTES_MIN).collect();
        Self { text: secret.to_owned(), encoded }
    }

    /// How many bytes of `text`, from `at` on, are this secret in some form.
    fn length_at(&self, text: &str, at: usize) -> Option<usize> {
        let here = &text.as_bytes()[at..];
        let begins =
            self.text.as_bytes().first().is_some_and(|&first| lengths_of(first, here).next().is_some());
        let (read, matched) = if begins { written(here, self.text.as_bytes()) } else { (0, 0) };
        let is_whole = matched == self.text.len();
        let stands_alone = || {
            let before = text[..at].chars().next_back();
            let after = text.get(at + read..).and_then(|rest| rest.chars().next());
            ![before, after].into_iter().flatten().any(char::is_alphanumeric)
        };
        if is_whole && (matched >= SECRET_BYTES_ANYWHERE || stands_alone()) {
            return Some(read);
        }
        let was_shortened = || here[read..].starts_with("…".as_bytes());
        if !is_whole && matched >= BEGINNING_BYTES_MIN && was_shortened() {
            return Some(read);
        }
        self.encoded.iter().find_map(|encoded| {
            let found = encoded.bytes().zip(here).all(|(own, &theirs)| own == standard(theirs));
            (here.len() >= encoded.len() && found).then(|| {
                // The whole word: what stands around it in the same base64 is of the same secret.
                here.iter().position(|&byte| !is_base64(byte)).unwrap_or(here.len())
            })
        })
    }
}

/// How many bytes of `text` are how many first bytes of `secret`, where each byte may be escaped or percent-encoded. A secret
/// may itself look encoded, so each way of reading is followed.
fn written(text: &[u8], secret: &[u8]) -> (usize, usize) {
    let mut reads = vec![0];
    for (matched, &wanted) in secret.iter().enumerate() {
        let furthest = reads.iter().max().copied().unwrap_or_default();
        let mut next: Vec<usize> = Vec::new();
        for read in reads {
            for length in lengths_of(wanted, &text[read..]) {
                if !next.contains(&(read + length)) {
                    next.push(read + length);
                }
            }
        }
        if next.is_empty() {
            return (furthest, matched);
        }
        reads = next;
    }
    (reads.into_iter().max().unwrap_or_default(), secret.len())
}

/// By how many bytes `text` may begin with this byte: as it is, escaped, percent-encoded once or twice, or as forms write a
/// space.
fn lengths_of(wanted: u8, text: &[u8]) -> impl Iterator<Item = usize> {
    let is_it = |byte: u8| byte == wanted;
    let is_hexadecimal = |high: u8, low: u8| hexadecimal(high, low) == Some(wanted);
    let plain = matches!(text, [byte, ..] if is_it(*byte) || (wanted == b' ' && *byte == b'+'));
    let escaped = matches!(text, [b'\\', byte, ..] if is_it(*byte));
    let once = matches!(text, [b'%', high, low, ..] if is_hexadecimal(*high, *low));
    let twice = matches!(text, [b'%', b'2', b'5', high, low, ..] if is_hexadecimal(*high, *low));
    [(plain, 1), (escaped, 2), (once, 3), (twice, 5)]
        .into_iter()
        .filter_map(|(is, length)| is.then_some(length))
}

fn hexadecimal(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// A character of either alphabet of base64, as the standard one has it.
fn standard(byte: u8) -> u8 {
    match byte {
        b'-' => b'+',
        b'_' => b'/',
        other => other,
    }
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_=".contains(&byte)
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}

/// See the head of this file.
#[derive(Default)]
struct Known {
    configured: Vec<Forms>,
    fetched: VecDeque<Forms>,
}

impl Known {
    fn add(&mut self, secret: &str) {
        if secret.len() >= SECRET_BYTES_MIN && !self.configured.iter().any(|known| known.text == secret) {
            self.configured.push(Forms::of(secret));
        }
    }

    fn add_fetched(&mut self, token: &str) {
        if token.len() < SECRET_BYTES_MIN || self.fetched.iter().any(|known| known.text == token) {
            return;
        }
        if self.fetched.len() >= FETCHED_MAX {
            self.fetched.pop_front();
        }
        self.fetched.push_back(Forms::of(token));
    }

    fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut redacted = String::new();
        let (mut kept, mut at) = (0, 0);
        while let Some(character) = text[at..].chars().next() {
            let length = self.longest_at(text, at).or_else(|| google_length_at(text, at));
            match length {
                Some(length) => {
                    redacted.push_str(&text[kept..at]);
                    redacted.push_str(REDACTED);
                    at += length;
                    kept = at;
                }
                None => at += character.len_utf8(),
            }
        }
        if kept == 0 {
            return Cow::Borrowed(text);
        }
        redacted.push_str(&text[kept..]);
        Cow::Owned(redacted)
    }

    fn longest_at(&self, text: &str, at: usize) -> Option<usize> {
        let known = self.configured.iter().chain(&self.fetched);
        let longest = known.filter_map(|forms| forms.length_at(text, at)).max()?;
        // A secret's last byte may be the first of a character that goes on.
        (at + longest..=text.len()).find(|&end| text.is_char_boundary(end)).map(|end| end - at)
    }
}

/// How long what begins at `at` is, if it looks like a key of Google.
fn google_length_at(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let begins_word = !text[..at].chars().next_back().is_some_and(is_word);
    if !begins_word || !GOOGLE_BEGINNINGS.iter().any(|beginning| rest.starts_with(beginning)) {
        return None;
    }
    let length = rest.find(|c| !is_word(c) && c != '.' && c != '/').unwrap_or(rest.len());
    (length >= GOOGLE_CHARACTERS_MIN).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn knowing(secrets: &[&str]) -> Known {
        let mut known = Known::default();
        secrets.iter().for_each(|secret| known.add(secret));
        known
    }

    #[test]
    fn a_secret_of_ours_is_cut_out_in_every_form() {
        let known = knowing(&["a-token/of+some=length", "geheim \"1\""]);
        for (text, expected) in [
            ("token a-token/of+some=length.", "token (redacted)."),
            ("?t=a-token%2Fof%2bsome%3Dlength&x=1", "?t=(redacted)&x=1"),
            ("?t=%61-token%2Fof%2Bsome%3Dlength", "?t=(redacted)"),
            ("path=/call%3Ft%3Da-token%252Fof%252Bsome%253Dlength", "path=/call%3Ft%3D(redacted)"),
            (r#"{"password": "geheim \"1\""}"#, r#"{"password": "(redacted)"}"#),
            ("p=geheim+%221%22", "p=(redacted)"),
            ("cut a-token/of+s…", "cut (redacted)…"),
        ] {
            assert_eq!(known.redact(text), expected);
        }
        for user in ["", "u", "us", "user:", "someone:"] {
            let pair = format!("{user}a-token/of+some=length");
            for encoded in [BASE64_STANDARD.encode(&pair), BASE64_URL_SAFE_NO_PAD.encode(&pair)] {
                let shown = known.redact(&encoded).into_owned();
                assert!(
                    shown.ends_with(REDACTED) && shown.len() <= REDACTED.len() + 12,
                    "{encoded}: {shown}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_secret_of_ours_stays_and_costs_no_copy() {
        let known = knowing(&["a-token-of-some-length", "12345", "abc"]);
        for text in [
            "caller=\"key=abc token: xyz Authorization: Basic YTpi\" did=\"5000\"",
            "no new token, the old one is good for 5 s: key = (set)",
            "a-token-of-another-length",
            "a-token-of",
            "did=\"7123456\" at 12345678",
            "listen.tls_key = \"/etc/tls/key.pem\"",
            "AIzawa and AQ.x are short",
            "",
        ] {
            assert!(
                matches!(known.redact(text), Cow::Borrowed(same) if same == text),
                "{text}: {}",
                known.redact(text)
            );
        }
        assert_eq!(known.redact("the password 12345 is short"), "the password (redacted) is short");
    }

    #[test]
    fn keys_of_google_are_known_by_their_looks() {
        for (text, expected) in [
            ("AIzaSyA1234567890abcdefghij_klmno-pq is bad", "(redacted) is bad"),
            ("got <AQ.Ab8RN6ABCDEFGHIJKL>", "got <(redacted)>"),
            ("ya29.a0AfH6SMBx-123.456_78", "(redacted)"),
        ] {
            assert_eq!(Known::default().redact(text), expected);
        }
    }

    #[test]
    fn of_fetched_tokens_the_last_ones_are_known() {
        let mut known = Known::default();
        (0..=FETCHED_MAX).for_each(|n| known.add_fetched(&format!("fetched-token-{n}.")));
        assert_eq!(known.redact("fetched-token-0. fetched-token-64."), "fetched-token-0. (redacted)");
    }

    proptest! {
        #[test]
        fn no_secret_survives_in_any_text(
            before in "[ -~äé€\n]{0,30}",
            secret in "[!-~]{8,40}",
            after in "[ -~äé€\n]{0,30}",
        ) {
            let known = knowing(&[&secret]);
            let once = known.redact(&format!("{before}{secret}{after}")).into_owned();
            prop_assert!(!once.contains(&secret));
            let pair = BASE64_STANDARD.encode(format!("{before}:{secret}"));
            prop_assert!(known.redact(&pair).contains(REDACTED));
            let percent: String = secret.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(known.redact(&percent), REDACTED);
        }
    }
}
