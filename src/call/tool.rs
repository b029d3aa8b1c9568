//! The tools that an agent's model may call, as a call's machine and the threads that carry them out need them.
//!
//! Runs in: built in the main thread from the configuration, read in the control and tool threads: pure. Owns their
//! settings, the secret of a tool among them, which no text of it shows.
//! Invariant: where a request goes and with which secret stands here; a model's arguments choose neither host nor path.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::base::parameters::Parameters;
use crate::call::model::{Behavior, Scheduling};
pub use crate::config::Method;

/// Number of a tool's call within its telephone call, given by the machine.
pub type ToolNumber = u32;

/// The tools of an agent beside those that end or transfer the call.
#[derive(Debug, Clone, Default)]
pub struct ToolTerms {
    /// The model may send tones.
    pub send_dtmf: bool,
    /// The model may ask what is known of the call.
    pub call_info: bool,
    /// What it may have asked of other servers.
    pub http: Vec<Arc<HttpTool>>,
}

/// A tool that another server carries out.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpTool {
    /// What the model calls it.
    pub name: String,
    /// What the model is told that it does.
    pub description: String,
    /// Where it is: `https://`, or `http://` to an address that is near, both checked.
    pub url: String,
    /// How it is asked.
    pub method: Method,
    /// What arguments it takes.
    pub parameters: Parameters,
    /// Until its answer is complete, repetitions included.
    pub timeout: Duration,
    /// How often a request is repeated that found no connection or a fault of the server (status 5xx).
    pub retries: u32,
    /// A header that is sent with each request. Its value is marked as sensitive.
    pub secret: Option<(HeaderName, HeaderValue)>,
    /// Whether the model waits for the answer; its own default if `None`.
    pub behavior: Option<Behavior>,
    /// What the model does with the answer, where it did not wait for it; its own default if `None`.
    pub scheduling: Option<Scheduling>,
    /// The caller's audio is kept back from the model until the answer is there.
    pub hold_uplink: bool,
}

/// What a tool is told of the call that it is called in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCaller {
    /// The switch's name of the call.
    pub uuid: Option<String>,
    /// Who calls.
    pub caller: Option<String>,
    /// Which number was called.
    pub did: Option<String>,
    /// Which agent answers.
    pub agent: String,
}

/// A tool to be carried out.
#[derive(Debug, Clone, PartialEq)]
pub enum ToolRun {
    /// Say what is known of the call. What the machine knows of it is here; the local time is added.
    CallInfo(Map<String, Value>),
    /// Ask another server.
    Http {
        /// Which.
        tool: Arc<HttpTool>,
        /// With these arguments, which were held against its parameters.
        arguments: Map<String, Value>,
        /// In whose call.
        caller: ToolCaller,
    },
}

/// Why a tool was not carried out, or is not known to have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolFailure {
    /// There was no answer in time.
    TimedOut,
    /// What went wrong, for the model.
    Failed(String),
    /// Why nobody was asked, for the model: for certain nothing was done.
    NotAsked(String),
}

impl std::fmt::Display for ToolFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TimedOut => write!(f, "there was no answer in time"),
            Self::Failed(why) | Self::NotAsked(why) => write!(f, "{why}"),
        }
    }
}

/// What became of a tool.
pub type ToolResult = Result<Value, ToolFailure>;
