//! The gemini thread: every link of a shard.
//!
//! Runs in: one gemini thread a shard. Owns the links' sockets and, through [`model_side`], the speech that waits.
//! Never blocks but in its poll; per frame it takes no lock and logs nothing.
//! Invariant: a link's socket is always read, however full the rings are: `interrupted` travels behind the audio that it
//! cancels. A pass looks at calls and links to which something happened, whatever else there is and however much waits.

mod links;
pub mod model_side;
pub mod speech;
mod state;
mod unanswered;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use log::debug;
use mio::{Events, Poll, Token};
use slab::Slab;
use tungstenite::Message;

use crate::base::limits::{
    CLOSE_TIMEOUT_MS, LINK_MESSAGE_BYTES, LINK_READ_BYTES, LINK_SHARE_BYTES, MESSAGES_PER_SHARE,
    PINGS_PER_SHARE, SHARE_MS,
};
use crate::base::{CallId, Instant, LinkNumber};
use crate::call::{Fact, ModelOrder, Part};
use crate::codec::gemini::{client, close, tools};
use crate::net::outgoing::Outgoing;
use crate::net::websocket::{self, Connection, End, Incoming};
use crate::sync::{CallBell, Clock, Doorbell, DueSet, Mailbox, Outbox};
use crate::telemetry::counters::Counters;
use crate::threads::company::{Company, Door};
use crate::threads::messages::{ControlInput, GeminiOrder};
use crate::threads::slots::{OfCall, Slots};

use links::closing;
use model_side::{ModelSide, ModelSideLimits, Wake};
use speech::SpeechPool;

const BELL: Token = Token(usize::MAX);
/// How often waiting speech is moved on, against the 133 ms that `model_in` holds.
const REFILL_MS: u64 = 40;
/// Bytes of messages that are decoded in one pass of links that had more than their share.
const DECODED_BYTES_MAX: usize = 2 * LINK_SHARE_BYTES;
/// Messages of a link that may be unreadable before the link is given up: one is a curiosity, a series is a peer that
/// speaks something else.
const GARBAGE_MAX: u32 = 8;

/// The limits of a link's WebSocket.
pub fn link_limits() -> tungstenite::protocol::WebSocketConfig {
    websocket::limits(LINK_READ_BYTES, LINK_MESSAGE_BYTES)
}

struct Link {
    connection: Connection,
    call: CallId,
    number: LinkNumber,
    garbage: u32,
    /// One side has closed: when the rest of the closing handshake has taken too long.
    close_by: Option<Instant>,
    /// It was we who closed first, and the call waits to hear that the link is gone.
    closed_by_us: bool,
    /// It is among [`Gemini::ready`].
    ready: bool,
    /// It had more than its last share, and is among [`Gemini::greedy`].
    greedy: bool,
    /// When its next share is due.
    next_share: Instant,
}

/// What the thread is built from.
pub struct GeminiParts {
    /// Its poll, whose waker is `own`.
    pub poll: Poll,
    /// Its mailbox.
    pub inbox: Mailbox<GeminiOrder>,
    /// To the control thread.
    pub control: Outbox<ControlInput>,
    /// Its own bell.
    pub own: Doorbell,
    /// The shard's telephony thread.
    pub telephony: CallBell,
    /// The shard's dsp workers.
    pub workers: Vec<CallBell>,
    /// The slots of calls to which something happened: marked by the workers, and by the thread itself.
    pub due: Arc<DueSet>,
    /// The process's counters.
    pub counters: Arc<Counters>,
    /// What of the configuration it needs.
    pub limits: ModelSideLimits,
    /// Bytes of speech that may wait in the shard.
    pub speech_bytes: usize,
    /// The clock.
    pub clock: Clock,
    /// Calls in the process at most: slots are below it.
    pub max_calls: usize,
    /// How frames come together.
    pub company: Company,
}

