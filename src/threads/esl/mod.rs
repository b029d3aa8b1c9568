//! The esl thread: one connection to FreeSWITCH's event socket, for commands where our script is not on the line and for
//! outbound calls.
//!
//! Runs in: one esl thread, if `esl.host` is set. Owns the socket and the [`session`].
//! Never in the way of audio: it may block for as long as connecting takes.
//! Invariant: whatever happens to the connection, each command that came in is answered to control once.

pub(crate) mod session;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::time::Duration;

use log::{debug, info, warn};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tokio::sync::mpsc::Sender;

use crate::base::command::ChannelName;
use crate::base::excerpt::excerpt;
use crate::base::{Instant, LegReport, Quoted, RecordId};
use crate::call::{CommandResult, EventSocketOrder, Fact, OutboundCall};
use crate::codec::channel_word;
use crate::codec::esl::{self, Event, Outbound};
use crate::config::{EslConfig, is_near_address};
use crate::net::options;
use crate::sync::{Clock, Doorbell, Mailbox, Outbox, random};
use crate::threads::messages::{ControlInput, EslOrder, OnChannel};
use session::{Awaited, Job, News, Session, Ticket};

const BELL: Token = Token(0);
const SOCKET: Token = Token(1);
/// How long connecting may take, each address of the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The first pause before connecting again, and the longest; each is between half of itself and the whole.
const RETRY_MS: u64 = 500;
const RETRY_MS_MAX: u64 = 30_000;
/// How long an outbound call may wait for the connection.
const OUTBOUND_SEND_MS: u64 = 4_000;
/// How much longer than it may ring an outbound call is waited for to end.
const OUTBOUND_END_MS: u64 = 20_000;
/// FreeSWITCH's default password.
const DEFAULT_PASSWORD: &str = "ClueCon";
/// Bytes read at once.
const READ_BYTES: usize = 16 * 1024;
/// Reads in one pass: a switch that says very much does not keep commands from leaving.
const READS_PER_PASS: usize = 16;

/// What the thread is built from.
pub(crate) struct EslParts {
    /// Its poll, whose waker is `own`.
    pub poll: Poll,
    /// Its mailbox.
    pub inbox: Mailbox<EslOrder>,
    /// Its own bell.
    pub own: Doorbell,
    /// To the control thread.
    pub control: Outbox<ControlInput>,
    /// Where the event socket is.
    pub config: EslConfig,
    /// The clock.
    pub clock: Clock,
}

/// The thread's state.
pub(crate) struct Esl {
    parts: EslParts,
    session: Session,
    socket: Option<TcpStream>,
    /// Not all was read of which the poll told.
    more: bool,
    retry_at: Instant,
    retry_ms: u64,
    /// Outbound calls of which the switch has not said the end, by their channels, and whoever waits for it.
    placing: HashMap<String, (Outbound, Sender<CommandResult>)>,
    /// The trouble that was logged last, so that it is not repeated at every attempt.
    told: Option<String>,
}

/// A doorbell on the thread's poll.
///
/// # Errors
/// Those of making an eventfd.
pub(crate) fn doorbell(poll: &Poll) -> io::Result<Doorbell> {
    crate::sync::doorbell::poll_doorbell(poll, BELL)
}

/// A new name for a channel: a random UUID (RFC 9562 section 5.4).
pub(crate) fn new_channel() -> ChannelName {
    ChannelName::random(random::bits128())
}

impl Esl {
    /// The thread's state before its first pass.
    pub(crate) fn new(parts: EslParts) -> Self {
        let password = parts.config.password.as_ref().map_or(DEFAULT_PASSWORD, |password| password.expose());
        let prefix = format!("tandem-{:016x}", random::bits64());
        let answer_ms = parts.config.answer_timeout.as_millis() as u64;
        let session = Session::new(password, prefix, answer_ms);
        Self {
            parts,
            session,
            socket: None,
            more: false,
            retry_at: Instant::default(),
            retry_ms: RETRY_MS,
            placing: HashMap::new(),
            told: None,
        }
    }

