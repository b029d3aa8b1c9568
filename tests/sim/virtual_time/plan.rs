//! One call, drawn from a seed before it begins: what its switch and its Gemini do, and when.
//!
//! Runs in: the simulations: pure. Owns the script of both peers.
//! Invariant: nothing here depends on the relay, so a call alone and the same call beside others are the same call.

use std::time::Duration;

use fastrand::Rng;
use tandem::base::{Instant, Mix, PlaybackFormat};
use tandem::call::agent::CallTerms;
use tandem::call::leg::{CallFields, LegKind};
use tandem::call::model::LinkEnd;
use tandem::codec::Provider;
use tandem::threads::gemini::model_side::ModelSideLimits;
use tandem::threads::telephony::defaults::{LegDefaults, Pacing};

use super::caller::{self, Cut};
use super::model;
use super::scenario::Scenario;

/// What arrives from the switch.
#[derive(Debug, Clone)]
pub(super) enum FromSwitch {
    /// A binary message.
    Audio(Vec<u8>),
    /// A text message.
    Text(String),
    /// A close with this code, and the end of the connection.
    Close(u16),
    /// The end of the connection without a goodbye.
    Drop,
}

/// What arrives from Gemini.
#[derive(Debug, Clone)]
pub(super) enum FromGemini {
    /// A message.
    Said(Said),
    /// A close with this code, and the end of the connection.
    Close(u16, &'static str),
    /// The end of the connection without a goodbye.
    Drop,
}

/// A message of Gemini and what it means.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    /// The JSON.
    pub json: Vec<u8>,
    /// The answer that its audio or its end belongs to.
    pub answer: usize,
    /// Samples of that answer.
    pub samples: usize,
    /// The answer is complete.
    pub ends: bool,
    /// Everything said so far is cancelled.
    pub interrupts: bool,
    /// It cannot be read.
    pub garbage: bool,
}

/// What becomes of the attempt to connect a link, after so many microseconds.
#[derive(Debug, Clone)]
pub(super) enum Dialling {
    /// It is connected.
    Connects(u64),
    /// It fails.
    Fails(u64, LinkEnd),
    /// Nothing is heard of it.
    Hangs,
}

/// What goes wrong in a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    DialRefused,
    DialDropped,
    DialHangs,
    DialLate,
    SetupNever,
    LinkCloses,
    LinkDrops,
    LegCloses,
    LegDrops,
    ShutDown,
    MaxCall,
    SpeechOverflow,
    KeptOverflow,
    Garbage,
    TextFlood,
    LateRate,
}

impl Fault {
    const ALL: [Self; 16] = [
        Self::DialRefused,
        Self::DialDropped,
        Self::DialHangs,
        Self::DialLate,
        Self::SetupNever,
        Self::LinkCloses,
        Self::LinkDrops,
        Self::LegCloses,
        Self::LegDrops,
        Self::ShutDown,
        Self::MaxCall,
        Self::SpeechOverflow,
        Self::KeptOverflow,
        Self::Garbage,
        Self::TextFlood,
        Self::LateRate,
    ];
}

/// See the head of this file. Times are microseconds since the call began, those of Gemini since the link was connected.
pub(super) struct Plan {
    pub begins: Instant,
    pub fault: Fault,
    pub fields: CallFields,
    pub flavour: LegKind,
    pub defaults: LegDefaults,
    pub limits: ModelSideLimits,
    pub stream_end_after_ms: u64,
    pub terms: CallTerms,
    pub dialling: Dialling,
    pub cut: Cut,
    pub from_switch: Vec<(u64, FromSwitch)>,
    pub from_gemini: Vec<(u64, FromGemini)>,
    /// From when until when the switch takes nothing.
    pub stalls: Vec<(u64, u64)>,
    /// How long the switch takes to agree to a close; never if `None`.
    pub closes_after_us: Option<u64>,
    /// When the relay shuts down, if it does.
    pub shut_down_at_us: Option<u64>,
    /// The call goes on until everything that was not interrupted must have been heard.
    pub hears_everything: bool,
    /// See [`Scenario::hears_uplink`].
    pub hears_uplink: bool,
}

