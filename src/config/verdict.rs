//! From where on a call counts as one with a problem, `[verdict]`.
//!
//! Runs in: anywhere: pure. Owns its settings. Never judges a call. Invariant: as in [`super::settings`].

use std::time::Duration;

use super::settings::settings;

settings! {
    /// From where on a call counts as one with a problem (docs/records.md). What went wrong whatever the limits (a failed tool, a
    /// lost line, a silent model) needs none.
    pub struct VerdictConfig in "verdict" {
        /// The longest wait for an answer that is still good.
        pub slow_answer "slow_answer_ms": Duration = 3000, integer(100, 60_000);
        /// Silence within the agent's speech, all of a call together, that is still good.
        pub gap "gap_ms": Duration = 200, integer(0, 60_000);
        /// The longest time without a connection to the model that is still good.
        pub link_gap "link_gap_ms": Duration = 2000, integer(0, 60_000);
        /// The most that a call may cost, in the currency of its price. When not set, a call may cost anything.
        pub cost: Option<f64>, number(0.0, 1_000_000.0), like 0.5;
    }
}
