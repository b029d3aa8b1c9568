//! One call's connection: TCP, upgrade, first texts, audio every 20 ms, pings answered, a goodbye.
//!
//! Runs in: a callgen worker. Owns the call's socket and its protocol state; what is said and heard belongs to
//! [`super::caller`], what messages mean to [`super::switch`]. Never blocks, never reconnects (libwsc does not). Invariant: a call ends once, good or with
//! one reason.

mod incoming;
mod outgoing;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::caller::Caller;
use super::clock::{Random, now_ns};
use super::ear::{Ear, TICK_NS};
use super::floor_leg::FloorReader;
use super::handshake::{self, Answer};
use super::leg::Leg;
use super::report::CallReport;
use super::socket::{Got, Socket};
use super::switch::{Said, Switch, asterisk_socket};
use super::totals::{Progress, Totals, record};
use super::worker::Plan;
use crate::websocket::{FrameReader, Opcode};

/// Connect, TLS and 101 must be through in one second, or the module gives up (libwsc WebSocketClient.h).
const CONNECT_NS: u64 = 1_000_000_000;
/// The module waits one second for the answer to its close.
const CLOSE_NS: u64 = 1_000_000_000;
/// First audio leaves at least so long after the 101; measured 15 to 45 ms.
const FIRST_AUDIO_NS: u64 = 15_000_000;

/// AudioSocket has no word for a refusal: a call that the relay ends in this time, before any audio, was refused.
const REFUSAL_NS: u64 = 1_000_000_000;
/// Calls of a run with churn that a worker keeps the reports of: so many good ones, and as many others.
const REPORTS_MAX: usize = 500;

/// What the calls of a worker share.
pub(super) struct Context {
    pub(super) plan: Arc<Plan>,
    pub(super) registry: Registry,
    pub(super) random: Random,
    pub(super) totals: Totals,
    /// Reports of calls that have ended.
    pub(super) reports: Vec<CallReport>,
    pub(super) progress: Arc<Progress>,
    /// Work areas, so that no frame needs memory of its own.
    pub(super) read: Vec<u8>,
    pub(super) pcm: Vec<i16>,
    pub(super) payload: Vec<u8>,
    pub(super) wire: Vec<u8>,
    pub(super) said: Said,
}

enum State {
    /// Not yet begun.
    Waiting,
    /// TCP is being connected.
    Connecting,
    /// The request is out; the head of the answer so far.
    Upgrading(Vec<u8>),
    /// Frames go both ways.
    Up,
    /// Our close is out.
    Closing,
    Ended,
}

/// One call.
pub(super) struct Call {
    index: usize,
    /// Its place among the calls at the same time, and how many were there before it.
    pub(super) place: usize,
    pub(super) turn: usize,
    /// Place of its leg in the plan.
    line: usize,
    leg: Leg,
    /// Only counts what comes back.
    is_light: bool,
    token: Token,
    state: State,
    socket: Option<Socket>,
    reader: FrameReader,
    key: String,
    uuid: String,
    begun_ns: u64,
    phase_ns: u64,
    /// When the state wants to go on: the next frame, or a deadline.
    tick_ns: u64,
    /// When [`Self::wake`] is wanted next: then, or when the switch has something to do.
    pub(super) wake_at_ns: u64,
    floor_reader: FloorReader,
    pub(super) caller: Option<Caller>,
    pub(super) setup_ns: u64,
    pub(super) up_ns: u64,
    pub(super) ended_ns: u64,
    pub(super) failure: Option<String>,
    /// The failure is a refusal.
    pub(super) is_refused: bool,
}

impl Call {
    /// The call number `turn` in `place`, to begin at `start_ns`. Calls send at multiples of 20 ms plus a phase that
    /// their place decides.
    pub(super) fn new(plan: &Plan, (place, turn): (usize, usize), token: Token, start_ns: u64) -> Self {
        let index = turn * plan.schedule.places + place;
        let line = plan.line_of(place);
        let phase_ns = TICK_NS * place as u64 / plan.schedule.places as u64;
        Self {
            index,
            place,
            turn,
            line,
            leg: plan.line(line).leg,
            is_light: !plan.is_analysed(index) && !plan.options.floor,
            token,
            state: State::Waiting,
            socket: None,
            reader: FrameReader::default(),
            key: String::new(),
            uuid: String::new(),
            begun_ns: 0,
            phase_ns,
            tick_ns: start_ns,
            wake_at_ns: start_ns,
            floor_reader: FloorReader::default(),
            caller: None,
            setup_ns: 0,
            up_ns: 0,
            ended_ns: 0,
            failure: None,
            is_refused: false,
        }
    }

