//! The tools that a model may call: how they are declared, what a call of them asks for, and how it is answered.
//!
//! Runs in: main (declarations), the gemini thread (reading calls) and the control thread (answers): pure. Owns nothing.
//! Never decides whether a call is allowed: the call's machine does.
//! Invariant: what a model calls for becomes a checked [`Command`], a question that is known, or arguments of a bounded
//! size for a tool that is not built in; the model's words go no further.

use super::server::FunctionCall;
use crate::base::BuiltIn;
use crate::base::command::{Command, Destination, Digits, HangUpCause, Transfer};
use crate::base::parameters::Parameters;
use crate::codec::excerpt::excerpt;
use serde_json::{Map, Value, json};

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
    /// Reads a call. One whose id is too long to be repeated is nothing.
    pub fn read(call: &FunctionCall<'_>) -> Option<Self> {
        let id = call.id.as_deref().unwrap_or_default();
        if id.len() > NAME_BYTES_MAX {
            return None;
        }
        let name = excerpt(call.name.as_bytes(), NAME_BYTES_MAX);
        Some(Self { id: id.to_owned(), asked: asked(&name, &call.args), name })
    }

    /// Whether both ask for the same: the same tool with the same arguments, as JSON values and not as text.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let same = match (&self.asked, &other.asked) {
            (Ok(Asked::Other(one)), Ok(Asked::Other(another))) => are_same(one, another),
            (one, another) => one == another,
        };
        same && self.name == other.name
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

/// Whether the model waits for the answer of a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behavior {
    /// It says nothing until then.
    Blocking,
    /// It goes on with the conversation.
    NonBlocking,
}

impl Behavior {
    const fn word(self) -> &'static str {
        match self {
            Self::Blocking => "BLOCKING",
            Self::NonBlocking => "NON_BLOCKING",
        }
    }
}

/// What the model does with an answer that it did not wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheduling {
    /// Speaks of it once it has finished what it is saying.
    WhenIdle,
    /// Speaks of it at once.
    Interrupt,
    /// Keeps it for later.
    Silent,
}

impl Scheduling {
    const fn word(self) -> &'static str {
        match self {
            Self::WhenIdle => "WHEN_IDLE",
            Self::Interrupt => "INTERRUPT",
            Self::Silent => "SILENT",
        }
    }
}

/// The declaration of [`BuiltIn::EndCall`].
pub fn end_call() -> Value {
    json!({
        "name": BuiltIn::EndCall.name(),
        "description": "Hang up the telephone call. Say goodbye first: the call ends once that was heard.",
    })
}

/// The declaration of [`BuiltIn::TransferCall`], to these destinations and no others.
pub fn transfer_call(destinations: &[Destination]) -> Value {
    let mut known: Vec<&str> = Vec::new();
    for destination in destinations.iter().map(Destination::as_str) {
        if !known.contains(&destination) {
            known.push(destination);
        }
    }
    json!({
        "name": BuiltIn::TransferCall.name(),
        "description": "Transfer the caller to somebody else and leave the call. Say so first: the transfer begins \
                        once that was heard.",
        "parameters": {
            "type": "OBJECT",
            "properties": {"destination": {"type": "STRING", "format": "enum", "enum": known}},
            "required": ["destination"],
        },
    })
}

/// The declaration of [`BuiltIn::SendDtmf`].
pub fn send_dtmf() -> Value {
    json!({
        "name": BuiltIn::SendDtmf.name(),
        "description": "Send telephone tones (DTMF) to the other side at once, as if its keys were pressed.",
        "parameters": {
            "type": "OBJECT",
            "properties": {"digits": {
                "type": "STRING",
                "description": "0-9, A-D, * and #; w is a pause of half a second, W one of a second; up to 32",
            }},
            "required": ["digits"],
        },
    })
}

/// The declaration of [`BuiltIn::GetCallInfo`].
pub fn get_call_info() -> Value {
    json!({
        "name": BuiltIn::GetCallInfo.name(),
        "description": "What is known of this telephone call: the number of the caller, the number that was called, how \
                        long the call has lasted, and the local date and time.",
    })
}

/// The declaration of [`BuiltIn::PauseRecording`].
pub fn pause_recording() -> Value {
    json!({
        "name": BuiltIn::PauseRecording.name(),
        "description": "Pause the recording of this telephone call before the caller says what must not be kept, such as the \
                        number of a payment card, and go on with it afterwards.",
        "parameters": {
            "type": "OBJECT",
            "properties": {"paused": {"type": "BOOLEAN", "description": "true to pause, false to go on"}},
            "required": ["paused"],
        },
    })
}

