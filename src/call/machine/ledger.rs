//! What the model had done by tools: which of its calls is one that it made before, and what that one is answered.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the requests under way, and the results of the last ones.
//! Never carries anything out.
//! Invariant: a call that repeats a request whose result the model may not have is answered by that request, never by another.

use std::sync::Arc;

use crate::base::{Instant, LinkNumber};
use crate::call::model::{Asked, ToolCall};
use crate::call::tool::{HttpTool, Method, ToolFailure, ToolNumber, ToolResult};

/// Requests that are remembered; what is under way stays in any case, and has a limit of its own.
const REQUESTS_MAX: usize = 16;
/// Calls that one request answers at one time, and ids of them that are remembered.
const CALLS_MAX: usize = 16;
/// For how long a result counts of which it is not known whether the model has it: that long after a resumption a model that
/// asks again wants it anew.
const DOUBT_MS: u64 = 60_000;

/// What was asked for, by one call or several that are the same.
#[derive(Debug)]
pub(super) struct Request {
    call: Box<ToolCall>,
    /// `None`: one that is built in.
    pub(super) tool: Option<Arc<HttpTool>>,
    /// Every call of it, by link and id.
    ids: Vec<(LinkNumber, String)>,
    /// The calls that wait for its result.
    pub(super) waiting: Vec<(LinkNumber, Box<ToolCall>)>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It is being carried out; with its number and deadline where the tool threads do that.
    UnderWay(Option<(ToolNumber, Instant)>),
    Done {
        result: ToolResult,
        given: Given,
    },
}

/// Whether the model has a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    /// It was not given.
    Not,
    /// It may not have it: until then a call of the same is the same.
    InDoubt(Instant),
    /// It was given over this link, and the model has not finished a turn since.
    Over(LinkNumber),
    /// It had, when so many turns were complete.
    Answered(u64),
}

/// What a call is.
#[derive(Debug, PartialEq)]
pub(super) enum Again {
    /// One that was not made before, or may be made again.
    No,
    /// One that is under way, which answers it.
    UnderWay,
    /// One that has this result.
    Known(ToolResult),
    /// One more of the same than anybody waits for.
    TooOften,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The oldest first.
    requests: Vec<Request>,
}

impl Request {
    /// What it is.
    pub(super) fn asked(&self) -> Result<Asked, String> {
        self.call.asked.clone()
    }

    fn number(&self) -> Option<ToolNumber> {
        match self.state {
            State::UnderWay(Some((number, _))) => Some(number),
            _ => None,
        }
    }

    fn is_under_way(&self) -> bool {
        matches!(self.state, State::UnderWay(_))
    }

    /// Whether to ask again changes nothing where the tool is: what it says may have changed since.
    fn only_reads(&self) -> bool {
        match &self.tool {
            Some(tool) => tool.method == Method::Get,
            None => self.call.asked == Ok(Asked::CallInfo),
        }
    }

    fn remember(&mut self, link: LinkNumber, id: &str) {
        if !id.is_empty() && !self.is_of(link, id) {
            if self.ids.len() >= CALLS_MAX {
                self.ids.remove(0);
            }
            self.ids.push((link, id.to_owned()));
        }
    }

    fn is_of(&self, link: LinkNumber, id: &str) -> bool {
        self.ids.iter().any(|(of, known)| *of == link && known == id)
    }
}

impl Ledger {
    /// Notes a call, and says whether it was made before.
    pub(super) fn again(&mut self, now: Instant, link: LinkNumber, call: &ToolCall) -> Again {
        let Some(at) = self.requests.iter().rposition(|request| request.call.asks_the_same(call)) else {
            return Again::No;
        };
        let request = &mut self.requests[at];
        let same_call = !call.id.is_empty() && request.is_of(link, &call.id);
        let only_reads = request.only_reads();
        match (&mut request.state, same_call) {
            // Its answer comes once.
            (State::UnderWay(_), true) => return Again::UnderWay,
            (State::UnderWay(_), false) if request.waiting.len() >= CALLS_MAX => return Again::TooOften,
            (State::UnderWay(_), false) => {
                request.waiting.push((link, Box::new(call.clone())));
                request.remember(link, &call.id);
                return Again::UnderWay;
            }
            (State::Done { result, .. }, true) => return Again::Known(result.clone()),
            (State::Done { result, given }, false) => {
                let repeats = match given {
                    Given::Not => true,
                    Given::InDoubt(until) => now < *until,
                    Given::Over(over) => *over != link || !only_reads,
                    Given::Answered(_) => false,
                };
                if repeats {
                    *given = Given::Over(link);
                    let result = result.clone();
                    request.remember(link, &call.id);
                    return Again::Known(result);
                }
            }
        }
        Again::No
    }

    /// A request that is carried out from now on, in the place of an older one of the same.
    pub(super) fn begin(
        &mut self,
        link: LinkNumber,
        call: Box<ToolCall>,
        tool: Option<Arc<HttpTool>>,
        run: Option<(ToolNumber, Instant)>,
    ) {
        if self.requests.len() >= REQUESTS_MAX {
            let done = |request: &Request| !request.is_under_way();
            let answered =
                |request: &Request| matches!(request.state, State::Done { given: Given::Answered(_), .. });
            let oldest = self.requests.iter().position(answered);
            if let Some(at) = oldest.or_else(|| self.requests.iter().position(done)) {
                self.requests.remove(at);
            }
        }
        let mut ids = Vec::new();
        if let Some(at) = self.requests.iter().position(|request| request.call.asks_the_same(&call)) {
            ids = self.requests.remove(at).ids;
        }
        let waiting = vec![(link, call.clone())];
        let mut request = Request { call, tool, ids, waiting, state: State::UnderWay(run) };
        let id = request.call.id.clone();
        request.remember(link, &id);
        self.requests.push(request);
    }

