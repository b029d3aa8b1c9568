//! The tools that a model may call: how they are declared, what a call of them asks for, and how it is answered.
//!
//! Runs in: main (declarations), the gemini thread (reading calls) and the control thread (answers): pure. Owns nothing.
//! Never decides whether a call is allowed: the call's machine does.
//! Invariant: what a model calls for becomes a checked [`Command`], a question that is known, or arguments of a bounded
//! size for a tool that is not built in; the model's words go no further.

use super::server::FunctionCall;
use crate::base::command::{Command, Destination, Digits, HangUpCause, Transfer};
use crate::base::parameters::Parameters;
use crate::codec::excerpt::excerpt;
use serde_json::{Map, Value, json};

/// Ends the call.
pub const END_CALL: &str = "end_call";
/// Transfers the call.
pub const TRANSFER_CALL: &str = "transfer_call";
/// Sends tones.
pub const SEND_DTMF: &str = "send_dtmf";
/// Says what is known of the call.
pub const GET_CALL_INFO: &str = "get_call_info";

/// Pauses the recording.
pub const PAUSE_RECORDING: &str = "pause_recording";

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
}

fn asked(name: &str, arguments: &Value) -> Result<Asked, String> {
    let text = |argument: &str| match arguments.get(argument).and_then(Value::as_str) {
        Some(text) => Ok(text),
        None => Err(format!("the argument {argument} is missing")),
    };
    match name {
        END_CALL => Ok(Asked::Command(Command::HangUp(HangUpCause::normal_clearing()))),
        TRANSFER_CALL => {
            let to = Destination::new(text("destination")?).map_err(|unfit| unfit.to_string())?;
            Ok(Asked::Command(Command::Transfer(Transfer { to, dialplan: None, context: None })))
        }
        SEND_DTMF => {
            let digits = Digits::new(text("digits")?).map_err(|unfit| unfit.to_string())?;
            Ok(Asked::Command(Command::Dtmf(digits)))
        }
        GET_CALL_INFO => Ok(Asked::CallInfo),
        PAUSE_RECORDING => match arguments.get("paused").and_then(Value::as_bool) {
            Some(paused) => Ok(Asked::PauseRecording(paused)),
            None => Err("the argument paused is missing".to_owned()),
        },
        _ => match arguments {
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

/// The declaration of [`END_CALL`].
pub fn end_call() -> Value {
    json!({
        "name": END_CALL,
        "description": "Hang up the telephone call. Say goodbye first: the call ends once that was heard.",
    })
}

/// The declaration of [`TRANSFER_CALL`], to these destinations and no others.
pub fn transfer_call(destinations: &[Destination]) -> Value {
    let known: Vec<&str> = destinations.iter().map(Destination::as_str).collect();
    json!({
        "name": TRANSFER_CALL,
        "description": "Transfer the caller to somebody else and leave the call. Say so first: the transfer begins \
                        once that was heard.",
        "parameters": {
            "type": "OBJECT",
            "properties": {"destination": {"type": "STRING", "format": "enum", "enum": known}},
            "required": ["destination"],
        },
    })
}

/// The declaration of [`SEND_DTMF`].
pub fn send_dtmf() -> Value {
    json!({
        "name": SEND_DTMF,
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

/// The declaration of [`GET_CALL_INFO`].
pub fn get_call_info() -> Value {
    json!({
        "name": GET_CALL_INFO,
        "description": "What is known of this telephone call: the number of the caller, the number that was called, how \
                        long the call has lasted, and the local date and time.",
    })
}

/// The declaration of [`PAUSE_RECORDING`].
pub fn pause_recording() -> Value {
    json!({
        "name": PAUSE_RECORDING,
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
    use crate::base::parameters::BUILT_IN_TOOLS;

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
    fn no_other_tool_can_have_the_name_of_one_that_is_built_in() {
        assert_eq!(BUILT_IN_TOOLS, [END_CALL, TRANSFER_CALL, SEND_DTMF, GET_CALL_INFO]);
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
