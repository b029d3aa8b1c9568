//! The messages between threads: what each mailbox takes.
//!
//! Runs in: anywhere. Owns what is being handed over: sockets and ring ends move with their message.
//! Invariant: a call's `Add` reaches each thread before any other message about that call.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc::Sender;

use crate::admission::{LegCredentials, Opening};
use crate::base::{CallId, Instant, LinkNumber, RecordId};
use crate::call::events::ConnectionNumber;
use crate::call::leg::CallFields;
use crate::call::model::SetupRequest;
use crate::call::record::RecordingFile;
use crate::call::{
    Ask, CommandError, CommandResult, EventSocketOrder, Fact, LegKind, LegNote, LegOrder, ModelOrder,
    OutboundCall, Part,
};
use crate::codec::channel_word::ChannelWord;
use crate::codec::esl::Outbound;
use crate::net::dial::Target;
use crate::net::greeting::Greeted;
use crate::net::websocket::Connection;
use crate::sync::CallShared;
use crate::sync::rings::{GeminiRings, TelephonyRings};
use crate::telemetry::RefusalReason;
use crate::threads::control::live::{LiveReply, SaidReply};
use crate::threads::places::Place;
use crate::threads::recorder::ListenReply;
use crate::threads::telephony::connection::LegConnection;
use crate::threads::tls::HandshakeId;

/// A leg whose handshake is complete.
pub struct NewLeg {
    /// Which call.
    pub id: CallId,
    /// Its numbers.
    pub shared: Arc<CallShared>,
    /// Its rings.
    pub rings: TelephonyRings,
    /// Its connection, not yet registered with a poll; none in simulations.
    pub connection: Option<LegConnection>,
    /// What URL and headers said, or was announced.
    pub fields: CallFields,
    /// What is on the line.
    pub kind: LegKind,
}

/// A leg that came back to its call.
pub struct ReturnedLeg {
    /// Which call.
    pub id: CallId,
    /// Which connection of its leg this is.
    pub number: ConnectionNumber,
    /// Where the switch is.
    pub peer: SocketAddr,
    /// The connection, not yet registered with a poll; none in simulations.
    pub connection: Option<LegConnection>,
    /// What URL and headers said this time.
    pub fields: CallFields,
    /// What is on the line.
    pub kind: LegKind,
}

/// What the telephony thread is told.
pub enum TelephonyOrder {
    /// Serve this leg.
    Add(Box<NewLeg>),
    /// Serve this call's leg, whose audio is here, on another connection.
    TakeBack(Box<ReturnedLeg>),
    /// Ask its switch for a sign of life.
    Ping(CallId),
    /// Let go of the first call's leg and send its connection to control: it is the second call's.
    Move(CallId, CallId),
    /// Send this word over the leg, so that the switch says it on the leg's channel.
    Challenge(CallId, ChannelWord),
    /// Do what this call's machine orders.
    Call(CallId, LegOrder),
    /// End the thread.
    Stop,
}

impl TelephonyOrder {
    /// The call whose leg it is about.
    pub(super) fn call(&self) -> Option<CallId> {
        match self {
            Self::Add(new) => Some(new.id),
            Self::TakeBack(returned) => Some(returned.id),
            Self::Ping(id) | Self::Move(id, _) | Self::Challenge(id, _) | Self::Call(id, _) => Some(*id),
            Self::Stop => None,
        }
    }
}

/// The model side of a new call.
pub struct NewModelSide {
    /// Which call.
    pub id: CallId,
    /// Its numbers.
    pub shared: Arc<CallShared>,
    /// Its rings.
    pub rings: GeminiRings,
}

/// What the gemini thread is told.
pub enum GeminiOrder {
    /// Serve this call's model side; it has no link yet.
    Add(Box<NewModelSide>),
    /// A link is ready: send the setup on it.
    Connected {
        /// Which call.
        id: CallId,
        /// Which link of its session.
        link: LinkNumber,
        /// The upgraded connection.
        connection: Box<Connection>,
        /// The setup message.
        setup: String,
    },
    /// Do what this call's machine orders.
    Call(CallId, ModelOrder),
    /// End the thread.
    Stop,
}

/// A connection to be made.
pub enum DialRequest {
    /// To the model.
    Link(LinkRequest),
    /// To the model, ahead of a call.
    Warm(WarmRequest),
    /// To a switch.
    Leg(Box<LegRequest>),
}

/// A leg to be connected, of a call that was admitted and that no other thread knows of yet.
pub struct LegRequest {
    /// Which call.
    pub id: CallId,
    /// What was asked for said of it.
    pub fields: CallFields,
    /// Where.
    pub(crate) target: Target,
    /// Until when.
    pub deadline: Instant,
}

/// A leg that was connected to.
pub struct DialledLeg {
    /// Which call.
    pub id: CallId,
    /// What was asked for said of it.
    pub fields: CallFields,
    /// Where its switch is.
    pub peer: SocketAddr,
    /// The upgraded connection.
    pub connection: Connection,
}

/// How the relay is drained: what becomes of the calls that run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// They are ended then.
    pub by: Instant,
    /// Legs that connect again by themselves are closed at a pause, so that another relay takes their calls.
    pub moves: bool,
}

