//! What a call's machine is told (facts) and what it says (orders).
//!
//! Runs in: anywhere: pure. Owns nothing.
//! Invariant: facts about a link carry its number, so that news of an older link cannot be taken for the present one's.

use std::sync::Arc;
use std::time::Duration;

use crate::base::command::{ChannelName, Command};
use crate::base::{Instant, LegReport, LinkNumber, Sound};
use crate::call::Outcome;
use crate::call::commands::{CommandError, CommandResult, Requester};
use crate::call::leg::{CallFields, LegClose, OrderNumber};
use crate::call::model::{LinkEnd, Tokens, ToolAnswer, ToolCall};
use crate::call::tool::{ToolNumber, ToolResult, ToolRun};
use crate::call::transcript::{Speaker, Spoken};
use crate::dsp::ListenTerms;

/// Something that happened to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// More became known of who is calling: metadata arrived.
    Identified(Box<CallFields>),
    /// The switch, or our script in it, reports something.
    Reported(LegReport),
    /// Somebody asks for something to be done to the call.
    Commanded(Requester, Command),
    /// A command was carried out, by a way on which nothing more is reported.
    CommandDone(OrderNumber),
    /// A command was not carried out, or nobody knows.
    CommandFailed(OrderNumber, CommandError),
    /// The caller pressed this key, as the event socket says.
    KeyOnEventSocket(char),
    /// The model calls a tool.
    ToolCalled(LinkNumber, Box<ToolCall>),
    /// The model takes calls of tools back, by their ids.
    ToolsCancelled(LinkNumber, Vec<String>),
    /// What became of a tool that was to be carried out.
    ToolDone(ToolNumber, ToolResult),
    /// An answering machine was recognised.
    AnsweringMachine,
    /// The switch hung the channel up with this cause, as the event socket says.
    HungUp(String),
    /// The leg's connection of this number was lost, and its thread keeps the call's audio: the leg may come back.
    LegLost(ConnectionNumber, LegEnd),
    /// A leg with the call's UUID and credentials has connected and takes the call over.
    LegReturned,
    /// The call's UUID has come again on a leg that is another call: the lost leg does not come back.
    Replaced,
    /// The leg is that of another call, which waits for it or has a dead one, and is given to it.
    Moved,
    /// The leg is a second one: another call has its UUID, which came too late to refuse it at the door.
    UuidInUse,
    /// The leg's socket is closed and its thread has let go of the call.
    LegGone(LegEnd),
    /// A link is connected and its setup has been sent.
    LinkConnected(LinkNumber),
    /// The model has accepted the setup: speech flows both ways.
    SetupComplete(LinkNumber),
    /// The model began to speak, in a turn that it had not spoken in before.
    TurnStarted(LinkNumber),
    /// The model has sent all of what it has to say in this turn.
    GenerationComplete(LinkNumber),
    /// The model's turn is over.
    TurnComplete(LinkNumber),
    /// How much of the present turn the model has sent, and how much of it waits; ahead of the fact that ends it.
    Spoken(LinkNumber, Spoken),
    /// A piece of what one of the two said, as the model transcribed it.
    Transcribed(LinkNumber, Speaker, String),
    /// The model says that it is at work on something, whether or not a turn of it is over (true), or not any more.
    InProgress(LinkNumber, bool),
    /// The model waits for the caller to say more before it answers.
    WaitsForInput(LinkNumber),
    /// Why the model's turn ended, where it did not end by itself, as the server names it; ahead of the turn's end.
    TurnEndedBy(LinkNumber, String),
    /// A live link was left. What the model had not begun to answer of the caller's speech is sent again on the next one
    /// (true), or there was nothing to be sent again.
    SentAgain(LinkNumber, bool),
    /// The caller interrupted the model.
    Interrupted(LinkNumber),
    /// The caller began (true) or ended (false) a talkspurt, as the relay's own detection says.
    CallerSpoke(bool),
    /// The server will end the link soon.
    GoAway(LinkNumber, Duration),
    /// The session can be resumed with this handle from now on.
    Resumable(LinkNumber, String),
    /// Tokens that the server counts and that no such fact counted before.
    TokensUsed(LinkNumber, Tokens),
    /// The link could not be made, or it ended; its socket is gone.
    LinkGone(LinkNumber, LinkEnd),
    /// A link that we closed is gone, its socket with it.
    LinkClosed(LinkNumber),
    /// The model sent more speech than the call may keep waiting.
    SpeechOverflow,
    /// A thread has let go of everything it had of the call.
    Retired(Part),
    /// The leg is to be closed at the next pause, so that it connects to another relay (true), or not any more.
    SendAway(bool),
    /// The relay is shutting down and the time for running calls is over.
    ShutDown,
}