impl GeminiParts {
    /// Marks a call for whom it wakes.
    fn mark(&self, id: CallId, woken: Wake, wake: &mut Wake) {
        let slot = id.slot as usize;
        if woken.dsp {
            self.workers.iter().for_each(|worker| worker.mark(slot));
            wake.dsp = true;
        }
        if woken.telephony {
            self.telephony.mark(slot);
            wake.telephony = true;
        }
    }
}

impl OfCall for ModelSide {
    fn id(&self) -> CallId {
        Self::id(self)
    }
}

/// The thread's state.
pub struct Gemini {
    parts: GeminiParts,
    pool: SpeechPool,
    calls: Slots<ModelSide>,
    links: Slab<Link>,
    /// By slot, the link that its call had last.
    link_keys: Vec<usize>,
    /// Links to be served in this pass, of which the poll spoke or of which no edge may speak.
    ready: Vec<usize>,
    /// Links that had more than their share, in turn.
    greedy: VecDeque<usize>,
    /// Slots of calls with speech that `model_in` had no room for, and when they are looked at again.
    backlog: DueSet,
    refill_at: Option<Instant>,
    /// When the first of the links that are closing may be late.
    close_by: Option<Instant>,
    /// Bytes of messages decoded in this pass.
    decoded_bytes: usize,
    json: Vec<u8>,
    outgoing: Outgoing,
}

/// A doorbell on the thread's poll.
///
/// # Errors
/// Those of making an eventfd.
pub fn doorbell(poll: &Poll) -> io::Result<Doorbell> {
    crate::sync::doorbell::poll_doorbell(poll, BELL)
}

