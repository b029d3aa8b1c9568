//! Text messages of the switch: metadata, reports of marks, and whatever else scripts send.
//!
//! Runs in: the telephony thread, rarely; pure. Owns nothing. Never fails, whatever the text is.
//! Invariant: a report of a mark is never taken for metadata.

use super::metadata::{Metadata, json_object, text_note};
use serde_json::{Map, Value};

/// Longest name of a mark that is kept, in bytes; a longer one is not ours.
pub const MARK_BYTES_MAX: usize = 64;

/// What a text message of the switch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegText {
    /// Metadata of the call, with at least one field or note. It may come late, several times, or never.
    Metadata(Box<Metadata>),
    /// mod_audio_fork reports a mark that we had sent.
    Mark {
        /// The name that we gave it.
        name: String,
        /// What became of the audio before it.
        event: MarkEvent,
    },
    /// Anything else: plain text, `send_text` of a script, acknowledgements.
    Other,
}

/// What became of the audio before a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkEvent {
    /// It was played to its end.
    Playout,
    /// It was dropped by `killAudio`.
    Cleared,
}

impl LegText {
    /// Reads one text message.
    pub fn parse(text: &str) -> Self {
        let object = match json_object(text) {
            Ok(object) => object,
            Err(None) => return Self::Other,
            Err(Some(problem)) => {
                let notes = vec![text_note(problem, text)];
                return Self::Metadata(Box::new(Metadata { notes, ..Metadata::default() }));
            }
        };
        if object.get("type").and_then(Value::as_str) == Some("mark") {
            return mark(&object).unwrap_or(Self::Other);
        }
        let mut metadata = Metadata::default();
        metadata.read(&object);
        if metadata == Metadata::default() { Self::Other } else { Self::Metadata(Box::new(metadata)) }
    }
}

fn mark(object: &Map<String, Value>) -> Option<LegText> {
    let content = object.get("data")?;
    let event = match content.get("event")?.as_str()? {
        "playout" => MarkEvent::Playout,
        "cleared" => MarkEvent::Cleared,
        _ => return None,
    };
    let name = content.get("name")?.as_str().filter(|name| name.len() <= MARK_BYTES_MAX)?;
    Some(LegText::Mark { name: name.to_owned(), event })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn marks_are_told_from_metadata() {
        let text = r#"{"type": "mark", "data": {"name":"m1", "event": "cleared"}}"#;
        let expected = LegText::Mark { name: "m1".to_owned(), event: MarkEvent::Cleared };
        assert_eq!(LegText::parse(text), expected);
        let text = r#"{"type":"mark","data":{"name":"m2","event":"playout"}}"#;
        assert!(matches!(LegText::parse(text), LegText::Mark { event: MarkEvent::Playout, .. }));
        for text in [
            r#"{"type":"mark"}"#,
            r#"{"type":"mark","data":{"name":"a","event":"x"}}"#,
            r#"{"type":"mark","data":{"name":7,"event":"playout","uuid":"u"}}"#,
            r#"{"type":"mark","data":[]}"#,
        ] {
            assert_eq!(LegText::parse(text), LegText::Other, "{text}");
        }
    }

    #[test]
    fn an_object_with_a_field_of_a_call_is_metadata() {
        let LegText::Metadata(metadata) = LegText::parse(r#"{"uuid":"a"}"#) else { panic!("metadata") };
        assert_eq!(metadata.fields.uuid.as_deref(), Some("a"));
        let LegText::Metadata(metadata) = LegText::parse("{\"uuid\":") else { panic!("a note") };
        assert_eq!(metadata.notes.len(), 1);
    }

    #[test]
    fn everything_else_is_just_text() {
        for text in ["", "ping", "bye", r#"{"m":1}"#, r#"{"type":"dtmf","digit":"5"}"#, "[]", "null"] {
            assert_eq!(LegText::parse(text), LegText::Other, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_something(text in "(\\{\"type\":\"mark\",\"data\":)?.{0,100}") {
            let _ = LegText::parse(&text);
        }
    }
}