    /// Number within the run.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Place of its leg in the plan.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The call is over.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The time `wake_at_ns` has come.
    pub(super) fn wake(&mut self, context: &mut Context) {
        match self.state {
            State::Waiting => {
                if let Err(e) = self.connect(context) {
                    self.fail(context, format!("cannot connect: {e}"));
                }
            }
            State::Connecting => self.fail(context, "no TCP connection within 1 s".to_owned()),
            State::Upgrading(_) => self.fail(context, "no 101 within 1 s".to_owned()),
            State::Up => {
                let now_ns = now_ns();
                if !context.plan.options.floor && !self.is_light {
                    self.switch(now_ns, context, |_, _, _| {});
                }
                if matches!(self.state, State::Up) && now_ns >= self.tick_ns {
                    self.tick(context);
                }
            }
            State::Closing => self.fail(context, "the relay did not answer the close within 1 s".to_owned()),
            State::Ended => {}
        }
        self.set_alarm();
    }

    /// Says when the call is to be woken next.
    fn set_alarm(&mut self) {
        self.wake_at_ns = match (&self.state, &self.caller) {
            (State::Ended, _) => u64::MAX,
            (State::Up, Some(caller)) if !self.is_light => self.tick_ns.min(caller.switch.event_ns()),
            _ => self.tick_ns,
        };
    }

    /// Lets the switch play until `now_ns`, then `act`, and sends and measures what came of it.
    fn switch(
        &mut self,
        now_ns: u64,
        context: &mut Context,
        act: impl FnOnce(&mut Switch, &mut Ear, &mut Said),
    ) {
        let Some(caller) = &mut self.caller else { return };
        let mut said = std::mem::take(&mut context.said);
        said.reset();
        caller.advance(now_ns, &mut context.totals, &mut said);
        let queued_ns = caller.ear.queued_ns(now_ns);
        act(&mut caller.switch, &mut caller.ear, &mut said);
        caller.arrived(now_ns, &mut said, &mut context.totals, &context.progress);
        if said.is_cleared {
            caller.cleared(now_ns, queued_ns);
        }
        for text in &said.replies {
            self.send_frame(context, Opcode::Text, text.as_bytes());
        }
        if let Some(why) = said.error.take() {
            if why == asterisk_socket::HUNG_UP {
                self.judge_end(now_ns);
            }
            self.fail(context, why);
        }
        context.said = said;
    }

    fn connect(&mut self, context: &mut Context) -> io::Result<()> {
        self.begun_ns = now_ns();
        context.progress.begun.fetch_add(1, Ordering::Relaxed);
        let mut stream = TcpStream::connect(context.plan.line(self.line).target.addr)?;
        context.registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.socket = Some(Socket::new(stream));
        self.state = State::Connecting;
        self.tick_ns = self.begun_ns + CONNECT_NS;
        Ok(())
    }

    /// The poll says that the socket is ready.
    pub(super) fn ready(&mut self, event: &mio::event::Event, context: &mut Context) {
        if event.is_writable()
            && let Err(e) = self.writable(context)
        {
            self.fail_io(context, &e);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.readable(event.is_read_closed(), context);
        }
        self.set_alarm();
    }

