//! What an operator can ask of a model, in words that mean the same in the configuration and in the setup of a link.
//!
//! Runs in: anywhere: pure. Owns the spellings.
//! Invariant: the words stand in the order of the values.

/// How much a model thinks, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThinkingLevel {
    /// Hardly.
    Minimal,
    /// A little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
    /// Very much.
    XHigh,
}

impl ThinkingLevel {
    /// Every level, in the order of its key's choices.
    pub(crate) const ALL: [Self; 5] = [Self::Minimal, Self::Low, Self::Medium, Self::High, Self::XHigh];

    /// Its word in the configuration, which the API has in capitals.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::XHigh => "xhigh",
        }
    }
}

/// How readily the server's detection of speech changes its mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sensitivity {
    /// Readily.
    High,
    /// Less so.
    Low,
}

impl Sensitivity {
    /// Both, in the order of its key's choices.
    pub(crate) const ALL: [Self; 2] = [Self::High, Self::Low];
}

/// What belongs to the caller's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TurnCoverage {
    /// Only what was found to be speech.
    OnlyActivity,
    /// Everything since the last turn, silence included.
    AllInput,
    /// Speech, and all video.
    AudioActivityAndAllVideo,
}

impl TurnCoverage {
    /// Every coverage, in the order of its key's choices.
    pub(crate) const ALL: [Self; 3] = [Self::OnlyActivity, Self::AllInput, Self::AudioActivityAndAllVideo];
}
