//! `tandem drain`: has the running relay end once its calls have, and says how far it is.
//!
//! Runs in: the main thread. Owns nothing: who ends it ends what it says, and the relay drains on.
//! Invariant: it ends with 0 only if what was asked for is done.

use std::io::Write;
use std::time::Duration;

use argh::FromArgs;
use http::Method;
use serde_json::{Value, json};

use super::Exit;
use super::relay::RunningRelay;
use crate::config::Config;

/// How long the relay may take to answer: it waits for news itself.
const WITHIN: Duration = Duration::from_secs(5);
/// The time of calls that have no limit: no call may last longer (leg.max_call_seconds).
const NO_LIMIT_SECONDS: u64 = 86_400;
/// What is asked.
const PATH: &str = "/api/drain";

/// Drain the running relay: it refuses new calls and ends when its last call has, however long that takes. Prints how many calls
/// are left and waits for the end; who ends this command leaves the relay draining.
#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "drain", help_triggers("-h", "--help"))]
pub struct Options {
    /// send the calls to another relay: each leg that connects again by itself is closed at the call's next pause
    #[argh(switch, long = "move")]
    moves: bool,

    /// end the calls that are left after so long
    #[argh(option, arg_name = "seconds")]
    within: Option<u64>,

    /// do not wait for the end
    #[argh(switch)]
    no_wait: bool,

    /// take it back: new calls are taken again
    #[argh(switch)]
    cancel: bool,
}

/// Drains the relay that runs with this configuration.
pub(super) fn run(options: &Options, config: &Config) -> Exit {
    let done = RunningRelay::of(config).and_then(|relay| {
        let seconds = options.within.unwrap_or(NO_LIMIT_SECONDS);
        let order = match options.cancel {
            true => json!({"cancel": true}),
            false => json!({"seconds": seconds, "move": options.moves}),
        };
        let state = asked(&relay, Method::POST, PATH, Some(&order))?;
        say(&words(&state, options.cancel));
        if options.cancel || options.no_wait { Ok(()) } else { follow(&relay, &state) }
    });
    done.map_or_else(Exit::failure, |()| Exit::success(String::new()))
}

/// Says how many calls are left, until the relay has ended or takes calls again.
fn follow(relay: &RunningRelay, first: &Value) -> Result<(), String> {
    let mut told = first["calls"].clone();
    // It answers when there is news, and not at all once it has ended.
    while let Ok(state) = asked(relay, Method::GET, &format!("{PATH}?calls={told}"), None) {
        if state["draining"] == false {
            return Err("the drain was taken back, or another relay answers: new calls are taken".to_owned());
        }
        if state["calls"] != told {
            say(&words(&state, false));
            told = state["calls"].clone();
        }
    }
    say("the relay has ended");
    Ok(())
}

/// Asks the relay, and gives what it says of its drain.
fn asked(relay: &RunningRelay, method: Method, path: &str, order: Option<&Value>) -> Result<Value, String> {
    match relay.ask(method, path, order, WITHIN)? {
        (200 | 202, state) => Ok(state),
        (status, answer) => {
            let why = answer["error"].as_str().unwrap_or("no reason given");
            Err(format!("not done: {why} (status {status})"))
        }
    }
}

fn words(state: &Value, cancelled: bool) -> String {
    let calls = state["calls"].as_u64().unwrap_or_default();
    let plural = if calls == 1 { "call runs" } else { "calls run" };
    let what = match (cancelled, state["moving"] == true) {
        (true, _) => "new calls are taken again",
        (false, true) => "draining and moving",
        (false, false) => "draining",
    };
    format!("{what}: {calls} {plural}")
}

/// Says it at once: a closed pipe is no reason to stop.
fn say(line: &str) {
    _ = writeln!(std::io::stdout(), "{line}");
}
