//! Configuration: defaults < file < environment < arguments. Typed, complete, and each value knows where it came from.
//!
//! [`KEYS`] lists everything that can be set; [`load()`] reads the sources, reports all errors at once, and gives
//! [`Loaded`]: the [`Config`] the program reads, and the list of values with their origins that `--check` prints.
//!
//! Runs in: the main thread, once, at start. Owns the reading of configuration. Never logs or prints a secret, and
//! never runs after start. Invariant: a [`Config`] in hand has passed every check.

mod agent;
mod agent_keys;
mod base_url;
mod control_keys;
mod credential_keys;
mod file;
mod keys;
mod listing;
mod load;
mod model;
mod problem;
mod recording_keys;
mod reference;
mod registry;
mod route_keys;
pub mod routes;
mod secret;
mod setters;
mod store_keys;
mod tables;
pub(crate) mod template;
mod tool_keys;
mod validate;
mod value;

pub use agent::{AgentConfig, CallVariable, Fallback};
pub use base_url::{BaseUrl, is_near, is_near_address};
pub use credential_keys::{CREDENTIAL_KEYS, CredentialConfig, CredentialKind};
pub use keys::{AGENT_KEYS, KEYS, SECTIONS};
pub use listing::{Loaded, Setting};
pub use load::{FileChoice, Sources, load};
pub use model::{
    AdminConfig, Config, ControlConfig, DrainConfig, EslConfig, GeminiConfig, LegConfig, LimitsConfig,
    ListenConfig, LogConfig, MediaConfig, PlaybackConfig, Profile, SessionConfig, ThreadsConfig,
    UplinkConfig,
};
pub use problem::{Origin, Problem, Problems, nearest};
pub use recording_keys::{RecordingConfig, RecordingFormat};
pub use reference::{markdown_tables, sample_file};
pub use registry::{Key, Kind};
pub use route_keys::ROUTE_KEYS;
pub use routes::{DEFAULT_AGENT, RouteConfig, RouteTable};
pub use secret::Secret;
pub use store_keys::{PRICE_KEYS, PriceConfig, StoreConfig, StoreUrl};
pub use tables::Table;
pub use tool_keys::{TOOL_KEYS, ToolBehavior, ToolConfig, ToolMethod, ToolScheduling};
