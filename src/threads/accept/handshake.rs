//! One connection before it is a call: a proxy's header, first byte, TLS, HTTP upgrade request or AudioSocket's UUID, answer.
//!
//! Runs in: the accept thread; the steps of TLS are done by the tls thread. Owns the socket and at most 16 KiB of its request.
//! Never blocks; never sizes anything by what the peer says.
//! Invariant: whatever the peer sends and in whatever pieces, a handshake ends in a request, a refusal or its deadline.

mod named;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::request::{Upgrade, head_length, parse, refusal};
use crate::base::Instant;
use crate::base::limits::UPGRADE_REQUEST_BYTES;
use crate::call::leg::{CallFields, LegClose, LegCloseCode, LegKind, LegSocket};
use crate::codec::audiosocket::{
    Frame, FrameReader, HANGUP, HEAD_BYTES, KIND_UUID, Meaning, UUID_BYTES, uuid_text,
};
use crate::codec::mod_audio_stream::RequestFacts;
use crate::codec::proxy;
use crate::net::greeting::{Greeted, Greeting};
use crate::net::stream::Stream;
use crate::telemetry::{RefusalReason, Refused};
use named::UNEXPECTED_HEADER;

/// The first byte of a TLS handshake record, RFC 8446 section 5.1.
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a refused peer may take to read why, before the socket is dropped.
const LINGER_MS: u64 = 500;

enum Stage {
    /// A proxy says first whose connection it is.
    Proxy(TcpStream),
    FirstByte(TcpStream),
    /// The peer has to say more before the next step of its TLS handshake.
    Tls(Greeting),
    /// The tls thread has the handshake. Whether the socket was reported meanwhile, of which no edge will tell again.
    AtTls {
        reported: bool,
    },
    Request(Stream, Vec<u8>),
    /// AudioSocket: the first frame says which call it is.
    Uuid(Stream, FrameReader),
    /// The answer to a wrong token, which is held back until the deadline.
    Penance(Box<Upgrade>, Refused<'static>),
    /// The answer is on its way; afterwards the peer may read it in peace.
    Refusing(Stream, Vec<u8>),
    Lingering(Stream),
    /// A second leg of a call waits for the first one's sign of life, or for its end.
    Held(Box<Upgrade>, Instant),
}

/// See the head of this file.
pub(crate) struct Handshake {
    stage: Option<Stage>,
    /// Where the peer is.
    pub peer: SocketAddr,
    /// When it is given up.
    pub deadline: Instant,
    /// Which of all handshakes it is.
    pub number: u64,
    refused: bool,
    /// It was refused by a close behind the upgrade, which the peer answers with its own.
    upgraded: bool,
    /// Its first byte has come.
    spoken: bool,
}

/// What a step of a handshake led to.
pub(crate) enum Step {
    /// Wait for the socket.
    Wait,
    /// The proxy has named whose connection it is, if anybody's but its own. There may be more to read.
    Named(Option<SocketAddr>),
    /// A step of a TLS handshake is due.
    Greet(Greeting),
    /// The request is complete.
    Upgrade(Box<Upgrade>),
    /// The connection is over.
    Over,
    /// The peer was refused for this reason; the answer may still be on its way.
    Refused(Refused<'static>),
}

impl Handshake {
    /// A connection just accepted, whose socket is non-blocking.
    pub(crate) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        is_proxy: bool,
        deadline: Instant,
        number: u64,
    ) -> Self {
        let stage = Some(if is_proxy { Stage::Proxy(socket) } else { Stage::FirstByte(socket) });
        Self { stage, peer, deadline, number, refused: false, upgraded: false, spoken: false }
    }

    /// Whether the peer was refused already, so that its end is no news.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether the peer has said anything.
    pub(crate) fn has_spoken(&self) -> bool {
        self.spoken
    }

    /// Whether the socket is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.stage.is_none()
    }

