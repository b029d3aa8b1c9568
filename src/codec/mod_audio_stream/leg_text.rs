//! Text messages of the switch: metadata, reports of our script, reports of marks, and whatever else scripts send.
//!
//! Runs in: the telephony thread, rarely; pure. Owns nothing. Never fails, whatever the text is.
//! Invariant: a report is never taken for metadata.

use super::metadata::{Metadata, json_object, text_note};
use crate::base::{LegReport, Unplayed};
use crate::call::leg::LegKind;
use crate::call::leg::fields::{CallFields, Problem, is_padding};
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
        if object.get("event").and_then(Value::as_str) == Some("dtmf") {
            return key(&object).map_or(Self::Other, Self::Report);
        }
        let mut metadata = Metadata::default();
        if text.contains(char::REPLACEMENT_CHARACTER) {
            metadata.notes.push(text_note(Problem::NotUtf8, ""));
        }
        metadata.read(&object);
        // What has a type and says nothing of the call is a message of some protocol, and no variables of the call.
        if object.contains_key("type") && metadata.fields.is_unknown() {
            metadata.fields = CallFields::default();
        }
        if metadata == Metadata::default() { Self::Other } else { Self::Metadata(Box::new(metadata)) }
    }
}

/// A key as jambonz' `listen` with `passDtmf` says it: `{"event":"dtmf","dtmf":"5","duration":1600}`.
fn key(object: &Map<String, Value>) -> Option<LegReport> {
    let mut digits = object.get("dtmf").or_else(|| object.get("digit"))?.as_str()?.chars();
    LegReport::dtmf(digits.next()?).filter(|_| digits.next().is_none())
}

/// What sends the text, where nothing else could have said it.
pub fn speaker(text: &str) -> Option<LegKind> {
    let text = text.trim_matches(is_padding);
    if text.split(|character: char| character.is_whitespace()).next() == Some("MEDIA_START") {
        return Some(LegKind::ChanWebsocket);
    }
    let object = json_object(text).ok()?;
    let says = |name| object.get(name).is_some_and(Value::is_string);
    let is = |name, value| object.get(name).and_then(Value::as_str) == Some(value);
    if is("event", "MEDIA_START") && says("format") {
        return Some(LegKind::ChanWebsocket);
    }
    // jambonz' first text has the attributes of its webhooks, and these two always.
    let is_jambonz = says("callSid") && object.contains_key("sampleRate") && says("mixType");
    match (is_jambonz, is("type", "tandem") && is("event", "hello")) {
        (true, _) => Some(LegKind::AudioFork),
        // Our script is beside mod_audio_stream.
        (_, true) => Some(LegKind::ModAudioStream),
        _ => None,
    }
}

/// What `deploy/freeswitch/scripts` says with `uuid_audio_stream UUID send_text`: fields that it does not know are ignored.
fn report(object: &Map<String, Value>) -> Option<LegReport> {
    let number = |name| object.get(name)?.as_u64()?.try_into().ok();
    let text = |name| object.get(name)?.as_str();
    match text("event")? {
        "hello" => Some(LegReport::Hello { version: number("version").unwrap_or(1) }),
        "playing" => Some(LegReport::Playing(number("turn")?)),
        "unplayed" => Some(LegReport::Unplayed(Unplayed::from_name(text("why").unwrap_or_default()))),
        "gaps" => Some(LegReport::Gaps { late: number("late")?, ms: number("ms")? }),
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
            (
                r#"{"type":"tandem","event":"unplayed","turn":0,"why":"refused"}"#,
                LegReport::Unplayed(Unplayed::Refused),
            ),
            (r#"{"type":"tandem","event":"unplayed"}"#, LegReport::Unplayed(Unplayed::Unknown)),
            (
                r#"{"type":"tandem","event":"gaps","turn":3,"late":2,"ms":60}"#,
                LegReport::Gaps { late: 2, ms: 60 },
            ),
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
            r#"{"type":"tandem","event":"gaps","late":-2,"ms":60}"#,
            r#"{"type":"tandem","event":"gaps","late":2}"#,
            r#"{"type":"tandem","event":"dtmf","digit":"12"}"#,
            r#"{"type":"tandem","event":"dtmf","digit":5}"#,
            r#"{"type":"tandem","event":"done","id":4294967296}"#,
        ] {
            assert_eq!(LegText::parse(text), LegText::Other, "{text}");
        }
    }

    #[test]
    fn keys_come_from_jambonz_as_it_says_them() {
        let text = r#"{"event":"dtmf","dtmf":"5","duration":1600}"#;
        assert_eq!(LegText::parse(text), LegText::Report(LegReport::Dtmf('5')));
        let text = r##"{"event":"dtmf","dtmf":"#","duration":"960"}"##;
        assert_eq!(LegText::parse(text), LegText::Report(LegReport::Dtmf('#')));
        for text in [
            r#"{"event":"dtmf"}"#,
            r#"{"event":"dtmf","dtmf":5}"#,
            r#"{"event":"dtmf","dtmf":"12","from":"1"}"#,
        ] {
            assert_eq!(LegText::parse(text), LegText::Other, "{text}");
        }
    }

    #[test]
    fn peers_that_say_what_only_they_say_are_known() {
        for (text, expected) in [
            ("MEDIA_START connection_id:c format:slin16", Some(LegKind::ChanWebsocket)),
            (r#"{"event":"MEDIA_START","format":"slin16"}"#, Some(LegKind::ChanWebsocket)),
            (r#"{"sampleRate":8000,"mixType":"mono","callSid":"c","from":"1"}"#, Some(LegKind::AudioFork)),
            (r#"{"type":"tandem","event":"hello","version":1}"#, Some(LegKind::ModAudioStream)),
            ("MEDIA_STARTED", None),
            (r#"{"event":"MEDIA_START"}"#, None),
            (r#"{"sampleRate":8000,"mixType":"mono","uuid":"c"}"#, None),
            (r#"{"type":"tandem","event":"dtmf","digit":"1"}"#, None),
            ("hello", None),
        ] {
            assert_eq!(speaker(text), expected, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_not_utf_8_is_read_as_far_as_it_goes() {
        let text = String::from_utf8_lossy(b"\xef\xbb\xbf {\"did\":\"5000\",\"caller\":\"J\xf6rg\"}\0\n");
        let LegText::Metadata(metadata) = LegText::parse(&text) else { panic!("metadata") };
        assert_eq!(metadata.fields.did.as_deref(), Some("5000"));
        assert_eq!(metadata.fields.caller.as_deref(), Some("J\u{FFFD}rg"));
        let notes: Vec<String> = metadata.notes.iter().map(ToString::to_string).collect();
        assert!(
            notes.iter().any(|note| note.starts_with("text in the call's metadata: holds bytes")),
            "{notes:?}"
        );
        assert!(notes.iter().any(|note| note.contains("\"J\u{FFFD}rg\"")), "{notes:?}");
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
