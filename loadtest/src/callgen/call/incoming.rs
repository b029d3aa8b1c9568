//! What arrives at a call: messages of the relay, and what each means.
//!
//! Runs in: a callgen worker. Owns nothing. Never blocks.
//! Invariant: what a call cannot play ends it with a reason.

use super::{Call, Context, State};
use crate::callgen::frame::Opcode;
use crate::callgen::message::{ServerText, read_text};
use crate::callgen::options::Playback;

impl Call {
    pub(super) fn floor_bytes(&mut self, now_ns: u64, bytes: &[u8], context: &mut Context) {
        let (index, Some(caller)) = (self.index as u64, &mut self.caller) else { return };
        self.floor_reader.push(bytes, |head| {
            let own = head.filter(|head| head.call == index);
            let (number, sent_ns) = own.map_or((u64::MAX, 0), |head| (head.number, head.sent_ns));
            caller.hear_floor(now_ns, number, sent_ns, &mut context.totals, &context.progress);
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
            (State::Up, Opcode::Binary) => match context.plan.options.playback {
                Playback::Binary => self.audio(now_ns, payload, context),
                Playback::Json => self.fail(context, "binary audio on a call with json playback".to_owned()),
            },
            (State::Up, Opcode::Text) => {
                let mut decoded = std::mem::take(&mut context.decoded);
                match (read_text(payload, &mut decoded), context.plan.options.playback) {
                    (ServerText::StreamAudio { rate_hz }, Playback::Json) => {
                        if rate_hz == context.plan.options.rate.hz() {
                            self.audio(now_ns, &decoded, context);
                        } else {
                            self.fail(context, "streamAudio at another rate than the leg's".to_owned());
                        }
                    }
                    (ServerText::StreamAudio { .. }, Playback::Binary) => {
                        self.fail(context, "streamAudio on a call with binary playback".to_owned());
                    }
                    (ServerText::Clear, _) => {
                        if let Some(caller) = &mut self.caller {
                            caller.clear(now_ns);
                        }
                    }
                    (ServerText::Unplayable(why), _) => self.fail(context, why.to_owned()),
                    (ServerText::Other, _) => {}
                }
                context.decoded = decoded;
            }
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

    fn audio(&mut self, now_ns: u64, bytes: &[u8], context: &mut Context) {
        let (pairs, rest) = bytes.as_chunks::<2>();
        if !rest.is_empty() {
            self.fail(context, "audio with half a sample".to_owned());
            return;
        }
        let mut pcm = std::mem::take(&mut context.pcm);
        pcm.clear();
        pcm.extend(pairs.iter().map(|pair| i16::from_le_bytes(*pair)));
        if let Some(caller) = &mut self.caller {
            caller.hear(now_ns, &pcm, &mut context.totals, &context.progress);
        }
        context.pcm = pcm;
    }
}