    /// Says that it is given up, and why to a peer that has begun to speak HTTP.
    pub(crate) fn time_out(self, why: &str) {
        let (mut stream, last_word) = match self.stage {
            Some(Stage::Request(stream, _)) => (stream, refusal((RefusalReason::HandshakeTimeout, why))),
            Some(Stage::Uuid(stream, _)) => (stream, HANGUP.to_vec()),
            _ => return,
        };
        // Whether the peer hears it is its own affair.
        _ = stream.write(&last_word);
        _ = stream.socket().shutdown(Shutdown::Write);
    }

    /// Goes on as far as the socket allows.
    pub(crate) fn step(&mut self, now: Instant, has_tls: bool, tls_required: bool) -> Step {
        loop {
            let Some(stage) = self.stage.take() else { return Step::Over };
            let next = match stage {
                Stage::Proxy(socket) => self.proxy(now, socket),
                Stage::FirstByte(socket) => self.first_byte(now, socket, has_tls, tls_required),
                Stage::Tls(greeting) => Ok(self.greet(greeting)),
                Stage::AtTls { .. } => Ok(Next::Wait(Stage::AtTls { reported: true })),
                Stage::Request(stream, head) => self.request(now, stream, head),
                Stage::Uuid(stream, reader) => self.uuid(now, stream, reader),
                Stage::Refusing(stream, answer) => return self.refusing(stream, answer),
                Stage::Lingering(stream) => return self.linger(stream),
                waits @ (Stage::Held(..) | Stage::Penance(..)) => Ok(Next::Wait(waits)),
            };
            match next {
                Ok(Next::Go(stage)) => self.stage = Some(stage),
                Ok(Next::Wait(stage)) => {
                    self.stage = Some(stage);
                    return Step::Wait;
                }
                Ok(Next::Done(step)) => return step,
                Err(_) => return Step::Over,
            }
        }
    }

    /// Keeps a complete request for later, which has waited since then.
    pub(crate) fn hold(&mut self, upgrade: Upgrade, since: Instant, until: Instant) {
        self.stage = Some(Stage::Held(Box::new(upgrade), since));
        self.deadline = until;
    }

