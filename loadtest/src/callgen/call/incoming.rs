//! What arrives at a call: messages of the relay, and what the switch makes of each.
//!
//! Runs in: a callgen worker. Owns nothing. Never blocks.
//! Invariant: what a call's switch cannot take ends the call with a reason.

use super::{Call, Context, State};
use crate::callgen::switch::Switch;
use crate::websocket::Opcode;

impl Call {
    pub(super) fn floor_bytes(&mut self, now_ns: u64, bytes: &[u8], context: &mut Context) {
        let (index, Some(caller)) = (self.index as u64, &mut self.caller) else { return };
        self.floor_reader.push(bytes, |head| {
            let own = head.filter(|head| head.call == index);
            let (number, sent_ns) = own.map_or((u64::MAX, 0), |head| (head.number, head.sent_ns));
            caller.hear_floor(now_ns, number, sent_ns, &mut context.totals, &context.progress);
        });
    }

    /// AudioSocket: bytes as they were read.
    pub(super) fn socket_bytes(&mut self, now_ns: u64, bytes: &[u8], context: &mut Context) {
        if !matches!(self.state, State::Up) {
            return;
        }
        self.switch(now_ns, context, |switch, ear, said| {
            if let Switch::AsteriskSocket(socket) = switch {
                socket.bytes(now_ns, bytes, ear, said);
            }
        });
    }

    pub(super) fn frames(&mut self, now_ns: u64, bytes: &[u8], context: &mut Context) {
        let mut reader = std::mem::take(&mut self.reader);
        let result = reader.push(bytes, |opcode, payload| self.message(now_ns, opcode, payload, context));
        self.reader = reader;
        if let Err(violation) = result {
            self.fail(context, violation.text().to_owned());
        }
    }

    fn message(&mut self, now_ns: u64, opcode: Opcode, payload: &[u8], context: &mut Context) {
        match (&self.state, opcode) {
            (State::Up | State::Closing, Opcode::Ping) => self.send_frame(context, Opcode::Pong, payload),
            (State::Up, Opcode::Binary) if self.is_light => {
                if let Some(caller) = &mut self.caller {
                    let samples = payload.len() as u64 / 2;
                    caller.hear_light(now_ns, samples, &mut context.totals, &context.progress);
                }
            }
            // The only one that takes something back.
            (State::Up, Opcode::Text) if self.is_light => {
                if let Some(caller) = &mut self.caller
                    && payload.windows(10).any(|word| word == b"clearAudio")
                {
                    caller.cleared(now_ns, 0);
                }
            }
            (State::Up, Opcode::Binary) => self.switch(now_ns, context, |switch, ear, said| {
                switch.binary(now_ns, payload, ear, said);
            }),
            (State::Up, Opcode::Text) => self.switch(now_ns, context, |switch, ear, said| {
                switch.text(now_ns, payload, ear, said);
            }),
            (State::Closing, Opcode::Close) => self.end(context),
            (State::Up, Opcode::Close) => {
                let (code, reason) = match payload.split_first_chunk::<2>() {
                    Some((code, reason)) => (u16::from_be_bytes(*code), String::from_utf8_lossy(reason)),
                    None => (1005, "".into()),
                };
                let why = format!("closed by the relay: {code} {reason}").trim_end().to_owned();
                // The module echoes valid codes and answers the others with 1002.
                let echoed =
                    if matches!(code, 1000..=1003 | 1007..=1011 | 3000..=4999) { code } else { 1002 };
                self.send_close(context, echoed, b"");
                self.fail(context, why);
            }
            _ => {}
        }
    }
}
