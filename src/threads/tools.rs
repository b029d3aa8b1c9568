//! The tool threads: HTTP tools of every call, carried out where blocking is allowed.
//!
//! Runs in: a fixed number of tool threads (ask), and the control thread (queues, takes back). Owns the queue, which is
//! bounded: a tool that finds it full is answered at once.
//! Never logs arguments, results or secrets.
//! Invariant: each tool that was queued ends in one `ToolDone`, within its time-out and that of the last read; one that was
//! taken back in the queue is not asked at all, and its `ToolDone` says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use form_urlencoded::Serializer;
use http::{HeaderName, HeaderValue};
use log::{debug, warn};
use serde_json::{Map, Value};

use crate::base::excerpt::excerpt;
use crate::base::{CallId, Instant};
use crate::call::Fact;
use crate::call::tool::{HttpTool, Method, ToolCaller, ToolFailure, ToolNumber, ToolResult};
use crate::net::http_client::{HttpAnswer, HttpClient, HttpError, HttpRequest};
use crate::sync::{Clock, Outbox};
use crate::threads::messages::ControlInput;

/// Tools that may wait for a thread: with some 100 ms each, more than a few seconds of work of 16 threads.
const QUEUE_MAX: usize = 256;
/// How long a repetition waits.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How much the model is told of what a server answered with an error, in bytes.
const ERROR_BYTES_MAX: usize = 200;
/// What the model is told where a server answers with nothing, as it may with status 204.
const DONE: &str = "done";
/// What it is told where there was no connection to a server, or none to the end.
const UNREACHABLE: &str = "the tool cannot be reached";

/// A tool to be carried out.
pub struct ToolJob {
    /// For which call.
    pub id: CallId,
    /// Its number within the call.
    pub number: ToolNumber,
    /// Which.
    pub tool: Arc<HttpTool>,
    /// With what.
    pub arguments: Map<String, Value>,
    caller: ToolCaller,
    /// Until when.
    pub deadline: Instant,
    taken_back: Arc<AtomicBool>,
}

impl ToolJob {
    /// Whether its result is no longer wanted.
    pub fn is_taken_back(&self) -> bool {
        self.taken_back.load(Relaxed)
    }
}

/// The queue's near end, owned by the control thread.
pub struct ToolPool {
    queue: Sender<ToolJob>,
    /// Breaks off what is under way.
    stop: Box<dyn Fn() + Send>,
    under_way: HashMap<(CallId, ToolNumber), Arc<AtomicBool>>,
}

/// A tool thread before it runs.
pub(crate) struct ToolThread {
    jobs: Receiver<ToolJob>,
    client: Arc<HttpClient>,
    control: Outbox<ControlInput>,
    clock: Clock,
}

/// A pool, and the first of its threads, to be cloned for the others.
pub(crate) fn tool_pool(
    client: HttpClient,
    control: Outbox<ControlInput>,
    clock: Clock,
) -> (ToolPool, ToolThread) {
    let client = Arc::new(client);
    let stopped = Arc::clone(&client);
    let (pool, jobs) = tool_queue(Box::new(move || stopped.stop()));
    (pool, ToolThread { jobs, client, control, clock })
}

/// A queue, and what comes out of it; `stop` breaks off what is under way.
pub fn tool_queue(stop: Box<dyn Fn() + Send>) -> (ToolPool, Receiver<ToolJob>) {
    let (queue, jobs) = crossbeam_channel::bounded(QUEUE_MAX);
    (ToolPool { queue, stop, under_way: HashMap::new() }, jobs)
}

impl ToolPool {
    /// Has a tool carried out.
    ///
    /// # Errors
    /// Why it will not be, for the model: too many wait.
    pub(crate) fn run(
        &mut self,
        now: Instant,
        (id, number): (CallId, ToolNumber),
        tool: Arc<HttpTool>,
        arguments: Map<String, Value>,
        caller: ToolCaller,
    ) -> Result<(), String> {
        let taken_back = Arc::new(AtomicBool::new(false));
        let deadline = now.plus(tool.timeout);
        let job =
            ToolJob { id, number, tool, arguments, caller, deadline, taken_back: Arc::clone(&taken_back) };
        if let Err(job) = self.queue.try_send(job) {
            warn!(
                "call {id}: tool {}: {QUEUE_MAX} tools wait for a thread already; raise threads.tools, or see why their \
                 servers are slow",
                job.into_inner().tool.name
            );
            return Err("too many tools wait to be carried out".to_owned());
        }
        self.under_way.insert((id, number), taken_back);
        Ok(())
    }

    /// The result of a tool is no longer wanted: it is not asked, if it was not yet.
    pub(crate) fn take_back(&mut self, id: CallId, number: ToolNumber) {
        if let Some(taken_back) = self.under_way.remove(&(id, number)) {
            taken_back.store(true, Relaxed);
        }
    }

    /// Whether no result is waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The result of a tool has come.
    pub(crate) fn done(&mut self, id: CallId, number: ToolNumber) {
        self.under_way.remove(&(id, number));
    }

    /// Breaks off what is under way; the threads end once the pool is dropped.
    pub(crate) fn stop(&self) {
        (self.stop)();
    }
}

impl Clone for ToolThread {
    fn clone(&self) -> Self {
        let (jobs, client) = (self.jobs.clone(), Arc::clone(&self.client));
        Self { jobs, client, control: self.control.clone(), clock: self.clock }
    }
}