impl Gemini {
    /// The thread's state before its first pass.
    pub fn new(parts: GeminiParts) -> Self {
        Self {
            pool: SpeechPool::new(parts.speech_bytes),
            calls: Slots::new(parts.max_calls),
            links: Slab::new(),
            link_keys: vec![usize::MAX; parts.max_calls],
            ready: Vec::new(),
            greedy: VecDeque::new(),
            backlog: DueSet::new(parts.max_calls),
            refill_at: None,
            close_by: None,
            decoded_bytes: 0,
            json: Vec::new(),
            outgoing: Outgoing::default(),
            parts,
        }
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
            let mut wake = Wake::default();
            if !self.take_orders(now, &mut wake) {
                return Ok(());
            }
            for event in &events {
                if event.token() == BELL {
                    continue;
                }
                if let Some(link) = self.links.get_mut(event.token().0) {
                    if event.is_readable() {
                        link.connection.rearm(event.is_read_closed());
                    }
                    if !std::mem::replace(&mut link.ready, true) {
                        self.ready.push(event.token().0);
                    }
                    door.shut(now, self.calls.len());
                }
            }
            self.serve_links(now, &mut wake);
            self.serve_calls(now, &mut wake);
            self.expire_closing(now);
            self.pool.rest(now);
            if wake.telephony {
                self.parts.telephony.ring();
            }
            if wake.dsp {
                self.parts.workers.iter().for_each(CallBell::ring);
            }
            self.parts.control.flush();
            timeout = Some(self.timeout(now));
        }
    }

    /// How long there is nothing to do but for what arrives.
    fn timeout(&self, now: Instant) -> Duration {
        let mut timeout = Duration::from_secs(1);
        if !self.greedy.is_empty() {
            timeout = Duration::from_millis(SHARE_MS);
        }
        for at in [self.refill_at, self.close_by].into_iter().flatten() {
            timeout = timeout.min(at.since(now));
        }
        // What was done for a link that broke may be of use to its call.
        if self.parts.due.is_empty() { timeout } else { Duration::ZERO }
    }

    fn tell(&mut self, id: CallId, fact: Fact) {
        self.parts.control.send(ControlInput::Fact(id, fact));
    }

    /// Returns false when told to stop.
    fn take_orders(&mut self, now: Instant, wake: &mut Wake) -> bool {
        while let Some(order) = self.parts.inbox.take() {
            match order {
                GeminiOrder::Add(new) => {
                    self.calls.put(Box::new(ModelSide::new(*new, self.parts.limits)));
                }
                GeminiOrder::Connected { id, link, connection, setup } => {
                    self.connected(id, link, *connection, &setup, now);
                }
                GeminiOrder::Call(id, order) => self.carry_out(id, order, now, wake),
                GeminiOrder::Stop => return false,
            }
        }
        true
    }

    /// Does what a call's machine orders.
    fn carry_out(&mut self, id: CallId, order: ModelOrder, now: Instant, wake: &mut Wake) {
        match order {
            ModelOrder::Prompt(link, text) => self.say(id, link, client::realtime_text(&text)),
            ModelOrder::Commit(link) => self.say(id, link, client::AUDIO_STREAM_END.to_owned()),
            ModelOrder::AnswerTool(link, call, answer) => self.say(id, link, tools::response(&call, &answer)),
            ModelOrder::CloseLink(link) => self.close_link(id, link, now),
            ModelOrder::Play(sound) => {
                let mut woken = Wake::default();
                self.with(id, |call, pool, tell| woken.dsp = call.play(&sound, pool, tell));
                self.parts.mark(id, woken, wake);
            }
            ModelOrder::StopSpeech => {
                let mut woken = Wake::default();
                self.with(id, |call, pool, tell| woken = call.stop_speech(pool, tell));
                self.parts.mark(id, woken, wake);
            }
            ModelOrder::TakeTurns => self.with(id, |call, _, _| call.take_turns()),
            ModelOrder::HoldUplink(held) => self.with(id, |call, _, _| call.hold(held)),
            ModelOrder::Retire => self.retire(id, now),
        }
    }

    fn with(&mut self, id: CallId, act: impl FnOnce(&mut ModelSide, &mut SpeechPool, &mut dyn FnMut(Fact))) {
        if let Some(call) = self.calls.get_mut(id) {
            let control = &mut self.parts.control;
            act(call, &mut self.pool, &mut |fact| control.send(ControlInput::Fact(id, fact)));
            self.parts.due.mark(id.slot as usize);
        }
    }

    fn retire(&mut self, id: CallId, now: Instant) {
        if let Some(call) = self.calls.take(id) {
            call.release(&mut self.pool);
        }
        // A link that was still being dialled when the call was given up may have come meanwhile, and nobody is left to
        // have it closed.
        for (_, link) in &mut self.links {
            if link.call == id {
                link.start_close(now);
                closing(&mut self.close_by, link);
            }
        }
        self.parts.control.send(ControlInput::Retired(id, Part::Gemini));
    }

    /// Reads and flushes one link.
    fn serve_link(&mut self, key: usize, now: Instant, wake: &mut Wake) {
        let Some(mut link) = self.links.get_mut(key) else { return };
        link.ready = false;
        if !link.connection.is_idle() {
            if let Err(end) = link.connection.flush() {
                return self.drop_link(key, end);
            }
            // What waits for an output that is empty may go.
            self.parts.due.mark(link.call.slot as usize);
        }
        if link.greedy {
            // It is read when its turn comes.
            return;
        }
        link.connection.allow(LINK_SHARE_BYTES);
        let (mut messages, mut pings) = (0, 0);
        while messages < MESSAGES_PER_SHARE && pings < PINGS_PER_SHARE {
            messages += 1;
            match link.connection.read() {
                Incoming::Message(Message::Close(frame)) => {
                    let (code, reason) =
                        frame.map_or((None, String::new()), |f| (Some(f.code.into()), f.reason.to_string()));
                    let end = close::end_of_close(code, reason.as_bytes());
                    // The link is over now; whether the server also ends its TCP connection, as it should (RFC 6455
                    // section 7.1.1), the call does not wait to see.
                    let (call, number) = (link.call, link.number);
                    if link.close_by.replace(now.plus_ms(CLOSE_TIMEOUT_MS)).is_none() {
                        self.link_gone(call, number, end);
                    } else if std::mem::take(&mut link.closed_by_us) {
                        self.tell(call, Fact::LinkClosed(number));
                    }
                    let Some(same) = self.links.get_mut(key) else { return };
                    link = same;
                    closing(&mut self.close_by, link);
                }
                Incoming::Message(message @ (Message::Text(_) | Message::Binary(_))) => {
                    let id = link.call;
                    let Some(call) = self.calls.get_mut(id) else { continue };
                    if call.link() != link.number || link.close_by.is_some() {
                        continue;
                    }
                    let bytes = match &message {
                        Message::Text(text) => text.as_bytes(),
                        Message::Binary(bytes) => bytes,
                        _ => continue,
                    };
                    self.decoded_bytes += bytes.len();
                    self.parts.due.mark(id.slot as usize);
                    let control = &mut self.parts.control;
                    match call.receive(bytes, &mut self.pool, |fact| {
                        control.send(ControlInput::Fact(id, fact));
                    }) {
                        Ok(woken) => self.parts.mark(id, woken, wake),
                        Err(error) => {
                            self.parts.counters.link_garbage.increment();
                            debug!("call {id}: message {} of the model: {error}", link.garbage + 1);
                            link.garbage += 1;
                            if link.garbage >= GARBAGE_MAX {
                                return self.drop_link(key, End::Protocol(error.to_string()));
                            }
                        }
                    }
                }
                Incoming::Message(_) => pings += 1,
                Incoming::Drained => return,
                Incoming::Paused => break,
                Incoming::Over(end) => return self.drop_link(key, end),
            }
        }
        (link.greedy, link.next_share) = (true, now.plus_ms(SHARE_MS));
        self.greedy.push_back(key);
    }

    /// Serves the links of which the poll spoke, and those whose share was used up.
    ///
    /// Those that had more than their share come last, and of them only as many as bring one large message: several
    /// of those in one pass would keep the other calls waiting for all of them together.
    fn serve_links(&mut self, now: Instant, wake: &mut Wake) {
        let mut ready = std::mem::take(&mut self.ready);
        for key in ready.drain(..) {
            self.serve_link(key, now, wake);
        }
        self.ready = ready;
        self.decoded_bytes = 0;
        for _ in 0..self.greedy.len() {
            let Some(key) = self.greedy.pop_front() else { break };
            let Some(link) = self.links.get_mut(key) else { continue };
            link.greedy = now < link.next_share;
            if link.greedy {
                self.greedy.push_back(key);
                continue;
            }
            self.serve_link(key, now, wake);
            if self.decoded_bytes >= DECODED_BYTES_MAX {
                break;
            }
        }
    }

    /// Moves the speech of those calls on, both ways, to which something happened.
    fn serve_calls(&mut self, now: Instant, wake: &mut Wake) {
        if self.refill_at.is_some_and(|at| now >= at) {
            self.refill_at = None;
            for piece in 0..self.backlog.pieces() {
                self.backlog.take(piece).for_each(|slot| self.parts.due.mark(slot));
            }
        }
        for piece in 0..self.parts.due.pieces() {
            for slot in self.parts.due.take(piece) {
                self.serve_call(slot, now, wake);
            }
        }
    }

    fn serve_call(&mut self, slot: usize, now: Instant, wake: &mut Wake) {
        let Some(call) = self.calls.at(slot) else { return };
        let (id, control) = (call.id(), &mut self.parts.control);
        call.take_uplink(&mut self.pool, |fact| control.send(ControlInput::Fact(id, fact)));
        if call.has_backlog() {
            let woken = Wake { dsp: call.fill(&mut self.pool), telephony: false };
            self.parts.mark(id, woken, wake);
            if call.has_backlog() {
                self.backlog.mark(slot);
                self.refill_at.get_or_insert(now.plus_ms(REFILL_MS));
            }
        }
        let key = self.link_keys.get(slot).copied().unwrap_or(usize::MAX);
        let Some(link) = self.links.get_mut(key) else { return };
        if link.call != id || link.number != call.link() || link.close_by.is_some() {
            return;
        }
        while link.connection.is_idle() && call.next_message(&mut self.pool, &mut self.json) {
            if let Err(end) = link.connection.send_text(&mut self.outgoing, &self.json) {
                return self.drop_link(key, end);
            }
        }
    }
}
