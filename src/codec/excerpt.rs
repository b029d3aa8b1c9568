//! Makes a short, printable excerpt of text that a peer sent, fit for a log line or a record.
//!
//! Runs in: anywhere: pure. Owns nothing. Never used on the way of the audio: it allocates.
//! Invariant: the result holds no control or direction-changing character, and at most the bytes asked for plus "…".

/// The most of a WebSocket close reason that can exist on the wire: RFC 6455 section 5.5 limits a control frame to
/// 125 bytes, two of which are the close code.
pub const CLOSE_REASON_BYTES_MAX: usize = 123;

/// The first `bytes_max` bytes of `text` as printable UTF-8, for a log.
///
/// Control characters (line ends included, so one message stays one line of the log) become a space, characters that
/// change the direction of writing are left out, invalid or cut UTF-8 becomes U+FFFD, and a shortened text ends in
/// "…".
pub fn excerpt(text: &[u8], bytes_max: usize) -> String {
    // Replacing invalid bytes can make the text up to three times as long; look at no more of it than can be shown.
    let seen = &text[..text.len().min(bytes_max.saturating_add(4))];
    let mut shown = String::with_capacity(bytes_max.min(seen.len()) + '…'.len_utf8());
    let mut shortened = seen.len() < text.len();
    for character in String::from_utf8_lossy(seen).chars() {
        let printable = if character.is_control() { ' ' } else { character };
        if changes_direction(printable) {
            continue;
        }
        if shown.len() + printable.len_utf8() > bytes_max {
            shortened = true;
            break;
        }
        shown.push(printable);
    }
    if shortened {
        shown.push('…');
    }
    shown
}

/// Cuts `text` to at most `bytes_max` bytes without splitting a character.
pub fn truncated(text: &str, bytes_max: usize) -> &str {
    let end = (0..=bytes_max.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}

/// Whether a character may stand in a log line as it is: no controls, no line or paragraph separators, nothing that
/// changes the direction of writing (Unicode bidirectional controls, the byte order mark).
pub fn is_loggable(character: char) -> bool {
    !character.is_control() && !changes_direction(character)
}

fn changes_direction(character: char) -> bool {
    matches!(character,
        '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_printable_line() {
        assert_eq!(excerpt(b"plain", 10), "plain");
        assert_eq!(excerpt(b"a\r\nb\x00c\x1b[31m", 20), "a  b c [31m");
        assert_eq!(excerpt("a\u{202E}b\u{2028}c".as_bytes(), 20), "abc");
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
