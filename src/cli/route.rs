//! `tandem route`: who answers a number, and why.
//!
//! Runs in: the main thread. Owns the words of the answer. Never asks the running relay: it reads the configuration.
//! Invariant: the same choice as the relay makes for a call of which the same is known.

use argh::FromArgs;

use super::Exit;
use crate::config::routes::{Decision, decide};
use crate::config::{Config, RouteConfig};

/// Say which agent answers a number, or that none does, and which route of the configuration says so. The exit status is 1
/// where the call is refused.
#[derive(FromArgs, Debug, Clone, PartialEq, Eq)]
#[argh(subcommand, name = "route", help_triggers("-h", "--help"))]
pub struct Options {
    /// the number that is called
    #[argh(positional)]
    pub number: String,

    /// the caller's number
    #[argh(option, arg_name = "number")]
    pub caller: Option<String>,
}

/// The answer.
pub(super) fn run(options: &Options, config: &Config) -> Exit {
    let number = &options.number;
    let (what, route, status) = match decide(&config.routes, Some(number), options.caller.as_deref()) {
        Decision::Agent { name, route } => (format!("agent {name}"), route, 0),
        Decision::Refuse { reason, route } => (format!("refused: {reason}"), Some(route), 1),
    };
    let why = match route {
        Some(route) => described(route),
        None if config.routes.0.is_empty() => "there are no routes".to_owned(),
        None => "no route fits".to_owned(),
    };
    Exit { output: format!("{number}: {what} ({why})\n"), errors: String::new(), status }
}

fn described(route: &RouteConfig) -> String {
    let mut described = String::from("route");
    if let Some(name) = &route.name {
        described.push_str(&format!(" {name:?}"));
    }
    described.push_str(&format!(" at {}", route.place));
    for (what, pattern) in [("did", &route.did), ("caller", &route.caller)] {
        if let Some(pattern) = pattern {
            described.push_str(&format!(", {what} = \"{pattern}\""));
        }
    }
    described
}