/// The declaration of a tool that is not built in.
pub fn function(name: &str, description: &str, parameters: &Parameters, behavior: Option<Behavior>) -> Value {
    let mut declared = json!({"name": name, "description": description});
    if let Some(schema) = parameters.schema() {
        declared["parametersJsonSchema"] = schema.clone();
    }
    if let Some(behavior) = behavior {
        declared["behavior"] = behavior.word().into();
    }
    declared
}

/// A declaration as models take it that want all of it said: that they do not wait, and which parameters there are, in the
/// words of OpenAPI, though there be none.
pub fn in_full(mut declared: Value) -> Value {
    let schema = declared.as_object_mut().and_then(|function| function.remove("parametersJsonSchema"));
    if let Some(schema) = schema {
        declared["parameters"] = open_api(&schema);
    }
    if declared.get("parameters").is_none() {
        declared["parameters"] = json!({"type": "OBJECT", "properties": {}});
    }
    declared["behavior"] = Behavior::NonBlocking.word().into();
    declared
}

/// A schema in the words of OpenAPI 3.0 that the API takes. What it has no words for is left out: the relay holds the
/// arguments against the whole of it.
fn open_api(schema: &Value) -> Value {
    let mut open = Map::new();
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    for (keyword, value) in schema.as_object().into_iter().flatten() {
        let (keyword, value) = match (keyword.as_str(), value) {
            ("type", Value::String(kind)) => ("type", kind.to_uppercase().into()),
            ("properties", Value::Object(properties)) => {
                let each = properties.iter().map(|(name, property)| (name.clone(), open_api(property)));
                ("properties", Value::Object(each.collect()))
            }
            ("items", items) => ("items", open_api(items)),
            ("anyOf" | "oneOf", Value::Array(schemas)) => {
                ("anyOf", schemas.iter().map(open_api).collect::<Vec<_>>().into())
            }
            ("enum", Value::Array(_)) if kind != "string" => continue,
            ("format", Value::String(format)) if !is_open_api_format(kind, format) => continue,
            ("$id" | "$defs" | "$ref" | "$anchor" | "prefixItems" | "additionalProperties", _) => continue,
            (keyword, value) => (keyword, value.clone()),
        };
        open.insert(keyword.to_owned(), value);
    }
    Value::Object(open)
}

