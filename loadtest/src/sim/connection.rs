//! One connection from its acceptance to its end: upgrade, frames, session, close; or the floor's bare messages.
//!
//! Runs in: the simulator's thread. Owns socket, input and output of one client.
//! Never blocks; an error here ends this connection and no other.
//! Invariant: after `is_over` nothing is read or written any more, and `Closed` (or `Refused`) was told once.

use std::{
    io::{self, Read},
    time::{Duration, Instant},
};

use super::{
    config::AudioKept,
    event::{ClosedBy, Fnv1a, What},
    event_loop::Shared,
    fault::{Fault, Moment, Scheduled},
    framing::{FrameReader, Incoming, cut_reason},
    outbox::{End, Outbox, UNWRITTEN_BYTES_MAX},
    session::{QUOTA, Session, World},
    socket::Socket,
    upgrade::{Refusal, Request},
};
use crate::floor::{DOWNLINK_LINK_BYTES, UPLINK_LINK_BYTES};

/// Until then TLS and upgrade have to be complete.
const UPGRADE_TIME_MAX: Duration = Duration::from_secs(10);
/// So long the client's answer to a close frame is waited for.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// Reads in one pass, so that one client cannot starve the others.
const READS_A_PASS: usize = 16;

#[derive(Debug)]
enum Stage {
    /// Reading the HTTP request into this.
    Upgrade(Vec<u8>),
    /// The request is complete; the answer comes at this time, because the script delays it.
    UpgradeDelayed(Request, Instant),
    /// The script never answers the request.
    Stalled,
    Live(Box<Session>),
    /// Our close frame is out.
    Closing,
    /// Raw messages of the floor measurement; bytes of one that is not complete.
    Floor(Vec<u8>),
    Over,
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// Counted from 1 in the order of acceptance.
    pub id: u64,
    /// The time for which a timer is set, if one is.
    pub timer: Option<Instant>,
    socket: Socket,
    stage: Stage,
    frames: FrameReader,
    outbox: Outbox,
    /// When patience with the upgrade or the close ends.
    patience: Option<Instant>,
    /// What the connection will be said to have ended with.
    closed: Option<(ClosedBy, u16, String)>,
    audio_samples: u64,
    audio_digest: Fnv1a,
}

impl Connection {
    /// A connection just accepted.
    pub(super) fn new(id: u64, socket: Socket, now: Instant, shared: &Shared) -> Self {
        let floor = shared.config.floor;
        Self {
            id,
            timer: None,
            socket,
            stage: if floor { Stage::Floor(Vec::new()) } else { Stage::Upgrade(Vec::new()) },
            frames: FrameReader::default(),
            outbox: Outbox::new(shared.config.framing),
            patience: (!floor).then(|| now + UPGRADE_TIME_MAX),
            closed: None,
            audio_samples: 0,
            audio_digest: Fnv1a::default(),
        }
    }

