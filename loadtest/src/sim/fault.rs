//! What can go wrong in a simulated session, when, and on which connections.
//!
//! Runs in: anywhere: values. Owns nothing. Never acts: `session` and `connection` do; how a fault is written stands in
//! `text`.
//! Invariant: every `Scheduled` that parses names a fault that can happen at its moment.

use std::{error::Error, fmt, time::Duration};

mod text;

pub use text::read_script;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// `http:STATUS`: the upgrade is refused.
    Http(u16),
    /// `delay:MS`: what would happen now happens later. At `turn.mid` it is a pause in the audio.
    Delay(Duration),
    /// `silence`: nothing is sent any more, pongs and the answer to a close apart. At `turn` only that turn is
    /// swallowed.
    Silence,
    /// `drop`: the TCP connection ends without a close frame.
    Drop,
    /// `reset`: the TCP connection is reset.
    Reset,
    /// `close:CODE[:REASON]`: a close frame.
    Close {
        /// Close code; any number, allowed by RFC 6455 or not.
        code: u16,
        /// Reason, cut to 123 bytes.
        reason: String,
    },
    /// `garbage`: a binary frame that is not JSON.
    Garbage,
    /// `invalid-utf8`: a text frame that is not UTF-8.
    InvalidUtf8,
    /// `wrong-opcode`: a frame with the reserved opcode 3.
    WrongOpcode,
    /// `masked`: a frame masked as only clients may.
    Masked,
    /// `huge:BYTES`: a valid message with an unknown field of this size inside `serverContent`.
    Huge(usize),
    /// `announce:BYTES`: the head of a binary frame of this length, and nothing after it.
    Announce(u64),
    /// `unknown-fields`: a message with unknown fields beside a known one.
    UnknownFields,
    /// `ping`: a ping, which the client has to answer.
    Ping,
    /// `late-pongs:MS`: from now on pings are answered this late.
    LatePongs(Duration),
    /// `bundle`: the turn's audio is followed by one message that holds the last chunk, its transcription,
    /// `generationComplete` and `turnComplete` together.
    Bundle,
    /// `empty-turn`: `turnComplete` without any audio.
    EmptyTurn,
    /// `interrupt`: `interrupted` although nobody spoke.
    Interrupt,
    /// `go-away:MS`: `goAway` with this much time left, and after it a close with 1008.
    GoAway(Duration),
    /// `go-away:MS:silent`: the same, but from then on the server says nothing and closes nothing.
    GoAwaySilent(Duration),
    /// `swallow:MS`: from now on the server's own detection does not answer a talkspurt shorter than this; its turn stays
    /// open and eats the talkspurt that follows. `audioStreamEnd` commits it.
    Swallow(Duration),
    /// `pace:FACTOR`: the turn's audio is sent so many times faster than real time, whatever the configuration says.
    Pace(f64),
    /// `uninterruptible`: the caller's speech does not cut the turn off; its answer follows the turn.
    Uninterruptible,
    /// `start-again`: once the turn was interrupted, the next answer is the same turn from its beginning.
    StartAgain,
    /// `cancel-tools`: the pending tool calls are cancelled although nobody spoke; the turn ends without audio.
    CancelTools,
    /// `tool-audio:CODE[:REASON]`: from now on audio that comes while a blocking tool call is pending closes the
    /// connection; what was on its way when the call was sent is forgiven for 300 ms.
    ToolAudio {
        /// Close code.
        code: u16,
        /// Reason.
        reason: String,
    },
    /// `replay-limit:MS`: from now on audio that is further ahead of real time than this closes with 1007.
    ReplayLimit(Duration),
    /// `ageing:MS`: each turn comes later by this for every minute of audio that the conversation has heard, unless the
    /// setup asked for `contextWindowCompression`.
    Ageing(Duration),
    /// `no-handles`: from now on `sessionResumptionUpdate` is empty: not resumable now.
    NoHandles,
    /// `forget`: the handle is accepted, but the conversation begins from nothing.
    Forget,
    /// `replay-transcripts`: the transcriptions of the conversation's last turn are sent once more.
    ReplayTranscripts,
    /// `carry-on`: a turn that was under way when the last connection ended goes on where it was cut.
    CarryOn,
    /// `tool:NAME[:JSON]`: a tool call with these arguments, if NAME is declared: before the turn's audio at `turn`, amid
    /// or after it at `turn.mid` and `turn.end`.
    ToolCall {
        /// The function.
        name: String,
        /// Its arguments, a JSON object.
        args: serde_json::Value,
    },
}

/// When it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// `upgrade`: the HTTP request is complete.
    Upgrade,
    /// `setup`: the setup was accepted, `setupComplete` is due.
    Setup,
    /// `5s`, `300ms`: so long after `setupComplete`.
    After(Duration),
    /// `turn`, `turn2`: a turn is about to begin; without a number every turn.
    Turn(Option<u64>),
    /// `turn.mid`, `turn2.mid`: half of its audio is sent.
    MidTurn(Option<u64>),
    /// `turn.end`, `turn2.end`: `turnComplete` is sent.
    TurnEnd(Option<u64>),
    /// `speech`, `speech2`: the caller is heard to begin to speak.
    Speech(Option<u64>),
    /// `tool-call`, `tool-call2`: the calls of a turn are sent.
    ToolCall(Option<u64>),
    /// `tool-response`, `tool-response2`: all of them are answered, and the turn is about to go on.
    ToolResponse(Option<u64>),
    /// `resume`, `resume2`: a setup with a valid handle came; counted for each conversation.
    Resume(Option<u64>),
}

