//! The configuration as the program reads it, and the list of all keys.
//!
//! Runs in: anywhere: pure; built once at start by [`super::load()`], then shared read-only. Owns the sections and their
//! order. Never parses a file or reads the environment.
//! Invariant: every field is within the range its key documents; `deploy/tandem.toml` and `docs/configuration.md` are made
//! from the keys, and a test keeps them equal.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::AgentConfig;
use super::credential::CredentialConfig;
use super::media::{
    DrainConfig, GeminiConfig, LegConfig, LimitsConfig, LogConfig, MediaConfig, PlaybackConfig,
    SessionConfig, ThreadsConfig, UplinkConfig,
};
use super::recording::RecordingConfig;
use super::registry::Key;
use super::routes::{DEFAULT_AGENT, RouteTable};
use super::store::{PriceConfig, StoreConfig};
use super::switch::{AdminConfig, AsteriskConfig, ControlConfig, EslConfig, ListenConfig};
use super::tool::ToolConfig;
use super::verdict::VerdictConfig;

/// Makes the configuration of its sections, in the order of the sample file.
macro_rules! configuration {
    ($($vis:vis $section:ident: $type:ident,)+) => {
        /// Every setting of the relay. [`Config::default`] is what runs without a file, environment or arguments.
        #[derive(Debug, Clone, Default)]
        pub struct Config {
            /// The keys that somebody wrote, in a file, the environment or the arguments, whatever their values.
            pub(super) written: BTreeSet<&'static str>,
            $(#[doc = concat!("Section `[", stringify!($section), "]`.")] $vis $section: $type,)+
            /// The agents beside the default agent, by their names; ask [`Config::agent_named`].
            pub agents: BTreeMap<String, AgentConfig>,
            /// Which agent answers which call.
            pub routes: RouteTable,
            /// Tools that are HTTP requests, in the order of the file.
            pub tools: Vec<ToolConfig>,
            /// API keys and projects, in the order of the file; without any there is `gemini.api_key`.
            pub credentials: Vec<CredentialConfig>,
            /// What tokens cost, in the order of the file.
            pub prices: Vec<PriceConfig>,
        }

        $(impl AsMut<$type> for Config {
            fn as_mut(&mut self) -> &mut $type {
                &mut self.$section
            }
        })+

        /// The sections in the order of the sample file, each with a line on what it is about.
        pub static SECTIONS: &[(&str, &str)] = &[$((stringify!($section), $type::ABOUT)),+];

        const KEYS_OF_SECTIONS: &[&[Key<Config>]] = &[$($type::keys()),+];
    };
}

configuration! {
    pub listen: ListenConfig,
    pub leg: LegConfig,
    pub media: MediaConfig,
    pub playback: PlaybackConfig,
    pub uplink: UplinkConfig,
    pub limits: LimitsConfig,
    pub gemini: GeminiConfig,
    pub session: SessionConfig,
    pub agent: AgentConfig,
    pub control: ControlConfig,
    pub esl: EslConfig,
    pub(crate) asterisk: AsteriskConfig,
    pub admin: AdminConfig,
    pub store: StoreConfig,
    pub verdict: VerdictConfig,
    pub recording: RecordingConfig,
    pub threads: ThreadsConfig,
    pub drain: DrainConfig,
    pub log: LogConfig,
}

/// Every key of the sections.
pub static KEYS: &[Key<Config>] = &joined::<{ joined_length() }>();

const fn joined_length() -> usize {
    let (mut length, mut section) = (0, 0);
    while section < KEYS_OF_SECTIONS.len() {
        length += KEYS_OF_SECTIONS[section].len();
        section += 1;
    }
    length
}

const fn joined<const N: usize>() -> [Key<Config>; N] {
    let mut keys = [KEYS_OF_SECTIONS[0][0]; N];
    let (mut at, mut section, mut position) = (0, 0, 0);
    while at < N {
        if position == KEYS_OF_SECTIONS[section].len() {
            (section, position) = (section + 1, 0);
        } else {
            keys[at] = KEYS_OF_SECTIONS[section][position];
            (at, position) = (at + 1, position + 1);
        }
    }
    keys
}

impl Config {
    /// Whether somebody wrote the key of this name, or its value is the default.
    pub fn is_written(&self, name: &str) -> bool {
        self.written.contains(name)
    }

    /// The agent with this name; [`DEFAULT_AGENT`] is the one of `[agent]`.
    pub fn agent_named(&self, name: &str) -> Option<&AgentConfig> {
        if name == DEFAULT_AGENT { Some(&self.agent) } else { self.agents.get(name) }
    }

    /// The names of all agents, the default agent's first.
    pub fn agent_names(&self) -> impl Iterator<Item = &str> + Clone {
        std::iter::once(DEFAULT_AGENT).chain(self.agents.keys().map(String::as_str))
    }

    /// Every secret that is configured: what must not be in a log in any form. Of a database's URL it is the password, as it is
    /// written there and as it is meant.
    pub fn secrets(&self) -> Vec<String> {
        let keys = [&self.gemini.api_key, &self.listen.token, &self.admin.token, &self.esl.password];
        let keys = keys.into_iter().chain(self.credentials.iter().map(|credential| &credential.api_key));
        let keys = keys.chain(self.tools.iter().map(|tool| &tool.header_value));
        let mut secrets: Vec<String> = keys.flatten().map(|secret| secret.expose().to_owned()).collect();
        // The header of a tool mostly has a scheme before the secret itself.
        let bare = secrets.iter().filter_map(|secret| Some(secret.split_once(' ')?.1.trim().to_owned()));
        secrets.extend(bare.collect::<Vec<_>>());
        secrets.extend(self.store.url.password());
        secrets
    }
}
