//! One call's connection: TCP, upgrade, metadata, audio every 20 ms, pings answered, a closing handshake.
//!
//! Runs in: a callgen worker. Owns the call's socket and its protocol state; what is said and heard belongs to
//! [`super::caller`]. Never blocks, never reconnects (libwsc does not). Invariant: a call ends once, good or with
//! one reason.

mod incoming;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::caller::{Caller, Mind, Tick};
use super::clock::{Random, now_ns};
use super::ear::TICK_NS;
use super::floor_leg::{self, FloorReader, Head};
use super::frame::{FrameReader, Opcode, append_frame};
use super::handshake::{self, Answer};
use super::socket::{Got, Socket};
use super::totals::{Progress, Totals, record};
use super::worker::Plan;

/// Connect, TLS and 101 must be through in one second, or the module gives up (libwsc WebSocketClient.h).
const CONNECT_NS: u64 = 1_000_000_000;
/// The module waits one second for the answer to its close.
const CLOSE_NS: u64 = 1_000_000_000;
/// First audio leaves at least so long after the 101; measured 15 to 45 ms.
const FIRST_AUDIO_NS: u64 = 15_000_000;
/// What the module says at the end.
const CLOSE_REASON: &[u8] = b"Normal closure";

/// What the calls of a worker share.
pub(super) struct Context {
    pub(super) plan: Arc<Plan>,
    pub(super) registry: Registry,
    pub(super) random: Random,
    pub(super) totals: Totals,
    pub(super) progress: Arc<Progress>,
    /// Work areas, so that no frame needs memory of its own.
    pub(super) read: Vec<u8>,
    pub(super) pcm: Vec<i16>,
    pub(super) payload: Vec<u8>,
    pub(super) wire: Vec<u8>,
    pub(super) decoded: Vec<u8>,
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
    token: Token,
    state: State,
    socket: Option<Socket>,
    reader: FrameReader,
    key: String,
    uuid: String,
    begun_ns: u64,
    phase_ns: u64,
    /// When [`Self::wake`] is wanted next.
    pub(super) wake_at_ns: u64,
    floor_reader: FloorReader,
    pub(super) caller: Option<Caller>,
    pub(super) setup_ns: u64,
    pub(super) up_ns: u64,
    pub(super) ended_ns: u64,
    pub(super) failure: Option<String>,
}

impl Call {
    /// Call number `index`, to begin at `start_ns` and to send at multiples of 20 ms plus `phase_ns`.
    pub(super) fn new(index: usize, token: Token, start_ns: u64, phase_ns: u64) -> Self {
        Self {
            index,
            token,
            state: State::Waiting,
            socket: None,
            reader: FrameReader::default(),
            key: String::new(),
            uuid: String::new(),
            begun_ns: 0,
            phase_ns,
            wake_at_ns: start_ns,
            floor_reader: FloorReader::default(),
            caller: None,
            setup_ns: 0,
            up_ns: 0,
            ended_ns: 0,
            failure: None,
        }
    }

