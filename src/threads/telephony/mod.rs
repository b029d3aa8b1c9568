//! The telephony thread: every leg of a shard.
//!
//! Runs in: one telephony thread a shard. Owns the legs' sockets.
//! Never blocks but in its poll; per frame it takes no lock and logs nothing.
//! Invariant: what a leg does, floods, stalls or breaks included, costs the other legs at most its share of one pass.

mod attach;
pub mod chan_websocket;
pub mod connection;
pub mod defaults;
pub mod leg;
mod meter;
mod socket;
mod unheard;
pub mod wire;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};
use tungstenite::Message;

use crate::base::command::Command;
use crate::base::limits::{LEG_SHARE_BYTES, SHARE_MS};
use crate::base::{CallId, Instant};
use crate::call::events::LegEnd;
use crate::call::leg::{LegClose, LegCloseCode, OrderNumber};
use crate::call::{CommandError, Fact, LegOrder};
use crate::codec::channel_word::{self, ChannelWord};
use crate::net::websocket::{End, Incoming};
use crate::sync::{CallBell, Clock, Doorbell, DueSet, Mailbox, Outbox};
use crate::telemetry::counters::Counters;
use crate::threads::company::{Company, Door};
use crate::threads::messages::{ControlInput, NewLeg, TelephonyOrder};
use crate::threads::slots::{OfCall, Slots};
use connection::Sent;
use leg::{Leg, LegDefaults, Received};
use socket::Socket;

const BELL: Token = Token(usize::MAX);
/// How often silent legs and slow closes are looked for.
const SWEEP_MS: u64 = 250;

/// What of the configuration the telephony thread needs.
#[derive(Debug, Clone, Copy)]
pub struct TelephonySettings {
    /// What a leg is taken to be.
    pub defaults: LegDefaults,
    /// Milliseconds without a word of the switch before it is pinged, and again before it is given up.
    pub silent_after_ms: u64,
}

/// What the thread is built from.
pub struct TelephonyParts {
    /// Its poll, whose waker is `own`.
    pub poll: Poll,
    /// Its mailbox.
    pub inbox: Mailbox<TelephonyOrder>,
    /// To the control thread.
    pub control: Outbox<ControlInput>,
    /// Its own bell.
    pub own: Doorbell,
    /// The slots of calls to which something happened: marked by its neighbours, and by the thread itself.
    pub due: Arc<DueSet>,
    /// The shard's dsp workers.
    pub workers: Vec<CallBell>,
    /// The process's counters.
    pub counters: Arc<Counters>,
    /// What of the configuration it needs.
    pub settings: TelephonySettings,
    /// The clock.
    pub clock: Clock,
    /// Calls in the process at most: slots are below it.
    pub max_calls: usize,
    /// How frames come together.
    pub company: Company,
}

impl OfCall for Socket {
    fn id(&self) -> CallId {
        self.leg.id()
    }
}

/// The thread's state.
pub struct Telephony {
    parts: TelephonyParts,
    sockets: Slots<Socket>,
    /// Legs that were lost and whose calls wait for them.
    lost: Vec<Leg>,
    /// Slots of legs that wait for room in their ring, or for their next share, and when they are tried again.
    again: DueSet,
    retry_at: Option<Instant>,
    swept_at: Instant,
}

/// A doorbell on the thread's poll.
///
/// # Errors
/// Those of making an eventfd.
pub fn doorbell(poll: &Poll) -> io::Result<Doorbell> {
    crate::sync::doorbell::poll_doorbell(poll, BELL)
}

impl Telephony {
    /// The thread's state before its first pass.
    pub fn new(parts: TelephonyParts) -> Self {
        let sockets = Slots::new(parts.max_calls);
        let again = DueSet::new(parts.max_calls);
        Self { parts, sockets, lost: Vec::new(), again, retry_at: None, swept_at: Instant::default() }
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// Those of the poll itself, which leave nothing to go on with.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let (mut timeout, mut now, mut door) = (None, Instant::default(), Door::new(self.parts.company));
        loop {
            if door.wait(now, &self.parts.own) {
                match self.parts.poll.poll(&mut events, timeout) {
                    Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                    _ => {}
                }
            } else {
                events.clear();
            }
            self.parts.own.answer();
            now = self.parts.clock.now();
            self.parts.own.answered(now);
            if !self.take_orders(now) {
                return Ok(());
            }
            let mut heard = false;
            for event in &events {
                if event.token() == BELL {
                    continue;
                }
                let slot = event.token().0;
                self.parts.due.mark(slot);
                if let Some(socket) = self.sockets.at(slot) {
                    if event.is_readable() {
                        socket.connection.rearm(event.is_read_closed());
                        socket.remembered = true;
                    }
                    if event.is_writable() && !socket.connection.is_idle() {
                        let flushed = socket.connection.flush();
                        self.give_up_on_error(slot, flushed);
                    }
                }
            }
            self.serve(now, &mut heard);
            if heard {
                self.parts.workers.iter().for_each(CallBell::ring);
                door.shut(now, self.sockets.len());
            }
            if now.since_ms(self.swept_at) >= SWEEP_MS {
                self.swept_at = now;
                self.sweep(now);
            }
            self.parts.control.flush();
            // What a sweep leads a leg to say leaves at once.
            let retry_at = if self.parts.due.is_empty() { self.retry_at } else { Some(now) };
            timeout = Some(retry_at.map_or(Duration::from_millis(SWEEP_MS), |at| at.since(now)));
        }
    }

