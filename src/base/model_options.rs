//! What an operator can ask of a model, in words that mean the same in the configuration and in the setup of a link.
//!
//! Runs in: anywhere: pure. Owns the spellings.
//! Invariant: a word stands beside what it means.

use super::words;

words! {
    /// How much a model thinks, in words, which the API has in capitals.
    pub(crate) enum ThinkingLevel {
        /// Hardly.
        Minimal = "minimal",
        /// A little.
        Low = "low",
        /// Some.
        Medium = "medium",
        /// Much.
        High = "high",
        /// Very much.
        XHigh = "xhigh",
    }
}

words! {
    /// How readily the server's detection of speech changes its mind.
    pub(crate) enum Sensitivity {
        /// Readily.
        High = "high",
        /// Less so.
        Low = "low",
    }
}

words! {
    /// What belongs to the caller's turn.
    pub(crate) enum TurnCoverage {
        /// Only what was found to be speech.
        OnlyActivity = "only_activity",
        /// Everything since the last turn, silence included.
        AllInput = "all_input",
        /// Speech, and all video.
        AudioActivityAndAllVideo = "activity_and_video",
    }
}

words! {
    /// Whether the model waits for the answer of a tool.
    pub enum Behavior {
        /// It says nothing until then.
        Blocking = "blocking",
        /// It goes on with the conversation.
        NonBlocking = "non_blocking",
    }
}

words! {
    /// What the model does with an answer that it did not wait for.
    pub enum Scheduling {
        /// Speaks of it once it has finished what it is saying.
        WhenIdle = "when_idle",
        /// Speaks of it at once.
        Interrupt = "interrupt",
        /// Keeps it for later.
        Silent = "silent",
    }
}