    /// Number within the run.
    pub(super) fn index(&self) -> usize {
        self.index
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
            State::Up => self.tick(context),
            State::Closing => self.fail(context, "the relay did not answer the close within 1 s".to_owned()),
            State::Ended => self.wake_at_ns = u64::MAX,
        }
    }

    fn connect(&mut self, context: &mut Context) -> io::Result<()> {
        self.begun_ns = now_ns();
        context.progress.begun.fetch_add(1, Ordering::Relaxed);
        let mut stream = TcpStream::connect(context.plan.target.addr)?;
        context.registry.register(&mut stream, self.token, Interest::READABLE | Interest::WRITABLE)?;
        self.socket = Some(Socket::new(stream));
        self.state = State::Connecting;
        self.wake_at_ns = self.begun_ns + CONNECT_NS;
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
            self.readable(context);
        }
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
        if context.plan.options.floor {
            self.up(context, now_ns());
            return Ok(());
        }
        self.key = STANDARD.encode(context.random.bytes16());
        let mut bytes = context.random.bytes16();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or("");
        self.uuid =
            format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32));
        let plan = Arc::clone(&context.plan);
        let mut target = plan.target.clone();
        target.path = self.filled_in(&target.path);
        let headers: Vec<(String, String)> =
            plan.options.headers.iter().map(|(name, value)| (name.clone(), self.filled_in(value))).collect();
        let request = handshake::request(&target, &self.key, &headers);
        self.state = State::Upgrading(Vec::new());
        match &mut self.socket {
            Some(socket) => socket.send(&request),
            None => Ok(()),
        }
    }

    /// `{uuid}` and `{n}` replaced by the call's.
    fn filled_in(&self, text: &str) -> String {
        text.replace("{uuid}", &self.uuid).replace("{n}", &self.index.to_string())
    }

    fn readable(&mut self, context: &mut Context) {
        let mut read = std::mem::take(&mut context.read);
        while let Some(socket) = &mut self.socket {
            match socket.read(&mut read) {
                Ok(Got::Bytes(n, more)) => {
                    self.bytes(read.get(..n).unwrap_or(&[]), context);
                    if !more {
                        break;
                    }
                }
                Ok(Got::Nothing) => break,
                Ok(Got::End) => {
                    match self.state {
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
        if let State::Upgrading(head) = &mut self.state {
            head.extend_from_slice(bytes);
            match handshake::answer(head, &self.key) {
                Answer::Incomplete => {}
                Answer::Refused(why) => self.fail(context, why),
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

    /// The connection is up: metadata first, then audio on the call's own grid of 20 ms.
    fn up(&mut self, context: &mut Context, now_ns: u64) {
        self.state = State::Up;
        self.up_ns = now_ns;
        self.setup_ns = now_ns - self.begun_ns;
        record(&mut context.totals.setup, self.setup_ns);
        context.progress.up.fetch_add(1, Ordering::Relaxed);
        let plan = Arc::clone(&context.plan);
        let metadata = match &plan.options.metadata {
            Some(text) => self.filled_in(text),
            None => format!(
                r#"{{"event":"start","uuid":"{}","caller":"{}","called":"5000"}}"#,
                self.uuid,
                1001 + self.index
            ),
        };
        if !plan.options.floor && !metadata.is_empty() {
            self.send_frame(context, Opcode::Text, metadata.as_bytes());
        }
        let earliest_ns = now_ns + FIRST_AUDIO_NS;
        let grid_ns = plan.epoch_ns + self.phase_ns;
        let first_ns = grid_ns + earliest_ns.saturating_sub(grid_ns).div_ceil(TICK_NS) * TICK_NS;
        self.caller = Some(Caller::new(&plan, self.index, first_ns));
        self.wake_at_ns = first_ns;
    }

    fn tick(&mut self, context: &mut Context) {
        let due_ns = self.wake_at_ns;
        let now_ns = now_ns();
        let Some(caller) = &mut self.caller else { return };
        let mut pcm = std::mem::take(&mut context.pcm);
        match caller.tick(now_ns, &context.plan, &mut pcm) {
            Tick::Send => {
                self.wake_at_ns = due_ns + TICK_NS;
                record(&mut context.totals.lateness, now_ns.saturating_sub(due_ns));
                context.progress.frames_sent.fetch_add(1, Ordering::Relaxed);
                if context.plan.options.floor {
                    self.send_floor(now_ns, context);
                } else {
                    let mut payload = std::mem::take(&mut context.payload);
                    payload.clear();
                    payload.extend(pcm.iter().flat_map(|sample| sample.to_le_bytes()));
                    self.send_frame(context, Opcode::Binary, &payload);
                    context.payload = payload;
                }
            }
            Tick::Wait(until_ns) => self.wake_at_ns = until_ns,
            Tick::Over => self.hang_up(context, now_ns),
        }
        context.pcm = pcm;
    }

    fn hang_up(&mut self, context: &mut Context, now_ns: u64) {
        if context.plan.options.floor {
            self.end(context);
            return;
        }
        self.send_close(context, 1000, CLOSE_REASON);
        if !self.has_ended() {
            self.state = State::Closing;
            self.wake_at_ns = now_ns + CLOSE_NS;
        }
    }

    fn send_close(&mut self, context: &mut Context, code: u16, reason: &[u8]) {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason);
        self.send_frame(context, Opcode::Close, &payload);
    }

    fn send_frame(&mut self, context: &mut Context, opcode: Opcode, payload: &[u8]) {
        context.wire.clear();
        append_frame(&mut context.wire, opcode, payload, context.random.mask_key());
        self.send_wire(context);
    }

    fn send_wire(&mut self, context: &mut Context) {
        let Some(socket) = &mut self.socket else { return };
        if let Err(e) = socket.send(&context.wire) {
            self.fail_io(context, &e);
        }
    }

    fn send_floor(&mut self, now_ns: u64, context: &mut Context) {
        let number = self.caller.as_ref().map_or(0, |caller| caller.frames_sent - 1);
        let head = Head { number, sent_ns: now_ns, call: self.index as u64 };
        floor_leg::write_message(&mut context.wire, head);
        self.send_wire(context);
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
        let progress = &context.progress;
        if matches!(self.state, State::Up | State::Closing) {
            progress.up.fetch_sub(1, Ordering::Relaxed);
        }
        if self.failure.is_none() {
            self.failure = self.caller.as_ref().and_then(Caller::complaint);
        }
        progress.ended.fetch_add(1, Ordering::Relaxed);
        progress.failed.fetch_add(u64::from(self.failure.is_some()), Ordering::Relaxed);
        self.state = State::Ended;
        self.ended_ns = now_ns();
        self.wake_at_ns = u64::MAX;
        // Dropping a mio socket closes it, which removes it from the poll.
        self.socket = None;
    }

    /// The conversation, if the call is one.
    pub(super) fn turns(&self) -> Option<&super::turns::Turns> {
        match self.caller.as_ref().map(|caller| &caller.mind) {
            Some(Mind::Turns { turns, .. }) => Some(turns),
            _ => None,
        }
    }
}