    /// Returns false when told to stop.
    fn take_orders(&mut self, now: Instant) -> bool {
        while let Some(order) = self.parts.inbox.take() {
            if let Some(id) = order.call() {
                self.parts.due.mark(id.slot as usize);
            }
            match order {
                TelephonyOrder::Add(new) => self.add(*new, now),
                TelephonyOrder::TakeBack(returned) => self.take_back(*returned, now),
                TelephonyOrder::Ping(id) => self.ping(id),
                TelephonyOrder::Move(from, to) => self.move_leg(from, to),
                TelephonyOrder::Challenge(id, word) => self.challenge(id, word),
                TelephonyOrder::Call(id, LegOrder::Command(number, command)) => {
                    self.command(id, number, &command)
                }
                TelephonyOrder::Call(id, LegOrder::Close(close)) => {
                    if let Some(socket) = self.sockets.get_mut(id) {
                        socket.start_close(&close, LegEnd::ByUs, now);
                    } else {
                        self.let_go_of_lost(id);
                    }
                }
                TelephonyOrder::Call(id, LegOrder::SendAway(close)) => {
                    // One that was lost meanwhile goes where it likes.
                    if let Some(socket) = self.sockets.get_mut(id) {
                        socket.start_close(&close, LegEnd::SentAway, now);
                    }
                }
                TelephonyOrder::Stop => return false,
            }
        }
        true
    }

    /// Sends a word over a leg that is not being closed. One that takes nothing now is asked again.
    fn challenge(&mut self, id: CallId, word: ChannelWord) {
        if let Some(socket) = self.sockets.get_mut(id)
            && socket.closing.is_none()
        {
            _ = socket.leg.say(Message::text(channel_word::text(word)));
        }
    }

    /// Tells a switch what to do. Of a leg that is gone nothing is said: control is told of its end.
    fn command(&mut self, id: CallId, number: OrderNumber, command: &Command) {
        let Some(socket) = self.sockets.get_mut(id) else { return };
        let told = if socket.closing.is_some() || socket.closed_with.is_some() {
            Err("the leg is being closed")
        } else {
            socket.leg.command(number, command)
        };
        match told {
            Ok(true) => self.tell(id, Fact::CommandDone(number)),
            Ok(false) => {}
            Err(why) => self.tell(id, Fact::CommandFailed(number, CommandError::NotSent(why))),
        }
    }

    fn add(&mut self, new: NewLeg, now: Instant) {
        let slot = new.id.slot as usize;
        let Some(mut connection) = new.connection else { return };
        let registered = connection.stream().register(self.parts.poll.registry(), Token(slot));
        if let Err(error) = registered {
            self.tell(new.id, Fact::LegGone(LegEnd::Dropped(error.to_string())));
            return;
        }
        let defaults = self.parts.settings.defaults;
        let leg = Leg::new(new.id, new.shared, new.rings, defaults, new.kind, new.fields, now);
        self.sockets.put(Box::new(Socket::new(leg, connection, 1, now)));
    }

