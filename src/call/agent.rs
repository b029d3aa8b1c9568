//! Who answers a call: one agent as a call's machine needs it.
//!
//! Runs in: built in the main thread from the configuration, read in the control thread: pure. Owns an agent's settings.
//! Never changes while a call holds it: what is configured anew is another agent.
//! Invariant: everything that the machine decides by configuration stands here.

use std::sync::Arc;
use std::time::Duration;

use crate::base::Sound;
use crate::base::command::Destination;
use crate::call::machine::ControlTerms;
use crate::call::tool::ToolTerms;
use crate::codec::gemini::setup::SetupRequest;
use crate::dsp::ListenTerms;

/// An agent, shared by the calls that it answers.
#[derive(Debug, Clone)]
pub struct Agent {
    /// Its name in the configuration; `default` is that of section `[agent]`.
    pub name: String,
    /// Limits and behaviour.
    pub terms: CallTerms,
    /// The setup message of its links, without what differs from call to call.
    pub setup: SetupRequest,
}

impl From<CallTerms> for Agent {
    /// An agent without a name and a setup, for tests of machines.
    fn from(terms: CallTerms) -> Self {
        Self { name: String::new(), terms, setup: SetupRequest::default() }
    }
}

/// The time limits of a call, and what the model is told first.
#[derive(Debug, Clone)]
pub struct CallTerms {
    /// From the order to dial until the link is connected.
    pub dial_timeout: Duration,
    /// From the connected link until the setup is accepted.
    pub setup_timeout: Duration,
    /// The longest call.
    pub max_call: Duration,
    /// From the loss of a link until the call is given up, if no other one has come about by then.
    pub give_up: Duration,
    /// Text with which the model is asked to speak first.
    pub greeting: Option<String>,
    /// What the caller hears at once, while the model gets ready.
    pub greeting_sound: Option<Arc<Sound>>,
    /// What the caller hears when the call is given up.
    pub fallback_sound: Option<Arc<Sound>>,
    /// Where the caller is transferred to then, instead of being hung up on.
    pub fallback_transfer: Option<Destination>,
    /// Whose turn it is to speak.
    pub turns: TurnTerms,
    /// Call control.
    pub control: ControlTerms,
    /// The model's tools but those that end or transfer the call.
    pub tools: ToolTerms,
}

/// The limits that an unconfigured relay has; nothing else.
impl Default for CallTerms {
    fn default() -> Self {
        Self {
            dial_timeout: Duration::from_secs(3),
            setup_timeout: Duration::from_secs(10),
            max_call: Duration::from_secs(3600),
            give_up: Duration::from_secs(20),
            greeting: None,
            greeting_sound: None,
            fallback_sound: None,
            fallback_transfer: None,
            turns: TurnTerms::default(),
            control: ControlTerms::default(),
            tools: ToolTerms::default(),
        }
    }
}

/// How turns are taken, and what is done where one goes wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnTerms {
    /// How the caller is listened to.
    pub listen: ListenTerms,
    /// The relay tells the model where the caller's talkspurts begin and end, and the model does not listen for them.
    pub relay: bool,
    /// The caller's speech is kept back until they have heard the greeting, for so long at most; `None`: it is not.
    pub protect_greeting: Option<Duration>,
    /// How long the caller waits for an answer before something is done about it; `None`: nothing is.
    pub answer_within: Option<Duration>,
}

/// What the setup message of a link depends on in the credential with which the link was connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialView<'a> {
    /// Which one: a session's handle is good for the credential only that it came from.
    pub number: usize,
    /// What stands before the model's name, `projects/P/locations/L/publishers/google/models/` on Vertex AI; `models/` if
    /// `None`.
    pub model_prefix: Option<&'a str>,
    /// Vertex AI, not the Developer API: some fields and defaults differ.
    pub vertex: bool,
}
