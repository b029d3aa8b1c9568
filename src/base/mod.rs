//! Floor 0: what everything else speaks in. Units, ids, limits with their derivation, and the audio frame.
//!
//! Runs in: anywhere: pure. Imports nothing of this crate.

pub(crate) mod address;
pub(crate) mod bucket;
mod built_in;
pub(crate) mod call_name;
pub mod command;
pub mod cores;
pub(crate) mod excerpt;
pub(crate) mod frame;
pub(crate) mod id;
pub(crate) mod instant;
pub(crate) mod leg_format;
pub(crate) mod leg_options;
pub(crate) mod leg_report;
pub mod limits;
pub(crate) mod model_options;
pub mod parameters;
mod problem;
pub(crate) mod sound;
pub mod tap;
pub(crate) mod turns;
pub mod units;
pub mod visible;
mod words;

pub use built_in::BuiltIn;
pub use frame::{Frame, FrameKind, FrameSink, FrameSource, Turn};
pub use id::{CallId, LinkNumber, RecordId};
pub use instant::Instant;
pub use leg_format::LegFormat;
pub use leg_options::{Mix, PlaybackFormat};
pub use leg_report::{LegReport, Unplayed};
pub use problem::Problem;
pub use sound::Sound;
pub use units::SampleRate;
pub use visible::Quoted;
pub use words::Words;
pub(crate) use words::words;
