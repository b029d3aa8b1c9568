//! Orders to our script beside the switch, in band: one text message each, which the module raises as an event.
//!
//! Runs in: the telephony thread, rarely; pure. Owns nothing. `tandem_events.lua` and `start_audio_stream.lua` must agree
//! with what is written here; their answers are read in `leg_text.rs`.
//! Invariant: an order is one JSON object of printable ASCII, and nothing in it needs escaping, since commands hold checked
//! values only.

use crate::base::command::{Command, Transfer};
use crate::call::leg::OrderNumber;

/// The text message that orders `command`.
pub(crate) fn order_message(number: OrderNumber, command: &Command) -> String {
    let mut json = String::with_capacity(96);
    json.push_str(r#"{"type":"tandem","order":""#);
    json.push_str(match command {
        Command::HangUp(_) => "hangup",
        Command::Transfer(_) => "transfer",
        Command::Dtmf(_) => "dtmf",
        Command::Break => "break",
        Command::SetVariable(..) => "set",
    });
    json.push_str(r#"","id":"#);
    json.push_str(&number.to_string());
    let mut field = |name: &str, value: &str| {
        for part in [",\"", name, "\":\"", value, "\""] {
            json.push_str(part);
        }
    };
    match command {
        Command::HangUp(cause) => field("cause", cause.as_str()),
        Command::Transfer(Transfer { to, dialplan, context }) => {
            field("to", to.as_str());
            if let Some(dialplan) = dialplan {
                field("dialplan", dialplan.as_str());
            }
            if let Some(context) = context {
                field("context", context.as_str());
            }
        }
        Command::Dtmf(digits) => field("digits", digits.as_str()),
        Command::Break => {}
        Command::SetVariable(name, value) => {
            field("name", name.as_str());
            field("value", value.as_str());
        }
    }
    json.push('}');
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::command::{
        Context, Destination, Dialplan, Digits, HangUpCause, VariableName, VariableValue,
    };
    use proptest::prelude::*;

    #[test]
    fn each_order_is_what_the_scripts_read() {
        let to = Destination::new("2000").unwrap();
        let elsewhere = Transfer {
            to: to.clone(),
            dialplan: Some(Dialplan::new("XML").unwrap()),
            context: Some(Context::new("default").unwrap()),
        };
        let set = Command::SetVariable(
            VariableName::new("tandem_result").unwrap(),
            VariableValue::new("booked").unwrap(),
        );
        for (number, command, expected) in [
            (
                3,
                Command::HangUp(HangUpCause::normal_clearing()),
                r#"{"type":"tandem","order":"hangup","id":3,"cause":"NORMAL_CLEARING"}"#,
            ),
            (
                4,
                Command::Transfer(Transfer { to, dialplan: None, context: None }),
                r#"{"type":"tandem","order":"transfer","id":4,"to":"2000"}"#,
            ),
            (
                4,
                Command::Transfer(elsewhere),
                r#"{"type":"tandem","order":"transfer","id":4,"to":"2000","dialplan":"XML","context":"default"}"#,
            ),
            (
                5,
                Command::Dtmf(Digits::new("123#").unwrap()),
                r#"{"type":"tandem","order":"dtmf","id":5,"digits":"123#"}"#,
            ),
            (6, Command::Break, r#"{"type":"tandem","order":"break","id":6}"#),
            (7, set, r#"{"type":"tandem","order":"set","id":7,"name":"tandem_result","value":"booked"}"#),
        ] {
            assert_eq!(order_message(number, &command), expected);
        }
    }

    proptest! {
        #[test]
        fn an_order_is_json_with_the_values_unchanged(
            number in any::<u32>(),
            name in "[A-Za-z0-9_-]{1,64}",
            value in "[A-Za-z0-9 _.,:;+@/-]{0,256}",
        ) {
            let command = Command::SetVariable(
                VariableName::new(&name).unwrap(),
                VariableValue::new(&value).unwrap(),
            );
            let json: serde_json::Value = serde_json::from_str(&order_message(number, &command)).expect("JSON");
            let expected = serde_json::json!(
                {"type": "tandem", "order": "set", "id": number, "name": name, "value": value});
            prop_assert_eq!(json, expected);
        }
    }
}