impl ToolThread {
    /// Carries tools out until the pool is dropped.
    pub(crate) fn run(mut self) {
        while let Ok(job) = self.jobs.recv() {
            let result = self.carry_out(&job);
            self.control.send(ControlInput::Fact(job.id, Fact::ToolDone(job.number, result)));
            // The channel is this thread's own; what it held back must not wait for the next tool.
            while !self.control.flush() {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// What became of a tool; of one that was taken back, too: its call may be made again.
    fn carry_out(&self, job: &ToolJob) -> ToolResult {
        let (id, tool) = (job.id, &job.tool);
        let mut repetitions = tool.retries;
        let mut last = Err(ToolFailure::NotAsked("it was taken back".to_owned()));
        loop {
            if job.is_taken_back() {
                debug!("call {id}: tool {}: taken back", tool.name);
                return last;
            }
            let asked_at = self.clock.now();
            let timeout = job.deadline.since(asked_at);
            let answer = match timeout.is_zero() {
                true => Err(HttpError::TimedOut),
                false => self.client.ask(request(job, timeout)),
            };
            let now = self.clock.now();
            debug!("call {id}: tool {}: {} after {} ms", tool.name, told(&answer), now.since_ms(asked_at));
            let again = match &answer {
                Ok(answer) => answer.status >= 500,
                Err(HttpError::NotConnected(_) | HttpError::Broken(_)) => true,
                Err(HttpError::TimedOut | HttpError::TooLong) => false,
            };
            if now >= job.deadline && answer.is_err() {
                warn!(
                    "call {id}: tool {}: no answer within {:?} (tools.{0}.timeout_ms)",
                    tool.name, tool.timeout
                );
                return Err(ToolFailure::TimedOut);
            }
            if !again || repetitions == 0 {
                if failed(&answer) {
                    warn!("call {id}: tool {}: {}", tool.name, told(&answer));
                }
                return result(answer);
            }
            last = result(answer);
            repetitions -= 1;
            thread::sleep(RETRY_AFTER.min(job.deadline.since(now)));
        }
    }
}

fn request(job: &ToolJob, timeout: Duration) -> HttpRequest {
    let ToolJob { tool, arguments, caller, .. } = job;
    let mut headers = vec![(http::header::ACCEPT, HeaderValue::from_static("application/json, text/*"))];
    let about = [
        ("x-tandem-uuid", caller.uuid.as_deref()),
        ("x-tandem-caller", caller.caller.as_deref()),
        ("x-tandem-did", caller.did.as_deref()),
        ("x-tandem-agent", Some(caller.agent.as_str())),
    ];
    for (name, value) in about {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&in_header(value)).ok()) {
            headers.push((HeaderName::from_static(name), value));
        }
    }
    headers.extend(tool.secret.clone());
    let (method, url, body) = match tool.method {
        Method::Get => (http::Method::GET, with_query(&tool.url, arguments), None),
        Method::Post => {
            (http::Method::POST, tool.url.clone(), Some(Value::from(arguments.clone()).to_string()))
        }
    };
    HttpRequest { method, url, headers, body, timeout }
}

/// The arguments behind a URL that may have a query already.
fn with_query(url: &str, arguments: &Map<String, Value>) -> String {
    if arguments.is_empty() {
        return url.to_owned();
    }
    let mut query = Serializer::new(String::new());
    for (name, value) in arguments {
        match value {
            Value::String(text) => query.append_pair(name, text),
            other => query.append_pair(name, &other.to_string()),
        };
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{}", query.finish())
}

/// A value as a header holds it: what is not printable ASCII, and `%`, percent-encoded (RFC 3986 section 2.1).
fn in_header(value: &str) -> String {
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn failed(answer: &Result<HttpAnswer, HttpError>) -> bool {
    answer.as_ref().map_or(true, |answer| answer.status >= 300)
}

/// An answer in words that hold nothing of what was asked or answered.
fn told(answer: &Result<HttpAnswer, HttpError>) -> String {
    match answer {
        Ok(HttpAnswer { status: status @ 300..=399, .. }) => {
            format!("HTTP status {status}, and redirects are not followed: set its url to where it leads")
        }
        Ok(answer) => format!("HTTP status {}", answer.status),
        Err(error) => error.to_string(),
    }
}

fn result(answer: Result<HttpAnswer, HttpError>) -> ToolResult {
    let answer = answer.map_err(|error| match error {
        HttpError::TimedOut => ToolFailure::TimedOut,
        // What the system says of addresses and certificates is the operator's, and in the log.
        HttpError::NotConnected(_) => ToolFailure::NotAsked(UNREACHABLE.to_owned()),
        HttpError::Broken(_) => ToolFailure::Failed(UNREACHABLE.to_owned()),
        HttpError::TooLong => ToolFailure::Failed(error.to_string()),
    })?;
    match answer.status {
        200..=299 if answer.body.is_empty() => Ok(DONE.into()),
        200..=299 if answer.is_json => serde_json::from_slice(&answer.body)
            .map_err(|_| ToolFailure::Failed("the tool answered with JSON that cannot be read".into())),
        200..=299 => Ok(String::from_utf8_lossy(&answer.body).into()),
        status => {
            let said = excerpt(&answer.body, ERROR_BYTES_MAX);
            Err(ToolFailure::Failed(
                format!("HTTP status {status}: {said}").trim_end_matches([':', ' ']).to_owned(),
            ))
        }
    }
}

#[cfg(test)]
mod tests;
