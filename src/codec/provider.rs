//! Who provides a model, and what all but the thread of its links need of how it speaks.
//!
//! Runs in: anywhere: pure. Owns nothing. A second provider is another arm here, a folder beside `gemini/`, and a thread
//! that drives its links (docs/architecture.md, "Another provider of models").
//! Invariant: nobody above the codecs but `threads/gemini` names a provider's own messages.

use super::gemini;
use crate::base::parameters::Parameters;
use crate::call::model::{Behavior, LinkEnd, Scheduling, SetupRequest, Unfit};

/// A provider of models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Provider {
    /// Google's Gemini Live API.
    #[default]
    Gemini,
}

impl Provider {
    /// The first message of a link.
    pub fn setup(self, request: &SetupRequest) -> String {
        match self {
            Self::Gemini => gemini::setup::message(request),
        }
    }

    /// Whether this message says that the setup was accepted.
    pub(crate) fn accepts(self, message: &[u8]) -> bool {
        match self {
            Self::Gemini => {
                gemini::server::decode(message, |_, _| {}).is_ok_and(|message| message.setup_complete)
            }
        }
    }

    /// Why a link ended by a close frame; `code` is `None` for a frame without one.
    pub fn end_of_close(self, code: Option<u16>, reason: &[u8]) -> LinkEnd {
        match self {
            Self::Gemini => gemini::close::end_of_close(code, reason),
        }
    }

    /// Why a link ended before it began: the upgrade was answered by something else than 101.
    pub fn end_of_status(self, status: u16, body: &[u8]) -> LinkEnd {
        match self {
            Self::Gemini => gemini::close::end_of_status(status, body),
        }
    }

    /// Leaves out of a setup what its model would refuse, and tells what that is, and what it lacks.
    pub(crate) fn fit(self, setup: &mut SetupRequest) -> Vec<Unfit> {
        match self {
            Self::Gemini => gemini::models::fit(setup),
        }
    }

    /// The same for what a tool of this name and with these parameters says of itself.
    pub(crate) fn fit_tool(
        self,
        model: &str,
        tool: (&str, &Parameters),
        behavior: &mut Option<Behavior>,
        scheduling: &mut Option<Scheduling>,
    ) -> Vec<Unfit> {
        match self {
            Self::Gemini => gemini::models::fit_tool(model, tool, behavior, scheduling),
        }
    }
}