fn is_open_api_format(kind: &str, format: &str) -> bool {
    match kind {
        "string" => ["enum", "date-time"].contains(&format),
        "integer" => ["int32", "int64"].contains(&format),
        "number" => ["float", "double"].contains(&format),
        _ => false,
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

/// The `toolResponse` message that answers a call.
pub fn response(call: &ToolCall, answer: &ToolAnswer) -> String {
    let said = match &answer.result {
        Ok(output) => json!({"output": output}),
        Err(why) => json!({"error": why}),
    };
    let mut function = json!({"name": call.name, "response": said});
    if !call.id.is_empty() {
        function["id"] = call.id.as_str().into();
    }
    if let Some(scheduling) = answer.scheduling {
        function["scheduling"] = scheduling.word().into();
    }
    json!({"toolResponse": {"functionResponses": [function]}}).to_string()
}

/// What is said in text where a call of a tool can no longer be answered, because its link is gone and the next one does
/// not know its id.
pub fn told_late(call: &ToolCall, result: &Result<Value, String>) -> String {
    let arguments = match &call.asked {
        Ok(Asked::Other(arguments)) if !arguments.is_empty() => Value::from(arguments.clone()).to_string(),
        _ => String::new(),
    };
    match result {
        Ok(output) => format!("The result of {}({arguments}), which you asked for, is: {output}", call.name),
        Err(why) => format!("{}({arguments}), which you asked for, could not be done: {why}", call.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(id: Option<&str>, name: &str, args: Value) -> Option<ToolCall> {
        ToolCall::read(&FunctionCall { id: id.map(Into::into), name: name.into(), args })
    }

    fn answered(call: &ToolCall, result: Result<Value, String>, scheduling: Option<Scheduling>) -> Value {
        let text = response(call, &ToolAnswer { result, scheduling });
        let mut message: Value = serde_json::from_str(&text).expect("JSON");
        message["toolResponse"]["functionResponses"][0].take()
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
    fn every_tool_that_is_built_in_is_declared_under_its_name() {
        let declared = [end_call(), transfer_call(&[]), send_dtmf(), get_call_info(), pause_recording()];
        let names: Vec<_> = declared.iter().filter_map(|function| function["name"].as_str()).collect();
        assert_eq!(names, BuiltIn::ALL.map(BuiltIn::name));
        for name in names {
            let asked = read(Some("c"), name, Value::Null).expect("a call").asked;
            assert!(!matches!(asked, Ok(Asked::Other(_))), "{name} would be asked of a server");
        }
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
    fn a_declaration_names_what_may_be_asked_for_and_leaves_out_what_nobody_chose() {
        let destinations = [Destination::new("2000").unwrap(), Destination::new("sales").unwrap()];
        let declared = transfer_call(&destinations);
        assert_eq!(declared["parameters"]["properties"]["destination"]["enum"], json!(["2000", "sales"]));
        let schema = json!({"type": "object", "properties": {"day": {"type": "string"}}});
        let parameters = Parameters::read(&schema.to_string()).expect("a schema");
        assert_eq!(
            function("lookup", "Finds.", &parameters, Some(Behavior::NonBlocking)),
            json!({"name": "lookup", "description": "Finds.", "parametersJsonSchema": schema, "behavior": "NON_BLOCKING"})
        );
        let bare = function("lookup", "Finds.", &Parameters::default(), None);
        assert_eq!(bare, json!({"name": "lookup", "description": "Finds."}));
    }

    #[test]
    fn a_declaration_in_full_says_that_it_is_not_waited_for_and_what_it_takes_though_that_be_nothing() {
        let nothing = json!({"type": "OBJECT", "properties": {}});
        for bare in [end_call(), get_call_info(), function("f", "Does.", &Parameters::default(), None)] {
            let full = in_full(bare);
            assert_eq!((&full["behavior"], &full["parameters"]), (&json!("NON_BLOCKING"), &nothing));
        }
        assert_eq!(in_full(send_dtmf())["parameters"], send_dtmf()["parameters"]);
        let schema = json!({"type": "object", "required": ["day"], "additionalProperties": false, "properties": {
            "day": {"type": "string", "format": "date", "description": "YYYY-MM-DD"},
            "persons": {"type": "integer", "enum": [1, 2], "minimum": 1},
            "rooms": {"type": "array", "items": {"type": "string", "enum": ["red", "blue"]}},
            "when": {"oneOf": [{"type": "string"}, {"type": "null"}]}}});
        let parameters = Parameters::read(&schema.to_string()).expect("a schema");
        let full = in_full(function("book", "Books.", &parameters, Some(Behavior::NonBlocking)));
        assert_eq!(full.get("parametersJsonSchema"), None);
        assert_eq!(
            full["parameters"],
            json!({"type": "OBJECT", "required": ["day"], "properties": {
                "day": {"type": "STRING", "description": "YYYY-MM-DD"},
                "persons": {"type": "INTEGER", "minimum": 1},
                "rooms": {"type": "ARRAY", "items": {"type": "STRING", "enum": ["red", "blue"]}},
                "when": {"anyOf": [{"type": "STRING"}, {"type": "NULL"}]}}})
        );
    }

    #[test]
    fn the_answer_repeats_id_and_name() {
        let call = read(Some("c-1"), "end_call", Value::Null).expect("a call");
        assert_eq!(
            answered(&call, Err("no".into()), None),
            json!({"id": "c-1", "name": "end_call", "response": {"error": "no"}})
        );
        assert_eq!(
            answered(&call, Ok(json!({"free": [9, 10]})), Some(Scheduling::Silent)),
            json!({"id": "c-1", "name": "end_call", "response": {"output": {"free": [9, 10]}}, "scheduling": "SILENT"})
        );
        let nameless = read(None, "lookup", Value::Null).expect("a call");
        assert_eq!(
            answered(&nameless, Ok(json!(1)), None),
            json!({"name": "lookup", "response": {"output": 1}})
        );
    }

    #[test]
    fn an_answer_that_comes_too_late_is_told_with_its_question() {
        let call = read(Some("c-1"), "lookup", json!({"day": "Monday"})).expect("a call");
        let told = told_late(&call, &Ok(json!({"free": [9]})));
        assert!(told.contains(r#"lookup({"day":"Monday"})"#) && told.contains(r#"{"free":[9]}"#), "{told}");
        assert!(told_late(&call, &Err("it is closed".into())).ends_with("it is closed"));
    }
}
