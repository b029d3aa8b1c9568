//! What a call sends: the upgrade request or the UUID, the first texts, audio, the goodbye.
//!
//! Runs in: a callgen worker. Owns nothing. Never blocks.
//! Invariant: everything that belongs together leaves in one write.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tandem::codec::audiosocket::uuid_text;

use super::{CLOSE_NS, Call, Context, State};
use crate::callgen::caller::Tick;
use crate::callgen::clock::now_ns;
use crate::callgen::ear::TICK_NS;
use crate::callgen::floor_leg::{self, Head};
use crate::callgen::handshake;
use crate::callgen::leg::Leg;
use crate::callgen::switch::{Switch, asterisk_socket};
use crate::websocket::{Opcode, append_frame};

/// What mod_audio_stream says at the end; the others give no reason.
const CLOSE_REASON: &[u8] = b"Normal closure";

impl Call {
    /// The TCP connection is there: what comes first on this leg.
    pub(super) fn greet(&mut self, context: &mut Context) -> io::Result<()> {
        if context.plan.options.floor {
            self.up(context, now_ns());
            return Ok(());
        }
        let mut bytes = context.random.bytes16();
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        self.uuid = uuid_text(&bytes);
        if self.leg == Leg::AudioSocket {
            context.wire.clear();
            asterisk_socket::append_uuid(&mut context.wire, &bytes);
            self.send_wire(context);
            self.up(context, now_ns());
            return Ok(());
        }
        self.key = STANDARD.encode(context.random.bytes16());
        let plan = Arc::clone(&context.plan);
        let mut target = plan.line(self.line).target.clone();
        target.path = self.filled_in(&target.path);
        let headers: Vec<(String, String)> =
            plan.options.headers.iter().map(|(name, value)| (name.clone(), self.filled_in(value))).collect();
        let request = handshake::request_of(self.leg, &target, &self.key, &headers);
        self.state = State::Upgrading(Vec::new());
        match &mut self.socket {
            Some(socket) => socket.send(&request),
            None => Ok(()),
        }
    }

    /// `{uuid}`, `{n}` and `{caller}` replaced by the call's.
    fn filled_in(&self, text: &str) -> String {
        let caller = (1001 + self.index).to_string();
        text.replace("{uuid}", &self.uuid)
            .replace("{n}", &self.index.to_string())
            .replace("{caller}", &caller)
    }

    /// What the dialplan gives the module as metadata.
    pub(super) fn metadata(&self, context: &Context) -> String {
        match &context.plan.options.metadata {
            Some(text) => self.filled_in(text),
            None => {
                self.filled_in(r#"{"event":"start","uuid":"{uuid}","caller":"{caller}","called":"5000"}"#)
            }
        }
    }

    /// The caller's next frame is due.
    pub(super) fn tick(&mut self, context: &mut Context) {
        let (due_ns, now_ns) = (self.tick_ns, now_ns());
        let Some(caller) = &mut self.caller else { return };
        let mut pcm = std::mem::take(&mut context.pcm);
        match caller.tick(now_ns, &context.plan, &mut pcm) {
            Tick::Prepared(number) => {
                self.note_sent(now_ns, due_ns, context);
                if let (Some(socket), Some(prepared)) = (&mut self.socket, &context.plan.prepared)
                    && let Err(e) = socket.send(prepared.message(number))
                {
                    self.fail_io(context, &e);
                }
            }
            Tick::Send => {
                self.note_sent(now_ns, due_ns, context);
                if context.plan.options.floor {
                    self.send_floor(now_ns, context);
                } else {
                    self.send_audio(now_ns, &pcm, context);
                }
            }
            Tick::Wait(until_ns) => self.tick_ns = until_ns,
            Tick::Over => self.hang_up(context, now_ns),
        }
        context.pcm = pcm;
    }

    fn note_sent(&mut self, now_ns: u64, due_ns: u64, context: &mut Context) {
        self.tick_ns = due_ns + TICK_NS;
        context.totals.sent(now_ns, due_ns);
        context.progress.frames_sent.fetch_add(1, Ordering::Relaxed);
    }

    fn send_audio(&mut self, now_ns: u64, pcm: &[i16], context: &mut Context) {
        if let Some(Switch::AsteriskSocket(socket)) = self.caller.as_mut().map(|caller| &mut caller.switch) {
            socket.sent(now_ns);
            context.wire.clear();
            asterisk_socket::append_audio(&mut context.wire, context.plan.options.rate, pcm);
            self.send_wire(context);
            return;
        }
        let mut payload = std::mem::take(&mut context.payload);
        payload.clear();
        payload.extend(pcm.iter().flat_map(|sample| sample.to_le_bytes()));
        self.send_frame(context, Opcode::Binary, &payload);
        context.payload = payload;
    }

    fn send_floor(&mut self, now_ns: u64, context: &mut Context) {
        let number = self.caller.as_ref().map_or(0, |caller| caller.frames_sent - 1);
        let head = Head { number, sent_ns: now_ns, call: self.index as u64 };
        floor_leg::write_message(&mut context.wire, head);
        self.send_wire(context);
    }

    fn hang_up(&mut self, context: &mut Context, now_ns: u64) {
        if context.plan.options.floor {
            self.end(context);
            return;
        }
        match self.leg {
            // A caller's hang-up is a plain FIN.
            Leg::AudioSocket => {
                if let Some(socket) = &mut self.socket
                    && let Err(e) = socket.stream.shutdown(Shutdown::Write)
                {
                    self.fail_io(context, &e);
                }
            }
            Leg::ModAudioStream(_) => self.send_close(context, 1000, CLOSE_REASON),
            Leg::AudioFork | Leg::ChanWebSocket => self.send_close(context, 1000, b""),
        }
        if !self.has_ended() {
            self.state = State::Closing;
            self.tick_ns = now_ns + CLOSE_NS;
        }
    }

    pub(super) fn send_close(&mut self, context: &mut Context, code: u16, reason: &[u8]) {
        let mut payload = code.to_be_bytes().to_vec();
        payload.extend_from_slice(reason);
        self.send_frame(context, Opcode::Close, &payload);
    }

    pub(super) fn send_frame(&mut self, context: &mut Context, opcode: Opcode, payload: &[u8]) {
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
}
