//! Commands to the event socket: the password, what events are wanted, and jobs (`bgapi`).
//!
//! Runs in: the esl thread; pure. Owns nothing.
//! Invariant: a line made here holds neither a line end nor anything else that the socket or an API command reads as more
//! than a value.

use crate::base::command::{AgentName, ChannelName, Command, Destination};

/// The command that presents the password, if it can be one: a line end in it would end the command.
pub(crate) fn authenticate(password: &str) -> Option<String> {
    (!password.chars().any(char::is_control)).then(|| format!("auth {password}\n\n"))
}

/// The command that asks for these events; those of `custom` are subclasses of `CUSTOM`, which has to come last.
pub(crate) fn subscribe(events: &[&str], custom: &[&str]) -> String {
    let mut line = String::from("event plain");
    let subclasses = if custom.is_empty() { &[][..] } else { &["CUSTOM"] };
    for word in [events, subclasses, custom].concat() {
        line.push(' ');
        line.push_str(word);
    }
    line.push_str("\n\n");
    line
}

/// The command that runs `line` as a job of this name. Its output comes as an event `BACKGROUND_JOB` with the name.
pub(crate) fn bgapi(job: &str, line: &str) -> String {
    format!("bgapi {line}\nJob-UUID: {job}\n\n")
}

/// The API command that carries `command` out on a channel (mod_commands).
pub(crate) fn control_line(channel: &ChannelName, command: &Command) -> String {
    match command {
        Command::HangUp(cause) => format!("uuid_kill {channel} {cause}"),
        Command::Transfer(transfer) => {
            let to = &transfer.to;
            match (&transfer.dialplan, &transfer.context) {
                (None, None) => format!("uuid_transfer {channel} {to}"),
                (Some(dialplan), None) => format!("uuid_transfer {channel} {to} {dialplan}"),
                // The context is the word behind the dialplan, so that there has to be one; XML is the usual.
                (None, Some(context)) => format!("uuid_transfer {channel} {to} XML {context}"),
                (Some(dialplan), Some(context)) => {
                    format!("uuid_transfer {channel} {to} {dialplan} {context}")
                }
            }
        }
        Command::Dtmf(digits) => format!("uuid_send_dtmf {channel} {digits}"),
        Command::Break => format!("uuid_break {channel} all"),
        Command::SetVariable(name, value) => format!("uuid_setvar {channel} {name} {value}"),
    }
}

/// A call to be placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// The name that its channel gets.
    pub channel: ChannelName,
    /// The number to call.
    pub to: Destination,
    /// The number that is shown to the one who is called.
    pub from: Option<Destination>,
    /// Who speaks.
    pub agent: Option<AgentName>,
}

/// The API command that places a call: `dial_string` has `{to}` where the number goes, `application` is run once it is
/// answered; both are the operator's own words.
pub(crate) fn originate_line(
    outbound: &Outbound,
    dial_string: &str,
    application: &str,
    answer_seconds: u64,
) -> String {
    let Outbound { channel, to, from, agent } = outbound;
    let mut variables = format!(
        "origination_uuid={channel},originate_timeout={answer_seconds},ignore_early_media=true,tandem_to={to}"
    );
    if let Some(agent) = agent {
        variables.push_str(&format!(",tandem_agent={agent}"));
    }
    if let Some(from) = from {
        variables.push_str(&format!(",origination_caller_id_number={from}"));
    }
    // In quotes, because the arguments of originate end at a space: what came behind it would be its dialplan and context.
    format!("originate {{{variables}}}{} '&{application}'", dial_string.replace("{to}", to.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::command::{
        Context, Destination, Dialplan, Digits, HangUpCause, Transfer, VariableName, VariableValue,
    };

    fn line(command: &Command) -> String {
        control_line(&ChannelName::new("8c1d9a52-6a1c").unwrap(), command)
    }

    #[test]
    fn each_command_is_one_of_mod_commands() {
        assert_eq!(
            line(&Command::HangUp(HangUpCause::normal_clearing())),
            "uuid_kill 8c1d9a52-6a1c NORMAL_CLEARING"
        );
        assert_eq!(line(&Command::Dtmf(Digits::new("12#").unwrap())), "uuid_send_dtmf 8c1d9a52-6a1c 12#");
        assert_eq!(line(&Command::Break), "uuid_break 8c1d9a52-6a1c all");
        let set = |value| {
            Command::SetVariable(
                VariableName::new("tandem_result").unwrap(),
                VariableValue::new(value).unwrap(),
            )
        };
        assert_eq!(line(&set("at 9, room 4")), "uuid_setvar 8c1d9a52-6a1c tandem_result at 9, room 4");
        let transfer = |dialplan: Option<&str>, context: Option<&str>| {
            line(&Command::Transfer(Transfer {
                to: Destination::new("2000").unwrap(),
                dialplan: dialplan.map(|name| Dialplan::new(name).unwrap()),
                context: context.map(|name| Context::new(name).unwrap()),
            }))
        };
        assert_eq!(transfer(None, None), "uuid_transfer 8c1d9a52-6a1c 2000");
        assert_eq!(transfer(Some("XML"), None), "uuid_transfer 8c1d9a52-6a1c 2000 XML");
        assert_eq!(transfer(None, Some("ivr")), "uuid_transfer 8c1d9a52-6a1c 2000 XML ivr");
        assert_eq!(transfer(Some("XML"), Some("ivr")), "uuid_transfer 8c1d9a52-6a1c 2000 XML ivr");
    }

    #[test]
    fn a_job_has_its_name_behind_the_command() {
        assert_eq!(bgapi("j-1", "uuid_break u all"), "bgapi uuid_break u all\nJob-UUID: j-1\n\n");
    }

    #[test]
    fn a_call_is_placed_with_checked_values_in_the_operators_dial_string() {
        let outbound = Outbound {
            channel: ChannelName::new("u-1").unwrap(),
            to: Destination::new("+420123").unwrap(),
            from: Some(Destination::new("100").unwrap()),
            agent: Some(AgentName::new("sales").unwrap()),
        };
        assert_eq!(
            originate_line(
                &outbound,
                "sofia/gateway/p/{to}",
                "lua(start.lua ws://127.0.0.1:9094 mono 16k)",
                60
            ),
            "originate {origination_uuid=u-1,originate_timeout=60,ignore_early_media=true,tandem_to=+420123,\
             tandem_agent=sales,origination_caller_id_number=100}sofia/gateway/p/+420123 \
             '&lua(start.lua ws://127.0.0.1:9094 mono 16k)'"
        );
    }

    #[test]
    fn custom_events_come_last() {
        assert_eq!(subscribe(&["DTMF"], &["avmd::beep"]), "event plain DTMF CUSTOM avmd::beep\n\n");
        assert_eq!(subscribe(&["DTMF", "BACKGROUND_JOB"], &[]), "event plain DTMF BACKGROUND_JOB\n\n");
    }

    #[test]
    fn a_password_cannot_bring_a_command_with_it() {
        assert_eq!(authenticate("ClueCon").as_deref(), Some("auth ClueCon\n\n"));
        assert_eq!(authenticate("x\n\napi shutdown"), None);
        assert_eq!(authenticate("x\r"), None);
    }
}
