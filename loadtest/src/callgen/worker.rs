//! A worker: some of the run's calls on one poll, woken for each by an absolute timer.
//!
//! Runs in: its own thread. Owns its calls, their sockets and its totals. Never waits with a frame due, and looks
//! whether one is due after every event, so that a flood of arrivals does not delay the sending.
//! Invariant: every call in the places given to it has ended when it returns.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};

use super::call::{Call, Context};
use super::clock::{Random, WakeTimer, now_ns};
use super::handshake::Target;
use super::leg::Leg;
use super::light::Prepared;
use super::mark::{MarkReader, MarkWriter};
use super::options::Options;
use super::report::CallReport;
use super::schedule::Schedule;
use super::source::Script;
use super::switch::Said;
use super::totals::{Progress, Totals};

/// The timer's token; calls use their position.
const TIMER: Token = Token(usize::MAX);
/// Nice value of a worker that raises the number of calls until the machine has no time left.
const PRIORITY: i32 = -10;
/// Bytes asked for in one read.
const READ_BYTES: usize = 64 * 1024;

/// A leg that takes part in the run, and where its calls go.
pub(super) struct Line {
    pub(super) leg: Leg,
    pub(super) target: Target,
}

/// What all calls of a run share and nobody changes.
pub(super) struct Plan {
    pub(super) options: Options,
    pub(super) schedule: Schedule,
    /// The different legs, at least one.
    pub(super) lines: Vec<Line>,
    pub(super) writer: MarkWriter,
    pub(super) reader: Arc<MarkReader>,
    /// What is said in turns; `None` where marks are sent.
    pub(super) script: Option<Arc<Script>>,
    /// What is sent by calls that are not analysed, if there are any.
    pub(super) prepared: Option<Prepared>,
    /// One frame of silence.
    pub(super) silence: Vec<i16>,
    pub(super) epoch_ns: u64,
    pub(super) bin_ns: u64,
    pub(super) bins: usize,
}

impl Plan {
    /// Nothing measured yet.
    pub(super) fn totals(&self) -> Totals {
        Totals::new(self.lines.len(), self.epoch_ns, self.bin_ns, self.bins, &self.schedule.steps)
    }

    /// Which line the calls in `place` have.
    pub(super) fn line_of(&self, place: usize) -> usize {
        let leg = self.options.leg_of(place);
        self.lines.iter().position(|line| line.leg == leg).unwrap_or(0)
    }

    /// Whether call number `index` is analysed. In one place all calls are, or none.
    pub(super) fn is_analysed(&self, index: usize) -> bool {
        self.options.is_analysed(index % self.schedule.places)
    }

    /// The line with this place.
    pub(super) fn line(&self, place: usize) -> &Line {
        &self.lines[place]
    }
}

/// Runs the calls in `places` to their end, and those that follow them there.
///
/// # Errors
/// When the poll or the timer cannot be made, or the poll fails.
pub(super) fn run(
    plan: Arc<Plan>,
    places: Vec<usize>,
    progress: Arc<Progress>,
) -> io::Result<(Vec<CallReport>, Totals)> {
    if plan.options.steps.is_some() || plan.options.call_seconds.is_some() {
        // What is looked for is a limit of the relay: callers are on time however busy the machine is. Only root may.
        _ = rustix::process::setpriority_process(None, PRIORITY);
    }
    let mut poll = Poll::new()?;
    let mut timer = WakeTimer::new(poll.registry(), TIMER)?;
    let mut context = Context {
        registry: poll.registry().try_clone()?,
        random: Random::new(),
        totals: plan.totals(),
        reports: Vec::with_capacity(places.len()),
        progress,
        read: vec![0; READ_BYTES],
        pcm: Vec::with_capacity(4096),
        payload: Vec::with_capacity(4096),
        wire: Vec::with_capacity(4096),
        said: Said::default(),
        plan: Arc::clone(&plan),
    };
    let mut calls: Vec<Call> = places
        .into_iter()
        .enumerate()
        .map(|(own, place)| {
            Call::new(&plan, (place, 0), Token(own), plan.epoch_ns + plan.schedule.start_ns(place))
        })
        .collect();
    let mut wakes: BinaryHeap<Reverse<(u64, usize)>> =
        calls.iter().enumerate().map(|(place, call)| Reverse((call.wake_at_ns, place))).collect();
    let mut events = Events::with_capacity(256);
    while let Some(Reverse((next_ns, _))) = wakes.peek() {
        let timeout = if *next_ns > now_ns() {
            timer.arm(*next_ns)?;
            None
        } else {
            Some(Duration::ZERO)
        };
        match poll.poll(&mut events, timeout) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        wake_due(&mut calls, &mut wakes, &mut context);
        for event in &events {
            let place = event.token().0;
            let Some(call) = calls.get_mut(place) else { continue };
            let before_ns = call.wake_at_ns;
            call.ready(event, &mut context);
            follow(call, event.token(), &plan);
            if call.wake_at_ns != before_ns && call.wake_at_ns != u64::MAX {
                wakes.push(Reverse((call.wake_at_ns, place)));
            }
            wake_due(&mut calls, &mut wakes, &mut context);
        }
    }
    Ok((context.reports, context.totals))
}

/// Puts the next call into the place of one that has ended, where one follows.
fn follow(call: &mut Call, token: Token, plan: &Plan) {
    if !call.has_ended() {
        return;
    }
    let ended_ns = call.ended_ns.saturating_sub(plan.epoch_ns);
    if let Some(start_ns) = plan.schedule.next_ns(ended_ns, call.failure.is_none()) {
        *call = Call::new(plan, (call.place, call.turn + 1), token, plan.epoch_ns + start_ns);
    }
}

/// Wakes every call whose time has come; entries that a call has since changed are passed over.
fn wake_due(calls: &mut [Call], wakes: &mut BinaryHeap<Reverse<(u64, usize)>>, context: &mut Context) {
    while let Some(Reverse((at_ns, place))) = wakes.peek().copied() {
        let Some(call) = calls.get_mut(place) else { return };
        if call.wake_at_ns != at_ns {
            // Changed since, and entered anew then.
            wakes.pop();
            continue;
        }
        if at_ns > now_ns() {
            return;
        }
        call.wake(context);
        follow(call, Token(place), &context.plan);
        wakes.pop();
        if call.wake_at_ns != u64::MAX {
            wakes.push(Reverse((call.wake_at_ns, place)));
        }
    }
}
