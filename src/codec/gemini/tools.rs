//! The tools that a model may call, as Gemini is told of them, and the answers of their calls.
//!
//! Runs in: the dial thread (declarations) and the gemini thread (answers): pure. Owns the words of the declarations.
//! Invariant: every tool that is built in is declared under its name.

use serde_json::{Map, Value, json};

use super::models;
use crate::base::command::Destination;
use crate::base::{BuiltIn, Words};
use crate::call::model::{Behavior, Function, SetupRequest, ToolAnswer, ToolCall};

/// `functionDeclarations` of what a setup asks for, as its model wants them.
pub(super) fn declarations(request: &SetupRequest) -> Vec<Value> {
    let in_full = models::known(&request.model).is_some_and(|model| model.functions_in_full);
    let declared = request.functions.iter().map(declaration);
    declared.map(|function| if in_full { self::in_full(function) } else { function }).collect()
}

fn declaration(function: &Function) -> Value {
    match function {
        Function::EndCall => json!({
            "name": BuiltIn::EndCall.label(),
            "description": "Hang up the telephone call. Say goodbye first: the call ends once that was heard.",
        }),
        Function::TransferCall(destinations) => transfer_call(destinations),
        Function::SendDtmf => json!({
            "name": BuiltIn::SendDtmf.label(),
            "description": "Send telephone tones (DTMF) to the other side at once, as if its keys were pressed.",
            "parameters": {
                "type": "OBJECT",
                "properties": {"digits": {
                    "type": "STRING",
                    "description": "0-9, A-D, * and #; w is a pause of half a second, W one of a second; up to 32",
                }},
                "required": ["digits"],
            },
        }),
        Function::GetCallInfo => json!({
            "name": BuiltIn::GetCallInfo.label(),
            "description": "What is known of this telephone call: the number of the caller, the number that was called, how \
                            long the call has lasted, and the local date and time.",
        }),
        Function::PauseRecording => json!({
            "name": BuiltIn::PauseRecording.label(),
            "description": "Pause the recording of this telephone call before the caller says what must not be kept, such as the \
                            number of a payment card, and go on with it afterwards.",
            "parameters": {
                "type": "OBJECT",
                "properties": {"paused": {"type": "BOOLEAN", "description": "true to pause, false to go on"}},
                "required": ["paused"],
            },
        }),
        Function::Other { name, description, parameters, behavior } => {
            let mut declared = json!({"name": name, "description": description});
            if let Some(schema) = parameters.schema() {
                declared["parametersJsonSchema"] = schema.clone();
            }
            if let Some(behavior) = behavior {
                declared["behavior"] = capitals(*behavior);
            }
            declared
        }
    }
}

fn transfer_call(destinations: &[Destination]) -> Value {
    let mut known: Vec<&str> = Vec::new();
    for destination in destinations.iter().map(Destination::as_str) {
        if !known.contains(&destination) {
            known.push(destination);
        }
    }
    json!({
        "name": BuiltIn::TransferCall.label(),
        "description": "Transfer the caller to somebody else and leave the call. Say so first: the transfer begins \
                        once that was heard.",
        "parameters": {
            "type": "OBJECT",
            "properties": {"destination": {"type": "STRING", "format": "enum", "enum": known}},
            "required": ["destination"],
        },
    })
}

