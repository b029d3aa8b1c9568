//! The configuration as the program reads it: plain typed structures with public fields, one for each section.
//!
//! Runs in: anywhere: pure; built once at start by [`super::load()`], then shared read-only. Owns the settings. Never
//! parses a file or reads the environment: `keys.rs` says which key fills which field.
//! Invariant: every field is within the range its key documents.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use log::LevelFilter;

use super::agent::AgentConfig;
use super::base_url::BaseUrl;
use super::credential_keys::CredentialConfig;
use super::recording_keys::RecordingConfig;
use super::routes::{DEFAULT_AGENT, RouteTable};
use super::secret::Secret;
use super::store_keys::{PriceConfig, StoreConfig, StoreUrl};
use super::tool_keys::ToolConfig;
use crate::base::command::{Context, VariableName};
use crate::base::{Mix, PlaybackFormat, SampleRate};

/// Every setting of the relay. [`Config::default`] is what runs without a file, environment or arguments.
#[derive(Debug, Clone)]
pub struct Config {
    /// The keys that somebody wrote, in a file, the environment or the arguments, whatever their values.
    pub(super) written: BTreeSet<&'static str>,
    /// The door for the telephone switch.
    pub listen: ListenConfig,
    /// What a leg is when neither its URL, nor headers, nor metadata say otherwise.
    pub leg: LegConfig,
    /// What the way of the audio is made for.
    pub media: MediaConfig,
    /// The way to the caller's ear.
    pub playback: PlaybackConfig,
    /// The way from the caller to the model.
    pub uplink: UplinkConfig,
    /// How much speech is kept in memory.
    pub limits: LimitsConfig,
    /// The connection to Gemini.
    pub gemini: GeminiConfig,
    /// The conversation, which outlives its connections.
    pub session: SessionConfig,
    /// Who answers the telephone: the default agent.
    pub agent: AgentConfig,
    /// The other agents by their names; ask [`Config::agent_named`].
    pub agents: BTreeMap<String, AgentConfig>,
    /// Tools that are HTTP requests, in the order of the file.
    pub tools: Vec<ToolConfig>,
    /// API keys and projects, in the order of the file; without any there is `gemini.api_key`.
    pub credentials: Vec<CredentialConfig>,
    /// Which agent answers which call.
    pub routes: RouteTable,
    /// What may be asked of the switch.
    pub control: ControlConfig,
    /// FreeSWITCH's event socket.
    pub esl: EslConfig,
    /// Asterisk, where the relay connects to it.
    pub(crate) asterisk: AsteriskConfig,
    /// The admin server.
    pub admin: AdminConfig,
    /// Where records are kept.
    pub store: StoreConfig,
    /// Recordings of calls.
    pub recording: RecordingConfig,
    /// What tokens cost, in the order of the file.
    pub prices: Vec<PriceConfig>,
    /// How many threads do the work.
    pub threads: ThreadsConfig,
    /// How the process ends.
    pub drain: DrainConfig,
    /// What is logged.
    pub log: LogConfig,
}

/// Section `[listen]`.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    /// Address to listen on.
    pub host: IpAddr,
    /// TCP port; 0 takes any free one.
    pub port: u16,
    /// Another TCP port, if AudioSocket is to have its own.
    pub audiosocket_port: Option<u16>,
    /// Networks that may connect; ask [`ListenConfig::allows`].
    pub allow: Vec<IpNet>,
    /// What a switch must present, if anything.
    pub token: Option<Secret>,
    /// Whether an AudioSocket has to be announced.
    pub require_expected: bool,
    /// How long an announcement waits for its call.
    pub expect: Duration,
    /// PEM file with the certificate chain; set if and only if `tls_key` is.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub tls_key: Option<PathBuf>,
    /// Whether what speaks no TLS is refused.
    pub tls_required: bool,
    /// From accepting the socket to answering 101.
    pub handshake_timeout: Duration,
    /// Connections that have not finished their handshake, at one time.
    pub max_handshakes: usize,
    /// Calls at one time.
    pub max_calls: usize,
    /// New calls a second from one address, sustained.
    pub max_calls_per_second_per_address: u32,
    /// New calls at once from one address after a quiet time.
    pub max_calls_burst_per_address: u32,
}

impl ListenConfig {
    /// Whether `peer` is in one of the allowed networks. An IPv4 address that arrives as IPv6 (`::ffff:a.b.c.d`, as on
    /// a dual-stack listener) is judged as IPv4.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.allow.iter().any(|network| network.contains(&peer))
    }

    /// Whether TLS is offered beside plain WebSocket.
    pub fn has_tls(&self) -> bool {
        self.tls_certificate.is_some() && self.tls_key.is_some()
    }
}

impl Config {
    /// Whether somebody wrote the key of this name, or its value is the default.
    pub fn is_written(&self, name: &str) -> bool {
        self.written.contains(name)
    }
}

