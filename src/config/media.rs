//! The way of the audio: the leg, the model's connection, what waits in between, and the process around it.
//!
//! Runs in: anywhere: pure. Owns their settings. Never reads anything. Invariant: as in [`super::settings`].

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;

use super::base_url::BaseUrl;
use super::secret::Secret;
use super::setters::name;
use super::settings::settings;
use crate::base::cores::Cores;
use crate::base::{Mix, PlaybackFormat, SampleRate, Words, words};

settings! {
    /// The telephone side of a call. A call's URL, headers or metadata can say otherwise for that call.
    pub struct LegConfig in "leg" {
        /// Sample rate of the leg in Hz, both ways; the rate given to uuid_audio_stream start. Set, it counts; as the
        /// default, the rate that comes takes its place (docs/legs.md).
        pub rate: SampleRate = 16000,
            choice_of(&["8000", "16000", "24000", "32000", "48000"], SampleRate::ALL);
        /// What the switch sends: mono is the caller, mixed both sides added, stereo the caller on the left.
        pub mix: Mix = "mono", choice(Mix::WORDS);
        /// How speech is handed to mod_audio_stream: binary is raw s16le frames, json is streamAudio messages for the
        /// full-duplex 1.0.3 build, file is for the open build, which plays nothing itself: tandem_events.lua does.
        pub playback: PlaybackFormat = "binary", choice(PlaybackFormat::WORDS);
        /// A leg that sends nothing for this long is asked for a sign of life (a ping, or GET_STATUS of
        /// chan_websocket), and ended when it stays silent as long again.
        pub silent_after "silent_after_ms": Duration = 15000, integer(1_000, 3_600_000);
        /// The longest call; it is ended then.
        pub max_call "max_call_seconds": Duration = 3600, integer(1, 86_400) in SECONDS;
        /// Where a route asks for a number that neither URL nor headers have said, so long is waited for metadata
        /// before the call is answered with what is known.
        pub metadata_wait "metadata_wait_ms": Duration = 500, integer(0, 10_000);
        /// A call whose leg is lost without a goodbye waits this long for the same UUID to come back, and after a
        /// close with code 1000 at most 500 ms of it; 0: it ends at once.
        pub detached "detached_ms": Duration = 10000, integer(0, 60_000);
    }
}

settings! {
    /// What the way of the audio is made for.
    pub struct MediaConfig in "media" {
        /// What is not written is made for this: latency sends 20 ms in a message both ways; density sends 40 ms
        /// (playback.chunk_ms and uplink.chunk_ms) and looks at its sockets every 20 ms, which costs less CPU and delays each
        /// way by 20 to 40 ms more. Legs that know no longer message (AudioSocket, chan_websocket) stay at 20 ms.
        pub profile: Profile = "latency", choice(Profile::WORDS);
    }
}

words! {
    /// What the way of the audio is made for, where its keys do not say otherwise.
    pub enum Profile {
        /// As little delay as can be.
        Latency = "latency",
        /// As many calls as can be.
        Density = "density",
    }
}

impl Profile {
    /// The keys whose defaults it changes, with the values that they have instead.
    pub(super) const fn defaults(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Latency => &[],
            Self::Density => &[("playback.chunk_ms", 40), ("uplink.chunk_ms", 40)],
        }
    }
}

settings! {
    /// The model's speech on its way to the caller.
    pub struct PlaybackConfig in "playback" {
        /// Audio handed to the switch ahead of real time. It bridges jitter; when the caller barges in, it is what
        /// can no longer be taken back.
        pub lead_ms: u32 = 60, integer(0, 200);
        /// Audio in one message to the switch.
        pub chunk_ms: u32 = 20, stepped(20, 100, 20);
        /// The same lead for file playback: two chunks, one that is heard and one that waits. At a barge-in the
        /// script takes back both.
        pub file_lead_ms: u32 = 200, integer(0, 400);
        /// Audio in one file at most. Where the model's speech comes in real time, so that nothing can be handed over
        /// ahead, it is 20 ms.
        pub file_chunk_ms: u32 = 100, stepped(20, 200, 20);
        /// The lead for Asterisk's chan_websocket, which queues and re-times what it gets. AudioSocket gets none:
        /// Asterisk sends on at once what comes there.
        pub chan_websocket_lead_ms: u32 = 40, integer(0, 200);
    }
}

settings! {
    /// The caller's speech on its way to the model.
    pub struct UplinkConfig in "uplink" {
        /// Audio in one message to the model. Longer costs less CPU and delays the caller by as much.
        pub chunk_ms: u32 = 20, stepped(20, 100, 20);
        /// When the switch has sent nothing for this long (silence is filled in meanwhile), the model is told that
        /// the audio has paused (audioStreamEnd).
        pub stream_end_after "stream_end_after_ms": Option<Duration> = 2000,
            integer_or_zero(100, 600_000, "never");
    }
}

