//! What a leg is taken to be where its switch does not say, and how its playback is paced.
//!
//! Runs in: the accept and telephony threads, and tests: pure. Owns nothing.
//! Invariant: the downlink's format follows from the wire format and the fields alone.

use crate::base::units::PTIME_MS;
use crate::base::{LegFormat, Mix, PlaybackFormat, SampleRate};
use crate::call::leg::{CallFields, Lead, LegKind};
use crate::config::Config;

/// How audio is cut into messages, and how far ahead of real time they are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pacing {
    /// Milliseconds handed to the switch ahead of real time, the message that plays included.
    pub lead_ms: u16,
    /// Milliseconds in a message.
    pub chunk_ms: u16,
}

/// See the head of this file.
#[derive(Debug, Clone, Copy)]
pub struct LegDefaults {
    /// Samples a second.
    pub rate: SampleRate,
    /// Somebody wrote that rate: what a leg sends does not change it.
    pub rate_is_written: bool,
    /// Channels.
    pub mix: Mix,
    /// How audio goes back to mod_audio_stream.
    pub playback: PlaybackFormat,
    /// Of binary and json playback.
    pub stream: Pacing,
    /// Of file playback.
    pub file: Pacing,
    /// Of chan_websocket, milliseconds; its messages are frames of 20 ms.
    pub chan_websocket_lead_ms: u16,
}

impl LegDefaults {
    /// Those of a configuration, whose ranges fit.
    pub fn configured(config: &Config) -> Self {
        let playback = &config.playback;
        let pacing = |lead_ms, chunk_ms| Pacing { lead_ms: lead_ms as u16, chunk_ms: chunk_ms as u16 };
        Self {
            rate: config.leg.rate,
            rate_is_written: config.is_written("leg.rate"),
            mix: config.leg.mix,
            playback: config.leg.playback,
            stream: pacing(playback.lead_ms, playback.chunk_ms),
            file: pacing(playback.file_lead_ms, playback.file_chunk_ms),
            chan_websocket_lead_ms: playback.chan_websocket_lead_ms as u16,
        }
    }

    /// The downlink of a leg of which only these fields are known.
    pub fn format(&self, kind: LegKind, fields: &CallFields) -> LegFormat {
        self.format_at(self.rate(kind, fields), kind, fields)
    }

    /// The rate of a leg that has not sent anything.
    pub fn rate(&self, kind: LegKind, fields: &CallFields) -> SampleRate {
        fields.rate.or(kind.traits().rate).unwrap_or(self.rate)
    }

    /// The channels of what a leg sends.
    pub fn mix(&self, kind: LegKind, fields: &CallFields) -> Mix {
        if kind.traits().mixes { fields.mix.unwrap_or(self.mix) } else { Mix::Mono }
    }

    /// How audio goes back, where the switch has a choice.
    pub fn playback(&self, kind: LegKind, fields: &CallFields) -> PlaybackFormat {
        kind.traits().playback.or(fields.playback).unwrap_or(self.playback)
    }

    /// The downlink of a leg whose rate is known.
    pub fn format_at(&self, rate: SampleRate, kind: LegKind, fields: &CallFields) -> LegFormat {
        match kind.traits().lead {
            Lead::None => LegFormat::unqueued(rate),
            Lead::Frames => LegFormat::new(rate, self.chan_websocket_lead_ms, PTIME_MS as u16),
            Lead::Playback => {
                let pacing = match self.playback(kind, fields) {
                    PlaybackFormat::File => self.file,
                    PlaybackFormat::Binary | PlaybackFormat::Json => self.stream,
                };
                LegFormat::new(fields.playback_rate.unwrap_or(rate), pacing.lead_ms, pacing.chunk_ms)
            }
        }
    }
}
