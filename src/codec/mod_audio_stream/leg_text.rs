//! Text messages of the switch: metadata, reports of our script, reports of marks, and whatever else scripts send.
//!
//! Runs in: the telephony thread, rarely; pure. Owns nothing. Never fails, whatever the text is.
//! Invariant: a report is never taken for metadata.

use super::fields::CallFields;
use super::metadata::{Metadata, json_object, text_note};
use crate::base::LegReport;
use serde_json::{Map, Value};

/// Longest name of a mark that is kept, in bytes; a longer one is not ours.
pub const MARK_BYTES_MAX: usize = 64;

/// What a text message of the switch is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegText {
    /// Metadata of the call, with at least one field or note. It may come late, several times, or never.
    Metadata(Box<Metadata>),
    /// Our script reports something: `{"type":"tandem","event":…}`.
    Report(LegReport),
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
        match object.get("type").and_then(Value::as_str) {
            Some("mark") => return mark(&object).unwrap_or(Self::Other),
            Some("tandem") => return report(&object).map_or(Self::Other, Self::Report),
            _ => {}
        }
        let mut metadata = Metadata::default();
        metadata.read(&object);
        // What has a type and says nothing of the call is a message of some protocol, and no variables of the call.
        if object.contains_key("type") && metadata.fields.is_unknown() {
            metadata.fields = CallFields::default();
        }
        if metadata == Metadata::default() { Self::Other } else { Self::Metadata(Box::new(metadata)) }
    }
}

/// What `deploy/freeswitch/scripts` says with `uuid_audio_stream UUID send_text`: fields that it does not know are ignored.
fn report(object: &Map<String, Value>) -> Option<LegReport> {
    let number = |name| object.get(name)?.as_u64()?.try_into().ok();
    let text = |name| object.get(name)?.as_str();
    match text("event")? {
        "hello" => Some(LegReport::Hello { version: number("version").unwrap_or(1) }),
        "playing" => Some(LegReport::Playing(number("turn")?)),
        "dtmf" => {
            let mut digits = text("digit")?.chars();
            LegReport::dtmf(digits.next()?).filter(|_| digits.next().is_none())
        }
        "done" => Some(LegReport::Done(number("id")?)),
        "failed" => Some(LegReport::failed(number("id")?, text("why").unwrap_or("unknown"))),
        _ => None,
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
    fn our_script_reports_what_it_did_and_what_the_caller_pressed() {
        for (text, expected) in [
            (r#"{"type":"tandem","event":"hello","version":1,"new":true}"#, LegReport::Hello { version: 1 }),
            (r#"{"type":"tandem","event":"playing","turn":7}"#, LegReport::Playing(7)),
            (r##"{"type":"tandem","event":"dtmf","digit":"#"}"##, LegReport::Dtmf('#')),
            (r#"{"type":"tandem","event":"done","id":4}"#, LegReport::Done(4)),
            (
                r#"{"type":"tandem","event":"failed","id":4,"why":"no_such_extension"}"#,
                LegReport::Failed { id: 4, why: "no_such_extension".to_owned() },
            ),
        ] {
            assert_eq!(LegText::parse(text), LegText::Report(expected), "{text}");
        }
        for text in [
            r#"{"type":"tandem"}"#,
            r#"{"type":"tandem","event":"hello there","uuid":"u"}"#,
            r#"{"type":"tandem","event":"playing","turn":-1}"#,
            r#"{"type":"tandem","event":"dtmf","digit":"12"}"#,
            r#"{"type":"tandem","event":"dtmf","digit":5}"#,
            r#"{"type":"tandem","event":"done","id":4294967296}"#,
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
        fn any_text_is_something(text in "(\\{\"type\":\"(mark\",\"data\":|tandem\",\"event\":))?.{0,100}") {
            let _ = LegText::parse(&text);
        }
    }
}
