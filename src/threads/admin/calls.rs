//! Lists of calls, one call, and what is said in it: those that run by control, those that ended by the store.
//!
//! Runs in: the admin thread; the store is read on a thread that may wait for it. Owns nothing.
//! Invariant: a question that the store does not answer in time is answered with an error and holds nobody else back.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use http::HeaderMap;
use http::header::ACCEPT;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Admin;
use super::access::Asker;
use super::live::FRESH_MS;
use super::response::Response;
use super::routes::Routes;
use crate::admission;
use crate::base::call_name::is_same;
use crate::base::{RecordId, Words};
use crate::call::leg::Next;
use crate::call::{Ending, ExportFormat};
use crate::threads::control::live::LiveCall;
use crate::threads::store::{
    By, CallFilter, Cursor, PAGE_CALLS_MAX, Problems, Reader, Sort, Stopper, StoreError,
};

/// Longest text that is looked for or compared, in bytes.
const ASKED_BYTES_MAX: usize = 128;
/// Pages of an export: 10,000 calls.
const EXPORT_PAGES_MAX: usize = 20;
/// How long the database may take.
const RECORDS_WITHIN: Duration = Duration::from_secs(5);

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new()
        .get("/api/calls", list)
        .get("/api/calls/export", export)
        .get("/api/calls/{id}", show)
        .get("/api/calls/{id}/end", end)
        .get("/api/calls/{id}/next", next)
        .get("/api/report", report)
        .get("/api/agents", agents)
}

fn no_answer() -> Response {
    Response::error(503, "the relay did not answer in time: try again")
}

/// The value of a field of the query, if it is there and not empty.
pub(super) fn asked(query: &str, name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    pairs.find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.into_owned())
}

async fn list(Asker { admin, peer }: Asker, RawQuery(query): RawQuery) -> Result<Response, Response> {
    let query = query.unwrap_or_default();
    match asked(&query, "state").as_deref() {
        Some("live") if ["did", "caller", "agent"].iter().all(|name| asked(&query, name).is_none()) => {
            let calls = admin.live(FRESH_MS).await.ok_or_else(no_answer)?.text;
            Ok(Response::written(200, format!("{{\"calls\":{calls},\"next\":null}}\n")))
        }
        Some("live") => {
            let calls = admin.live(FRESH_MS).await.ok_or_else(no_answer)?.calls;
            let wanted = |call: &&LiveCall| {
                let is = |name: &str, value: Option<&str>| {
                    asked(&query, name).is_none_or(|asked| Some(asked.as_str()) == value)
                };
                is("did", call.did.as_deref())
                    && is("caller", call.caller.as_deref())
                    && is("agent", Some(&call.agent))
            };
            let calls: Vec<_> = calls.iter().filter(wanted).collect();
            Ok(Response::json(200, &json!({"calls": calls, "next": null})))
        }
        None | Some("ended") => ended(&admin, peer, &query).await,
        Some(other) => Err(Response::error(422, &format!("state is {other:?}: live and ended are known"))),
    }
}

async fn show(Asker { admin, peer }: Asker, Path(id): Path<String>) -> Result<Response, Response> {
    let record_id = RecordId::parse(&id);
    let is_it = |call: &&LiveCall| {
        Some(call.id) == record_id || call.uuid.as_deref().is_some_and(|uuid| is_same(uuid, &id))
    };
    // It may have begun since the first of the two lists was made.
    for age_ms_max in [FRESH_MS, 0] {
        let calls = admin.live(age_ms_max).await.ok_or_else(no_answer)?.calls;
        if let Some(call) = calls.iter().rev().find(is_it) {
            let mut found = with_live(json!(call), true);
            found["transcript"] = json!(admin.said(call.id).await);
            return Ok(Response::json(200, &found));
        }
    }
    record(&admin, peer, id).await
}

/// How the call with this UUID ended, from memory: 200 only where it is over as it should be, so that a dialplan can send the
/// caller elsewhere whatever else happened.
async fn end(State(admin): State<Arc<Admin>>, Path(uuid): Path<String>) -> Response {
    match admin.relay.registry.endings().of(&uuid) {
        Some(admission::Ending { over: true, reason, .. }) => {
            Response::json(200, &json!({"over": true, "reason": reason}))
        }
        Some(admission::Ending { over: false, reason, .. }) => Response::json(
            409,
            &json!({
                "over": false,
                "reason": reason,
                "error": "the call was refused or could not go on: its caller is to be sent elsewhere",
            }),
        ),
        None => Response::error(404, "no call with this UUID was closed by this relay of late"),
    }
}

