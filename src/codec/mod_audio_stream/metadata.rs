//! The metadata text that a switch sends with a call: JSON if we are lucky.
//!
//! Runs in: the telephony thread, about once per call; pure. Owns nothing.
//! Never fails: plain text, garbled JSON and an endless text each give no fields, and a note where one is due.
//! Invariant: reading takes memory in proportion to a text of at most [`METADATA_BYTES_MAX`] bytes.

use crate::call::leg::fields::{CallFields, FieldNote, Problem, Source, is_padding, note};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Longest metadata that is looked at, in bytes. The module itself cuts at 8192.
pub const METADATA_BYTES_MAX: usize = 65_536;

/// What the metadata told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Fields of the JSON object, and of a nested `metadata` or `data` object where the outer one lacks them.
    pub fields: CallFields,
    /// What was left out and why.
    pub notes: Vec<FieldNote>,
}

/// Reads metadata of any kind.
pub fn parse(text: &str) -> Metadata {
    let mut metadata = Metadata::default();
    match json_object(text) {
        Ok(object) => metadata.read(&object),
        Err(problem) => metadata.notes.extend(problem.map(|problem| text_note(problem, text))),
    }
    metadata
}

/// The object that `text` holds; `Err(None)` where it holds plain text, which is nobody's fault.
pub(super) fn json_object(text: &str) -> Result<Map<String, Value>, Option<Problem>> {
    if text.len() > METADATA_BYTES_MAX {
        return Err(Some(Problem::TooLong(METADATA_BYTES_MAX)));
    }
    let text = text.trim_matches(is_padding);
    if !text.starts_with('{') {
        return Err(None);
    }
    serde_json::from_str(text).map_err(|_| Some(Problem::NotJson))
}

pub(super) fn text_note(problem: Problem, text: &str) -> FieldNote {
    FieldNote::new(Source::Metadata, "text", problem, text.as_bytes())
}

impl Metadata {
    /// Reads an object and those nested in it.
    pub(super) fn read(&mut self, object: &Map<String, Value>) {
        let mut fields = self.read_flat(object);
        for nested in ["metadata", "data"] {
            if let Some(Value::Object(inner)) = object.get(nested) {
                fields = fields.or(self.read_flat(inner));
                self.read_answer(inner, &mut fields);
            }
        }
        self.read_answer(object, &mut fields);
        self.fields = fields;
    }

    /// What jambonz' `listen` was told of the audio back: `{"streaming":true,"sampleRate":24000}`. Its metadata says so
    /// where the application hands it on.
    fn read_answer(&mut self, object: &Map<String, Value>, fields: &mut CallFields) {
        const NAME: &str = "bidirectionalAudio";
        let Some(Value::Object(answer)) = object.get(NAME) else { return };
        if let Some(rate) = answer.get("sampleRate").filter(|rate| !rate.is_null()) {
            let text = rate.as_str().map_or_else(|| Cow::Owned(rate.to_string()), Cow::Borrowed);
            let mut notes = Vec::new();
            let told = CallFields::from_pairs(&[("playback_rate", Some(text))], Source::Metadata, &mut notes);
            fields.playback_rate = fields.playback_rate.or(told.playback_rate);
            notes.into_iter().for_each(|one| note(&mut self.notes, one));
        }
        let says = |name, value: bool| answer.get(name).and_then(Value::as_bool) == Some(value);
        if !says("streaming", true) || says("enabled", false) {
            note(&mut self.notes, FieldNote::new(Source::Metadata, NAME, Problem::NotStreamed, b""));
        }
    }