    /// Serves until told to stop.
    ///
    /// # Errors
    /// Those of the poll itself, which leave nothing to go on with.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(16);
        loop {
            let now = self.parts.clock.now();
            if self.socket.is_none() && now >= self.retry_at {
                self.connect();
            }
            let now = self.parts.clock.now();
            self.serve(now);
            if !self.take_orders(now) {
                return Ok(());
            }
            self.serve(now);
            let sent = self.parts.control.flush();
            let reconnect = self.socket.is_none().then_some(self.retry_at);
            let deadline = self.session.deadline().into_iter().chain(reconnect).min();
            let mut timeout = deadline.map(|deadline| deadline.since(now));
            if self.more {
                timeout = Some(Duration::ZERO);
            } else if !sent {
                timeout = Some(timeout.unwrap_or(Duration::MAX).min(Duration::from_millis(10)));
            }
            match self.parts.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.parts.own.answer();
        }
    }

    /// Returns false when told to stop.
    fn take_orders(&mut self, now: Instant) -> bool {
        while let Some(order) = self.parts.inbox.take() {
            match order {
                EslOrder::Command { id, order, word } => {
                    let EventSocketOrder { number, channel, command, send_by } = order;
                    let line = esl::control_line(&channel, &command);
                    let awaits = word.map(|word| Awaited { channel: channel.to_string(), word });
                    self.session
                        .request(now, Job { ticket: Ticket::Command(id, number), line, send_by, awaits });
                }
                EslOrder::Place(outbound, reply) => self.place(now, &outbound, reply),
                EslOrder::Stop => return false,
            }
        }
        true
    }

    fn place(&mut self, now: Instant, outbound: &Outbound, reply: Sender<CommandResult>) {
        // Whoever asks was told before that there is none, if there is none.
        let Some(dial_string) = &self.parts.config.dial_string else { return };
        let application = &self.parts.config.answered_application;
        let seconds = self.parts.config.answer_timeout.as_secs();
        let line = esl::originate_line(outbound, dial_string, application, seconds);
        let channel = outbound.channel.to_string();
        self.placing.insert(channel.clone(), (outbound.clone(), reply.clone()));
        let ticket = Ticket::Outbound(channel, reply);
        self.session.request(now, Job { ticket, line, send_by: now.plus_ms(OUTBOUND_SEND_MS), awaits: None });
    }

    fn connect(&mut self) {
        let host = self.parts.config.host.clone().unwrap_or_default();
        let port = self.parts.config.port;
        match connected(&host, port).and_then(|socket| self.register(&socket).map(|()| socket)) {
            Ok(socket) => {
                debug!("connected to the event socket at {host}:{port}");
                self.socket = Some(socket);
                self.session.connected(self.parts.clock.now());
            }
            Err(problem) => {
                let remedy =
                    "check esl.host and esl.port, and that mod_event_socket is loaded and listens there";
                self.trouble(format!(
                    "no connection to the event socket at {host}:{port}: {problem}; {remedy}"
                ));
            }
        }
    }

    fn register(&self, socket: &TcpStream) -> io::Result<()> {
        options::apply(socket)?;
        socket.set_nonblocking(true)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.parts.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), SOCKET, interest)
    }

    /// Reads and writes what there is, and passes the news on.
    fn serve(&mut self, now: Instant) {
        self.session.tick(now);
        if let Err(problem) = self.exchange(now) {
            (self.socket, self.more) = (None, false);
            self.session.lost();
            self.trouble(problem);
        }
        while let Some(news) = self.session.next_news() {
            self.tell(news);
        }
    }

    fn exchange(&mut self, now: Instant) -> Result<(), String> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        let lost = |problem: io::Error| format!("the connection to the event socket was lost: {problem}");
        let mut bytes = [0; READ_BYTES];
        self.more = true;
        for _ in 0..READS_PER_PASS {
            match socket.read(&mut bytes) {
                Ok(0) => return Err("FreeSWITCH closed the event socket".into()),
                Ok(n) => self.session.receive(now, &bytes[..n])?,
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => {
                    self.more = false;
                    break;
                }
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
                Err(problem) => return Err(lost(problem)),
            }
        }
        loop {
            let waiting = self.session.unsent();
            if waiting.is_empty() {
                self.session.tick(now);
                if self.session.unsent().is_empty() {
                    break;
                }
                continue;
            }
            match socket.write(waiting) {
                Ok(n) => drop(waiting.drain(..n)),
                Err(problem) if problem.kind() == io::ErrorKind::WouldBlock => break,
                Err(problem) if problem.kind() == io::ErrorKind::Interrupted => {}
                Err(problem) => return Err(lost(problem)),
            }
        }
        if self.session.is_login_overdue(now) {
            return Err("what is at esl.host and esl.port does not log us in: is it an event socket?".into());
        }
        Ok(())
    }

    fn tell(&mut self, news: News) {
        match news {
            News::Ready => {
                self.retry_ms = RETRY_MS;
                self.told = None;
                info!("logged in to the event socket of FreeSWITCH");
            }
            News::Answered(Ticket::Command(id, number), result) => {
                let fact = match result {
                    Ok(()) => Fact::CommandDone(number),
                    Err(error) => Fact::CommandFailed(number, error),
                };
                self.parts.control.send(ControlInput::Fact(id, fact));
            }
            News::Answered(Ticket::Outbound(channel, reply), result) => {
                match &result {
                    Ok(()) => self.begun(&channel),
                    Err(error) => {
                        warn!("outbound call {channel}: {error}");
                        self.placing.remove(&channel);
                    }
                }
                // Whoever asked may have given up.
                _ = reply.try_send(result);
            }
            News::Placed(channel, result) => {
                let what = match &result {
                    Ok(()) => OnChannel::Answered,
                    Err(error) => OnChannel::NotAnswered(error.clone()),
                };
                debug!("outbound call {channel}: {what:?}");
                if let Some((_, waiting)) = self.placing.remove(&channel) {
                    _ = waiting.try_send(result);
                }
                self.parts.control.send(ControlInput::OnChannel(channel, what));
            }
            News::Event(event) => self.event(&event),
        }
    }

    /// The switch has begun with an outbound call.
    fn begun(&mut self, channel: &str) {
        let Some((outbound, _)) = self.placing.get(channel) else { return };
        let config = &self.parts.config;
        let now = self.parts.clock.now();
        let call = OutboundCall {
            record_id: RecordId::new(self.parts.clock.unix_ms(), random::bits128()),
            uuid: channel.to_owned(),
            to: outbound.to.clone(),
            from: outbound.from.clone(),
            agent: outbound.agent.clone(),
            switch: format!("{}:{}", config.host.as_deref().unwrap_or_default(), config.port),
            begun_at: now,
        };
        let until = now.plus(config.answer_timeout).plus_ms(OUTBOUND_END_MS);
        self.parts.control.send(ControlInput::Outbound(Box::new(call), until));
    }

    fn event(&mut self, event: &Event) {
        let Some(channel) = event.header("Unique-ID").map(|name| name.into_owned()) else { return };
        let name = event.header("Event-Name").unwrap_or_default();
        let subclass = event.header("Event-Subclass").unwrap_or_default();
        let what = match (name.as_ref(), subclass.as_ref()) {
            ("DTMF", _) => {
                let digit = event.header("DTMF-Digit").and_then(|digit| digit.chars().next());
                let Some(LegReport::Dtmf(key)) = digit.and_then(LegReport::dtmf) else { return };
                OnChannel::Key(key)
            }
            ("CHANNEL_HANGUP", _) => {
                let cause = event.header("Hangup-Cause").unwrap_or_default();
                OnChannel::HungUp(excerpt(cause.as_bytes(), 40))
            }
            (_, "avmd::beep" | "vmd::beep") => OnChannel::AnsweringMachine,
            (_, session::TEXT | session::TEXT_OF_FORK) => {
                let Some(word) = channel_word::read(event.body().trim()) else { return };
                OnChannel::Said(word)
            }
            (_, "mod_audio_stream::error") => {
                warn!("the module reports an error on channel {}", Quoted(&excerpt(channel.as_bytes(), 64)));
                return;
            }
            _ => return,
        };
        // A switch may say more than control has time for; of channels, nothing depends on hearing all of it.
        _ = self.parts.control.try_send(ControlInput::OnChannel(channel, what));
    }

    /// Logs what is wrong, once, and sets when to try again.
    fn trouble(&mut self, problem: String) {
        let pause_ms = self.retry_ms / 2 + random::bits64() % (self.retry_ms / 2 + 1);
        self.retry_at = self.parts.clock.now().plus_ms(pause_ms);
        self.retry_ms = (self.retry_ms * 2).min(RETRY_MS_MAX);
        if self.told.as_ref() == Some(&problem) {
            debug!("{problem}");
        } else {
            warn!("{problem}; trying again");
            self.told = Some(problem);
        }
    }
}

/// Why an address beyond private networks is not connected to.
pub(crate) const CLEAR: &str = "the event socket knows no TLS, so that its password and what is said of calls would go in clear \
                         beyond this machine and private addresses: lead it through a tunnel (WireGuard, ssh -L)";

fn connected(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut problem = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        if !is_near_address(address.ip()) {
            problem = io::Error::other(CLEAR);
            continue;
        }
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(socket) => return Ok(socket),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}