impl Moment {
    /// Whether `self`, from a script, means the moment `now`, whose turn is numbered.
    pub(super) fn is(self, now: Self) -> bool {
        let same = |scripted: Option<u64>, turn| scripted.is_none() || scripted == turn;
        match (self, now) {
            (Self::Turn(scripted), Self::Turn(turn))
            | (Self::MidTurn(scripted), Self::MidTurn(turn))
            | (Self::TurnEnd(scripted), Self::TurnEnd(turn))
            | (Self::Speech(scripted), Self::Speech(turn))
            | (Self::ToolCall(scripted), Self::ToolCall(turn))
            | (Self::ToolResponse(scripted), Self::ToolResponse(turn))
            | (Self::Resume(scripted), Self::Resume(turn)) => same(scripted, turn),
            _ => self == now,
        }
    }
}

/// On which connections something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// On every one.
    Every,
    /// `#2`, `#1-6`: those with these numbers, counted from 1 in the order of acceptance.
    Numbers(u64, u64),
    /// `#new`: those whose setup has no handle.
    New,
    /// `#resumed`: those whose setup has one.
    Resumed,
}

impl Connections {
    /// Whether connection `number` is meant, of which `resumed` tells whether its setup had a handle.
    pub(super) fn include(self, number: u64, resumed: bool) -> bool {
        match self {
            Self::Every => true,
            Self::Numbers(first, last) => (first..=last).contains(&number),
            Self::New => !resumed,
            Self::Resumed => resumed,
        }
    }
}

/// A fault, its moment, and on which connections. In text `FAULT@MOMENT[+MS][#CONNECTIONS]`, such as `drop@5s#1`,
/// `reset@speech2+500#new` or `close:1011:Internal error@turn2.mid`.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduled {
    /// What.
    pub fault: Fault,
    /// When.
    pub at: Moment,
    /// So long after the moment.
    pub later: Duration,
    /// Where.
    pub connections: Connections,
}

impl Scheduled {
    /// A fault on every connection.
    pub const fn new(fault: Fault, at: Moment) -> Self {
        Self { fault, at, later: Duration::ZERO, connections: Connections::Every }
    }

    /// The same on one connection only.
    pub const fn on_connection(mut self, number: u64) -> Self {
        self.connections = Connections::Numbers(number, number);
        self
    }

    fn check(self) -> Result<Self, String> {
        let upgrade = matches!(self.at, Moment::Upgrade);
        let turn = matches!(self.at, Moment::Turn(_));
        let response = matches!(self.at, Moment::ToolResponse(_));
        let in_turn = matches!(self.at, Moment::MidTurn(_) | Moment::TurnEnd(_));
        let resume = matches!(self.at, Moment::Resume(_));
        let fits = match &self.fault {
            Fault::Http(_) => upgrade,
            Fault::Silence | Fault::Drop | Fault::Reset => true,
            Fault::Delay(_) => {
                upgrade || turn || response || resume || matches!(self.at, Moment::Setup | Moment::MidTurn(_))
            }
            Fault::EmptyTurn => turn || response,
            Fault::Bundle | Fault::Pace(_) | Fault::Uninterruptible | Fault::StartAgain => turn,
            Fault::ToolCall { .. } => turn || in_turn,
            Fault::Interrupt => matches!(self.at, Moment::MidTurn(_)),
            Fault::CancelTools => matches!(self.at, Moment::ToolCall(_)),
            Fault::Forget | Fault::ReplayTranscripts | Fault::CarryOn => resume,
            _ => !upgrade,
        };
        if !fits {
            return Err(format!("{:?} cannot happen at {:?}", self.fault, self.at));
        }
        if !self.later.is_zero() && (upgrade || !self.fault.stands_alone()) {
            return Err(format!("{:?} belongs to its moment and cannot happen later", self.fault));
        }
        if upgrade && matches!(self.connections, Connections::New | Connections::Resumed) {
            return Err("at the upgrade nobody knows yet whether the connection resumes anything".to_owned());
        }
        Ok(self)
    }
}

impl Fault {
    /// Whether the fault can happen at any time, not only as a part of what happens at its moment.
    pub(super) const fn stands_alone(&self) -> bool {
        !matches!(
            self,
            Self::Http(_)
                | Self::Delay(_)
                | Self::EmptyTurn
                | Self::Bundle
                | Self::Pace(_)
                | Self::Uninterruptible
                | Self::StartAgain
                | Self::ToolCall { .. }
                | Self::Interrupt
                | Self::Forget
                | Self::ReplayTranscripts
                | Self::CarryOn
        )
    }
}

/// The text of a fault could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultError {
    text: String,
    why: String,
}

impl fmt::Display for FaultError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "fault {:?}: {}; write FAULT@MOMENT[+MS][#CONNECTIONS], see gemini-sim --help",
            self.text, self.why
        )
    }
}

impl Error for FaultError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_without_a_number_is_every_turn() {
        assert!(Moment::Turn(None).is(Moment::Turn(Some(7))));
        assert!(Moment::Turn(Some(7)).is(Moment::Turn(Some(7))));
        assert!(!Moment::Turn(Some(7)).is(Moment::Turn(Some(8))));
        assert!(!Moment::Turn(None).is(Moment::MidTurn(Some(7))));
    }
}