    fn read_flat(&mut self, object: &Map<String, Value>) -> CallFields {
        let mut pairs: Vec<(&str, Option<Cow<'_, str>>)> = Vec::with_capacity(object.len());
        for (name, value) in object {
            let text = match value {
                Value::Null => continue,
                Value::String(text) => Some(Cow::Borrowed(text.as_str())),
                Value::Number(number) => Some(Cow::Owned(number.to_string())),
                Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            };
            pairs.push((name, text));
        }
        let mut notes = Vec::new();
        let fields = CallFields::from_pairs(&pairs, Source::Metadata, &mut notes);
        for one in notes {
            note(&mut self.notes, one);
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Mix;
    use crate::base::SampleRate;
    use crate::call::leg::fields::NOTES_MAX;
    use proptest::prelude::*;

    #[test]
    fn json_names_the_call() {
        let metadata = parse(
            r#" {"event":"start","uuid":"2a162ce6-b85c-45d4-a03d-ffd4286da520","caller":"lab1","called":"1000","rate":16000,"mix":"mono"}"#,
        );
        let fields = metadata.fields;
        assert_eq!(fields.uuid.as_deref(), Some("2a162ce6-b85c-45d4-a03d-ffd4286da520"));
        assert_eq!((fields.caller.as_deref(), fields.did.as_deref()), (Some("lab1"), Some("1000")));
        assert_eq!((fields.rate, fields.mix), (Some(SampleRate::Hz16000), Some(Mix::Mono)));
        assert!(metadata.notes.is_empty());
    }

    #[test]
    fn numbers_are_as_good_as_texts() {
        let fields = parse(r#"{"did":4201234,"caller":-7,"rate":"16k","agent":null}"#).fields;
        assert_eq!((fields.did.as_deref(), fields.caller.as_deref()), (Some("4201234"), Some("-7")));
        assert_eq!((fields.rate, fields.agent), (Some(SampleRate::Hz16000), None));
    }

    #[test]
    fn a_nested_object_fills_what_the_outer_one_lacks() {
        let fields =
            parse(r#"{"type":"hello","uuid":"a","sampleRate":8000,"metadata":{"uuid":"b","did":"5"}}"#)
                .fields;
        assert_eq!((fields.uuid.as_deref(), fields.did.as_deref()), (Some("a"), Some("5")));
        assert_eq!(fields.rate, Some(SampleRate::Hz8000));
        assert_eq!(parse(r#"{"data":{"did":"5"}}"#).fields.did.as_deref(), Some("5"));
        assert_eq!(parse(r#"{"data":{"data":{"did":"5"}}}"#).fields.did, None);
    }

    #[test]
    fn plain_text_is_no_news_and_garbled_json_is_noted() {
        for text in ["", "hello world", "[1]", "7", "uuid=5"] {
            assert_eq!(parse(text), Metadata::default(), "{text}");
        }
        for text in ["{", r#"{"uuid":"a""#, "{uuid:5}", r#"{"uuid":"a"} trailing"#] {
            let metadata = parse(text);
            assert_eq!((metadata.fields, metadata.notes.len()), (CallFields::default(), 1), "{text}");
        }
        let note = &parse("{\"a\":\n").notes[0];
        assert_eq!(
            note.to_string(),
            r#"text in the call's metadata ignored: "{\"a\":\n" begins like JSON but is none"#
        );
    }

    #[test]
    fn one_bad_field_leaves_the_others() {
        let metadata = parse(r#"{"uuid":["a"],"did":true,"caller":"ok","rate":1.5,"agent":{"name":"x"}}"#);
        assert_eq!(metadata.fields.caller.as_deref(), Some("ok"));
        assert_eq!(metadata.notes.len(), 4);
    }

    #[test]
    fn an_endless_or_very_deep_text_is_left_alone() {
        let long = format!(r#"{{"uuid":"a","x":"{}"}}"#, "y".repeat(METADATA_BYTES_MAX));
        assert_eq!(parse(&long).fields, CallFields::default());
        assert_eq!(parse(&long).notes[0].problem, Problem::TooLong(METADATA_BYTES_MAX));
        assert_eq!(parse(&"{\"a\":".repeat(10_000)).notes[0].problem, Problem::NotJson);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in ".{0,200}") {
            prop_assert!(parse(&text).notes.len() <= NOTES_MAX);
        }

        #[test]
        fn any_values_under_known_names_are_kept_or_noted(
            name in prop::sample::select(vec!["uuid", "did", "caller", "playback", "rate", "mix", "agent"]),
            value in prop_oneof![
                any::<f64>().prop_map(Value::from), any::<i64>().prop_map(Value::from),
                ".{1,200}".prop_map(Value::from), any::<bool>().prop_map(Value::from),
            ],
        ) {
            let blank = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
            let metadata = parse(&serde_json::json!({ name: value }).to_string());
            prop_assert_ne!(metadata.fields == CallFields::default(), !blank && metadata.notes.is_empty());
        }
    }
}
