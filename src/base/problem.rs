//! What can have gone wrong in a call that has ended, by one word each.
//!
//! Runs in: anywhere: pure. Owns the words, which stand in records, in the API, in `tandem_call_problems_total` and on the
//! page. Invariant: a word keeps its meaning, because records of years have it.

use super::words;

words! {
    /// Something that was wrong with a call.
    pub enum Problem {
        /// The call was refused at the door.
        Refused = "refused",
        /// The caller spoke and was not answered.
        Silence = "silence",
        /// The caller waited long for an answer.
        SlowAnswer = "slow_answer",
        /// The agent's speech had holes.
        Gaps = "gaps",
        /// The model did not answer by itself, and did when the relay asked again.
        Healed = "healed",
        /// The connection to the model was lost for a while, or the conversation had to be begun anew.
        Resumed = "resumed",
        /// The model or the way to it ended the call.
        ModelFault = "model_fault",
        /// The call ended otherwise than by a hang-up, an order or a limit.
        AbnormalEnd = "abnormal_end",
        /// A tool failed or had no result in time.
        ToolFailed = "tool_failed",
        /// It cost more than the limit.
        Cost = "cost",
    }
}

impl Problem {
    /// As a supervisor says it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Silence => "caller not answered",
            Self::SlowAnswer => "slow answer",
            Self::Gaps => "gaps in the agent's voice",
            Self::Healed => "agent stuck, then recovered",
            Self::Resumed => "connection to the model lost",
            Self::ModelFault => "ended by a fault of the model",
            Self::AbnormalEnd => "ended abnormally",
            Self::ToolFailed => "tool failed",
            Self::Cost => "cost above the limit",
        }
    }
}