/// Section `[leg]`.
#[derive(Debug, Clone)]
pub struct LegConfig {
    /// Sample rate of the leg, both ways.
    pub rate: SampleRate,
    /// What the switch sends.
    pub mix: Mix,
    /// How speech is handed to the switch.
    pub playback: PlaybackFormat,
    /// A leg that has been silent for this long is pinged, and ended when it stays silent as long again.
    pub silent_after: Duration,
    /// The longest call.
    pub max_call: Duration,
    /// How long a call waits for its number, where that decides who answers.
    pub metadata_wait: Duration,
    /// How long a call waits for a leg that was lost without a goodbye.
    pub detached: Duration,
}

/// Section `[media]`.
#[derive(Debug, Clone)]
pub struct MediaConfig {
    /// What it is made for.
    pub profile: Profile,
}

/// What the way of the audio is made for, where its keys do not say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As little delay as can be.
    Latency,
    /// As many calls as can be.
    Density,
}

impl Profile {
    /// All of them, in the order of [`Self::WORDS`].
    pub const ALL: [Self; 2] = [Self::Latency, Self::Density];
    /// What they are called in the configuration.
    pub const WORDS: [&str; 2] = ["latency", "density"];

    /// The keys whose defaults it changes, with the values that they have instead.
    pub(super) const fn defaults(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Latency => &[],
            Self::Density => &[("playback.chunk_ms", 40), ("uplink.chunk_ms", 40)],
        }
    }
}

/// Section `[playback]`.
#[derive(Debug, Clone)]
pub struct PlaybackConfig {
    /// Audio handed to the switch ahead of real time, in milliseconds.
    pub lead_ms: u32,
    /// Audio in one message to the switch, in milliseconds.
    pub chunk_ms: u32,
    /// The lead of file playback, in milliseconds.
    pub file_lead_ms: u32,
    /// Audio in one file, in milliseconds.
    pub file_chunk_ms: u32,
    /// The lead of chan_websocket, in milliseconds.
    pub chan_websocket_lead_ms: u32,
}

/// Section `[uplink]`.
#[derive(Debug, Clone)]
pub struct UplinkConfig {
    /// Audio in one message to the model, in milliseconds.
    pub chunk_ms: u32,
    /// Silence filled in for this long ends with `audioStreamEnd`; `None` never sends it.
    pub stream_end_after: Option<Duration>,
}

/// Section `[limits]`.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// The model's speech that waits for one call, at 24 kHz.
    pub model_speech: Duration,
    /// The caller's speech kept for one call while there is no link, at 16 kHz.
    pub kept_speech: Duration,
    /// Bytes of waiting speech, both ways, of all calls of one shard.
    pub shard_speech_bytes: usize,
}

/// Section `[gemini]`.
#[derive(Debug, Clone)]
pub struct GeminiConfig {
    /// Where the Live API is.
    pub base_url: BaseUrl,
    /// The version in the path, `v1beta`.
    pub api_version: String,
    /// Sent in the header `x-goog-api-key`. `None` is good for a simulator only.
    pub api_key: Option<Secret>,
    /// DNS, TCP, TLS and upgrade together.
    pub connect_timeout: Duration,
    /// From sending `setup` to `setupComplete`.
    pub setup_timeout: Duration,
    /// PEM file with roots trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Links of each credential that are connected ahead of their calls.
    pub warm_links: usize,
    /// How long a credential that fails is left alone at first.
    pub credential_backoff: Duration,
}

/// The default agent, so that the keys of an agent fill it.
impl AsMut<AgentConfig> for Config {
    fn as_mut(&mut self) -> &mut AgentConfig {
        &mut self.agent
    }
}

/// Section `[control]`.
#[derive(Debug, Clone)]
pub struct ControlConfig {
    /// Channel variables that may be set beside our own.
    pub variables: Vec<VariableName>,
    /// Contexts into which the API may transfer a call over the event socket.
    pub transfer_contexts: Vec<Context>,
}

/// Section `[esl]`.
#[derive(Debug, Clone)]
pub struct EslConfig {
    /// Where the event socket is; `None` switches the client off.
    pub host: Option<String>,
    /// Its TCP port.
    pub port: u16,
    /// Its password; FreeSWITCH's default if `None`.
    pub password: Option<Secret>,
    /// How outbound calls are dialled, with `{to}` once; `None` switches them off.
    pub dial_string: Option<String>,
    /// The application that an answered outbound call runs, `name(arguments)`.
    pub answered_application: String,
    /// How long an outbound call may ring.
    pub answer_timeout: Duration,
}

/// Section `[asterisk]`.
#[derive(Debug, Clone)]
pub(crate) struct AsteriskConfig {
    /// Where its chan_websocket waits for connections, without the connection's id; `None` switches that off.
    pub media_url: Option<BaseUrl>,
}

