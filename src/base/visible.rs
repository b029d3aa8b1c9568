//! Text that others wrote, fit for a log, a terminal or an answer: what cannot be seen is shown, and a value ends where it
//! ends.
//!
//! Runs in: anywhere: pure. Owns the list of characters that are not shown as they are. Never leaves anything out.
//! Invariant: what comes back holds no control, format, separator or other invisible character; and a quoted text holds no
//! quotation mark that is not escaped.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// Whether a character shows nothing, or steers how others are shown: controls, format characters (those that change the
/// direction of writing among them), line and paragraph separators, characters that Unicode has not assigned, fillers and
/// variation selectors. Spaces and combining marks are none.
pub fn is_invisible(character: char) -> bool {
    match character {
        ' '..='~' => false,
        // Blank where a letter or a mark is expected.
        '\u{034F}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}' => true,
        '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FFA0}' | '\u{E0000}'..='\u{E0FFF}' => true,
        // Spaces that have a width.
        '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}' => false,
        _ => {
            // What std does not print within a string: categories C and Z of Unicode. Behind a letter a combining mark is
            // printed.
            let mut bytes = [0; 5];
            bytes[0] = b'a';
            let length = 1 + character.encode_utf8(&mut bytes[1..]).len();
            let text = std::str::from_utf8(&bytes[..length]).unwrap_or_default();
            text.escape_debug().nth(1) != Some(character)
        }
    }
}

/// Text in which whatever [`is_invisible`] is written as an escape, such as `\n` or `\u{202e}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    escaped(text, is_invisible, |hidden, shown| shown.extend(hidden.escape_default()))
}

/// JSON of which a terminal shows every character: in the strings of JSON, the only place for such characters, `\u202e` is
/// the same as the character. Line breaks between values stay.
pub fn visible_json(json: &str) -> Cow<'_, str> {
    let hidden = |character: char| character != '\n' && is_invisible(character);
    escaped(json, hidden, |hidden, shown| {
        for unit in hidden.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            _ = write!(shown, "\\u{unit:04x}");
        }
    })
}

fn escaped(text: &str, is_hidden: fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hidden(character) { escape(character, &mut shown) } else { shown.push(character) }
    }
    Cow::Owned(shown)
}

/// A text of others within a line: in quotation marks, with marks and backslashes escaped and nothing invisible.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                hidden if is_invisible(hidden) => write!(f, "{}", hidden.escape_default())?,
                other => f.write_char(other)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_seen_stays_and_what_is_not_is_shown() {
        for text in
            ["plain \"text\" \\ x", "žluťoučký", "日本 語", "हिन्दी", "e\u{301}", "1\u{a0}000", "\u{1F600}"]
        {
            assert!(matches!(visible(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        for (text, shown) in [
            ("a\r\nb\u{1b}[31mc\u{9b}d", r"a\r\nb\u{1b}[31mc\u{9b}d"),
            ("\u{202e}abc\u{2066}", r"\u{202e}abc\u{2066}"),
            (
                "a\u{200b}b\u{200d}c\u{feff}d\u{ad}e\u{61c}f\u{180e}",
                r"a\u{200b}b\u{200d}c\u{feff}d\u{ad}e\u{61c}f\u{180e}",
            ),
            ("\u{2028}\u{2029}\u{85}", r"\u{2028}\u{2029}\u{85}"),
            ("\u{e0041}\u{e0100}\u{fe0f}", r"\u{e0041}\u{e0100}\u{fe0f}"),
            ("\u{3164}\u{115f}\u{2800}\u{34f}", r"\u{3164}\u{115f}\u{2800}\u{34f}"),
            (
                "\u{2061}\u{2064}\u{206a}\u{fff9}\u{1d173}\u{110bd}",
                r"\u{2061}\u{2064}\u{206a}\u{fff9}\u{1d173}\u{110bd}",
            ),
            ("\u{e000}\u{ffff}\u{378}", r"\u{e000}\u{ffff}\u{378}"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }

    #[test]
    fn quoted_text_cannot_leave_its_quotes() {
        assert_eq!(Quoted("a\" did=\"5").to_string(), r#""a\" did=\"5""#);
        assert_eq!(Quoted(r"\").to_string(), r#""\\""#);
        assert_eq!(Quoted("a\n\u{202e}").to_string(), r#""a\n\u{202e}""#);
    }

    proptest! {
        #[test]
        fn nothing_invisible_comes_through(text in "\\PC{0,20}|[\\p{C}\\p{Z}a\"\\\\]{0,40}") {
            prop_assert!(!visible(&text).contains(is_invisible));
            let once = visible(&text).into_owned();
            prop_assert_eq!(visible(&once), once.as_str());
            let quoted = Quoted(&text).to_string();
            prop_assert!(!quoted.contains(is_invisible));
            // A reader that knows escapes finds the end at the end.
            let inner = &quoted[1..];
            let mut escaped = false;
            let end = inner.char_indices().find(|(_, character)| {
                let ends = *character == '"' && !escaped;
                escaped = *character == '\\' && !escaped;
                ends
            });
            prop_assert_eq!(end.map(|(at, _)| at), Some(inner.len() - 1));
        }

        #[test]
        fn json_says_the_same_and_shows_everything(text in "[\\p{C}\\p{Z}a\"\\\\\u{1F600}]{0,40}") {
            let value = serde_json::json!({"text": text, "more": [1, 2]});
            let shown = visible_json(&format!("{value:#}\n")).into_owned();
            prop_assert!(!shown.contains(|character| character != '\n' && is_invisible(character)));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).expect("JSON"), value);
        }
    }
}
