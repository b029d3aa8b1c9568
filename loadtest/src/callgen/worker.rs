//! A worker: some of the run's calls on one poll, woken for each by an absolute timer.
//!
//! Runs in: its own thread. Owns its calls, their sockets and its totals. Never waits with a frame due, and looks
//! whether one is due after every event, so that a flood of arrivals does not delay the sending.
//! Invariant: every call given to it has ended when it returns.

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
use super::mark::{MarkReader, MarkWriter};
use super::options::Options;
use super::source::Script;
use super::switch::Said;
use super::totals::{Progress, Totals};

/// The timer's token; calls use their position.
const TIMER: Token = Token(usize::MAX);
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
    /// The different legs, at least one.
    pub(super) lines: Vec<Line>,
    pub(super) writer: MarkWriter,
    pub(super) reader: Arc<MarkReader>,
    /// What is said in turns; `None` where marks are sent.
    pub(super) script: Option<Arc<Script>>,
    /// One frame of silence.
    pub(super) silence: Vec<i16>,
    pub(super) epoch_ns: u64,
    pub(super) bin_ns: u64,
    pub(super) bins: usize,
}

impl Plan {
    /// Which line call `index` has.
    pub(super) fn line_of(&self, index: usize) -> usize {
        let leg = self.options.leg_of(index);
        self.lines.iter().position(|line| line.leg == leg).unwrap_or(0)
    }

    /// The line with this place.
    pub(super) fn line(&self, place: usize) -> &Line {
        &self.lines[place]
    }
}

/// Runs the calls with the numbers `indices` to their end.
///
/// # Errors
/// When the poll or the timer cannot be made, or the poll fails.
pub(super) fn run(
    plan: Arc<Plan>,
    indices: Vec<usize>,
    progress: Arc<Progress>,
) -> io::Result<(Vec<Call>, Totals)> {
    let mut poll = Poll::new()?;
    let mut timer = WakeTimer::new(poll.registry(), TIMER)?;
    let mut context = Context {
        registry: poll.registry().try_clone()?,
        random: Random::new(),
        totals: Totals::new(plan.lines.len(), plan.epoch_ns, plan.bin_ns, plan.bins),
        progress,
        read: vec![0; READ_BYTES],
        pcm: Vec::with_capacity(4096),
        payload: Vec::with_capacity(4096),
        wire: Vec::with_capacity(4096),
        said: Said::default(),
        plan: Arc::clone(&plan),
    };
    let mut calls: Vec<Call> = indices
        .into_iter()
        .enumerate()
        .map(|(place, index)| {
            let start_ns = plan.epoch_ns + (index as f64 * 1e9 / plan.options.ramp_per_s) as u64;
            let phase_ns = super::ear::TICK_NS * index as u64 / u64::from(plan.options.calls);
            let line = plan.line_of(index);
            Call::new(index, (line, plan.line(line).leg), Token(place), start_ns, phase_ns)
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
            if call.wake_at_ns != before_ns && call.wake_at_ns != u64::MAX {
                wakes.push(Reverse((call.wake_at_ns, place)));
            }
            wake_due(&mut calls, &mut wakes, &mut context);
        }
    }
    Ok((calls, context.totals))
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
        wakes.pop();
        if call.wake_at_ns != u64::MAX {
            wakes.push(Reverse((call.wake_at_ns, place)));
        }
    }
}
