//! What programs ask of calls: announce one, connect one, place one, and command a running one.
//!
//! Runs in: the admin thread. Owns nothing.
//! Never touches a call itself: it asks control, and waits for the answer as long as that takes at most.
//! Invariant: nothing that a request brings reaches control, the registry of expected calls or the event socket unchecked.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Path;
use log::info;
use serde_json::json;
use tokio::sync::mpsc::{Receiver, channel};

use super::access::Asker;
use super::response::{Body, Response, Wrong};
use super::routes::Routes;
use super::{Admin, connect};
use crate::base::command::{
    AgentName, Command, Context, Destination, Dialplan, Digits, HangUpCause, Transfer, VariableName,
    VariableValue,
};
use crate::call::leg::CallFields;
use crate::call::outbound::OutboundEnd;
use crate::call::{Ask, CommandError};
use crate::codec::esl::Outbound;
use crate::codec::mod_audio_stream::metadata;
use crate::threads::esl::new_channel;
use crate::threads::messages::{CommandReply, ControlInput, EslOrder};

/// How long a command's answer is waited for: longer than the machine of its call waits.
const ANSWER_WITHIN: Duration = Duration::from_secs(7);
/// How much longer than it may ring an outbound call is expected.
const CONNECTS_WITHIN: Duration = Duration::from_secs(30);

/// What a body asks for.
type AskOf = fn(&Body) -> Result<Ask, Wrong>;

/// What can be asked of a running call: the path, and how the body says it.
const ASKS: &[(&str, AskOf)] = &[
    ("/api/calls/{id}/hangup", |body| {
        let cause = body.optional("cause", HangUpCause::new)?;
        Ok(Ask::Command(Command::HangUp(cause.unwrap_or_else(HangUpCause::normal_clearing))))
    }),
    ("/api/calls/{id}/transfer", |body| {
        Ok(Ask::Command(Command::Transfer(Transfer {
            to: body.required("to", Destination::new)?,
            dialplan: body.optional("dialplan", Dialplan::new)?,
            context: body.optional("context", Context::new)?,
        })))
    }),
    ("/api/calls/{id}/dtmf", |body| Ok(Ask::Command(Command::Dtmf(body.required("digits", Digits::new)?)))),
    ("/api/calls/{id}/break", |_| Ok(Ask::Command(Command::Break))),
    ("/api/calls/{id}/variable", |body| {
        let name = body.required("name", VariableName::new)?;
        Ok(Ask::Command(Command::SetVariable(name, body.required("value", VariableValue::new)?)))
    }),
    ("/api/calls/{id}/say", |body| Ok(Ask::Say(body.words("text")?))),
    ("/api/calls/{id}/prompt", |body| Ok(Ask::Prompt(body.words("text")?))),
    ("/api/calls/{id}/recording/pause", |_| Ok(Ask::PauseRecording(true))),
    ("/api/calls/{id}/recording/resume", |_| Ok(Ask::PauseRecording(false))),
];

/// The paths of this file.
pub(super) fn routes() -> Routes {
    let asks = ASKS.iter().fold(Routes::new(), |routes, &(path, ask_of)| {
        let answer = move |Asker { admin, peer }: Asker, Path(id): Path<String>, body: Bytes| async move {
            ask(&admin, peer, id, ask_of(&Body::parse(&body)?)?).await
        };
        routes.post(path, answer)
    });
    asks.post("/api/expect", expect).post("/api/connect", connect::connect).post("/api/originate", originate)
}

/// Announces a call of which the leg will tell nothing but its UUID.
async fn expect(Asker { admin, peer }: Asker, body: Bytes) -> Result<Response, Wrong> {
    let announced = told(&body)?;
    let uuid = announced.uuid.clone().ok_or_else(|| Wrong("uuid is missing".into()))?;
    announce(&admin, peer, &uuid, announced, admin.shared.parts.expect);
    Ok(Response::empty())
}

async fn ask(admin: &Admin, peer: IpAddr, id: String, ask: Ask) -> Result<Response, Wrong> {
    let (reply, answer) = channel(1);
    let Some(_place) = admin.waiting.take(peer) else { return Ok(too_busy()) };
    if !admin.ask_control(ControlInput::Asked(id, ask, reply)) {
        return Ok(too_busy());
    }
    Ok(answered(within(answer).await))
}