impl Fact {
    /// The link that it is of, if it is of any.
    pub(super) fn link(&self) -> Option<LinkNumber> {
        match self {
            Self::ToolCalled(link, _)
            | Self::ToolsCancelled(link, _)
            | Self::LinkConnected(link)
            | Self::SetupComplete(link)
            | Self::TurnStarted(link)
            | Self::GenerationComplete(link)
            | Self::TurnComplete(link)
            | Self::Spoken(link, _)
            | Self::Transcribed(link, ..)
            | Self::InProgress(link, _)
            | Self::WaitsForInput(link)
            | Self::TurnEndedBy(link, _)
            | Self::SentAgain(link, _)
            | Self::Interrupted(link)
            | Self::GoAway(link, _)
            | Self::Resumable(link, _)
            | Self::TokensUsed(link, _)
            | Self::LinkGone(link, _)
            | Self::LinkClosed(link) => Some(*link),
            _ => None,
        }
    }
}

/// Which connection of a call's leg, counted from 1: news of an older one is stale.
pub type ConnectionNumber = u32;

/// How a leg ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegEnd {
    /// The switch said that the caller hung up, in a way that leaves no doubt.
    HungUp,
    /// The switch closed with this code: 1000 is mostly a hang-up.
    Closed(u16),
    /// The connection ended without a closing handshake; what the system said.
    Dropped(String),
    /// The switch sent nothing, not even an answer to a ping.
    Silent,
    /// The switch broke the WebSocket protocol or a limit; what exactly.
    Protocol(String),
    /// We closed it.
    ByUs,
    /// We closed it so that it connects to another relay.
    SentAway,
}

impl LegEnd {
    /// Whether a leg that ended so may come back: nobody said that the call is over, or not for sure.
    pub fn may_come_back(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Dropped(_) | Self::Silent | Self::SentAway)
    }

    /// Whether the switch said goodbye: 1000, a close without a code (1005), or a switch that is going away (1001), as RFC
    /// 6455 section 7.4.1 has them. Nearly always the caller has hung up; a call is held for a moment all the same.
    pub fn is_goodbye(&self) -> bool {
        matches!(self, Self::Closed(1000 | 1001 | 1005))
    }
}

/// A thread's share of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The dsp worker's.
    Dsp,
    /// The gemini thread's.
    Gemini,
}

/// Something to be done for a call: by control itself, or by whoever is named.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Say who answers ([`super::Machine::answer_with`], [`super::Machine::refuse`]), if what is known of the call decides
    /// it.
    ChooseAgent {
        /// Say it in any case: there is no more time to learn more.
        last: bool,
    },
    /// Connect a link and send it the agent's setup.
    Dial(LinkNumber),
    /// To the gemini thread.
    Model(ModelOrder),
    /// To the telephony thread.
    Leg(LegOrder),
    /// To the dsp worker.
    Dsp(WorkerOrder),
    /// To the recorder.
    Recording(RecordingOrder),
    /// To the event socket.
    EventSocket(EventSocketOrder),
    /// To the tool threads.
    Tool(ToolOrder),
    /// Tell whoever asked what became of their command.
    Answer(Requester, CommandResult),
    /// The call is over: write its record and give its slot free.
    Finish(Outcome),
}

/// What is to be done on the model's side of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum ModelOrder {
    /// Say this to the model as text, so that it speaks.
    Prompt(LinkNumber, String),
    /// Play this to the caller, behind what the model has said.
    Play(Arc<Sound>),
    /// Drop what waits to be played, and what still comes of the model's turn, as if the caller had interrupted it.
    StopSpeech,
    /// Answer the model's call of a tool.
    AnswerTool(LinkNumber, Box<ToolCall>, ToolAnswer),
    /// Keep the caller's speech although there is a link, or send it again, what was kept first.
    HoldUplink(bool),
    /// Tell the model that the caller's stream pauses, so that it takes what it has heard as a turn.
    Commit(LinkNumber),
    /// The relay takes the turns in this call: tell the model where the caller's talkspurts begin and end.
    TakeTurns,
    /// Close a link.
    CloseLink(LinkNumber),
    /// Let go of the call.
    Retire,
}

/// What is to be done with a call's leg.
#[derive(Debug, Clone, PartialEq)]
pub enum LegOrder {
    /// Tell its switch this.
    Command(OrderNumber, Command),
    /// Close it with this code and reason.
    Close(LegClose),
    /// Close it so, and keep the call's audio: it connects to another relay, or to this one.
    SendAway(LegClose),
}

/// What is to be done with a call's audio.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkerOrder {
    /// Listen to the caller in this way from here on.
    Listen(ListenTerms),
    /// Stop serving the call and hand its memory back.
    Retire,
}

/// What is to be done with a call's recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordingOrder {
    /// Record from now on.
    Begin,
    /// Pause (true), or go on.
    Pause(bool),
}

/// A command that goes over the event socket.
#[derive(Debug, Clone, PartialEq)]
pub struct EventSocketOrder {
    /// The command's number within the call.
    pub number: OrderNumber,
    /// The call's channel.
    pub channel: ChannelName,
    /// What to do.
    pub command: Command,
    /// Until when it may be sent: later it would be carried out after it was reported as failed.
    pub send_by: Instant,
}

/// What is to be done with a tool.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolOrder {
    /// Carry it out; its result is a [`Fact::ToolDone`].
    Run(ToolNumber, Box<ToolRun>),
    /// Its result is no longer wanted.
    Cancel(ToolNumber),
}
