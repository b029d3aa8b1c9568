//! Text messages of the switch: metadata, reports of marks, reports of our script, and whatever else scripts send.
//!
//! Runs in: the telephony thread, rarely; pure. Owns nothing. Never fails, whatever the text is.
//! Invariant: a report of a mark or of our script is never taken for metadata.

use super::metadata::{Metadata, json_object, text_note};
use super::orders::OrderNumber;
use crate::base::command::Key;
use serde_json::{Map, Value};

/// Longest name of a mark that is kept, in bytes; a longer one is not ours.
pub const MARK_BYTES_MAX: usize = 64;
/// Longest reason that a script may give for a failure, in bytes.
pub const WHY_BYTES_MAX: usize = 64;

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
    /// Our script beside the switch reports something.
    Script(ScriptReport),
    /// Anything else: plain text, `send_text` of a script, acknowledgements.
    Other,
}

/// What our script beside the switch reports, by `send_text`: `{"type":"tandem","event":…}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptReport {
    /// It is there, and speaks this version of the reports.
    Hello {
        /// 1 so far.
        version: u32,
    },
    /// The first chunk of a turn was given to the channel.
    Playing {
        /// The turn, as in our `streamAudio` messages.
        turn: u32,
    },
    /// The caller pressed a key.
    Key(Key),
    /// An order was carried out.
    Done(OrderNumber),
    /// An order could not be carried out.
    Failed(OrderNumber, String),
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
        if object.get("type").and_then(Value::as_str) == Some("tandem") {
            return script_report(&object).map_or(Self::Other, Self::Script);
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

fn script_report(object: &Map<String, Value>) -> Option<ScriptReport> {
    let number = |name: &str| object.get(name)?.as_u64().and_then(|number| u32::try_from(number).ok());
    Some(match object.get("event")?.as_str()? {
        "hello" => ScriptReport::Hello { version: number("version").unwrap_or(1) },
        "playing" => ScriptReport::Playing { turn: number("turn")? },
        "dtmf" => ScriptReport::Key(Key::from_report(object.get("digit")?.as_str()?)?),
        "done" => ScriptReport::Done(number("id")?),
        // Failed it has, whatever is said of the reason.
        "failed" => ScriptReport::Failed(number("id")?, reason(object.get("why")).unwrap_or_default()),
        _ => return None,
    })
}

fn reason(why: Option<&Value>) -> Option<String> {
    let why = why?.as_str().filter(|why| why.len() <= WHY_BYTES_MAX)?;
    let fits = why.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    fits.then(|| why.to_owned())
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
    fn reports_of_our_script_are_read() {
        let key = Key::new('5').expect("a key");
        for (text, expected) in [
            (r#"{"type":"tandem","event":"hello","version":1}"#, ScriptReport::Hello { version: 1 }),
            (r#"{"type":"tandem","event":"playing","turn":7}"#, ScriptReport::Playing { turn: 7 }),
            (r#"{"type":"tandem","event":"dtmf","digit":"5"}"#, ScriptReport::Key(key)),
            (r#"{"type":"tandem","event":"done","id":4}"#, ScriptReport::Done(4)),
            (
                r#"{"type":"tandem","event":"failed","id":4,"why":"no_such_extension"}"#,
                ScriptReport::Failed(4, "no_such_extension".into()),
            ),
            (r#"{"type":"tandem","event":"failed","id":4,"why":"a b"}"#, ScriptReport::Failed(4, "".into())),
        ] {
            assert_eq!(LegText::parse(text), LegText::Script(expected), "{text}");
        }
    }

    #[test]
    fn reports_that_make_no_sense_are_just_text() {
        for text in [
            r#"{"type":"tandem"}"#,
            r#"{"type":"tandem","event":"other","uuid":"not-metadata"}"#,
            r#"{"type":"tandem","event":"done"}"#,
            r#"{"type":"tandem","event":"done","id":-1}"#,
            r#"{"type":"tandem","event":"done","id":4294967296}"#,
            r#"{"type":"tandem","event":"dtmf","digit":"55"}"#,
            r#"{"type":"tandem","event":"dtmf","digit":5}"#,
            r#"{"type":"tandem","event":["done"],"id":1}"#,
        ] {
            assert_eq!(LegText::parse(text), LegText::Other, "{text}");
        }
    }

    #[test]
    fn everything_else_is_just_text() {
        for text in ["", "ping", "bye", r#"{"m":1}"#, r#"{"type":"dtmf","digit":"5"}"#, "[]", "null"] {
            assert_eq!(LegText::parse(text), LegText::Other, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_something(text in "(\\{\"type\":\"(mark|tandem)\",\"(data|event)\":)?.{0,100}") {
            let _ = LegText::parse(&text);
        }
    }
}