/// Section `[admin]`.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where to listen; `None` switches the server off.
    pub listen: Option<SocketAddr>,
    /// What a request must present, if anything; of `token_file` where only that is set.
    pub token: Option<Secret>,
    /// The file that holds the token.
    pub token_file: Option<PathBuf>,
    /// PEM file with the certificate chain; set if and only if `tls_key` is.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the private key.
    pub tls_key: Option<PathBuf>,
}

/// Section `[threads]`.
#[derive(Debug, Clone)]
pub struct ThreadsConfig {
    /// DSP workers of one shard; 0 chooses by the number of cores.
    pub dsp: usize,
    /// Shards, each with its own telephony, gemini and dsp threads.
    pub shards: usize,
    /// HTTP tools that are carried out at one time.
    pub tools: usize,
}

/// Section `[session]`.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// How long another connection is tried for after one was lost.
    pub give_up: Duration,
}

/// Section `[drain]`.
#[derive(Debug, Clone)]
pub struct DrainConfig {
    /// How long running calls may go on after SIGTERM.
    pub timeout: Duration,
}

/// Section `[log]`.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// The least severe level that is logged, unless `RUST_LOG` says otherwise.
    pub level: LevelFilter,
    /// How often the counters are logged; `None` only at SIGUSR1 and at the end.
    pub stats_interval: Option<Duration>,
}

impl Config {
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

    /// The structure before any key was applied, the defaults included.
    pub(super) fn blank() -> Self {
        Self {
            written: BTreeSet::new(),
            listen: ListenConfig {
                host: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                port: 0,
                audiosocket_port: None,
                allow: Vec::new(),
                token: None,
                require_expected: false,
                expect: Duration::ZERO,
                tls_certificate: None,
                tls_key: None,
                tls_required: false,
                handshake_timeout: Duration::ZERO,
                max_handshakes: 0,
                max_calls: 0,
                max_calls_per_second_per_address: 0,
                max_calls_burst_per_address: 0,
            },
            leg: LegConfig {
                rate: SampleRate::Hz8000,
                mix: Mix::Mono,
                playback: PlaybackFormat::Binary,
                silent_after: Duration::ZERO,
                max_call: Duration::ZERO,
                metadata_wait: Duration::ZERO,
                detached: Duration::ZERO,
            },
            media: MediaConfig { profile: Profile::Latency },
            playback: PlaybackConfig {
                lead_ms: 0,
                chunk_ms: 0,
                file_lead_ms: 0,
                file_chunk_ms: 0,
                chan_websocket_lead_ms: 0,
            },
            uplink: UplinkConfig { chunk_ms: 0, stream_end_after: None },
            limits: LimitsConfig {
                model_speech: Duration::ZERO,
                kept_speech: Duration::ZERO,
                shard_speech_bytes: 0,
            },
            gemini: GeminiConfig {
                base_url: BaseUrl::unset(),
                api_version: String::new(),
                api_key: None,
                connect_timeout: Duration::ZERO,
                setup_timeout: Duration::ZERO,
                ca_file: None,
                warm_links: 0,
                credential_backoff: Duration::ZERO,
            },
            agent: AgentConfig::blank(),
            agents: BTreeMap::new(),
            tools: Vec::new(),
            credentials: Vec::new(),
            routes: RouteTable::default(),
            control: ControlConfig { variables: Vec::new(), transfer_contexts: Vec::new() },
            esl: EslConfig {
                host: None,
                port: 0,
                password: None,
                dial_string: None,
                answered_application: String::new(),
                answer_timeout: Duration::ZERO,
            },
            asterisk: AsteriskConfig { media_url: None },
            admin: AdminConfig {
                listen: None,
                token: None,
                token_file: None,
                tls_certificate: None,
                tls_key: None,
            },
            recording: RecordingConfig::blank(),
            store: StoreConfig { url: StoreUrl::Usual, spool_directory: None, retention: None },
            prices: Vec::new(),
            threads: ThreadsConfig { dsp: 0, shards: 0, tools: 0 },
            session: SessionConfig { give_up: Duration::ZERO },
            drain: DrainConfig { timeout: Duration::ZERO },
            log: LogConfig { level: LevelFilter::Off, stats_interval: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_door_is_open_to_loopback_and_private_networks_only() {
        let listen = Config::default().listen;
        for inside in
            ["127.0.0.1", "10.1.2.3", "172.31.0.1", "192.168.1.9", "169.254.3.3", "::1", "fd00::5", "fe80::1"]
        {
            assert!(listen.allows(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["172.32.0.1", "8.8.8.8", "11.0.0.1", "2001:db8::1", "::ffff:8.8.8.8"] {
            assert!(!listen.allows(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn an_ipv4_peer_on_a_dual_stack_listener_is_judged_as_ipv4() {
        assert!(Config::default().listen.allows("::ffff:10.0.0.7".parse().unwrap()));
    }
}
