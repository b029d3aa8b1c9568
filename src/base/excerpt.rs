//! Makes a short, printable excerpt of text that a peer sent, fit for a log line or a record.
//!
//! Runs in: anywhere: pure. Owns nothing. Never used on the way of the audio: it allocates.
//! Invariant: the result holds nothing invisible, and at most the bytes asked for plus "…".

use crate::base::visible::{is_invisible, visible};

/// The most of a WebSocket close reason that can exist on the wire: RFC 6455 section 5.5 limits a control frame to
/// 125 bytes, two of which are the close code.
pub(crate) const CLOSE_REASON_BYTES_MAX: usize = 123;

/// The first `bytes_max` bytes of `text` as printable UTF-8, for a log.
///
/// What is invisible becomes an escape ([`visible`]), so that one message stays one line of the log, invalid or cut UTF-8
/// becomes U+FFFD, and a shortened text ends in "…".
pub(crate) fn excerpt(text: &[u8], bytes_max: usize) -> String {
    let mut bytes = [0; 4];
    shortened(text, bytes_max, |character, shown| shown.push_str(&visible(character.encode_utf8(&mut bytes))))
}

/// The same with characters as they are, for what is quoted where it is shown.
pub(crate) fn cut(text: &[u8], bytes_max: usize) -> String {
    shortened(text, bytes_max, |character, shown| shown.push(character))
}

fn shortened(text: &[u8], bytes_max: usize, mut add: impl FnMut(char, &mut String)) -> String {
    // Replacing invalid bytes can make the text up to three times as long; look at no more of it than can be shown.
    let seen = &text[..text.len().min(bytes_max.saturating_add(4))];
    let mut shown = String::with_capacity(bytes_max.min(seen.len()) + '…'.len_utf8());
    let mut is_shortened = seen.len() < text.len();
    for character in String::from_utf8_lossy(seen).chars() {
        let kept = shown.len();
        add(character, &mut shown);
        if shown.len() > bytes_max {
            shown.truncate(kept);
            is_shortened = true;
            break;
        }
    }
    if is_shortened {
        shown.push('…');
    }
    shown
}

/// Cuts `text` to at most `bytes_max` bytes without splitting a character.
pub(crate) fn truncated(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Whether a character may stand in what names a call or is sent on: nothing invisible but the selectors that choose the
/// looks of a picture.
pub(crate) fn is_loggable(character: char) -> bool {
    !is_invisible(character) || matches!(character, '\u{FE00}'..='\u{FE0F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_printable_line() {
        assert_eq!(excerpt(b"plain", 10), "plain");
        assert_eq!(excerpt(b"a\r\nb\x00c\x1b[31m", 30), r"a\r\nb\u{0}c\u{1b}[31m");
        assert_eq!(excerpt("a\u{202E}b\u{2028}c".as_bytes(), 30), r"a\u{202e}b\u{2028}c");
        assert_eq!(excerpt("a\u{202E}b".as_bytes(), 8), "a…", "an escape is whole or not there");
    }

    #[test]
    fn an_excerpt_is_cut_between_characters_and_says_so() {
        assert_eq!(excerpt("žluť".as_bytes(), 3), "žl…");
        assert_eq!(excerpt("žluť".as_bytes(), 1), "…");
        assert_eq!(excerpt(&"ž".as_bytes()[..1], 10), "\u{FFFD}");
        assert_eq!(excerpt(&[0xFF; 1000], 10).len(), 9 + '…'.len_utf8());
        assert_eq!(excerpt(b"", 0), "");
    }

    #[test]
    fn truncating_never_splits_a_character() {
        assert_eq!(truncated("žluť", 1), "");
        assert_eq!(truncated("žluť", 2), "ž");
        assert_eq!(truncated("žluť", 100), "žluť");
    }
}