    /// Reads what can be read and hands over what is due, of the legs to which something happened.
    fn serve(&mut self, now: Instant, heard: &mut bool) {
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
            for piece in 0..self.again.pieces() {
                self.again.take(piece).for_each(|slot| self.parts.due.mark(slot));
            }
        }
        for piece in 0..self.parts.due.pieces() {
            for slot in self.parts.due.take(piece) {
                let mut of_leg = false;
                self.serve_leg(slot, now, &mut of_leg);
                if of_leg {
                    self.parts.workers.iter().for_each(|worker| worker.mark(slot));
                    *heard = true;
                }
            }
        }
    }

    fn serve_leg(&mut self, slot: usize, now: Instant, heard: &mut bool) {
        let Some(socket) = self.sockets.at(slot) else { return };
        if socket.leg.is_stalled() && socket.leg.resume(now, heard) {
            socket.remembered = true;
        }
        if socket.remembered
            && now >= socket.next_share
            && !socket.leg.is_stalled()
            && let Some(end) = self.read(slot, now, heard)
        {
            return self.give_up(slot, end);
        }
        let Some(socket) = self.sockets.at(slot) else { return };
        if socket.remembered || socket.leg.is_stalled() {
            self.again.mark(slot);
            self.retry_at.get_or_insert(now.plus_ms(SHARE_MS));
        }
        let written = socket.write(now);
        self.give_up_on_error(slot, written);
    }

    /// Reads one socket within its budget. Returns how the connection ended, if it did.
    fn read(&mut self, slot: usize, now: Instant, heard: &mut bool) -> Option<LegEnd> {
        let counters = Arc::clone(&self.parts.counters);
        let socket = self.sockets.at(slot)?;
        socket.connection.allow(LEG_SHARE_BYTES);
        loop {
            let sent = match socket.connection.read() {
                Incoming::Drained => {
                    socket.remembered = false;
                    return None;
                }
                Incoming::Paused => {
                    socket.next_share = now.plus_ms(SHARE_MS);
                    return None;
                }
                Incoming::Over(end) => return Some(socket.ended(end, &counters)),
                Incoming::Message(sent) => sent,
            };
            socket.heard_at = now;
            socket.leg.hear_switch(now);
            socket.pinged = false;
            let received = match sent {
                Sent::Frame(frame) => {
                    *heard = true;
                    socket.leg.receive_frame(frame, now)
                }
                Sent::Message(Message::Binary(audio)) => {
                    *heard = true;
                    socket.leg.receive_audio(audio, now)
                }
                Sent::Message(Message::Text(text)) => socket.leg.receive_text(&text, now),
                Sent::Message(Message::Close(frame)) => {
                    socket.closed_by_peer(frame.map_or(1005, |frame| frame.code.into()), now);
                    Received::Done
                }
                _ => socket.leg.receive_ping(now),
            };
            match received {
                Received::Done => {}
                Received::Stalled => return None,
                Received::Identified(fields) => {
                    let id = socket.leg.id();
                    self.parts.control.send(ControlInput::Fact(id, Fact::Identified(fields)));
                }
                Received::Reported(report) => {
                    let id = socket.leg.id();
                    self.parts.control.send(ControlInput::Fact(id, Fact::Reported(report)));
                }
                Received::HungUp => return Some(socket.ended(End::Closed, &counters)),
                Received::Refused(why) if socket.closing.is_none() => {
                    counters.leg_protocol_errors.increment();
                    let close = LegClose::new(LegCloseCode::UnsupportedData, why);
                    socket.start_close(&close, LegEnd::Protocol(why.to_owned()), now);
                }
                Received::Flood if socket.closing.is_none() => {
                    counters.leg_text_floods.increment();
                    let end = LegEnd::Protocol("a flood of texts or pings".into());
                    let close = LegClose::new(LegCloseCode::PolicyViolation, "too many texts or pings");
                    socket.start_close(&close, end, now);
                }
                // It is being closed already.
                Received::Flood | Received::Refused(_) => {}
            }
        }
    }

    /// Looks for legs that have gone silent and for closes that take too long.
    fn sweep(&mut self, now: Instant) {
        let silent_after_ms = self.parts.settings.silent_after_ms;
        for slot in self.sockets.slots() {
            let Some(socket) = self.sockets.at(slot) else { continue };
            if let Some((end, by)) = &socket.closing {
                if now >= *by {
                    let end = end.clone();
                    self.give_up(slot, end);
                }
                continue;
            }
            let id = socket.leg.id();
            // What it may have to say from now on, and what no ring was there for.
            self.parts.due.mark(slot);
            if let Some(report) = socket.leg.look(now) {
                self.parts.control.send(ControlInput::Fact(id, Fact::Reported(report)));
            }
            while let Some(note) = socket.leg.next_note() {
                self.parts.control.send(ControlInput::Noted(id, Box::new(note)));
            }
            let kept = if now.since_ms(socket.heard_at) < silent_after_ms {
                socket.keep_alive(now)
            } else if socket.pinged {
                self.parts.counters.leg_timeouts.increment();
                self.give_up(slot, LegEnd::Silent);
                continue;
            } else {
                socket.heard_at = now;
                socket.probe().map(|asked| socket.pinged = asked)
            };
            self.give_up_on_error(slot, kept);
        }
    }

    fn give_up_on_error(&mut self, slot: usize, result: Result<(), End>) {
        if let Err(end) = result
            && let Some(socket) = self.sockets.at(slot)
        {
            let end = socket.ended(end, &self.parts.counters);
            self.give_up(slot, end);
        }
    }

    /// Lets go of a leg's connection, and of the leg where it cannot come back.
    fn give_up(&mut self, slot: usize, end: LegEnd) {
        let id = self.sockets.at(slot).map(|socket| socket.leg.id());
        if let Some(mut socket) = id.and_then(|id| self.sockets.take(id)) {
            while let Some(note) = socket.leg.next_note() {
                self.parts.control.send(ControlInput::Noted(socket.leg.id(), Box::new(note)));
            }
            if socket.leg.has_run_ahead() {
                self.parts.counters.leg_audio_floods.increment();
            }
            let id = socket.leg.id();
            if end.may_come_back() {
                self.tell(id, Fact::LegLost(socket.number, end));
                self.lost.push(socket.leg);
            } else {
                self.tell(id, Fact::LegGone(end));
            }
        }
    }

    fn tell(&mut self, id: CallId, fact: Fact) {
        self.parts.control.send(ControlInput::Fact(id, fact));
    }
}
