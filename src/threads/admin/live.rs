//! The board of running calls: asked of control at most four times a second, whoever looks, and not while nobody does.
//!
//! Runs in: the admin thread. Owns the last list, the history of the last hour, and what the streams of events say.
//! Never lets a slow listener hold anything back: they get the newest state and miss older ones.
//! Invariant: what control is asked does not grow with the number of listeners.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde_json::{Map, Value, json};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::Admin;
use super::access::Asker;
use super::history::{Counted, History, INTERVAL_S};
use super::places::Place;
use super::response::Response;
use super::routes::Routes;
use super::serve::ending;
use crate::base::{Instant, RecordId};
use crate::call::record::{TranscriptTurn, rfc3339};
use crate::telemetry::RefusalReason;
use crate::threads::control::live::LiveCall;
use crate::threads::messages::ControlInput;

/// A list that is not older than this is given again.
pub(super) const FRESH_MS: u64 = 250;
/// How long control's answer is waited for: far longer than a pass takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Streams of events at one time.
pub(super) const STREAMS_MAX: usize = 64;
/// Ends of calls that a slow listener may not have heard of yet.
const ENDED_MAX: usize = 256;
/// A comment is sent to a listener after this long without an event.
const COMMENT_EVERY: Duration = Duration::from_secs(10);

/// The paths of this file.
pub(super) fn routes() -> Routes {
    Routes::new().get("/api/events", events).get("/api/history", history)
}

/// The running calls as control told them.
#[derive(Clone)]
pub(super) struct Seen {
    at: Instant,
    pub(super) calls: Arc<Vec<LiveCall>>,
    /// The list of them as JSON, which is written once, whoever looks.
    pub(super) text: Arc<str>,
}

/// See the head of this file.
pub(super) struct Board {
    seen: tokio::sync::Mutex<Option<Seen>>,
    history: parking_lot::Mutex<History>,
    /// What the events `calls` and `totals` say now; `None` while nobody listens.
    calls: watch::Sender<Option<Arc<str>>>,
    totals: watch::Sender<Option<Arc<str>>>,
    ended: broadcast::Sender<RecordId>,
}

impl Board {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            seen: tokio::sync::Mutex::default(),
            history: parking_lot::Mutex::default(),
            calls: watch::Sender::new(None),
            totals: watch::Sender::new(None),
            ended: broadcast::Sender::new(ENDED_MAX),
        }
    }

    /// Streams of events that are open.
    pub(super) fn listeners(&self) -> usize {
        self.calls.receiver_count()
    }
}

impl Admin {
    /// The running calls, not older than so, [`FRESH_MS`] where a call that has just begun may be left out; `None` if control
    /// does not answer.
    pub(super) async fn live(&self, age_ms_max: u64) -> Option<Seen> {
        // Whoever comes while control is being asked waits for the same answer.
        let mut seen = self.board.seen.lock().await;
        let now = self.relay.clock.now();
        if let Some(seen) = seen.as_ref().filter(|seen| now.since_ms(seen.at) < age_ms_max) {
            return Some(seen.clone());
        }
        let (reply, answer) = oneshot::channel();
        if !self.ask_control(ControlInput::Live(reply)) {
            return None;
        }
        let calls = Arc::new(timeout(ANSWER_WITHIN, answer).await.ok()?.ok()?);
        if let Some(before) = seen.take() {
            let is_gone = |id: &RecordId| calls.binary_search_by_key(id, |call| call.id).is_err();
            for id in before.calls.iter().map(|call| call.id).filter(is_gone) {
                // Without a listener there is an error, and nothing to do.
                _ = self.board.ended.send(id);
            }
        }
        let text = Arc::from(json!(*calls).to_string());
        *seen = Some(Seen { at: now, calls, text });
        seen.clone()
    }

