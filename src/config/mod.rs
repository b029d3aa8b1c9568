//! Configuration: defaults < file < environment < arguments. Typed, complete, and each value knows where it came from.
//!
//! [`KEYS`] lists everything that can be set; [`load()`] reads the sources, reports all errors at once, and gives
//! [`Loaded`]: the [`Config`] the program reads, and the list of values with their origins that `--check` prints.
//!
//! Runs in: the main thread, once, at start. Owns the reading of configuration. Never logs or prints a secret, and
//! never runs after start. Invariant: a [`Config`] in hand has passed every check.

mod base_url;
mod control_keys;
mod file;
mod keys;
mod listing;
mod load;
mod model;
mod problem;
mod reference;
mod registry;
mod secret;
mod setters;
mod validate;
mod value;

pub use base_url::BaseUrl;
pub use keys::{KEYS, SECTIONS};
pub use listing::{Loaded, Setting};
pub use load::{FileChoice, Sources, load};
pub use model::{
    AdminConfig, AgentConfig, Config, ControlConfig, DrainConfig, EslConfig, GeminiConfig, LegConfig,
    LimitsConfig, ListenConfig, LogConfig, PlaybackConfig, ThreadsConfig, UplinkConfig,
};
pub use problem::{Origin, Problem, Problems};
pub use reference::{markdown_tables, sample_file};
pub use registry::{Key, Kind};
pub use secret::Secret;