    /// Whether the connection can be forgotten.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over)
    }

    /// When [`Connection::on_time`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = match &self.stage {
            Stage::UpgradeDelayed(_, at) => Some(*at),
            Stage::Live(session) => session.deadline(),
            _ => None,
        };
        due.into_iter().chain(self.patience).min()
    }

    /// The socket can be read or written. Gives back whether more is to be read although no further event will come.
    pub(super) fn on_ready(&mut self, now: Instant, shared: &mut Shared) -> bool {
        let mut more = false;
        match self.read(now, shared) {
            Ok(unfinished) => more = unfinished,
            Err(error) => self.fail(&error, now, shared),
        }
        self.settle(now, shared);
        more && !self.is_over()
    }

    /// The deadline has come.
    pub(super) fn on_time(&mut self, now: Instant, shared: &mut Shared) {
        if self.patience.is_some_and(|until| until <= now) {
            log::debug!("session {}: upgrade or close took too long", self.id);
            self.finish(ClosedBy::Simulator, 1006, "", now, shared);
            return;
        }
        if let Stage::UpgradeDelayed(request, at) = &self.stage
            && *at <= now
        {
            let request = request.clone();
            self.go_live(request, now, shared);
        }
        if let Stage::Live(session) = &mut self.stage {
            in_world(shared, now, self.id, |world| session.on_time(now, world, &mut self.outbox));
        }
        self.settle(now, shared);
    }

    /// A fault that stands alone happens now, if the session is open.
    pub(super) fn suffer(&mut self, fault: &Fault, now: Instant, shared: &mut Shared) {
        if let Stage::Live(session) = &mut self.stage
            && session.is_open()
        {
            in_world(shared, now, self.id, |world| {
                session.suffer(now, fault.clone(), world, &mut self.outbox)
            });
        }
        self.settle(now, shared);
    }

    fn read(&mut self, now: Instant, shared: &mut Shared) -> io::Result<bool> {
        let mut space = std::mem::take(&mut shared.space);
        let result = self.read_into(&mut space, now, shared);
        shared.space = space;
        result
    }

    fn read_into(&mut self, space: &mut [u8], now: Instant, shared: &mut Shared) -> io::Result<bool> {
        for _ in 0..READS_A_PASS {
            match self.socket.read(space) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.take_bytes(space.get(..count).unwrap_or_default(), now, shared);
                    if self.is_over() || (count < space.len() && self.socket.short_read_means_empty()) {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn take_bytes(&mut self, bytes: &[u8], now: Instant, shared: &mut Shared) {
        match &mut self.stage {
            Stage::Upgrade(head) => {
                head.extend_from_slice(bytes);
                if let Some((request, head_bytes)) = Request::read(head) {
                    // What follows the head belongs to the first frame: allowed, though no SDK does it.
                    let rest = head.split_off(head_bytes.min(head.len()));
                    self.frames.push(&rest);
                    self.upgrade(request, now, shared);
                    self.take_frames(now, shared);
                }
            }
            Stage::Floor(pending) => {
                pending.extend_from_slice(bytes);
                let (messages, rest) = pending.as_chunks::<UPLINK_LINK_BYTES>();
                for message in messages {
                    let mut answer = [0; DOWNLINK_LINK_BYTES];
                    answer[..32].copy_from_slice(&message[..32]);
                    self.outbox.raw(&answer);
                }
                let done = pending.len() - rest.len();
                pending.drain(..done);
            }
            Stage::Stalled | Stage::Over => {}
            _ => {
                self.frames.push(bytes);
                self.take_frames(now, shared);
            }
        }
    }

    fn take_frames(&mut self, now: Instant, shared: &mut Shared) {
        while matches!(self.stage, Stage::Live(_) | Stage::Closing) && !self.outbox.is_ending() {
            match self.frames.next_message() {
                Ok(None) => return,
                Ok(Some(incoming)) => self.take_incoming(incoming, now, shared),
                Err(violation) => {
                    self.outbox.end(End::Close { code: violation.code, reason: violation.reason.to_owned() });
                }
            }
        }
    }

    fn take_incoming(&mut self, incoming: Incoming, now: Instant, shared: &mut Shared) {
        match (&mut self.stage, incoming) {
            (_, Incoming::Close(code, reason)) => {
                if matches!(self.stage, Stage::Live(_)) {
                    // Echo the code (RFC 6455 section 5.5.1).
                    self.outbox.close(code, "");
                    self.closed = Some((ClosedBy::Client, code, reason));
                }
                // A failure to write the answer changes nothing: the client has said goodbye.
                let _ = self.flush(shared);
                self.finish(ClosedBy::Simulator, 1006, "", now, shared);
            }
            (Stage::Live(session), Incoming::Ping(payload)) => {
                session.on_ping(now, payload, &mut self.outbox)
            }
            (Stage::Live(session), Incoming::Message(payload)) => {
                if let Some(record) = &mut shared.record {
                    record.write(self.id, &payload);
                }
                let mut tell = |what| shared.events.tell(now, self.id, what);
                let mut world = World {
                    config: &shared.config,
                    answers: &shared.answers,
                    registry: &mut shared.registry,
                    tell: &mut tell,
                };
                for audio in session.on_message(now, &payload, &mut world, &mut self.outbox) {
                    self.audio_samples += audio.samples().len() as u64;
                    if shared.config.audio_kept != AudioKept::Nothing {
                        self.audio_digest.update(&audio.pcm);
                    }
                    if shared.config.audio_kept == AudioKept::Samples {
                        shared.keep_audio(self.id, audio.samples());
                    }
                }
            }
            _ => {}
        }
    }

    fn upgrade(&mut self, request: Result<Request, Refusal>, now: Instant, shared: &mut Shared) {
        let mut delay = Duration::ZERO;
        if let Ok(Request { credential, .. }) = &request {
            if let Some(Fault::Http(status)) = shared.registry.failure(credential) {
                return self.refuse(&Refusal::new(status, "This key fails."), now, shared);
            }
            let limit = shared.config.sessions_per_key.filter(|_| shared.config.quota_at_upgrade);
            if limit.is_some_and(|limit| shared.registry.sessions(credential) >= limit) {
                return self.refuse(&Refusal::new(429, QUOTA), now, shared);
            }
        }
        for Scheduled { fault, at, connections, .. } in &shared.config.faults {
            if *at != Moment::Upgrade || !connections.include(self.id, false) {
                continue;
            }
            match fault {
                Fault::Http(status) => {
                    return self.refuse(&Refusal::new(*status, "Refused by the script."), now, shared);
                }
                Fault::Delay(longer) => delay += *longer,
                Fault::Silence => {
                    self.patience = None;
                    self.stage = Stage::Stalled;
                    return;
                }
                Fault::Reset => return self.outbox.end(End::Reset),
                _ => return self.outbox.end(End::Drop),
            }
        }
        match request {
            Err(refusal) => self.refuse(&refusal, now, shared),
            Ok(request) if delay.is_zero() => self.go_live(request, now, shared),
            Ok(request) => {
                self.patience = None;
                self.stage = Stage::UpgradeDelayed(request, now + delay);
            }
        }
    }

    fn refuse(&mut self, refusal: &Refusal, now: Instant, shared: &mut Shared) {
        log::info!("session {}: upgrade refused with {}: {}", self.id, refusal.status, refusal.message);
        self.outbox.raw(&refusal.response());
        shared.events.tell(now, self.id, What::Refused { status: refusal.status });
        self.outbox.end(End::Drop);
    }

    fn go_live(&mut self, request: Request, now: Instant, shared: &mut Shared) {
        self.patience = None;
        self.outbox.raw(&request.response());
        log::debug!("session {}: {} ({:?})", self.id, request.shown_path, request.auth);
        let what = What::Upgraded { path: request.shown_path.clone(), auth: request.auth };
        shared.events.tell(now, self.id, what);
        self.stage = Stage::Live(Box::new(Session::new(self.id, request)));
        self.take_frames(now, shared);
    }

    /// Carries out an end that has come up, and writes what waits.
    fn settle(&mut self, now: Instant, shared: &mut Shared) {
        if self.is_over() {
            return;
        }
        let end = self.outbox.take_end();
        if let Some(End::Close { code, reason }) = &end
            && matches!(self.stage, Stage::Live(_))
        {
            log::info!("session {}: closing with {code} {reason:?}", self.id);
            self.outbox.close(*code, reason);
            self.closed = Some((ClosedBy::Simulator, *code, cut_reason(reason).to_owned()));
            self.let_go(now, shared);
            self.stage = Stage::Closing;
            self.patience = Some(now + CLOSE_TIME_MAX);
        }
        if let Err(error) = self.flush(shared) {
            return self.fail(&error, now, shared);
        }
        match end {
            Some(End::Drop) => self.finish(ClosedBy::Simulator, 1006, "dropped", now, shared),
            Some(End::Reset) => {
                self.socket.reset_on_drop();
                self.finish(ClosedBy::Simulator, 1006, "reset", now, shared);
            }
            _ if self.outbox.unwritten() > UNWRITTEN_BYTES_MAX => {
                log::warn!(
                    "session {}: the client does not read, {} bytes wait",
                    self.id,
                    self.outbox.unwritten()
                );
                self.finish(ClosedBy::Simulator, 1006, "the client does not read", now, shared);
            }
            _ => {}
        }
    }

    fn flush(&mut self, shared: &mut Shared) -> io::Result<()> {
        self.outbox.flush(&mut self.socket, |at, what| shared.events.tell(at, self.id, what))
    }

    fn fail(&mut self, error: &io::Error, now: Instant, shared: &mut Shared) {
        log::debug!("session {}: {error}", self.id);
        self.finish(ClosedBy::Network, 1006, &error.to_string(), now, shared);
    }

    /// Lets another connection resume the conversation.
    fn let_go(&mut self, now: Instant, shared: &mut Shared) {
        if let Stage::Live(session) = &mut self.stage {
            session.let_go(now, &mut shared.registry);
        }
    }

    /// The connection is over; what was noted in `closed` before is what is told.
    pub(super) fn finish(
        &mut self,
        by: ClosedBy,
        code: u16,
        reason: &str,
        now: Instant,
        shared: &mut Shared,
    ) {
        if self.is_over() {
            return;
        }
        self.let_go(now, shared);
        let upgraded = matches!(self.stage, Stage::Live(_) | Stage::Closing);
        self.stage = Stage::Over;
        if upgraded {
            let (by, code, reason) = self.closed.take().unwrap_or_else(|| (by, code, reason.to_owned()));
            log::info!("session {}: closed by {by:?}, {code} {reason:?}", self.id);
            let kept = shared.config.audio_kept != AudioKept::Nothing;
            let audio_digest = kept.then(|| self.audio_digest.digest());
            let what = What::Closed { by, code, reason, audio_samples: self.audio_samples, audio_digest };
            shared.events.tell(now, self.id, what);
        }
    }
}
/// Lets a session do something that others may learn of.
fn in_world(shared: &mut Shared, now: Instant, id: u64, act: impl FnOnce(&mut World<'_>)) {
    let mut tell = |what| shared.events.tell(now, id, what);
    let (config, answers, registry) = (&shared.config, &shared.answers, &mut shared.registry);
    act(&mut World { config, answers, registry, tell: &mut tell });
}
