//! The paths of the admin server: what they take and what they answer.
//!
//! Runs in: the admin threads. Owns nothing.
//! Invariant: nothing that a request brings reaches control, the registry of expected calls or the event socket unchecked.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use serde_json::{Map, Value, json};

use super::{Admin, AdminShared, WAITING_MAX};
use crate::base::command::{
    AgentName, Command, CommandKind, Context, Destination, Dialplan, Digits, HangUpCause, Transfer, Unfit,
    VariableName, VariableValue,
};
use crate::call::{Choice, CommandError};
use crate::codec::esl::Outbound;
use crate::codec::excerpt::excerpt;
use crate::codec::mod_audio_stream::{CallFields, PresentedToken, metadata};
use crate::net::http::Request;
use crate::threads::esl::new_channel;
use crate::threads::messages::{ControlInput, EslOrder};

/// How long a command's answer is waited for: longer than the machine of its call waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);
/// How much longer than it may ring an outbound call is expected.
const CONNECTS_WITHIN: Duration = Duration::from_secs(30);
const JSON: &str = "application/json";

/// What a request is answered with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

impl Response {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self { status, content_type: JSON, body: format!("{body}\n") }
    }

    /// That it was not done, and why.
    pub(super) fn error(status: u16, why: &str) -> Self {
        Self::json(status, &json!({"done": false, "error": why}))
    }
}

/// A path as it may stand in a log.
pub(super) fn shown(path: &str) -> String {
    excerpt(path.as_bytes(), 120)
}

/// Fields of a body that are not as they should be.
pub(super) struct Wrong(pub(super) String);

impl From<Unfit> for Wrong {
    fn from(unfit: Unfit) -> Self {
        Self(unfit.to_string())
    }
}

/// The JSON object of a body; an empty body is an empty object.
pub(super) struct Body(Map<String, Value>);

impl Body {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Wrong> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(Map::new()));
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            _ => Err(Wrong("the body is no JSON object".into())),
        }
    }

    /// A value made of the field `name`, if it is there.
    fn optional<T>(&self, name: &str, new: fn(&str) -> Result<T, Unfit>) -> Result<Option<T>, Wrong> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(new(text)?)),
            Some(_) => Err(Wrong(format!("{name} is no text: write it in quotation marks"))),
        }
    }

    pub(super) fn required<T>(&self, name: &str, new: fn(&str) -> Result<T, Unfit>) -> Result<T, Wrong> {
        self.optional(name, new)?.ok_or_else(|| Wrong(format!("{name} is missing")))
    }

    /// The command of this kind.
    fn command(&self, kind: CommandKind) -> Result<Command, Wrong> {
        Ok(match kind {
            CommandKind::HangUp => {
                let cause = self.optional("cause", HangUpCause::new)?;
                Command::HangUp(cause.unwrap_or_else(HangUpCause::normal_clearing))
            }
            CommandKind::Transfer => Command::Transfer(Transfer {
                to: self.required("to", Destination::new)?,
                dialplan: self.optional("dialplan", Dialplan::new)?,
                context: self.optional("context", Context::new)?,
            }),
            CommandKind::Dtmf => Command::Dtmf(self.required("digits", Digits::new)?),
            CommandKind::Break => Command::Break,
            CommandKind::SetVariable => Command::SetVariable(
                self.required("name", VariableName::new)?,
                self.required("value", VariableValue::new)?,
            ),
        })
    }
}

impl Admin {
    /// Answers a request.
    pub(super) fn answer(&mut self, request: &Request, peer: IpAddr) -> Response {
        let segments: Vec<&str> = request.path.split('/').skip(1).collect();
        let health = segments == ["healthz"];
        if !health && !self.is_allowed(request) {
            return Response::error(401, "the token is missing or wrong (admin.token)");
        }
        // Browsers say from which page a request comes; nothing that has business here does. So no page that somebody on
        // this machine looks at can place calls.
        if request.header("Origin").is_some() {
            return Response::error(403, "requests of web pages are not answered");
        }
        let outcome = match (request.method.as_str(), segments.as_slice()) {
            ("GET", ["healthz"]) => {
                Ok(Response { status: 200, content_type: "text/plain", body: "ok\n".to_owned() })
            }
            ("GET", ["admit"]) => Ok(self.admit(&request.query)),
            ("POST", ["api", "expect"]) => self.expect(&request.body),
            ("POST", ["api", "connect"]) => self.connect(&request.body, peer),
            ("POST", ["api", "originate"]) => self.originate(&request.body),
            ("POST", ["api", "calls", channel, kind]) => {
                match CommandKind::ALL.into_iter().find(|known| known.label() == *kind) {
                    Some(kind) => self.command(channel, kind, &request.body),
                    None => {
                        Ok(Response::error(404, "commands are hangup, transfer, dtmf, break and variable"))
                    }
                }
            }
            (_, ["healthz" | "admit"]) => Ok(Response::error(405, "this path takes GET")),
            (_, ["api", "expect" | "connect" | "originate"] | ["api", "calls", _, _]) => {
                Ok(Response::error(405, "this path takes POST"))
            }
            _ => Ok(Response::error(404, "there is nothing at this path")),
        };
        outcome.unwrap_or_else(|Wrong(why)| Response::error(422, &why))
    }

