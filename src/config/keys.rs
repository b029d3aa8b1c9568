//! The list of all keys: the one place that says what can be set, its default, its range and what it does.
//!
//! Runs in: anywhere: pure. Owns the registry. Never reads anything.
//! Invariant: the defaults here are the only ones; `deploy/tandem.toml` and `docs/configuration.md` are made from this
//! list and a test keeps them equal to it.

use super::agent::AgentConfig;
use super::agent_keys::agent_keys;
use super::base_url::BaseUrl;
use super::control_keys::CONTROL_KEYS;
use super::model::{Config, Profile};
use super::recording_keys::RECORDING_KEYS;
use super::registry::{Key, Kind, integer, integer_or_zero, stepped, text};
use super::setters::{
    header_secret, millis, name_of, path, seconds, set_allow, set_host, set_log_level, unless_zero,
};
use super::store_keys::STORE_KEYS;
use crate::base::SampleRate;
use crate::base::{Mix, PlaybackFormat};

/// Bytes in a MiB.
const MIB: usize = 1 << 20;

/// The sections in the order of the sample file, each with a line on what it is about.
pub static SECTIONS: &[(&str, &str)] = &[
    ("listen", "The door: where the telephone switch connects, and who may."),
    (
        "leg",
        "The telephone side of a call. A call's URL, headers or metadata can say otherwise for that call.",
    ),
    ("media", "What the way of the audio is made for."),
    ("playback", "The model's speech on its way to the caller."),
    ("uplink", "The caller's speech on its way to the model."),
    (
        "limits",
        "Speech kept in memory. Beyond a limit a call ends with a clear outcome; nothing is dropped silently.",
    ),
    ("gemini", "The connection to the Gemini Live API."),
    ("session", "The conversation with the model, which outlives its connections (docs/sessions.md)."),
    (
        "agent",
        "Who answers the telephone. What is not set is not sent: models refuse fields they do not know.",
    ),
    ("control", "What may be asked of the switch about a call."),
    ("esl", "FreeSWITCH's event socket (mod_event_socket)."),
    ("asterisk", "Asterisk, where the relay connects to it and not the other way round (docs/asterisk.md)."),
    ("admin", "The admin server: HTTP for the operator, the dial plan and other programs."),
    ("store", "Records of calls: who called, what was said, what happened (docs/records.md)."),
    ("recording", "Recordings of calls; which calls are recorded is each agent's (docs/recordings.md)."),
    ("threads", "How many threads do the work."),
    ("drain", "How the process ends."),
    ("log", "What is logged. TZ sets the time zone of the log."),
];

/// Every key of the sections: those below, those of the default agent, those of call control, of the store and of recordings.
pub static KEYS: &[Key<Config>] = &joined::<
    {
        MAIN_KEYS.len()
            + DEFAULT_AGENT_KEYS.len()
            + CONTROL_KEYS.len()
            + STORE_KEYS.len()
            + RECORDING_KEYS.len()
    },
>();

/// The keys of `[agent]` as those of the whole configuration.
const DEFAULT_AGENT_KEYS: &[Key<Config>] = agent_keys();

/// The keys of one agent, `[agents.NAME]`: those of `[agent]`.
pub static AGENT_KEYS: &[Key<AgentConfig>] = agent_keys();

const fn joined<const N: usize>() -> [Key<Config>; N] {
    let parts = [MAIN_KEYS, DEFAULT_AGENT_KEYS, CONTROL_KEYS, STORE_KEYS, RECORDING_KEYS];
    let mut keys = [MAIN_KEYS[0]; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut position = 0;
        while position < parts[part].len() {
            keys[at] = parts[part][position];
            (at, position) = (at + 1, position + 1);
        }
        part += 1;
    }
    keys
}

