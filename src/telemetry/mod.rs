//! What the relay says about itself: counters and histograms with every metric's name, and the log.
//!
//! Runs in: anywhere. Owns the names of metrics, the format of a log line and what is cut out of it. Never decides when
//! to log; the hot path touches [`Counter`] and [`Histogram`] only. Invariant: nothing here that a media thread calls
//! allocates, locks or formats.

pub(crate) mod counters;
pub(crate) mod exposition;
pub(crate) mod histogram;
pub(crate) mod limiter;
pub mod log;
pub(crate) mod redact;
pub(crate) mod refusal;

pub use counters::{Counter, Counters, Gauge, MetricKind, Sample};
pub use histogram::{Histogram, HistogramSnapshot, LabelledHistograms};
pub use limiter::Limiter;
pub use redact::{conceal, conceal_fetched, redact};
pub use refusal::RefusalReason;
pub(crate) use refusal::Refused;