/// What a dialplan does with its caller now that the leg with this UUID has ended, from memory: a line of text, or JSON where
/// that is asked for. Of a call of which nothing is known, because it runs, was another relay's or its relay has died, the
/// answer is to connect it again.
async fn next(State(admin): State<Arc<Admin>>, Path(uuid): Path<String>, headers: HeaderMap) -> Response {
    let ending = admin.relay.registry.endings().of(&uuid);
    let next = ending.map_or(Next::Again, |ending| ending.next);
    let accepts = headers.get(ACCEPT).and_then(|accepts| accepts.to_str().ok()).unwrap_or_default();
    if accepts.contains("json") {
        let mut answer = json!({"next": next.word()});
        if let Next::Transfer(to) = &next {
            answer["to"] = to.to_string().into();
        }
        return Response::json(200, &answer);
    }
    // Without a line's end, which a dialplan would have to take off.
    Response { status: 200, content_type: "text/plain", body: next.to_string() }
}

/// The JSON of a call, which says whether it runs.
fn with_live(mut call: Value, live: bool) -> Value {
    if let Value::Object(fields) = &mut call {
        fields.insert("live".to_owned(), live.into());
    }
    call
}

/// Calls that ended, by the store.
async fn ended(admin: &Admin, peer: IpAddr, query: &str) -> Result<Response, Response> {
    let filter = filter(query).map_err(|why| Response::error(422, &why))?;
    let kind = if filter.q.is_some() { Question::Search } else { Question::Plain };
    let page = admin.read(peer, kind, move |reader, stopper| reader.list_unless(stopper, &filter)).await?;
    let next = page.next.map(|id| id.to_string());
    Ok(Response::json(200, &json!({"calls": page.calls, "next": next})))
}

/// Which calls a query asks for.
fn filter(query: &str) -> Result<CallFilter, String> {
    let time = |name: &str| match asked(query, name) {
        None => Ok(None),
        Some(text) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Some(u64::try_from(time.as_millisecond()).unwrap_or_default())),
            Err(_) => Err(format!("{name} is {text:.40?}: write a time as 2026-11-23T10:00:00Z")),
        },
    };
    let limit = asked(query, "limit").map(|text| match text.parse::<usize>() {
        Ok(limit) if (1..=PAGE_CALLS_MAX).contains(&limit) => Ok(limit),
        _ => Err(format!("limit is {text:.40?}: a number from 1 to {PAGE_CALLS_MAX}")),
    });
    let limit = limit.transpose()?;
    let before = asked(query, "before").map(|text| {
        let wrong = || format!("before is {text:.40?}: use `next` of the page before");
        Cursor::parse(&text).ok_or_else(wrong)
    });
    let before = before.transpose()?;
    for name in ["did", "caller", "agent", "outcome", "q"] {
        if asked(query, name).is_some_and(|text| text.len() > ASKED_BYTES_MAX) {
            return Err(format!("{name} is longer than {ASKED_BYTES_MAX} bytes: ask for less"));
        }
    }
    let ending = asked(query, "ending").map(|text| {
        let wrong = || format!("ending is {text:.40?}: {} are known", Ending::WORDS.join(", "));
        Ending::from_name(&text).ok_or_else(wrong)
    });
    Ok(CallFilter {
        did: asked(query, "did"),
        caller: asked(query, "caller"),
        agent: asked(query, "agent"),
        outcome: asked(query, "outcome"),
        ending: ending.transpose()?,
        sort: asked(query, "sort")
            .map(|text| Sort::parse(&text))
            .transpose()
            .map_err(|why| format!("sort is {why}"))?,
        problems: asked(query, "problems")
            .map(|word| Problems::parse(&word))
            .transpose()
            .map_err(|why| format!("problems is {why}"))?,
        from_ms: time("from")?,
        to_ms: time("to")?,
        q: asked(query, "q"),
        limit,
        before,
    })
}