impl Plan {
    /// The call number `number` of a seed.
    pub(super) fn draw(seed: u64, number: usize, scenario: &Scenario) -> Self {
        let mut rng = Rng::with_seed(seed.wrapping_mul(1009).wrapping_add(number as u64));
        let rng = &mut rng;
        let fault = if percent(rng, scenario.fault_percent) {
            Fault::ALL[rng.usize(0..Fault::ALL.len())]
        } else {
            Fault::None
        };
        let rate = scenario.rates[rng.usize(0..scenario.rates.len())];
        let (lead_ms, chunk_ms) = scenario.playback_ms[rng.usize(0..scenario.playback_ms.len())];
        let mix = [Mix::Mono, Mix::Mono, Mix::Mixed, Mix::Stereo][rng.usize(0..4)];
        let pacing = Pacing { lead_ms, chunk_ms };
        let defaults = LegDefaults {
            rate,
            rate_is_written: false,
            mix: Mix::Mono,
            playback: PlaybackFormat::Binary,
            stream: pacing,
            file: pacing,
            chan_websocket_lead_ms: 40,
        };
        let told = percent(rng, 70);
        let fields = CallFields {
            uuid: told.then(|| format!("call-{seed}-{number}")),
            rate: told.then_some(rate),
            mix: (mix != Mix::Mono).then_some(mix),
            playback: percent(rng, 50).then_some(PlaybackFormat::Json),
            ..CallFields::default()
        };
        let flavour =
            [LegKind::AudioFork, LegKind::Ixwebsocket, LegKind::ModAudioStream, LegKind::ModAudioStream]
                [rng.usize(0..4)];

        let connect_us = rng.u64(1_000..100_000);
        let setup_us = match fault {
            Fault::SetupNever => None,
            Fault::KeptOverflow => Some(rng.u64(500_000..850_000)),
            _ => Some(rng.u64(1_000..150_000)),
        };
        let terms = CallTerms {
            dial_timeout: Duration::from_millis(if fault == Fault::DialLate {
                connect_us / 2000
            } else {
                600
            }),
            setup_timeout: Duration::from_millis(900),
            max_call: if fault == Fault::MaxCall {
                Duration::from_millis(rng.u64(1..1_500))
            } else {
                Duration::from_secs(3600)
            },
            // Without patience the first loss of a link ends the call, as these scripts of one link mean it.
            give_up: Duration::ZERO,
            // Legs that come back are the business of `long_calls`.
            detached: Duration::ZERO,
            greeting: percent(rng, 50).then(|| "Greet the caller.".into()),
            ..CallTerms::default()
        };
        let dialling = match fault {
            Fault::DialRefused => {
                let status = [400, 401, 403, 404, 429, 503][rng.usize(0..6)];
                Dialling::Fails(connect_us, Provider::Gemini.end_of_status(status, b"no"))
            }
            Fault::DialDropped => Dialling::Fails(connect_us, LinkEnd::dropped("connection refused")),
            Fault::DialHangs => Dialling::Hangs,
            _ => Dialling::Connects(connect_us),
        };
        let limits = ModelSideLimits {
            chunk_ms: [20, 20, 40, 100][rng.usize(0..4)],
            model_speech_ms: if fault == Fault::SpeechOverflow { rng.u64(100..600) } else { 120_000 },
            kept_speech_ms: if fault == Fault::KeptOverflow { 300 } else { 60_000 },
        };

        let script = model::script(rng, scenario, fault, setup_us);
        let heard_us = connect_us + script.heard_us;
        let stall_count = if percent(rng, scenario.stalled_percent) { rng.usize(1..4) } else { 0 };
        let stall_us: Vec<u64> = (0..stall_count).map(|_| rng.u64(1_000..700_000)).collect();
        // Stalls, waiting for the rest of a frame, and the network make everything later.
        let heard_us = heard_us + 150_000 + stall_us.iter().sum::<u64>();
        let hang_up_us = match fault {
            Fault::None | Fault::LateRate | Fault::KeptOverflow => heard_us + rng.u64(0..50_000),
            Fault::LegCloses | Fault::LegDrops => rng.u64(0..heard_us),
            // The others end the call by themselves, or before the switch does.
            _ => heard_us.max(1_500_000) + rng.u64(200_000..500_000),
        };
        let stream_end_after_ms = [0, 200, 1_000][rng.usize(0..3)];
        let cut = Cut::draw(rng, told);
        let from_switch = caller::script(rng, fault, rate, mix, cut, hang_up_us);
        let stalls = stall_us.iter().map(|us| {
            let from = rng.u64(0..hang_up_us);
            (from, from + us)
        });
        let stalls = stalls.collect();
        Self {
            begins: Instant::from_micros(1_000_000).plus_us(number as u64 * 7_000),
            fault,
            fields,
            flavour,
            defaults,
            limits,
            stream_end_after_ms,
            terms,
            dialling,
            cut,
            from_switch,
            from_gemini: script.messages,
            stalls,
            closes_after_us: percent(rng, 80).then(|| rng.u64(1_000..900_000)),
            shut_down_at_us: (fault == Fault::ShutDown).then(|| rng.u64(0..heard_us)),
            hears_everything: matches!(fault, Fault::None | Fault::KeptOverflow),
            hears_uplink: scenario.hears_uplink,
        }
    }
}

/// True in so many of 100 cases.
pub(super) fn percent(rng: &mut Rng, share: u32) -> bool {
    rng.u32(0..100) < share
}
