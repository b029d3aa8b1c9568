//! `tandem call`: asks the running relay for an outbound call to an agent.
//!
//! Runs in: the main thread. Owns nothing. Never reaches the switch itself: the relay checks and places the call.
//! Invariant: it ends within the time that the relay may take, with what became of the wish.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use argh::FromArgs;
use serde_json::{Map, Value};

use super::Exit;
use crate::config::{Config, Secret};
use crate::net::http;
use crate::sync::Clock;

/// Longer than the relay waits for the switch.
const WITHIN: Duration = Duration::from_secs(12);

/// Place an outbound call: tandem call --to NUMBER --agent NAME. The relay has to run, with esl.host and esl.dial_string.
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
}

/// Places the call by the relay that runs with this configuration.
pub(super) fn run(options: &Options, config: &Config) -> Exit {
    let Some(listen) = config.admin.listen else {
        return failure("admin.listen is not set: the relay takes no requests");
    };
    let fields =
        [("to", Some(&options.to)), ("agent", options.agent.as_ref()), ("from", options.from.as_ref())];
    let request: Map<String, Value> = fields
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?.as_str()))))
        .collect();
    let (address, token) = (reachable(listen), config.admin.token.as_ref().map(Secret::expose));
    let request = Value::from(request).to_string();
    match http::post(address, "/api/originate", token, &request, &Clock::new(), WITHIN) {
        Ok((202, answer)) => {
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            Exit::success(format!("{}\n", answer["uuid"].as_str().unwrap_or("placed")))
        }
        Ok((status, answer)) => {
            let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
            failure(&format!(
                "not placed: {} (status {status})",
                answer["error"].as_str().unwrap_or("no reason given")
            ))
        }
        Err(trouble) => failure(&format!(
            "no answer of the relay's admin server at {address}: {trouble}; is tandem running with this configuration?"
        )),
    }
}

/// An address to connect to, where it listens on all.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn failure(why: &str) -> Exit {
    Exit { output: String::new(), errors: format!("tandem: {why}\n"), status: 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_every_address_is_reached_on_loopback() {
        for (listen, expected) in
            [("0.0.0.0:9095", "127.0.0.1:9095"), ("[::]:9095", "[::1]:9095"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        }
    }
}
