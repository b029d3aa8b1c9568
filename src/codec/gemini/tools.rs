//! The tools that the relay itself has for the model: their declarations, calls of them, and the answers.
//!
//! Runs in: the main thread (declarations), the gemini and control threads, rarely; pure. Owns the tools' names.
//! Invariant: what the model wants is a checked command or an error that can be told to it; its words go no further.

use super::server::FunctionCall;
use crate::base::command::{Command, Destination, HangUpCause, Transfer};
use crate::codec::excerpt::excerpt;
use serde_json::{Value, json};

/// Ends the call.
pub const END_CALL: &str = "end_call";
/// Transfers the call.
pub const TRANSFER_CALL: &str = "transfer_call";

/// Longest id and name of a tool call that are kept, in bytes; real ones have some dozen.
const NAME_BYTES_MAX: usize = 128;

/// A call of a tool, with what it takes to answer it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCall {
    /// The model's id of the call, to be repeated.
    pub id: String,
    /// The tool's name, to be repeated.
    pub name: String,
    /// What is to be done, or why that cannot be, for the model.
    pub command: Result<Command, String>,
}

impl ToolCall {
    /// Reads a call. One without an id cannot be answered, and is nothing.
    pub fn read(call: &FunctionCall<'_>) -> Option<Self> {
        let id = call.id.as_deref().filter(|id| id.len() <= NAME_BYTES_MAX)?;
        let command = match call.name.as_ref() {
            END_CALL => Ok(Command::HangUp(HangUpCause::normal_clearing())),
            TRANSFER_CALL => match call.args.get("destination").and_then(Value::as_str).map(Destination::new)
            {
                Some(Ok(to)) => Ok(Command::Transfer(Transfer { to, dialplan: None, context: None })),
                Some(Err(unfit)) => Err(unfit.to_string()),
                None => Err("destination is missing".to_owned()),
            },
            _ => Err("there is no such tool".to_owned()),
        };
        let name = excerpt(call.name.as_bytes(), NAME_BYTES_MAX);
        Some(Self { id: id.to_owned(), name, command })
    }
}

/// The `functionDeclarations` of the tools that an agent has; none where it has none.
pub fn declarations(end_call: bool, destinations: &[Destination]) -> Vec<Value> {
    let mut declared = Vec::new();
    if end_call {
        declared.push(json!({
            "name": END_CALL,
            "description": "Hang up the telephone call. Say goodbye first: the call ends once that was heard.",
        }));
    }
    if !destinations.is_empty() {
        let known: Vec<&str> = destinations.iter().map(Destination::as_str).collect();
        declared.push(json!({
            "name": TRANSFER_CALL,
            "description": "Transfer the caller to somebody else and leave the call. Say so first: the transfer begins \
                            once that was heard.",
            "parameters": {
                "type": "OBJECT",
                "properties": {"destination": {"type": "STRING", "format": "enum", "enum": known}},
                "required": ["destination"],
            },
        }));
    }
    declared
}

/// The `toolResponse` message that answers a call: done, or why not.
pub fn response(call: &ToolCall, result: &Result<(), String>) -> String {
    let said = match result {
        Ok(()) => json!({"output": "done"}),
        Err(why) => json!({"error": why}),
    };
    let answer = json!({"id": call.id, "name": call.name, "response": said});
    json!({"toolResponse": {"functionResponses": [answer]}}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(id: Option<&str>, name: &str, args: Value) -> Option<ToolCall> {
        ToolCall::read(&FunctionCall { id: id.map(Into::into), name: name.into(), args })
    }

    #[test]
    fn a_call_becomes_a_checked_command() {
        let end = read(Some("c-1"), "end_call", Value::Null).expect("a call");
        assert_eq!(end.command, Ok(Command::HangUp(HangUpCause::normal_clearing())));
        let to = Destination::new("2000").unwrap();
        let transfer = read(Some("c-2"), "transfer_call", json!({"destination": "2000"})).expect("a call");
        assert_eq!(transfer.command, Ok(Command::Transfer(Transfer { to, dialplan: None, context: None })));
    }

    #[test]
    fn a_call_that_makes_no_sense_is_an_error_for_the_model_or_nothing() {
        for args in [Value::Null, json!({"destination": 2000}), json!({"destination": "${x}"}), json!([])] {
            assert!(
                read(Some("c"), "transfer_call", args.clone()).expect("a call").command.is_err(),
                "{args}"
            );
        }
        assert!(read(Some("c"), "rm_rf", json!({})).expect("a call").command.is_err());
        assert_eq!(read(None, "end_call", Value::Null), None);
        assert_eq!(read(Some(&"x".repeat(NAME_BYTES_MAX + 1)), "end_call", Value::Null), None);
    }

    #[test]
    fn only_what_is_configured_is_declared() {
        assert_eq!(declarations(false, &[]), Vec::<Value>::new());
        let destinations = [Destination::new("2000").unwrap(), Destination::new("sales").unwrap()];
        let declared = declarations(true, &destinations);
        assert_eq!(
            (&declared[0]["name"], &declared[1]["name"]),
            (&json!("end_call"), &json!("transfer_call"))
        );
        assert_eq!(declared[1]["parameters"]["properties"]["destination"]["enum"], json!(["2000", "sales"]));
    }

    #[test]
    fn the_answer_repeats_id_and_name() {
        let call = read(Some("c-1"), "end_call", Value::Null).expect("a call");
        assert_eq!(
            serde_json::from_str::<Value>(&response(&call, &Err("no".into()))).expect("JSON"),
            json!({"toolResponse": {"functionResponses": [{"id": "c-1", "name": "end_call", "response": {"error": "no"}}]}})
        );
    }
}