async fn originate(Asker { admin, peer }: Asker, body: Bytes) -> Result<Response, Wrong> {
    let body = Body::parse(&body)?;
    let to = body.required("to", Destination::new)?;
    let from = body.optional("from", Destination::new)?;
    let agent = body.optional("agent", AgentName::new)?;
    let waits = body.flag("wait")?;
    let parts = &admin.shared.parts;
    let (Some(ring), Some(esl)) = (parts.outbound, &admin.esl) else {
        return Ok(Response::not_done(409, "outbound calls are off: set esl.host and esl.dial_string"));
    };
    if let Err(reason) = admin.relay.registry.would_admit(admin.relay.clock.now()) {
        return Ok(Response::not_done(503, &format!("no call is taken now: {}", reason.label())));
    }
    let channel_name = new_channel();
    let uuid = channel_name.to_string();
    let fields = CallFields {
        uuid: Some(uuid.clone()),
        did: Some(to.to_string()),
        agent: agent.as_ref().map(ToString::to_string),
        ..CallFields::default()
    };
    // Whether the switch has begun with it, and then whether it was answered.
    let (reply, mut answers) = channel(2);
    let Some(place) = admin.waiting.take(peer) else { return Ok(too_busy()) };
    let rings = if waits { admin.ringing.take(peer) } else { None };
    if waits && rings.is_none() {
        return Ok(too_busy());
    }
    announce(&admin, peer, &uuid, fields, ring + CONNECTS_WITHIN);
    info!("outbound call {uuid}: the API asks for a call to {to}");
    let order = EslOrder::Place(Outbound { channel: channel_name, to, from, agent }, reply);
    if esl.lock().try_send(order).is_err() {
        return Ok(too_busy());
    }
    match tokio::time::timeout(ANSWER_WITHIN, answers.recv()).await.ok().flatten() {
        None => {
            let why = "the relay itself did not answer; the call may or may not be placed";
            return Ok(Response::not_done(504, why));
        }
        Some(Err(error)) => return Ok(Response::not_done(status(&error), &error.to_string())),
        Some(Ok(())) if !waits => return Ok(Response::json(202, &json!({"done": true, "uuid": uuid}))),
        Some(Ok(())) => {}
    }
    drop(place);
    let answered = tokio::time::timeout(ring + CONNECTS_WITHIN, answers.recv()).await.ok().flatten();
    Ok(match answered {
        Some(Ok(())) => Response::json(200, &json!({"done": true, "uuid": uuid, "answered": true})),
        Some(Err(CommandError::Refused(cause))) => Response::json(
            409,
            &json!({
                "done": false,
                "uuid": uuid,
                "outcome": OutboundEnd::of_cause(&cause).label(),
                "cause": cause,
                "error": format!("not answered: {cause}"),
            }),
        ),
        Some(Err(_)) | None => Response::json(
            504,
            &json!({
                "done": false,
                "uuid": uuid,
                "outcome": OutboundEnd::Unknown.label(),
                "error": "the switch did not say what became of the call",
            }),
        ),
    })
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

fn announce(admin: &Admin, peer: IpAddr, uuid: &str, fields: CallFields, within: Duration) {
    if admin.relay.expected.insert(admin.relay.clock.now(), peer, uuid, fields, within.as_millis() as u64) {
        admin.relay.counters.announcements_displaced.increment();
    }
}

fn too_busy() -> Response {
    Response::not_done(503, "too many requests wait for a switch: try again")
}

/// What became of a command.
pub(super) fn answered(answer: Option<CommandReply>) -> Response {
    match answer {
        None => Response::not_done(504, "the relay itself did not answer; it may or may not have been done"),
        Some(None) => Response::not_done(404, "there is no call with this id"),
        Some(Some(Ok(()))) => Response::json(200, &json!({"done": true})),
        Some(Some(Err(error))) => Response::not_done(status(&error), &error.to_string()),
    }
}

pub(super) async fn within<T>(mut answer: Receiver<T>) -> Option<T> {
    tokio::time::timeout(ANSWER_WITHIN, answer.recv()).await.ok().flatten()
}

/// 422 for what cannot be asked of this call, 409 for what its switch or its state refuses, 504 where nobody knows.
fn status(error: &CommandError) -> u16 {
    match error {
        CommandError::Unable { .. }
        | CommandError::VariableNotAllowed(_)
        | CommandError::ContextNotAllowed(_)
        | CommandError::NotAllowed => 422,
        CommandError::ForeignChannel => 409,
        CommandError::Refused(_)
        | CommandError::TooMany
        | CommandError::NotRecorded
        | CommandError::Ended => 409,
        CommandError::NotSent(_) | CommandError::Unconfirmed(_) => 504,
    }
}