    /// Requests that the tool threads carry out.
    pub(super) fn running(&self) -> impl Iterator<Item = (ToolNumber, Instant, &Request)> {
        self.requests.iter().filter_map(|request| match request.state {
            State::UnderWay(Some((number, deadline))) => Some((number, deadline, request)),
            _ => None,
        })
    }

    /// One of them whose result is overdue.
    pub(super) fn overdue(&self, now: Instant) -> Option<ToolNumber> {
        self.running().find(|(_, deadline, _)| now >= *deadline).map(|(number, ..)| number)
    }

    /// The request with this number, if it is under way.
    pub(super) fn numbered(&self, number: ToolNumber) -> Option<&Request> {
        self.requests.iter().find(|request| request.number() == Some(number))
    }

    /// Carries the request with this number out anew under another: nothing of it was done.
    pub(super) fn renumber(&mut self, number: ToolNumber, new: ToolNumber, deadline: Instant) {
        if let Some(request) = self.requests.iter_mut().find(|request| request.number() == Some(number)) {
            request.state = State::UnderWay(Some((new, deadline)));
        }
    }

    /// The request with this number has its result. Returns it and the calls that waited for it.
    pub(super) fn done(&mut self, number: ToolNumber, result: &ToolResult) -> Option<Answered> {
        let at = self.requests.iter().position(|request| request.number() == Some(number))?;
        Some(self.done_at(at, result))
    }

    /// The request that this call is of has its result, if it is under way. Returns it and the calls that waited for it.
    pub(super) fn done_by(&mut self, call: &ToolCall, result: &ToolResult) -> Option<Answered> {
        let of = |request: &Request| request.is_under_way() && request.call.asks_the_same(call);
        let at = self.requests.iter().position(of)?;
        Some(self.done_at(at, result))
    }

    fn done_at(&mut self, at: usize, result: &ToolResult) -> Answered {
        let request = &mut self.requests[at];
        let answered = Answered { tool: request.tool.clone(), calls: std::mem::take(&mut request.waiting) };
        // What was not done at all may be tried again; of what is built in, the switch says whether it was.
        let nothing_done = match result {
            Ok(_) | Err(ToolFailure::TimedOut) => false,
            Err(ToolFailure::NotAsked(_)) => true,
            Err(ToolFailure::Failed(_)) => request.tool.is_none(),
        };
        if nothing_done {
            self.requests.remove(at);
        } else {
            request.state = State::Done { result: result.clone(), given: Given::Not };
        }
        answered
    }

    /// The model was given the result of what this call asks for, over this link.
    pub(super) fn given(&mut self, link: LinkNumber, call: &ToolCall) {
        let of = |request: &&mut Request| request.call.asks_the_same(call);
        if let Some(Request { state: State::Done { given, .. }, .. }) =
            self.requests.iter_mut().rev().find(of)
        {
            *given = Given::Over(link);
        }
    }

    /// The model has finished a turn on this link, as the last of so many: it has what it was given before. What it was not,
    /// because it took its call back, it will not want for ever.
    pub(super) fn turn_over(&mut self, now: Instant, link: LinkNumber, turns: u64) {
        for request in &mut self.requests {
            if let State::Done { given, .. } = &mut request.state {
                match given {
                    Given::Over(over) if *over == link => *given = Given::Answered(turns),
                    Given::Not => *given = Given::InDoubt(now.plus_ms(DOUBT_MS)),
                    _ => {}
                }
            }
        }
    }

    /// The conversation goes on from where so many turns were complete: what came behind them, the model may not have.
    pub(super) fn resumed(&mut self, now: Instant, turns: u64) {
        for request in &mut self.requests {
            if let State::Done { given, .. } = &mut request.state {
                let lost = match given {
                    Given::Not | Given::InDoubt(_) => false,
                    Given::Over(_) => true,
                    Given::Answered(at) => *at > turns,
                };
                if lost {
                    *given = Given::InDoubt(now.plus_ms(DOUBT_MS));
                }
            }
        }
    }

    /// The model takes a call back. Returns the tool's name and what becomes of the request, if the call waits for one.
    pub(super) fn take_back(&mut self, link: LinkNumber, id: &str) -> Option<(String, TakenBack)> {
        let waits = |(of, call): &(LinkNumber, Box<ToolCall>)| *of == link && call.id == id;
        let at = self.requests.iter().position(|request| request.waiting.iter().any(waits))?;
        let request = &mut self.requests[at];
        request.waiting.retain(|call| !waits(call));
        // To be asked again with the same id is to be asked again.
        request.ids.retain(|(of, known)| (*of, known.as_str()) != (link, id));
        let name = request.call.name.clone();
        let taken = match (request.number(), request.waiting.is_empty()) {
            (_, false) => TakenBack::One,
            (Some(number), true) => TakenBack::Running(number),
            (None, true) => TakenBack::BuiltIn(self.requests.remove(at).call),
        };
        Some((name, taken))
    }

    /// Whether any call waits for a result.
    pub(super) fn any_waits(&self) -> bool {
        self.requests.iter().any(|request| !request.waiting.is_empty())
    }
}

/// A request that has its result.
pub(super) struct Answered {
    pub(super) tool: Option<Arc<HttpTool>>,
    /// The calls that waited for it.
    pub(super) calls: Vec<(LinkNumber, Box<ToolCall>)>,
}

/// What became of a call that the model took back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TakenBack {
    /// Others wait for the same.
    One,
    /// Nobody waits for this run any more.
    Running(ToolNumber),
    /// Nobody waits for what the switch was to do, which was asked for by this call.
    BuiltIn(Box<ToolCall>),
}