/// Calls that ended, as a file of lines.
async fn export(Asker { admin, peer }: Asker, RawQuery(query): RawQuery) -> Result<Response, Response> {
    let query = query.unwrap_or_default();
    let wrong = |why: String| Response::error(422, &why);
    let mut filter = filter(&query).map_err(wrong)?;
    let word = asked(&query, "format").unwrap_or_else(|| ExportFormat::Csv.label().to_owned());
    let format = ExportFormat::from_name(&word).ok_or_else(|| {
        wrong(format!("format is {word:.40?}: {} are known", ExportFormat::WORDS.join(" and ")))
    })?;
    filter.limit = Some(PAGE_CALLS_MAX);
    let lines = move |reader: &Reader, stopper: &Stopper| {
        let mut text = format.head();
        for _ in 0..EXPORT_PAGES_MAX {
            let page = reader.list_unless(stopper, &filter)?;
            page.calls.iter().for_each(|call| text.push_str(&format.line(call)));
            filter.before = page.next;
            if filter.before.is_none() {
                break;
            }
        }
        Ok(text)
    };
    let body = admin.read(peer, Question::Search, lines).await?;
    Ok(Response { status: 200, content_type: format.media_type(), body })
}

/// Calls that ended, compared.
async fn report(Asker { admin, peer }: Asker, RawQuery(query): RawQuery) -> Result<Response, Response> {
    let query = query.unwrap_or_default();
    let wrong = |why: String| Response::error(422, &why);
    let filter = filter(&query).map_err(wrong)?;
    let word = asked(&query, "by").unwrap_or_else(|| By::All.label().to_owned());
    let by = By::from_name(&word)
        .ok_or_else(|| wrong(format!("by is {word:.40?}: {} are known", By::WORDS.join(", "))))?;
    let read = move |reader: &Reader, stopper: &Stopper| reader.report_unless(stopper, &filter, by);
    let lines = admin.read(peer, Question::Search, read).await?;
    Ok(Response::json(200, &json!({"by": by.label(), "lines": lines})))
}

/// A call that ended, by the store.
async fn record(admin: &Admin, peer: IpAddr, id: String) -> Result<Response, Response> {
    match admin.read(peer, Question::Plain, move |reader, stopper| reader.show_unless(stopper, &id)).await? {
        Some(call) => Ok(Response::json(200, &with_live(json!(call), false))),
        None => Err(Response::error(404, "no call with this id runs or is in the records")),
    }
}

impl Admin {
    /// Asks the store, which may take a while, on a thread that may wait. The question ends with the time that it has, or when
    /// nobody waits for its answer any more.
    async fn read<T: Send + 'static>(
        &self,
        peer: IpAddr,
        kind: Question,
        question: impl FnOnce(&Reader, &Stopper) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Response> {
        let (waiting, asking, busy) = match kind {
            Question::Plain => {
                (&self.reading, &self.readers, "too many questions wait for the database: try again")
            }
            Question::Search => {
                (&self.searching, &self.searchers, "too many searches wait for each other: try again")
            }
        };
        let Some(_place) = waiting.take(peer) else { return Err(Response::error(503, busy)) };
        let reader = Arc::clone(&self.shared.parts.reader);
        let stopper = Stopper::default();
        let _end = EndsWith(stopper.clone());
        let answer = async {
            let turn = asking.wait(peer).await;
            tokio::task::spawn_blocking(move || {
                let answer = question(&reader, &stopper);
                drop(turn);
                answer
            })
            .await
        };
        match timeout(RECORDS_WITHIN, answer).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(Ok(Err(problem))) => {
                Err(Response::error(503, &format!("the records cannot be read now: {problem}")))
            }
            _ => Err(Response::error(
                503,
                "the database did not answer within 5 s: try again, or ask for less (did, caller, from and to are quick)",
            )),
        }
    }
}

/// What a question costs.
#[derive(Clone, Copy)]
enum Question {
    /// A part of the records that an index finds, as a rule.
    Plain,
    /// All that was ever said.
    Search,
}

/// Ends a question when it is dropped.
struct EndsWith(Stopper);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Who can answer.
async fn agents(State(admin): State<Arc<Admin>>) -> Response {
    let agents = admin.relay.agents.get();
    let agents: Vec<_> = agents
        .all()
        .map(|agent| {
            let setup = &agent.setup;
            json!({"name": agent.name, "model": setup.model, "voice": setup.voice, "language": setup.language})
        })
        .collect();
    Response::json(200, &json!({"agents": agents}))
}