    /// What was said so far in a running call; nothing where the agent asks for no transcript, or the call is over.
    pub(super) async fn said(&self, id: RecordId) -> Vec<TranscriptTurn> {
        let (reply, answer) = oneshot::channel();
        if !self.ask_control(ControlInput::Said(id, reply)) {
            return Vec::new();
        }
        timeout(ANSWER_WITHIN, answer).await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Keeps the history, and tells the listeners what there is, until the server ends.
    pub(super) async fn keep_board(&self) {
        let mut stopped = self.shared.stopped.subscribe();
        tokio::select! {
            () = ending(&mut stopped) => {}
            () = self.count_every_second() => {}
            () = self.tell_calls() => {}
        }
    }

    async fn count_every_second(&self) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for second in 0_u64.. {
            seconds.tick().await;
            let (is_due, is_listened_to) = (second.is_multiple_of(INTERVAL_S), self.board.listeners() > 0);
            // The sums of running calls are needed for what is told, not for what is only counted.
            let seen = if is_due || is_listened_to { self.live(FRESH_MS).await } else { None };
            let counted =
                Counted::now(&self.relay.counters, seen.as_ref().map_or(&[], |seen| seen.calls.as_slice()));
            let unix_ms = self.relay.clock.unix_ms();
            let point = self.board.history.lock().count(unix_ms, counted, is_due);
            let told = is_listened_to.then(|| {
                let mut told = json!(point);
                told["relay"] = self.standing();
                Arc::from(told.to_string())
            });
            self.board.totals.send_replace(told);
        }
    }

    /// How the relay stands, beside what it counts: what a supervisor looks at when calls do not come.
    fn standing(&self) -> Value {
        let (counters, state) = (&self.relay.counters, self.state());
        let refused: Map<String, Value> = RefusalReason::ALL
            .into_iter()
            .map(|reason| (reason.label().to_owned(), counters.refused(reason)))
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| (reason, count.into()))
            .collect();
        let credentials: Vec<Value> = state
            .credentials
            .iter()
            .map(|(name, sessions, usable)| json!({"name": **name, "sessions": sessions, "usable": usable}))
            .collect();
        json!({
            "began_at": rfc3339((state.began_s * 1000.0) as u64),
            "headroom": counters.headroom.get(),
            "calls_max": state.calls_max,
            "draining": state.draining,
            "store": state.store.label(),
            "refused": refused,
            "credentials": credentials,
        })
    }

    async fn tell_calls(&self) {
        loop {
            let told = match self.board.listeners() {
                0 => None,
                _ => self.live(FRESH_MS).await.map(|seen| Arc::from(format!("{{\"calls\":{}}}", seen.text))),
            };
            self.board.calls.send_if_modified(|before| {
                let is_new = *before != told;
                *before = told;
                is_new
            });
            sleep(Duration::from_millis(FRESH_MS)).await;
        }
    }
}

/// One point each ten seconds of the last hour.
async fn history(State(admin): State<Arc<Admin>>) -> Response {
    let points = json!(admin.board.history.lock().points());
    Response::json(200, &json!({"interval_s": INTERVAL_S, "points": points}))
}

/// What one listener is told next.
struct Listener {
    calls: watch::Receiver<Option<Arc<str>>>,
    totals: watch::Receiver<Option<Arc<str>>>,
    ended: broadcast::Receiver<RecordId>,
    stopped: watch::Receiver<bool>,
    _place: Place,
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        loop {
            // In this order, so that whoever sees a call gone from `calls` was told before that it ended.
            let (name, told) = tokio::select! {
                biased;
                () = ending(&mut self.stopped) => return None,
                ended = self.ended.recv() => match ended {
                    Ok(id) => ("ended", Some(Arc::from(json!({"id": id.to_string()}).to_string()))),
                    // They were slow, and see in `calls` who is left.
                    Err(broadcast::error::RecvError::Lagged(_)) => continue,
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                changed = self.totals.changed() => {
                    changed.ok()?;
                    ("totals", self.totals.borrow_and_update().clone())
                }
                changed = self.calls.changed() => {
                    changed.ok()?;
                    ("calls", self.calls.borrow_and_update().clone())
                }
            };
            if let Some(told) = told {
                return Some(Event::default().event(name).data(&*told));
            }
        }
    }
}

/// Server-sent events: the running calls when they change, totals each second, ends of calls.
async fn events(
    Asker { admin, peer }: Asker,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Response> {
    let board = &admin.board;
    let Some(place) = admin.streams.take(peer) else {
        let most = STREAMS_MAX / 2;
        let why = format!("{STREAMS_MAX} streams of events are open, or {most} of this address: close one");
        return Err(Response::error(503, &why));
    };
    let mut listener = Listener {
        calls: board.calls.subscribe(),
        totals: board.totals.subscribe(),
        ended: board.ended.subscribe(),
        stopped: admin.shared.stopped.subscribe(),
        _place: place,
    };
    // Where others listen, what they were told last is told at once.
    listener.calls.mark_changed();
    listener.totals.mark_changed();
    let events = stream::unfold(listener, |mut listener: Listener| async move {
        listener.next().await.map(|event| (Ok(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(COMMENT_EVERY)))
}