/// The keys but those of the agent and of call control. The casts in the setters cannot cut anything off: the ranges beside them fit the fields.
const MAIN_KEYS: &[Key<Config>] = &[
    Key::<Config>::new(
        "listen.host",
        r#""0.0.0.0""#,
        text("an IP address such as \"0.0.0.0\", \"127.0.0.1\" or \"::\"", set_host),
        "Address to listen on. :: takes IPv4 and IPv6.",
    )
    .environment(&["AUDIO_SOCKET_HOST"]),
    Key::<Config>::new(
        "listen.port",
        "9094",
        integer_or_zero(0, 65_535, "any free port", |c, v| c.listen.port = v as u16),
        "TCP port for mod_audio_stream, AudioSocket and chan_websocket, plain and TLS alike.",
    )
    .environment(&["FREESWITCH_AUDIO_SOCKET_PORT"]),
    Key::<Config>::new(
        "listen.audiosocket_port",
        "0",
        integer_or_zero(1, 65_535, "none", |c, v| c.listen.audiosocket_port = (v > 0).then_some(v as u16)),
        "Another TCP port, where a firewall wants AudioSocket to have its own. Both ports take everything.",
    ),
    Key::<Config>::new(
        "listen.allow",
        r#"["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "::1/128", "fc00::/7", "fe80::/10"]"#,
        Kind::List {
            form: "networks such as \"10.0.0.0/8\" or addresses (separated by commas outside the file)",
            set: set_allow,
        },
        "Networks that may connect. The default is loopback, private and link-local addresses.",
    ),
    Key::<Config>::new(
        "listen.token",
        "",
        Kind::Secret {
            form: "16 or more letters, digits or marks without white space",
            set: |c, v| header_secret(v).map(|token| c.listen.token = token),
        },
        "A secret that the switch must present in a header or in the URL.",
    )
    .environment(&["TANDEM_TOKEN"])
    .example(r#""a-long-random-text""#),
    Key::<Config>::new(
        "listen.require_expected",
        "false",
        Kind::Switch { set: |c, v| c.listen.require_expected = v },
        "Refuse AudioSocket calls whose UUID was not announced by POST /api/expect. AudioSocket has no place for a \
         token, so with listen.token set they have to be announced in any case.",
    ),
    Key::<Config>::new(
        "listen.expect_seconds",
        "60",
        integer(1, 3_600, |c, v| c.listen.expect = seconds(v)),
        "How long an announced call is waited for.",
    ),
    Key::<Config>::new(
        "listen.tls_certificate",
        "",
        text("the path of a PEM file", |c, v| {
            c.listen.tls_certificate = path(v);
            Ok(())
        }),
        "Certificate chain for wss:// on the same port, together with listen.tls_key.",
    )
    .example(r#""/etc/tandem/tls/fullchain.pem""#),
    Key::<Config>::new(
        "listen.tls_key",
        "",
        text("the path of a PEM file", |c, v| {
            c.listen.tls_key = path(v);
            Ok(())
        }),
        "Private key of listen.tls_certificate, without a passphrase.",
    )
    .example(r#""/etc/tandem/tls/privkey.pem""#),
    Key::<Config>::new(
        "listen.tls_required",
        "false",
        Kind::Switch { set: |c, v| c.listen.tls_required = v },
        "Refuse every connection without TLS, from this machine too. AudioSocket has no TLS, so its calls are refused.",
    ),
    Key::<Config>::new(
        "listen.handshake_timeout_ms",
        "3000",
        integer(100, 60_000, |c, v| c.listen.handshake_timeout = millis(v)),
        "From accepting a connection to answering 101. mod_audio_stream itself gives up after 1000 ms.",
    ),
    Key::<Config>::new(
        "listen.max_handshakes",
        "256",
        integer(1, 65_536, |c, v| c.listen.max_handshakes = v as usize),
        "Connections at one time that have not finished their handshake. One more closes the oldest of the address that has most.",
    ),
    Key::<Config>::new(
        "listen.max_calls",
        "1000",
        integer(1, 100_000, |c, v| c.listen.max_calls = v as usize),
        "Calls at one time; more are refused with 503.",
    ),
    Key::<Config>::new(
        "listen.max_calls_per_second_per_address",
        "50",
        integer(1, 100_000, |c, v| c.listen.max_calls_per_second_per_address = v as u32),
        "New calls a second from one address; more are refused with 429. A switch sends all its calls from one \
         address, so this is the rate of the switch, not of a caller.",
    ),
    Key::<Config>::new(
        "listen.max_calls_burst_per_address",
        "100",
        integer(1, 100_000, |c, v| c.listen.max_calls_burst_per_address = v as u32),
        "New calls at once from one address after a quiet time, before the rate above holds.",
    ),
    Key::<Config>::new(
        "leg.rate",
        "16000",
        Kind::Choice {
            choices: &["8000", "16000", "24000", "32000", "48000"],
            set: |c, i| c.leg.rate = SampleRate::ALL[i],
        },
        "Sample rate of the leg in Hz, both ways; the rate given to uuid_audio_stream start. Set, it counts; as the default, \
         the rate that comes takes its place (docs/legs.md).",
    ),
    Key::<Config>::new(
        "leg.mix",
        r#""mono""#,
        Kind::Choice { choices: &["mono", "mixed", "stereo"], set: |c, i| c.leg.mix = Mix::ALL[i] },
        "What the switch sends: mono is the caller, mixed both sides added, stereo the caller on the left.",
    ),
    Key::<Config>::new(
        "leg.playback",
        r#""binary""#,
        Kind::Choice {
            choices: &["binary", "json", "file"],
            set: |c, i| c.leg.playback = PlaybackFormat::ALL[i],
        },
        "How speech is handed to mod_audio_stream: binary is raw s16le frames, json is streamAudio messages for the \
         full-duplex 1.0.3 build, file is for the open build, which plays nothing itself: tandem_events.lua does.",
    ),
    Key::<Config>::new(
        "leg.silent_after_ms",
        "15000",
        integer(1_000, 3_600_000, |c, v| c.leg.silent_after = millis(v)),
        "A leg that sends nothing for this long is asked for a sign of life (a ping, or GET_STATUS of chan_websocket), and ended \
         when it stays silent as long again.",
    ),
    Key::<Config>::new(
        "leg.max_call_seconds",
        "3600",
        integer(1, 86_400, |c, v| c.leg.max_call = seconds(v)),
        "The longest call; it is ended then.",
    ),
    Key::<Config>::new(
        "leg.metadata_wait_ms",
        "500",
        integer(0, 10_000, |c, v| c.leg.metadata_wait = millis(v)),
        "Where a route asks for a number that neither URL nor headers have said, so long is waited for metadata \
         before the call is answered with what is known.",
    ),
    Key::<Config>::new(
        "leg.detached_ms",
        "10000",
        integer(0, 60_000, |c, v| c.leg.detached = millis(v)),
        "A call whose leg is lost without a goodbye waits this long for the same UUID to come back, and after a close \
         with code 1000 at most 500 ms of it; 0: it ends at once.",
    ),
    Key::<Config>::new(
        "media.profile",
        r#""latency""#,
        Kind::Choice {
            choices: &Profile::WORDS,
            set: |c, v| c.media.profile = Profile::ALL[v],
        },
        "What is not written is made for this: latency sends 20 ms in a message both ways; density sends 40 ms \
         (playback.chunk_ms and uplink.chunk_ms), which costs less CPU and delays each way by 20 ms more. Legs that \
         know no longer message (AudioSocket, chan_websocket) stay at 20 ms.",
    ),
    Key::<Config>::new(
        "playback.lead_ms",
        "60",
        integer(0, 200, |c, v| c.playback.lead_ms = v as u32),
        "Audio handed to the switch ahead of real time. It bridges jitter; when the caller barges in, it is what can \
         no longer be taken back.",
    ),
    Key::<Config>::new(
        "playback.chunk_ms",
        "20",
        stepped(20, 100, 20, |c, v| c.playback.chunk_ms = v as u32),
        "Audio in one message to the switch.",
    ),
    Key::<Config>::new(
        "playback.file_lead_ms",
        "200",
        integer(0, 400, |c, v| c.playback.file_lead_ms = v as u32),
        "The same lead for file playback: two chunks, one that is heard and one that waits. At a barge-in the script \
         takes back both.",
    ),
    Key::<Config>::new(
        "playback.file_chunk_ms",
        "100",
        stepped(20, 200, 20, |c, v| c.playback.file_chunk_ms = v as u32),
        "Audio in one file at most. Where the model's speech comes in real time, so that nothing can be handed over ahead, \
         it is 20 ms.",
    ),
    Key::<Config>::new(
        "playback.chan_websocket_lead_ms",
        "40",
        integer(0, 200, |c, v| c.playback.chan_websocket_lead_ms = v as u32),
        "The lead for Asterisk's chan_websocket, which queues and re-times what it gets. AudioSocket gets none: \
         Asterisk sends on at once what comes there.",
    ),
    Key::<Config>::new(
        "uplink.chunk_ms",
        "20",
        stepped(20, 100, 20, |c, v| c.uplink.chunk_ms = v as u32),
        "Audio in one message to the model. Longer costs less CPU and delays the caller by as much.",
    ),
    Key::<Config>::new(
        "uplink.stream_end_after_ms",
        "2000",
        integer_or_zero(100, 600_000, "never", |c, v| c.uplink.stream_end_after = unless_zero(v, millis)),
        "When the switch has sent nothing for this long (silence is filled in meanwhile), the model is told that the \
         audio has paused (audioStreamEnd).",
    ),
    Key::<Config>::new(
        "limits.model_speech_seconds",
        "120",
        integer(10, 3_600, |c, v| c.limits.model_speech = seconds(v)),
        "The model's speech that waits for one call; 47 KiB a second.",
    ),
    Key::<Config>::new(
        "limits.kept_speech_seconds",
        "60",
        integer(1, 600, |c, v| c.limits.kept_speech = seconds(v)),
        "The caller's speech kept for one call while there is no connection to the model; 31 KiB a second.",
    ),
    Key::<Config>::new(
        "limits.shard_speech_mib",
        "512",
        integer(8, 1_048_576, |c, v| c.limits.shard_speech_bytes = v as usize * MIB),
        "Waiting speech of all calls of one shard together, in MiB; 512 MiB are three hours of the model's speech.",
    ),
    Key::<Config>::new(
        "gemini.base_url",
        r#""wss://generativelanguage.googleapis.com""#,
        text("wss://HOST[:PORT][/PREFIX], or ws:// with a loopback address such as ws://127.0.0.1:8080", |c, v| {
            c.gemini.base_url = BaseUrl::parse(v.ok_or("is empty")?)?;
            Ok(())
        }),
        "Where the Live API is. ws:// is allowed to loopback addresses only (a simulator, a local proxy).",
    )
    .environment(&["GEMINI_BASE_URL"]),
    Key::<Config>::new(
        "gemini.api_version",
        r#""v1beta""#,
        text("a version such as \"v1beta\"", |c, v| name_of(v, "").map(|version| c.gemini.api_version = version)),
        "Version in the path of the API.",
    ),
    Key::<Config>::new(
        "gemini.api_key",
        "",
        Kind::Secret {
            form: "the key alone, as Google AI Studio shows it",
            set: |c, v| header_secret(v).map(|key| c.gemini.api_key = key),
        },
        "API key. Sent in a header, never in a URL, never logged. Better in the environment than in a file.",
    )
    .environment(&["GEMINI_API_KEY", "GOOGLE_API_KEY"])
    .example(r#""your-key""#),
    Key::<Config>::new(
        "gemini.connect_timeout_ms",
        "3000",
        integer(100, 60_000, |c, v| c.gemini.connect_timeout = millis(v)),
        "DNS, TCP, TLS and WebSocket upgrade together.",
    ),
    Key::<Config>::new(
        "gemini.setup_timeout_ms",
        "10000",
        integer(100, 120_000, |c, v| c.gemini.setup_timeout = millis(v)),
        "From sending setup to the model's setupComplete.",
    ),
    Key::<Config>::new(
        "gemini.ca_file",
        "",
        text("the path of a PEM file", |c, v| {
            c.gemini.ca_file = path(v);
            Ok(())
        }),
        "Root certificates trusted beside the system's, for a proxy or a simulator with TLS.",
    )
    .example(r#""/etc/tandem/tls/roots.pem""#),
    Key::<Config>::new(
        "gemini.warm_links",
        "0",
        integer(0, 64, |c, v| c.gemini.warm_links = v as usize),
        "Links of each credential that are connected ahead of their calls and wait for up to 30 s: a call is ready that \
         much earlier.",
    ),
    Key::<Config>::new(
        "gemini.credential_backoff_ms",
        "10000",
        integer_or_zero(100, 300_000, "it is not left alone", |c, v| c.gemini.credential_backoff = millis(v)),
        "How long a credential that fails (quota, refused key) is left alone before one call tries it again; doubled \
         each time that it fails again, up to 5 minutes.",
    ),
    Key::<Config>::new(
        "session.give_up_seconds",
        "20",
        integer_or_zero(1, 600, "at the first loss", |c, v| c.session.give_up = seconds(v)),
        "A call whose connection to the model is lost is given up if no other one came about within this time; the \
         caller's speech is kept meanwhile.",
    ),
    Key::<Config>::new(
        "threads.dsp",
        "0",
        integer_or_zero(1, 256, "chosen by the number of cores", |c, v| c.threads.dsp = v as usize),
        "DSP threads of one shard.",
    ),
    Key::<Config>::new(
        "threads.shards",
        "1",
        integer(1, 64, |c, v| c.threads.shards = v as usize),
        "Shards, each with its own telephony, gemini and dsp threads. One fits a small machine.",
    ),
    Key::<Config>::new(
        "threads.tools",
        "16",
        integer(1, 256, |c, v| c.threads.tools = v as usize),
        "HTTP tools of all calls that are carried out at one time; more wait.",
    ),
    Key::<Config>::new(
        "drain.seconds",
        "30",
        integer_or_zero(0, 86_400, "end them at once", |c, v| c.drain.timeout = seconds(v)),
        "How long running calls may go on after SIGTERM.",
    ),
    Key::<Config>::new(
        "log.level",
        r#""info""#,
        Kind::Choice { choices: &["off", "error", "warn", "info", "debug", "trace"], set: set_log_level },
        "Least severe level that is logged. RUST_LOG, if set, wins and can name modules. Speech and transcripts are \
         never logged above debug.",
    )
    .environment(&["LOG_LEVEL"]),
    Key::<Config>::new(
        "log.stats_seconds",
        "60",
        integer_or_zero(1, 86_400, "only at SIGUSR1 and at the end", |c, v| {
            c.log.stats_interval = unless_zero(v, seconds);
        }),
        "How often the counters are logged.",
    ),
];
