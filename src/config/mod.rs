//! Configuration: defaults < file < environment < arguments. Typed, complete, and each value knows where it came from.
//!
//! [`KEYS`] lists everything that can be set; [`load()`] reads the sources, reports all errors at once, and gives
//! [`Loaded`]: the [`Config`] the program reads, and the list of values with their origins that `--check` prints.
//!
//! Runs in: the main thread, once, at start. Owns the reading of configuration. Never logs or prints a secret, and
//! never runs after start. Invariant: a [`Config`] in hand has passed every check.

mod agent;
mod base_url;
mod credential;
mod file;
mod installed;
mod listing;
mod load;
mod media;
mod model;
mod problem;
mod recording;
mod reference;
mod registry;
pub mod routes;
mod secret;
mod setters;
mod settings;
mod store;
mod switch;
mod tables;
pub(crate) mod template;
mod tool;
mod validate;
mod value;
mod variables;
mod verdict;

pub use agent::{AgentConfig, CallVariable, Fallback};
pub use base_url::{BaseUrl, is_near, is_near_address};
pub use credential::{CredentialConfig, CredentialKind};
pub use installed::Installation;
pub use listing::{Loaded, Setting};
pub use load::{FileChoice, Sources, load};
pub use media::{
    DrainConfig, GeminiConfig, LegConfig, LimitsConfig, LogConfig, LogFormat, MediaConfig, PlaybackConfig,
    Profile, SessionConfig, ThreadsConfig, UplinkConfig,
};
pub use model::{Config, KEYS, SECTIONS};
pub use problem::{Origin, Problem, Problems, nearest};
pub use recording::{RecordingConfig, RecordingFormat};
pub use reference::{markdown_tables, sample_file};
pub use registry::{Key, Kind};
pub use routes::{DEFAULT_AGENT, RouteConfig, RouteTable};
pub use secret::Secret;
pub use store::{PriceConfig, StoreConfig, StoreUrl};
pub use switch::{AdminConfig, ControlConfig, EslConfig, ListenConfig};
pub use tables::Table;
pub use tool::{Method, ToolConfig};
pub use verdict::VerdictConfig;
