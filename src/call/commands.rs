//! Commands of a call on their way to its switch: who asked, which way they went, until when an answer may come.
//!
//! Runs in: the control thread, inside a call's machine: pure. Owns the commands that are not answered yet.
//! Invariant: a command is answered exactly once, and what is answered is forgotten, so that a late or second report of the
//! switch finds nothing.

use std::fmt;
use std::time::Duration;

use crate::base::command::{Command, CommandKind, Context, VariableName};
use crate::base::{Instant, LinkNumber};
use crate::call::leg::{OrderNumber, Way};
use crate::call::model::ToolCall;

/// Commands of one call that may be under way at one time: more than anybody means at once.
const UNDER_WAY_MAX: usize = 8;
/// How long a command may take until it counts as failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// How much earlier than that a command must have left for the event socket, so that there is time for its answer.
const SEND_AHEAD: Duration = Duration::from_secs(1);

/// Who asked for a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requester {
    /// The API of the admin server, with the number of the request.
    Api(u64),
    /// The model, by this call of a tool on this link.
    Model(LinkNumber, Box<ToolCall>),
    /// The model, which has taken the call of this tool back: nobody waits for the answer.
    TakenBack(String),
    /// The relay itself, which gives the call up.
    Relay,
}

/// Why a command was not carried out, or is not known to have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandError {
    /// The leg has no means for it.
    Unable {
        /// What was asked.
        kind: CommandKind,
        /// What the leg is, in words.
        leg: &'static str,
        /// What it can do.
        can: Vec<CommandKind>,
    },
    /// The variable is neither one of ours nor on the list.
    VariableNotAllowed(VariableName),
    /// The context is not on the list.
    ContextNotAllowed(Context),
    /// The switch has not said that the channel whose UUID the leg names is the leg's own.
    ForeignChannel,
    /// The agent may not ask for this.
    NotAllowed,
    /// The call is not recorded, so that nothing can pause.
    NotRecorded,
    /// Too many commands of this call are under way.
    TooMany,
    /// The switch refused, with this reason.
    Refused(String),
    /// The command was never sent: there was no connection to the event socket in time, or the leg takes nothing.
    NotSent(&'static str),
    /// It was sent and no answer came: it may or may not have been carried out, and it is not tried again.
    Unconfirmed(&'static str),
    /// The call was over before.
    Ended,
}

/// What an outsider asks of a running call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Something that the switch has to do.
    Command(Command),
    /// The model is to say this text.
    Say(String),
    /// The model is to know this, and to go on with it in its own words.
    Prompt(String),
    /// The recording pauses (true), or goes on.
    PauseRecording(bool),
}

/// For the log, which does not quote what is said.
impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => command.fmt(f),
            Self::Say(_) => f.write_str("have the model say something"),
            Self::Prompt(_) => f.write_str("tell the model something"),
            Self::PauseRecording(true) => f.write_str("pause the recording"),
            Self::PauseRecording(false) => f.write_str("go on with the recording"),
        }
    }
}

/// What became of a command.
pub type CommandResult = Result<(), CommandError>;

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unable { kind, leg, can } => {
                write!(f, "{leg} cannot do {}; ", kind.label())?;
                match can.as_slice() {
                    [] => write!(f, "it can be told nothing: install our scripts or set esl.host"),
                    can => {
                        let labels: Vec<_> = can.iter().map(|kind| kind.label()).collect();
                        write!(f, "it can: {}", labels.join(", "))
                    }
                }
            }
            Self::VariableNotAllowed(name) => {
                write!(
                    f,
                    "the variable {name} may not be set: it neither begins with tandem_ nor is in control.variables, or it \
                     steers our scripts"
                )
            }
            Self::ContextNotAllowed(context) => {
                write!(
                    f,
                    "no call may be transferred into the context {context}: it is not in control.transfer_contexts"
                )
            }
            Self::ForeignChannel => write!(
                f,
                "not sent, and will not be: the switch did not confirm that this leg is the channel whose UUID it names; \
                 announce the call before (POST /api/expect), or have our script start the stream"
            ),
            Self::NotAllowed => {
                write!(
                    f,
                    "the agent may not: see agent.end_call, transfer_destinations, send_dtmf and call_info"
                )
            }
            Self::NotRecorded => write!(f, "the call is not recorded (agent.record)"),
            Self::TooMany => write!(f, "{UNDER_WAY_MAX} commands of this call are under way already"),
            Self::Refused(why) if why.is_empty() => write!(f, "the switch refused without a reason"),
            Self::Refused(why) => write!(f, "the switch refused: {why}"),
            Self::NotSent(why) => write!(f, "not sent, and will not be: {why}"),
            Self::Unconfirmed(why) => {
                write!(f, "{why}; it may or may not have been carried out, and is not tried again")
            }
            Self::Ended => write!(f, "the call was over before"),
        }
    }
}

/// A command that is not answered yet.
#[derive(Debug)]
pub(super) struct UnderWay {
    pub(super) number: OrderNumber,
    pub(super) requester: Requester,
    pub(super) kind: CommandKind,
    pub(super) way: Way,
    deadline: Instant,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Commands {
    last: OrderNumber,
    under_way: Vec<UnderWay>,
}

impl Commands {
    /// Numbers commands from behind this one.
    pub(super) fn number_from(&mut self, last: OrderNumber) {
        self.last = last;
    }

    /// Takes a command on its way. Returns its number, and until when it may still be sent.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        requester: &Requester,
        command: &Command,
        way: Way,
    ) -> Option<(OrderNumber, Instant)> {
        if self.under_way.len() >= UNDER_WAY_MAX {
            return None;
        }
        self.last = self.last.wrapping_add(1);
        let deadline = now.plus(ANSWER_WITHIN);
        let number = self.last;
        let (requester, kind) = (requester.clone(), command.kind());
        self.under_way.push(UnderWay { number, requester, kind, way, deadline });
        Some((number, now.plus(ANSWER_WITHIN - SEND_AHEAD)))
    }

    /// Takes out the first command of which this is so.
    pub(super) fn take(&mut self, which: impl Fn(&UnderWay) -> bool) -> Option<UnderWay> {
        let at = self.under_way.iter().position(which)?;
        Some(self.under_way.remove(at))
    }

    /// Takes out the command with this number, if it is under way.
    pub(super) fn answered(&mut self, number: OrderNumber) -> Option<UnderWay> {
        self.take(|command| command.number == number)
    }

    /// Takes out one command whose time is over.
    pub(super) fn overdue(&mut self, now: Instant) -> Option<UnderWay> {
        self.take(|command| now >= command.deadline)
    }

    /// Forgets that the model asked for what this call asks for; what was sent is sent.
    pub(super) fn take_back(&mut self, taken: &ToolCall) {
        for command in &mut self.under_way {
            if matches!(&command.requester, Requester::Model(_, call) if call.asks_the_same(taken)) {
                command.requester = Requester::TakenBack(taken.name.clone());
            }
        }
    }

    /// Whether one of them is the model's.
    pub(super) fn any_of_the_model(&self) -> bool {
        self.under_way.iter().any(|command| matches!(command.requester, Requester::Model(..)))
    }

    /// When the first of them counts as failed.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.under_way.iter().map(|command| command.deadline).min()
    }

    /// Whether all are answered.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }
}