settings! {
    /// Speech kept in memory. Beyond a limit a call ends with a clear outcome; nothing is dropped silently.
    pub struct LimitsConfig in "limits" {
        /// The model's speech that waits for one call; 47 KiB a second.
        pub model_speech "model_speech_seconds": Duration = 120, integer(10, 3_600) in SECONDS;
        /// The caller's speech kept for one call while there is no connection to the model; 31 KiB a second.
        pub kept_speech "kept_speech_seconds": Duration = 60, integer(1, 600) in SECONDS;
        /// Waiting speech of all calls of one shard together, in MiB; 512 MiB are three hours of the model's speech.
        pub shard_speech_bytes "shard_speech_mib": usize = 512, integer(8, 1_048_576) in MIB;
    }
}

settings! {
    /// The connection to the Gemini Live API.
    pub struct GeminiConfig in "gemini" {
        /// Where the Live API is. ws:// is allowed to loopback addresses only (a simulator, a local proxy).
        pub base_url: BaseUrl = "wss://generativelanguage.googleapis.com",
            text("wss://HOST[:PORT][/PREFIX], or ws:// with a loopback address such as ws://127.0.0.1:8080", BaseUrl::parse),
            environment "GEMINI_BASE_URL";
        /// Version in the path of the API.
        pub api_version: String = "v1beta", text("a version such as \"v1beta\"", |v| name(v, ""));
        /// API key. Sent in a header, never in a URL, never logged. Better in the environment than in a file.
        pub api_key: Option<Secret>,
            secret("the key alone, as Google AI Studio shows it"),
            like "your-key", environment "GEMINI_API_KEY" "GOOGLE_API_KEY";
        /// DNS, TCP, TLS and WebSocket upgrade together.
        pub connect_timeout "connect_timeout_ms": Duration = 3000, integer(100, 60_000);
        /// From sending setup to the model's setupComplete.
        pub setup_timeout "setup_timeout_ms": Duration = 10000, integer(100, 120_000);
        /// Root certificates trusted beside the system's, for a proxy or a simulator with TLS.
        pub ca_file: Option<PathBuf>, text("the path of a PEM file"), like "/etc/tandem/tls/roots.pem";
        /// Links of each credential that are connected ahead of their calls and wait for up to 30 s: a call is ready
        /// that much earlier.
        pub warm_links: usize = 0, integer(0, 64);
        /// How long a credential that fails (quota, refused key) is left alone before one call tries it again;
        /// doubled each time that it fails again, up to 5 minutes.
        pub credential_backoff "credential_backoff_ms": Duration = 10000,
            integer_or_zero(100, 300_000, "it is not left alone");
    }
}

settings! {
    /// The conversation with the model, which outlives its connections (docs/sessions.md).
    pub struct SessionConfig in "session" {
        /// A call whose connection to the model is lost is given up if no other one came about within this time; the
        /// caller's speech is kept meanwhile.
        pub give_up "give_up_seconds": Duration = 20, integer_or_zero(1, 600, "at the first loss") in SECONDS;
    }
}

settings! {
    /// How many threads do the work.
    pub struct ThreadsConfig in "threads" {
        /// DSP threads of one shard.
        pub dsp: usize = 0, integer_or_zero(1, 256, "chosen by the number of cores");
        /// Shards, each with its own telephony, gemini and dsp threads. One fits a small machine.
        pub shards: usize = 1, integer(1, 64);
        /// Processor cores that the shards share evenly, each on neighbours of its own. All threads run on any core by default.
        pub cores: Option<Cores>, text("cores such as \"0-3,8\"", Cores::parse), like "0-7";
        /// HTTP tools of all calls that are carried out at one time; more wait.
        pub tools: usize = 16, integer(1, 256);
    }
}

settings! {
    /// How the process ends.
    pub struct DrainConfig in "drain" {
        /// How long running calls may go on after SIGTERM.
        pub timeout "seconds": Duration = 30, integer_or_zero(0, 86_400, "end them at once") in SECONDS;
    }
}

settings! {
    /// What is logged. TZ sets the time zone of the log.
    pub struct LogConfig in "log" {
        /// Least severe level that is logged. RUST_LOG, if set, wins and can name modules. Speech and transcripts are
        /// never logged above debug.
        pub level: LevelFilter = "info",
            choice_of(&["off", "error", "warn", "info", "debug", "trace"], LEVELS),
            environment "LOG_LEVEL";
        /// A line of text for each event, or an object of JSON with time, level, target, message and call.
        pub format: LogFormat = "text", choice(LogFormat::WORDS);
        /// How often the counters are logged.
        pub stats_interval "stats_seconds": Option<Duration> = 60,
            integer_or_zero(1, 86_400, "only at SIGUSR1 and at the end") in SECONDS;
    }
}

words! {
    /// How an event is written.
    pub enum LogFormat {
        /// Time, level, target and message.
        Text = "text",
        /// The same as an object of JSON.
        Json = "json",
    }
}

/// What is logged, least severe last, as the words of its key.
const LEVELS: [LevelFilter; 6] = {
    use LevelFilter::{Debug, Error, Info, Off, Trace, Warn};
    [Off, Error, Warn, Info, Debug, Trace]
};
