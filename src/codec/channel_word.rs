//! The word that is sent over a leg and comes back as an event of its channel, by which the two are known to be one.
//!
//! Runs in: the telephony thread (sends) and the esl thread (reads); pure. Owns nothing.
//! mod_audio_stream raises an event with each text that it does not know; mod_audio_fork raises one with `data` of texts whose
//! type is `json`. Our scripts leave it alone. Invariant: what is read is what was written, and nothing else is.

/// A word that nobody can guess.
pub(crate) type ChannelWord = u128;

const NAME: &str = "tandem_channel";
/// The longest event that can hold it, in bytes.
const EVENT_BYTES_MAX: usize = 256;

/// The text with the word.
pub(crate) fn text(word: ChannelWord) -> String {
    format!(r#"{{"type":"json","data":{{"{NAME}":"{word:032x}"}}}}"#)
}

/// The word in the body of an event.
pub(crate) fn read(body: &str) -> Option<ChannelWord> {
    if body.len() > EVENT_BYTES_MAX || !body.contains(NAME) {
        return None;
    }
    let json: serde_json::Value = serde_json::from_str(body).ok()?;
    let data = json.get("data").unwrap_or(&json);
    let word = data.get(NAME)?.as_str().filter(|word| word.len() == 32)?;
    let word = Some(word).filter(|word| word.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    ChannelWord::from_str_radix(word, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_read_from_what_either_module_makes_of_its_text() {
        for word in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            assert_eq!(read(&text(word)), Some(word));
            assert_eq!(
                read(&format!("{{\"tandem_channel\":\t\"{word:032x}\"}}\n")),
                Some(word),
                "mod_audio_fork"
            );
        }
        for other in [
            "",
            "{}",
            r#"{"type":"clearAudio","turn":1}"#,
            r#"{"tandem_channel":7}"#,
            r#"{"tandem_channel":"7"}"#,
            r#"{"tandem_channel":"+123456789abcdef0123456789abcdef0"}"#,
            "tandem_channel",
        ] {
            assert_eq!(read(other), None, "{other}");
        }
        assert_eq!(read(&format!("{}{}", text(1), " ".repeat(EVENT_BYTES_MAX))), None);
    }
}