    /// Whether a complete request is kept.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.stage, Some(Stage::Held(..)))
    }

    /// Gives the kept request back, and since when it has waited.
    pub(crate) fn take_held(&mut self) -> Option<(Upgrade, Instant)> {
        let held = self.stage.take_if(|stage| matches!(stage, Stage::Held(..)));
        let Some(Stage::Held(upgrade, since)) = held else { return None };
        Some((*upgrade, since))
    }

    /// Answers a complete request with a refusal; to be stepped on until it is over.
    pub(crate) fn refuse_request(&mut self, now: Instant, upgrade: Upgrade, refused: Refused<'_>) -> Step {
        let Upgrade { stream, facts, answer, .. } = upgrade;
        let (reason, why) = refused;
        if facts.url.script != Some(true) || !reason.is_final() || answer.is_empty() {
            return self.refuse(now, stream, facts.kind.traits().socket, refused);
        }
        // mod_audio_stream tells our script of a refused upgrade that it failed, and no more. A close has a code.
        self.refused = true;
        self.deadline = now.plus_ms(LINGER_MS);
        self.upgraded = true;
        let why = format!("{}: {why}", reason.label());
        self.refusing(stream, [answer, LegClose::new(LegCloseCode::PolicyViolation, &why).frame()].concat())
    }

    fn refuse(&mut self, now: Instant, stream: Stream, socket: LegSocket, refused: Refused<'_>) -> Step {
        self.refused = true;
        self.deadline = now.plus_ms(LINGER_MS);
        let answer = match socket {
            LegSocket::WebSocket => refusal(refused),
            // There is no word for why; the dialplan goes on, or the channel hangs up.
            LegSocket::AudioSocket => HANGUP.to_vec(),
        };
        self.refusing(stream, answer)
    }

    /// The same to a peer that guesses: the answer waits so long.
    pub(crate) fn refuse_later(
        &mut self,
        now: Instant,
        ms: u64,
        upgrade: Upgrade,
        refused: Refused<'static>,
    ) {
        self.refused = true;
        self.deadline = now.plus_ms(ms);
        self.stage = Some(Stage::Penance(Box::new(upgrade), refused));
    }

    /// Gives the answer that was held back, when its time has come. Returns whether there was one, and the peer is still there.
    pub(crate) fn end_penance(&mut self, now: Instant) -> bool {
        let penance = self.stage.take_if(|stage| matches!(stage, Stage::Penance(..)));
        let Some(Stage::Penance(upgrade, refused)) = penance else { return false };
        !matches!(self.refuse_request(now, *upgrade, refused), Step::Over)
    }

    fn first_byte(
        &mut self,
        now: Instant,
        socket: TcpStream,
        has_tls: bool,
        tls_required: bool,
    ) -> io::Result<Next> {
        let mut first = [0; 6];
        let peeked = socket.peek(&mut first);
        self.spoken = matches!(peeked, Ok(1..));
        match peeked {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) if proxy::is_header(&first[..n]) => {
                Ok(self.refuse_as(now, Stream::plain(socket), LegSocket::WebSocket, UNEXPECTED_HEADER))
            }
            Ok(_) if first[0] == TLS_HANDSHAKE && has_tls => Ok(self.greet(Greeting::Begun(socket))),
            Ok(_) if first[0] == TLS_HANDSHAKE => {
                self.refused = true;
                let why = "TLS was spoken, but listen.tls_certificate and listen.tls_key are not set";
                Ok(Next::Done(Step::Refused((RefusalReason::TlsFailed, why))))
            }
            // Before anything is read: whatever it says was said in clear already, and nothing is answered to it.
            Ok(_) if tls_required => {
                let spoken =
                    if first[0] == KIND_UUID { LegSocket::AudioSocket } else { LegSocket::WebSocket };
                let refused = RefusalReason::TlsRequired.explained();
                Ok(self.refuse_as(now, Stream::plain(socket), spoken, refused))
            }
            Ok(_) if first[0] == KIND_UUID => {
                Ok(Next::Go(Stage::Uuid(Stream::plain(socket), FrameReader::default())))
            }
            Ok(_) if !first[0].is_ascii_alphabetic() => {
                let why = "neither HTTP nor TLS nor AudioSocket";
                let refused = (RefusalReason::NotWebSocket, why);
                Ok(self.refuse_as(now, Stream::plain(socket), LegSocket::WebSocket, refused))
            }
            Ok(_) => Ok(Next::Go(Stage::Request(Stream::plain(socket), Vec::new()))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(Next::Wait(Stage::FirstByte(socket)))
            }
            Err(error) => Err(error),
        }
    }

    fn greet(&mut self, greeting: Greeting) -> Next {
        self.stage = Some(Stage::AtTls { reported: false });
        Next::Done(Step::Greet(greeting))
    }

    /// Takes back what the tls thread was given; to be stepped on.
    pub(crate) fn greeted(&mut self, greeted: Greeted) -> Step {
        let reported = matches!(self.stage, Some(Stage::AtTls { reported: true }));
        match greeted {
            Greeted::Wait(greeting) if reported => {
                self.stage = Some(Stage::AtTls { reported: false });
                Step::Greet(greeting)
            }
            Greeted::Wait(greeting) => {
                self.stage = Some(Stage::Tls(greeting));
                Step::Wait
            }
            Greeted::Done(stream) => {
                self.stage = Some(Stage::Request(stream, Vec::new()));
                Step::Wait
            }
            Greeted::Failed => {
                self.stage = None;
                self.refused = true;
                Step::Refused(RefusalReason::TlsFailed.explained())
            }
        }
    }

    fn uuid(&mut self, now: Instant, mut stream: Stream, mut reader: FrameReader) -> io::Result<Next> {
        loop {
            // A reader asks for no more bytes than this, so that a peer which sends on and on is not listened to here.
            if reader.pending_bytes() >= HEAD_BYTES + UUID_BYTES {
                break;
            }
            match reader.fill(512, |room| stream.read(room)) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Next::Wait(Stage::Uuid(stream, reader)));
                }
                Err(error) => return Err(error),
            }
        }
        let Some(Meaning::Uuid(uuid)) = reader.next_frame().map(Frame::meaning) else {
            let why = "AudioSocket's first frame is not a UUID of 16 bytes";
            return Ok(self.refuse_as(now, stream, LegSocket::AudioSocket, (RefusalReason::BadRequest, why)));
        };
        let url = CallFields { uuid: Some(uuid_text(&uuid)), ..CallFields::default() };
        Ok(Next::Done(Step::Upgrade(Box::new(Upgrade {
            peer: self.peer,
            facts: RequestFacts { url, kind: LegKind::AudioSocket, ..RequestFacts::default() },
            answer: Vec::new(),
            stream,
            behind: reader.into_pending(),
        }))))
    }

    fn request(&mut self, now: Instant, mut stream: Stream, mut head: Vec<u8>) -> io::Result<Next> {
        let mut piece = [0; 2048];
        let mut seen;
        loop {
            match stream.read(&mut piece) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    // The end of the head may have begun in the bytes before.
                    seen = head.len().saturating_sub(3);
                    head.extend_from_slice(&piece[..n]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Next::Wait(Stage::Request(stream, head)));
                }
                Err(error) => return Err(error),
            }
            if proxy::is_header(&head) {
                return Ok(self.refuse_as(now, stream, LegSocket::WebSocket, UNEXPECTED_HEADER));
            }
            if let Some(length) = head_length(&head[seen..]).map(|length| seen + length) {
                let behind = head.split_off(length);
                return Ok(match parse(&head) {
                    Ok((facts, answer)) => Next::Done(Step::Upgrade(Box::new(Upgrade {
                        peer: self.peer,
                        facts,
                        answer,
                        stream,
                        behind,
                    }))),
                    Err(refused) => self.refuse_as(now, stream, LegSocket::WebSocket, refused),
                });
            }
            if head.len() > UPGRADE_REQUEST_BYTES {
                let why = "the request's head is longer than 16 KiB";
                return Ok(self.refuse_as(
                    now,
                    stream,
                    LegSocket::WebSocket,
                    (RefusalReason::BadRequest, why),
                ));
            }
        }
    }

    fn refuse_as(
        &mut self,
        now: Instant,
        stream: Stream,
        socket: LegSocket,
        refused: Refused<'static>,
    ) -> Next {
        match self.refuse(now, stream, socket, refused) {
            Step::Wait | Step::Over => Next::Done(Step::Refused(refused)),
            step => Next::Done(step),
        }
    }

    fn refusing(&mut self, mut stream: Stream, mut answer: Vec<u8>) -> Step {
        match stream.write(&answer) {
            Ok(n) if n == answer.len() => {
                _ = stream.flush();
                if !self.upgraded {
                    _ = stream.socket().shutdown(Shutdown::Write);
                }
                self.linger(stream)
            }
            Ok(n) => {
                answer.drain(..n);
                self.stage = Some(Stage::Refusing(stream, answer));
                Step::Wait
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.stage = Some(Stage::Refusing(stream, answer));
                Step::Wait
            }
            Err(_) => Step::Over,
        }
    }

    /// Reads what the peer still sends, a little: closing with unread bytes would reset the connection and could take
    /// the answer with it.
    fn linger(&mut self, mut stream: Stream) -> Step {
        let mut piece = [0; 2048];
        for _ in 0..8 {
            match stream.read(&mut piece) {
                Ok(0) => return Step::Over,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stage = Some(Stage::Lingering(stream));
                    return Step::Wait;
                }
                Err(_) => return Step::Over,
            }
        }
        if self.upgraded {
            // It has audio to send, and reads our close behind it.
            self.stage = Some(Stage::Lingering(stream));
            return Step::Wait;
        }
        Step::Over
    }
}

enum Next {
    Go(Stage),
    Wait(Stage),
    Done(Step),
}
