//! A call of a tool: what the model asks for with it, and how it is answered.
//!
//! Runs in: the gemini thread (reading) and the control thread (answers): pure. Owns nothing.
//! Never decides whether a call is allowed: the call's machine does.
//! Invariant: what a model calls for becomes a checked [`Command`], a question that is known, or arguments of a bounded
//! size for a tool that is not built in; the model's words go no further.

use serde_json::{Map, Value};

use crate::base::BuiltIn;
use crate::base::command::{Command, Destination, Digits, HangUpCause, Transfer};
use crate::base::excerpt::excerpt;
use crate::base::model_options::Scheduling;

/// Longest id and name of a tool call that are kept, in bytes; real ones have some dozen.
const NAME_BYTES_MAX: usize = 128;
/// Longest arguments of a tool call that are taken, in bytes of JSON.
pub const ARGUMENTS_BYTES_MAX: usize = 16 * 1024;

/// A call of a tool, with what it takes to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The model's id of the call, to be repeated; empty where the server gave none, as Vertex AI may.
    pub id: String,
    /// The tool's name, to be repeated.
    pub name: String,
    /// What is asked for, or why that cannot be, for the model.
    pub asked: Result<Asked, String>,
}

/// What a call of a tool asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// Something of the switch.
    Command(Command),
    /// What is known of the call.
    CallInfo,
    /// That the recording pauses, or goes on.
    PauseRecording(bool),
    /// Another tool, which the agent may or may not have, with these arguments.
    Other(Map<String, Value>),
}

impl ToolCall {
    /// Reads a call, as the server gives its id, if it does, its name and its arguments. One whose id is too long to be
    /// repeated is nothing.
    pub fn read(id: Option<&str>, name: &str, arguments: &Value) -> Option<Self> {
        let id = id.unwrap_or_default();
        if id.len() > NAME_BYTES_MAX {
            return None;
        }
        let name = excerpt(name.as_bytes(), NAME_BYTES_MAX);
        Some(Self { id: id.to_owned(), asked: asked(&name, arguments), name })
    }

    /// Whether both ask for the same: the same tool with the same arguments, as JSON values and not as text.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let same = match (&self.asked, &other.asked) {
            (Ok(Asked::Other(one)), Ok(Asked::Other(another))) => are_same(one, another),
            (one, another) => one == another,
        };
        same && self.name == other.name
    }

    /// What is said in text where a call of a tool can no longer be answered, because its link is gone and the next one does
    /// not know its id.
    pub fn told_late(&self, result: &Result<Value, String>) -> String {
        let arguments = match &self.asked {
            Ok(Asked::Other(arguments)) if !arguments.is_empty() => {
                Value::from(arguments.clone()).to_string()
            }
            _ => String::new(),
        };
        match result {
            Ok(output) => {
                format!("The result of {}({arguments}), which you asked for, is: {output}", self.name)
            }
            Err(why) => format!("{}({arguments}), which you asked for, could not be done: {why}", self.name),
        }
    }
}

/// Whether two JSON objects say the same: the order of names and the spelling of numbers (`3`, `3.0`) do not count.
fn are_same(one: &Map<String, Value>, another: &Map<String, Value>) -> bool {
    one.len() == another.len()
        && one.iter().all(|(name, value)| another.get(name).is_some_and(|other| is_same(value, other)))
}

fn is_same(one: &Value, another: &Value) -> bool {
    match (one, another) {
        (Value::Object(one), Value::Object(another)) => are_same(one, another),
        (Value::Array(one), Value::Array(another)) => {
            one.len() == another.len() && one.iter().zip(another).all(|(one, another)| is_same(one, another))
        }
        // Whole numbers are compared as such: a number of 64 bits has more digits than a float.
        (Value::Number(one), Value::Number(another)) if one.is_f64() || another.is_f64() => {
            one.as_f64() == another.as_f64()
        }
        (one, another) => one == another,
    }
}

fn asked(name: &str, arguments: &Value) -> Result<Asked, String> {
    let text = |argument: &str| match arguments.get(argument).and_then(Value::as_str) {
        Some(text) => Ok(text),
        None => Err(format!("the argument {argument} is missing")),
    };
    match BuiltIn::named(name) {
        Some(BuiltIn::EndCall) => Ok(Asked::Command(Command::HangUp(HangUpCause::normal_clearing()))),
        Some(BuiltIn::TransferCall) => {
            let to = Destination::new(text("destination")?).map_err(|unfit| unfit.to_string())?;
            Ok(Asked::Command(Command::Transfer(Transfer { to, dialplan: None, context: None })))
        }
        Some(BuiltIn::SendDtmf) => {
            let digits = Digits::new(text("digits")?).map_err(|unfit| unfit.to_string())?;
            Ok(Asked::Command(Command::Dtmf(digits)))
        }
        Some(BuiltIn::GetCallInfo) => Ok(Asked::CallInfo),
        Some(BuiltIn::PauseRecording) => match arguments.get("paused").and_then(Value::as_bool) {
            Some(paused) => Ok(Asked::PauseRecording(paused)),
            None => Err("the argument paused is missing".to_owned()),
        },
        None => match arguments {
            Value::Null => Ok(Asked::Other(Map::new())),
            Value::Object(_) if arguments.to_string().len() > ARGUMENTS_BYTES_MAX => {
                Err(format!("the arguments are longer than {ARGUMENTS_BYTES_MAX} bytes"))
            }
            Value::Object(arguments) => Ok(Asked::Other(arguments.clone())),
            _ => Err("the arguments are no JSON object".to_owned()),
        },
    }
}