/// A declaration as models take it that want all of it said: that they do not wait, and which parameters there are, in the
/// words of OpenAPI, though there be none.
fn in_full(mut declared: Value) -> Value {
    let schema = declared.as_object_mut().and_then(|function| function.remove("parametersJsonSchema"));
    if let Some(schema) = schema {
        declared["parameters"] = open_api(&schema);
    }
    if declared.get("parameters").is_none() {
        declared["parameters"] = json!({"type": "OBJECT", "properties": {}});
    }
    declared["behavior"] = capitals(Behavior::NonBlocking);
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

/// The API has the words of the configuration in capitals.
fn capitals(choice: impl Words) -> Value {
    choice.label().to_ascii_uppercase().into()
}

/// The `toolResponse` message that answers a call.
pub(crate) fn response(call: &ToolCall, answer: &ToolAnswer) -> String {
    let said = match &answer.result {
        Ok(output) => json!({"output": output}),
        Err(why) => json!({"error": why}),
    };
    let mut function = json!({"name": call.name, "response": said});
    if !call.id.is_empty() {
        function["id"] = call.id.as_str().into();
    }
    if let Some(scheduling) = answer.scheduling {
        function["scheduling"] = capitals(scheduling);
    }
    json!({"toolResponse": {"functionResponses": [function]}}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::parameters::Parameters;
    use crate::call::model::{Asked, Scheduling};

    fn other(name: &str, parameters: &Parameters, behavior: Option<Behavior>) -> Function {
        Function::Other {
            name: name.into(),
            description: "Does.".into(),
            parameters: parameters.clone(),
            behavior,
        }
    }

    fn answered(call: &ToolCall, result: Result<Value, String>, scheduling: Option<Scheduling>) -> Value {
        let text = response(call, &ToolAnswer { result, scheduling });
        let mut message: Value = serde_json::from_str(&text).expect("JSON");
        message["toolResponse"]["functionResponses"][0].take()
    }

    #[test]
    fn every_tool_that_is_built_in_is_declared_under_its_name() {
        let declared = [
            Function::EndCall,
            Function::TransferCall(Vec::new()),
            Function::SendDtmf,
            Function::GetCallInfo,
            Function::PauseRecording,
        ]
        .map(|function| declaration(&function));
        let names: Vec<_> = declared.iter().filter_map(|function| function["name"].as_str()).collect();
        assert_eq!(names, BuiltIn::ALL.map(BuiltIn::label));
        for name in names {
            let asked = ToolCall::read(Some("c"), name, &Value::Null).expect("a call").asked;
            assert!(!matches!(asked, Ok(Asked::Other(_))), "{name} would be asked of a server");
        }
    }

    #[test]
    fn a_declaration_names_what_may_be_asked_for_and_leaves_out_what_nobody_chose() {
        let destinations = [Destination::new("2000").unwrap(), Destination::new("sales").unwrap()];
        let declared = transfer_call(&destinations);
        assert_eq!(declared["parameters"]["properties"]["destination"]["enum"], json!(["2000", "sales"]));
        let schema = json!({"type": "object", "properties": {"day": {"type": "string"}}});
        let parameters = Parameters::read(&schema.to_string()).expect("a schema");
        assert_eq!(
            declaration(&other("lookup", &parameters, Some(Behavior::NonBlocking))),
            json!({"name": "lookup", "description": "Does.", "parametersJsonSchema": schema, "behavior": "NON_BLOCKING"})
        );
        let bare = declaration(&other("lookup", &Parameters::default(), None));
        assert_eq!(bare, json!({"name": "lookup", "description": "Does."}));
    }

    #[test]
    fn a_declaration_in_full_says_that_it_is_not_waited_for_and_what_it_takes_though_that_be_nothing() {
        let nothing = json!({"type": "OBJECT", "properties": {}});
        for bare in [Function::EndCall, Function::GetCallInfo, other("f", &Parameters::default(), None)] {
            let full = in_full(declaration(&bare));
            assert_eq!((&full["behavior"], &full["parameters"]), (&json!("NON_BLOCKING"), &nothing));
        }
        let tones = declaration(&Function::SendDtmf);
        assert_eq!(in_full(tones.clone())["parameters"], tones["parameters"]);
        let schema = json!({"type": "object", "required": ["day"], "additionalProperties": false, "properties": {
            "day": {"type": "string", "format": "date", "description": "YYYY-MM-DD"},
            "persons": {"type": "integer", "enum": [1, 2], "minimum": 1},
            "rooms": {"type": "array", "items": {"type": "string", "enum": ["red", "blue"]}},
            "when": {"oneOf": [{"type": "string"}, {"type": "null"}]}}});
        let parameters = Parameters::read(&schema.to_string()).expect("a schema");
        let full = in_full(declaration(&other("book", &parameters, Some(Behavior::NonBlocking))));
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
        let call = ToolCall::read(Some("c-1"), "end_call", &Value::Null).expect("a call");
        assert_eq!(
            answered(&call, Err("no".into()), None),
            json!({"id": "c-1", "name": "end_call", "response": {"error": "no"}})
        );
        assert_eq!(
            answered(&call, Ok(json!({"free": [9, 10]})), Some(Scheduling::Silent)),
            json!({"id": "c-1", "name": "end_call", "response": {"output": {"free": [9, 10]}}, "scheduling": "SILENT"})
        );
        let nameless = ToolCall::read(None, "lookup", &Value::Null).expect("a call");
        assert_eq!(
            answered(&nameless, Ok(json!(1)), None),
            json!({"name": "lookup", "response": {"output": 1}})
        );
    }
}