    fn writable(&mut self, context: &mut Context) -> io::Result<()> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        if !matches!(self.state, State::Connecting) {
            return socket.flush();
        }
        if let Some(e) = socket.stream.take_error()? {
            return Err(e);
        }
        match socket.stream.peer_addr() {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotConnected => return Ok(()),
            Err(e) => return Err(e),
        }
        socket.stream.set_nodelay(true)?;
        self.greet(context)
    }

    /// Reads what there is; an end that came with the last bytes brings no edge of its own.
    fn readable(&mut self, has_ended: bool, context: &mut Context) {
        let mut read = std::mem::take(&mut context.read);
        while let Some(socket) = &mut self.socket {
            match socket.read(&mut read) {
                Ok(Got::Bytes(n, more)) => {
                    self.bytes(read.get(..n).unwrap_or(&[]), context);
                    if !more && !has_ended {
                        break;
                    }
                }
                Ok(Got::Nothing) => break,
                Ok(Got::End) => {
                    match self.state {
                        State::Closing if self.leg == Leg::AudioSocket => self.end(context),
                        _ if self.leg == Leg::AudioSocket => {
                            self.judge_end(now_ns());
                            self.fail(context, "the connection was ended by the relay".to_owned());
                        }
                        State::Closing => {
                            self.fail(
                                context,
                                "the connection ended without an answer to the close".to_owned(),
                            );
                        }
                        State::Upgrading(_) => {
                            self.fail(context, "the connection ended before the 101".to_owned())
                        }
                        _ => self.fail(context, "the connection ended without a close frame".to_owned()),
                    }
                    break;
                }
                Err(e) => {
                    self.fail_io(context, &e);
                    break;
                }
            }
        }
        context.read = read;
    }

    fn bytes(&mut self, bytes: &[u8], context: &mut Context) {
        let now_ns = now_ns();
        if context.plan.options.floor {
            self.floor_bytes(now_ns, bytes, context);
            return;
        }
        if self.leg == Leg::AudioSocket {
            self.socket_bytes(now_ns, bytes, context);
            return;
        }
        if let State::Upgrading(head) = &mut self.state {
            head.extend_from_slice(bytes);
            match handshake::answer_to(self.leg, head, &self.key) {
                Answer::Incomplete => {}
                Answer::Refused(why) => {
                    self.is_refused = handshake::is_refusal(&why);
                    self.fail(context, why);
                }
                Answer::Upgraded(used) => {
                    let head = std::mem::take(head);
                    self.up(context, now_ns);
                    self.frames(now_ns, head.get(used..).unwrap_or(&[]), context);
                }
            }
        } else {
            self.frames(now_ns, bytes, context);
        }
    }

    /// The connection is up: what the switch has to say first, then audio on the call's own grid of 20 ms.
    fn up(&mut self, context: &mut Context, now_ns: u64) {
        self.state = State::Up;
        self.up_ns = now_ns;
        self.setup_ns = now_ns - self.begun_ns;
        context.totals.setup(self.line, now_ns, self.setup_ns);
        context.progress.up.fetch_add(1, Ordering::Relaxed);
        let plan = Arc::clone(&context.plan);
        let earliest_ns = now_ns + FIRST_AUDIO_NS;
        let grid_ns = plan.epoch_ns + self.phase_ns;
        let first_ns = grid_ns + earliest_ns.saturating_sub(grid_ns).div_ceil(TICK_NS) * TICK_NS;
        let length_ns = plan.schedule.length_ns(self.place, self.turn, first_ns - plan.epoch_ns);
        let caller = Caller::new(&plan, self.index, now_ns, (first_ns, length_ns));
        if !plan.options.floor {
            for text in caller.switch.opening(&self.metadata(context)) {
                self.send_frame(context, Opcode::Text, text.as_bytes());
            }
        }
        if !self.has_ended() {
            self.caller = Some(caller);
            self.tick_ns = first_ns;
        }
    }

    fn fail_io(&mut self, context: &mut Context, error: &io::Error) {
        let what = match self.state {
            State::Connecting => "cannot connect",
            _ => "connection lost",
        };
        if !matches!(self.state, State::Waiting | State::Ended) {
            self.fail(context, format!("{what}: {error}"));
        }
    }

    fn fail(&mut self, context: &mut Context, why: String) {
        self.failure.get_or_insert(why);
        self.end(context);
    }

    fn end(&mut self, context: &mut Context) {
        if self.has_ended() {
            return;
        }
        let now_ns = now_ns();
        let progress = &context.progress;
        let was_up = self.up_ns > 0;
        if was_up {
            progress.up.fetch_sub(1, Ordering::Relaxed);
        }
        if self.failure.is_none() {
            self.failure = self.caller.as_ref().and_then(Caller::complaint);
        }
        let (is_refused, has_failed) = (self.is_refused, self.failure.is_some() && !self.is_refused);
        progress.ended.fetch_add(1, Ordering::Relaxed);
        progress.failed.fetch_add(u64::from(has_failed), Ordering::Relaxed);
        progress.refused.fetch_add(u64::from(is_refused), Ordering::Relaxed);
        self.state = State::Ended;
        self.ended_ns = now_ns;
        // Dropping a mio socket closes it, which removes it from the poll.
        self.socket = None;
        context.totals.count(now_ns, |bin| {
            bin.went_down += u64::from(was_up);
            bin.failed += u64::from(has_failed);
            bin.refused += u64::from(is_refused);
        });
        self.write_down(context);
    }

    /// Adds the call to the totals, and lets go of what it needed.
    fn write_down(&mut self, context: &mut Context) {
        let report = CallReport::of(self, &context.plan);
        let totals = &mut context.totals;
        if let Some(why) = &self.failure {
            let reasons = if self.is_refused { &mut totals.refusals } else { &mut totals.failures };
            *reasons.entry(why.clone()).or_insert(0) += 1;
        }
        if let Some(leg) = totals.legs.get_mut(self.line) {
            leg.calls += 1;
            leg.good += usize::from(report.good);
            leg.refused += usize::from(self.is_refused);
            leg.counts.add(&report.counts);
            if self.is_refused {
                record(&mut leg.refusal, self.ended_ns - self.begun_ns);
            }
            if let Some(turns) = self.caller.as_ref().and_then(Caller::turns) {
                leg.add_turns(turns);
            }
        }
        let alike = || context.reports.iter().filter(|other| other.good == report.good).count();
        if context.plan.options.call_seconds.is_none() || alike() < REPORTS_MAX {
            context.reports.push(report);
        }
        self.caller = None;
    }

    /// The relay ended an AudioSocket call: whether that was a refusal.
    fn judge_end(&mut self, now_ns: u64) {
        let has_heard = self.caller.as_ref().is_some_and(|caller| caller.messages_heard > 0);
        self.is_refused = self.up_ns > 0 && !has_heard && now_ns - self.up_ns < REFUSAL_NS;
    }
}