/// What a call of a tool is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolAnswer {
    /// What the tool gave, or why it did not.
    pub result: Result<Value, String>,
    /// What the model is to do with it; only where the tool is one that it does not wait for.
    pub scheduling: Option<Scheduling>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(id: Option<&str>, name: &str, args: Value) -> Option<ToolCall> {
        ToolCall::read(id, name, &args)
    }

    #[test]
    fn a_call_becomes_a_checked_command_or_a_question() {
        let end = read(Some("c-1"), "end_call", Value::Null).expect("a call");
        assert_eq!(end.asked, Ok(Asked::Command(Command::HangUp(HangUpCause::normal_clearing()))));
        let to = Destination::new("2000").unwrap();
        let transfer = read(Some("c-2"), "transfer_call", json!({"destination": "2000"})).expect("a call");
        let expected = Command::Transfer(Transfer { to, dialplan: None, context: None });
        assert_eq!(transfer.asked, Ok(Asked::Command(expected)));
        let tones = read(Some("c-3"), "send_dtmf", json!({"digits": "12#"})).expect("a call");
        assert_eq!(tones.asked, Ok(Asked::Command(Command::Dtmf(Digits::new("12#").unwrap()))));
        assert_eq!(read(None, "get_call_info", Value::Null).expect("a call").asked, Ok(Asked::CallInfo));
        let other = read(Some("c-4"), "lookup", json!({"a": 1})).expect("a call");
        assert_eq!(other.asked, Ok(Asked::Other(Map::from_iter([("a".to_owned(), json!(1))]))));
    }

    #[test]
    fn two_calls_are_the_same_by_what_their_arguments_say_and_not_by_their_spelling() {
        let call =
            |text: &str| read(Some("c"), "book", serde_json::from_str(text).expect("JSON")).expect("a call");
        let one = call(r#"{"day": "Monday", "n": 3, "of": [1, {"a": 2e0}]}"#);
        for same in [
            r#"{"of":[1.0,{"a":2}],"n":3.0,"day":"Monday"}"#,
            r#"{ "n":30e-1,"day":"Monday","of":[1,{"a":2}] }"#,
        ] {
            assert!(one.asks_the_same(&call(same)), "{same}");
        }
        for other in [
            r#"{"day": "Monday", "n": 4, "of": [1, {"a": 2}]}"#,
            r#"{"day": "monday", "n": 3, "of": [1, {"a": 2}]}"#,
            r#"{"day": "Monday", "n": 3, "of": [{"a": 2}, 1]}"#,
            r#"{"day": "Monday", "n": 3, "of": [1, {"a": 2}], "more": null}"#,
            r#"{"day": "Monday", "n": "3", "of": [1, {"a": 2}]}"#,
        ] {
            assert!(!one.asks_the_same(&call(other)), "{other}");
        }
        let (big, bigger) = (call(r#"{"n": 9007199254740993}"#), call(r#"{"n": 9007199254740992}"#));
        assert!(!big.asks_the_same(&bigger), "beyond the digits of a float");
        assert!(
            read(None, "a", Value::Null).unwrap().asks_the_same(&read(Some("x"), "a", json!({})).unwrap())
        );
        assert!(!read(None, "a", Value::Null).unwrap().asks_the_same(&read(None, "b", Value::Null).unwrap()));
    }

    #[test]
    fn a_call_that_makes_no_sense_is_an_error_for_the_model_or_nothing() {
        for (name, args) in [
            ("transfer_call", Value::Null),
            ("transfer_call", json!({"destination": 2000})),
            ("transfer_call", json!({"destination": "${x}"})),
            ("transfer_call", json!([])),
            ("send_dtmf", json!({"digits": "1;2"})),
            ("send_dtmf", json!({"digits": "1".repeat(33)})),
            ("lookup", json!(["a"])),
            ("lookup", json!({"a": "x".repeat(ARGUMENTS_BYTES_MAX)})),
        ] {
            assert!(read(Some("c"), name, args.clone()).expect("a call").asked.is_err(), "{name} {args}");
        }
        assert_eq!(read(Some(&"x".repeat(NAME_BYTES_MAX + 1)), "end_call", Value::Null), None);
    }

    #[test]
    fn an_answer_that_comes_too_late_is_told_with_its_question() {
        let call = read(Some("c-1"), "lookup", json!({"day": "Monday"})).expect("a call");
        let told = call.told_late(&Ok(json!({"free": [9]})));
        assert!(told.contains(r#"lookup({"day":"Monday"})"#) && told.contains(r#"{"free":[9]}"#), "{told}");
        assert!(call.told_late(&Err("it is closed".into())).ends_with("it is closed"));
    }
}