    fn is_allowed(&self, request: &Request) -> bool {
        let Some(expected) = &self.shared.parts.token else { return true };
        let bearer = request.header("Authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let presented = bearer.or(request.header("X-Tandem-Token"));
        let presented = presented.and_then(|token| PresentedToken::new(token.as_bytes()));
        presented.is_some_and(|token| token.matches(expected.expose().as_bytes()))
    }

    /// Whether a call to this number from that caller would be taken now, decided from memory.
    fn admit(&self, query: &str) -> Response {
        let parts = &self.shared.parts;
        let asked = |name: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into_owned())
        };
        let refused = |reason: &str, why: &str| {
            Response::json(503, &json!({"admit": false, "reason": reason, "why": why}))
        };
        let [did, caller, agent] = ["did", "caller", "agent"].map(asked);
        if let Choice::Refuse(reason) =
            parts.agents.get().choose(&CallFields { did, caller, agent, ..CallFields::default() })
        {
            return refused("route", &reason);
        }
        match parts.registry.would_admit(parts.clock.now()) {
            Ok(()) => Response::json(200, &json!({"admit": true})),
            Err(reason) => refused(reason.label(), reason.explanation()),
        }
    }

    /// Announces a call of which the leg will tell nothing but its UUID.
    fn expect(&self, body: &[u8]) -> Result<Response, Wrong> {
        let announced = told(body)?;
        let uuid = announced.uuid.clone().ok_or_else(|| Wrong("uuid is missing".into()))?;
        Ok(announce(&self.shared, &uuid, announced, self.shared.parts.expect))
    }

    fn command(&mut self, channel: &str, kind: CommandKind, body: &[u8]) -> Result<Response, Wrong> {
        let command = Body::parse(body)?.command(kind)?;
        let channel = percent_decoded(channel);
        let (reply, answer) = bounded(1);
        let Some(_place) = Waits::new(&self.shared) else { return Ok(too_busy()) };
        if self.control.try_send(ControlInput::Commanded(channel, command, reply)).is_err() {
            return Ok(too_busy());
        }
        Ok(match within(&answer) {
            None => Response::error(504, "the relay itself did not answer; it may or may not have been done"),
            Some(None) => Response::error(404, "there is no call with this UUID"),
            Some(Some(Ok(()))) => Response::json(200, &json!({"done": true})),
            Some(Some(Err(error))) => Response::error(status(&error), &error.to_string()),
        })
    }

    fn originate(&mut self, body: &[u8]) -> Result<Response, Wrong> {
        let body = Body::parse(body)?;
        let to = body.required("to", Destination::new)?;
        let from = body.optional("from", Destination::new)?;
        let agent = body.optional("agent", AgentName::new)?;
        let (Some(ring), Some(esl)) = (self.shared.parts.outbound, &mut self.esl) else {
            return Ok(Response::error(409, "outbound calls are off: set esl.host and esl.dial_string"));
        };
        if let Err(reason) = self.shared.parts.registry.would_admit(self.shared.parts.clock.now()) {
            return Ok(Response::error(503, &format!("no call is taken now: {}", reason.label())));
        }
        let channel = new_channel();
        let uuid = channel.to_string();
        let fields = CallFields {
            uuid: Some(uuid.clone()),
            did: Some(to.to_string()),
            agent: agent.as_ref().map(ToString::to_string),
            ..CallFields::default()
        };
        let announced = announce(&self.shared, &uuid, fields, ring + CONNECTS_WITHIN);
        if announced.status != 204 {
            return Ok(announced);
        }
        let (reply, answer) = bounded(1);
        let Some(_place) = Waits::new(&self.shared) else { return Ok(too_busy()) };
        if esl.try_send(EslOrder::Place(Outbound { channel, to, from, agent }, reply)).is_err() {
            return Ok(too_busy());
        }
        Ok(match within(&answer) {
            None => {
                Response::error(504, "the relay itself did not answer; the call may or may not be placed")
            }
            Some(Ok(())) => Response::json(202, &json!({"done": true, "uuid": uuid})),
            Some(Err(error)) => Response::error(status(&error), &error.to_string()),
        })
    }
}

/// What a body tells of a call.
pub(super) fn told(body: &[u8]) -> Result<CallFields, Wrong> {
    let text = std::str::from_utf8(body).map_err(|_| Wrong("the body is no JSON object".into()))?;
    Body::parse(body)?;
    let told = metadata::parse(text);
    match told.notes.first() {
        Some(note) => Err(Wrong(note.to_string())),
        None => Ok(told.fields),
    }
}

fn announce(shared: &AdminShared, uuid: &str, fields: CallFields, within: Duration) -> Response {
    match shared.parts.expected.insert(shared.parts.clock.now(), uuid, fields, within.as_millis() as u64) {
        Ok(()) => Response { status: 204, content_type: JSON, body: String::new() },
        Err(_) => Response::error(503, "too many announced calls have not come"),
    }
}

/// A place among the requests that wait for a switch.
struct Waits(Arc<AdminShared>);

impl Waits {
    fn new(shared: &Arc<AdminShared>) -> Option<Self> {
        let place = |taken: usize| (taken < WAITING_MAX).then_some(taken + 1);
        shared.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, place).ok()?;
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn too_busy() -> Response {
    Response::error(503, "too many requests wait for a switch: try again")
}

fn within<T>(answer: &Receiver<T>) -> Option<T> {
    answer.recv_timeout(ANSWER_WITHIN).ok()
}

/// 422 for what cannot be asked of this call, 409 for what its switch or its state refuses, 504 where nobody knows.
fn status(error: &CommandError) -> u16 {
    match error {
        CommandError::Unable { .. } | CommandError::VariableNotAllowed(_) | CommandError::NotAllowed => 422,
        CommandError::Refused(_) | CommandError::TooMany | CommandError::Ended => 409,
        CommandError::NotSent(_) | CommandError::Unconfirmed(_) => 504,
    }
}

/// `%40` is `@`, and a `+` is itself.
fn percent_decoded(segment: &str) -> String {
    let escaped = segment.replace('+', "%2B");
    form_urlencoded::parse(format!("s={escaped}").as_bytes())
        .next()
        .map_or(String::new(), |(_, value)| value.into_owned())
}
