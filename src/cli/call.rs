//! `tandem call`: asks the running relay for an outbound call to an agent, and says what became of it.
//!
//! Runs in: the main thread. Owns the exit statuses. Never reaches the switch itself: the relay checks and places the call.
//! Invariant: it ends within the time that the relay may take, and with 0 only if what was asked for was done.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use argh::FromArgs;
use http::{HeaderValue, Method, header};
use serde_json::{Map, Value};

use super::Exit;
use crate::config::{Config, Secret};
use crate::net::http_client::{HttpAnswer, HttpClient, HttpRequest};
use crate::net::tls::Client;

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
    let Some(listen) = config.admin.listen else {
        return Exit::failure("admin.listen is not set: the relay takes no requests");
    };
    let fields =
        [("to", Some(&options.to)), ("agent", options.agent.as_ref()), ("from", options.from.as_ref())];
    let mut request: Map<String, Value> = fields
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?.as_str()))))
        .collect();
    request.insert("wait".to_owned(), (!options.no_wait).into());
    let within = if options.no_wait { WITHIN } else { WITHIN + config.esl.answer_timeout + RINGS_AND };
    let (address, token) = (reachable(listen), config.admin.token.as_ref().map(Secret::expose));
    let certificate = config.admin.tls_certificate.as_deref();
    match ask(address, certificate, token, &Value::from(request), within) {
        Ok(HttpAnswer { status, body, .. }) => {
            told(status, &serde_json::from_slice(&body).unwrap_or_default())
        }
        Err(problem) => Exit::failure(format_args!(
            "no answer of the relay's admin server at {address}: {problem}; is tandem running with this configuration?"
        )),
    }
}

/// Asks the server whose certificate is in this file, if it speaks TLS.
fn ask(
    address: SocketAddr,
    certificate: Option<&Path>,
    token: Option<&str>,
    request: &Value,
    timeout: Duration,
) -> Result<HttpAnswer, String> {
    let tls = certificate.map(Client::of_own_server).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let bearer = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}"))).transpose();
    let bearer = bearer.map_err(|_| "admin.token holds characters that no header may have".to_owned())?;
    let request = HttpRequest {
        method: Method::POST,
        url: format!("{scheme}://{address}/api/originate"),
        headers: bearer.into_iter().map(|bearer| (header::AUTHORIZATION, bearer)).collect(),
        body: Some(request.to_string()),
        timeout,
    };
    HttpClient::new(tls).ask(request).map_err(|problem| problem.to_string())
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

/// An address to connect to, where it listens on all.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
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

    #[test]
    fn a_server_on_every_address_is_reached_on_loopback() {
        for (listen, expected) in
            [("0.0.0.0:9095", "127.0.0.1:9095"), ("[::]:9095", "[::1]:9095"), ("192.0.2.1:1", "192.0.2.1:1")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        }
    }
}
