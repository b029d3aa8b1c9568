//! `tandem call`: asks the running relay for an outbound call to an agent, and says what became of it.
//!
//! Runs in: the main thread. Owns the exit statuses. Never reaches the switch itself: the relay checks and places the call.
//! Invariant: it ends within the time that the relay may take, and with 0 only if what was asked for was done.

use std::time::Duration;

use argh::FromArgs;
use http::Method;
use serde_json::{Map, Value};

use super::Exit;
use super::relay::RunningRelay;
use crate::config::Config;

/// Longer than the relay waits for the switch to begin; and how much longer than it may ring for its end.
const WITHIN: Duration = Duration::from_secs(12);
const RINGS_AND: Duration = Duration::from_secs(45);

/// Place an outbound call and wait until it is answered: tandem call --to NUMBER --agent NAME. Prints its UUID. The relay has to
/// run, with esl.host and esl.dial_string. Exit status: 0 answered, 1 not placed or not known, 3 busy, 4 no answer, 5
/// rejected, 6 not connected for another cause, which is printed.
#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "call", help_triggers("-h", "--help"))]
pub struct Options {
    /// the number or extension to call
    #[argh(option, arg_name = "number")]
    to: String,

    /// the agent who speaks
    #[argh(option, arg_name = "name")]
    agent: Option<String>,

    /// the number that is shown to the one who is called
    #[argh(option, arg_name = "number")]
    from: Option<String>,

    /// end as soon as the switch has begun to call
    #[argh(switch)]
    no_wait: bool,
}

/// Places the call by the relay that runs with this configuration.
pub(super) fn run(options: &Options, config: &Config) -> Exit {
    let relay = match RunningRelay::of(config) {
        Ok(relay) => relay,
        Err(problem) => return Exit::failure(problem),
    };
    let fields =
        [("to", Some(&options.to)), ("agent", options.agent.as_ref()), ("from", options.from.as_ref())];
    let mut request: Map<String, Value> = fields
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?.as_str()))))
        .collect();
    request.insert("wait".to_owned(), (!options.no_wait).into());
    let within = if options.no_wait { WITHIN } else { WITHIN + config.esl.answer_timeout + RINGS_AND };
    match relay.ask(Method::POST, "/api/originate", Some(&Value::from(request)), within) {
        Ok((status, answer)) => told(status, &answer),
        Err(problem) => Exit::failure(problem),
    }
}

/// What the relay's answer is to a shell. The UUID is printed in any case in which there is one.
fn told(status: u16, answer: &Value) -> Exit {
    let word = |name: &str| answer[name].as_str();
    let output = word("uuid").map_or(String::new(), |uuid| format!("{uuid}\n"));
    if matches!(status, 200 | 202) {
        return Exit::success(output);
    }
    let why = word("error").unwrap_or("no reason given");
    let errors = match word("uuid") {
        Some(_) => format!("tandem: {why}\n"),
        None => format!("tandem: not placed: {why} (status {status})\n"),
    };
    let status = match word("outcome") {
        Some("busy") => 3,
        Some("no_answer") => 4,
        Some("rejected") => 5,
        Some("not_connected") => 6,
        _ => 1,
    };
    Exit { output, errors, status }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_exit_status_says_what_became_of_the_call() {
        let not_answered = |outcome: &str| json!({"done": false, "uuid": "u-1", "outcome": outcome, "cause": "X", "error": "not answered: X"});
        for (status, answer, expected) in [
            (202, json!({"done": true, "uuid": "u-1"}), 0),
            (200, json!({"done": true, "uuid": "u-1", "answered": true}), 0),
            (409, not_answered("busy"), 3),
            (409, not_answered("no_answer"), 4),
            (409, not_answered("rejected"), 5),
            (409, not_answered("not_connected"), 6),
            (504, not_answered("not_known"), 1),
            (409, json!({"done": false, "error": "outbound calls are off"}), 1),
            (500, Value::Null, 1),
        ] {
            let exit = told(status, &answer);
            assert_eq!(exit.status, expected, "{answer}");
            assert_eq!(exit.output == "u-1\n", answer["uuid"].is_string(), "{answer}");
            assert_eq!(exit.errors.is_empty(), expected == 0, "{answer}");
        }
    }
}
