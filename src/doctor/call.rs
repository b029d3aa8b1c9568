//! A test call through the relay that runs: admitted, held, and what is heard.
//!
//! Runs in: the main thread. Owns one call of a few seconds.
//! Invariant: the call names itself `tandem-doctor`, so that it is recognised in logs and records.

use std::f32::consts::TAU;
use std::net::SocketAddr;
use std::time::Duration;

use super::Examination;
use crate::net::probe;

const CHECK: &str = "test call";
/// How long the call waits for the model's words; the greeting, or what it says to a second of tone.
const LASTING: Duration = Duration::from_secs(8);

/// What the call heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The agent.
    Agent,
    /// It was let in, and heard nothing.
    Nothing,
    /// There was none.
    NotMade,
}

impl Examination<'_> {
    /// Calls as the module would.
    pub(super) fn test_call(&mut self, running: Option<SocketAddr>) -> Heard {
        if !self.options.call {
            self.report.skip(CHECK, "not made: --no-call");
            return Heard::NotMade;
        }
        let Some(address) = running else {
            self.report.skip(CHECK, "needs the running relay");
            return Heard::NotMade;
        };
        let token = self.config.listen.token.as_ref();
        let path = "/?uuid=tandem-doctor&did=tandem-doctor&caller=tandem-doctor&playback=binary&rate=16000";
        match probe::call(address, self.own_certificate(), path, token, &tone(), LASTING, self.clock) {
            Err(why) => {
                self.report.bad(CHECK, format!("refused: {why}"), remedy_of(&why));
                Heard::NotMade
            }
            Ok(call) => self.judge(&call),
        }
    }

    fn judge(&mut self, call: &probe::TestCall) -> Heard {
        let up_ms = call.upgraded.as_millis();
        match (&call.closed, call.first_audio) {
            (_, Some(first)) => self.report.good(
                CHECK,
                format!(
                    "let in after {up_ms} ms, the agent was heard after {} ms ({} bytes)",
                    first.as_millis(),
                    call.audio_bytes
                ),
            ),
            (Some((code, reason)), None) => self.report.bad(
                CHECK,
                format!("let in after {up_ms} ms and ended by the relay: {code} {reason}"),
                "the relay's log tells why, in the line of this call (tandem-doctor)",
            ),
            (None, None) => self.report.warn(
                CHECK,
                format!(
                    "let in after {up_ms} ms and held for {} s, and nothing was heard",
                    LASTING.as_secs()
                ),
                "a model may leave a tone unanswered: set agent.greeting, or call and speak",
            ),
        }
        match (&call.closed, call.first_audio) {
            (_, Some(_)) => Heard::Agent,
            (Some(_), None) => Heard::NotMade,
            (None, None) => Heard::Nothing,
        }
    }
}

fn remedy_of(why: &str) -> &'static str {
    match why {
        _ if why.contains("token") => {
            "listen.token of this configuration is not the running relay's: restart it"
        }
        _ if why.contains("503") => "the relay is full or shutting down: see its log",
        _ if why.contains("403") => "add this address to listen.allow",
        _ => "see the relay's log",
    }
}

/// A second of 440 Hz at a fifth of full scale, 16 kHz.
fn tone() -> Vec<i16> {
    (0..16_000).map(|n| ((n as f32 * 440.0 / 16_000.0 * TAU).sin() * 6_500.0) as i16).collect()
}