/// What the accept thread is told.
pub(crate) enum AcceptOrder {
    /// Hand this call over as one that came to the door.
    Dialled(Box<DialledLeg>),
    /// A step of this TLS handshake was done.
    Greeted(HandshakeId, Box<Greeted>),
    /// No new calls: have control let those that there are finish. `None`: take new ones again.
    Drain(Option<Drain>),
    /// Stop listening and end the thread: the last call is over.
    Stop,
}

/// A link to be connected ahead of its call, in the place that was reserved for it.
pub struct WarmRequest {
    /// With which credential.
    pub credential: usize,
    /// Where.
    pub(crate) target: Arc<Target>,
    /// Until when.
    pub deadline: Instant,
}

/// A link to be connected.
pub struct LinkRequest {
    /// For which call.
    pub id: CallId,
    /// Which link of its session.
    pub link: LinkNumber,
    /// With which credential.
    pub credential: usize,
    /// Where.
    pub(crate) target: Arc<Target>,
    /// What it is asked for.
    pub setup: Box<SetupRequest>,
    /// Until when.
    pub deadline: Instant,
    /// The shard whose gemini thread gets it.
    pub shard: usize,
}

/// A call that was admitted.
pub struct Offer {
    /// Which call.
    pub id: CallId,
    /// Its numbers.
    pub shared: Arc<CallShared>,
    /// What URL and headers said.
    pub fields: CallFields,
    /// Its UUID was announced, or is that of an outbound call of ours.
    pub told: bool,
    /// Where the switch is.
    pub peer: SocketAddr,
    /// What its leg showed at the door.
    pub credentials: LegCredentials,
    /// How its leg was opened.
    pub opening: Opening,
    /// The shard and the dsp worker that serve it.
    pub place: Place,
    /// Its leg. Control hands it on to telephony: sent by accept beside the offer it could come behind control's order to
    /// close it, and before it, its end could come to control ahead of the offer. Either would leave a call for ever.
    pub leg: Box<NewLeg>,
}

/// What the esl thread is told.
pub enum EslOrder {
    /// Carry out a command.
    Command {
        /// For which call.
        id: CallId,
        /// Which.
        order: EventSocketOrder,
        /// The word that the switch has to say on this channel before: it is not known to be the call's.
        word: Option<ChannelWord>,
    },
    /// Place a call, and say there whether the switch has begun with it, and then whether it was answered.
    Place(Outbound, Sender<CommandResult>),
    /// End the thread.
    Stop,
}

/// What the event socket says of a channel, which may or may not be one of our calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnChannel {
    /// A key was pressed.
    Key(char),
    /// An answering machine's tone was heard.
    AnsweringMachine,
    /// It was hung up, with this cause.
    HungUp(String),
    /// An outbound call was answered.
    Answered,
    /// An outbound call was not connected, or nobody knows.
    NotAnswered(CommandError),
    /// A word that was sent over a leg came out of it.
    Said(ChannelWord),
}

/// What became of a request to the API: `None` if there is no such call.
pub type CommandReply = Option<CommandResult>;

/// A call that was refused before it was one.
pub struct RefusedCall {
    /// What was known of it.
    pub fields: CallFields,
    /// Where the switch is.
    pub peer: SocketAddr,
    /// What was on the line.
    pub kind: LegKind,
    /// Why, in a word.
    pub reason: RefusalReason,
    /// Why, as the switch was told.
    pub why: String,
}

/// What the control thread is told.
pub enum ControlInput {
    /// A new call.
    Offered(Box<Offer>),
    /// A call was refused at the door.
    Refused(Box<RefusedCall>),
    /// The leg of a running call is back. Its connection's number is control's to give.
    Returned(Box<ReturnedLeg>),
    /// A second leg of a call has arrived: does the first one live?
    Challenged(CallId),
    /// A fact about a call.
    Fact(CallId, Fact),
    /// The switch has begun with an outbound call, and will have said by then what became of it.
    Outbound(Box<OutboundCall>, Instant),
    /// Something that an operator should know of a call's leg.
    Noted(CallId, Box<LegNote>),
    /// The event socket says something of a channel, by its UUID.
    OnChannel(String, OnChannel),
    /// Somebody asks something of the call with this record id or UUID, and waits for the reply.
    Asked(String, Ask, Sender<CommandReply>),
    /// Somebody wants to listen in on the call with this record id or UUID.
    Listen(String, ListenReply),
    /// Nobody listens in on this call any more, of as many as have asked to.
    Unheard(CallId, u64),
    /// This call's recording cannot be written (any further), and why; the call may be over.
    RecordingFailed(CallId, String),
    /// The file of this call's recording is closed, or given up; the call may be over.
    Recorded(CallId, Option<RecordingFile>),
    /// Somebody looks at the running calls.
    Live(LiveReply),
    /// Somebody reads what is said in this running call.
    Said(RecordId, SaidReply),
    /// A thread has let go of a call.
    Retired(CallId, Part),
    /// Let calls finish, end those that do not in time, and end the thread. `None`: go on as before.
    Drain(Option<Drain>),
    /// Log what was counted so far.
    LogCounters,
}
