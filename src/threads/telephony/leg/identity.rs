//! What a leg is, and whether it lives: what it was taken for at the door is revised by its own words, and waits end.
//!
//! Runs in: the telephony thread, and tests. Owns nothing: the state is the leg's.
//! Invariant: a peer that says unmistakably what it is, is treated as that from then on.

use tungstenite::Message;

use super::super::defaults::LegDefaults;
use super::super::wire::Wire;
use super::{Leg, LegNotes, Received, UplinkDecoder};
use crate::base::{Instant, LegReport, PlaybackFormat};
use crate::call::LegNote;
use crate::call::leg::{CallFields, LegKind};
use crate::codec::mod_audio_stream::speaker;

/// Metadata comes once or, from versions that reconnect, with each connection; later text is something else.
const METADATA_TEXTS_MAX: u32 = 8;
/// Nothing of the caller for so long since the leg came is worth a line.
const NO_AUDIO_MS: u64 = 5_000;
/// Nothing of the caller any more for so long, from a module that sends audio every 20 ms.
const AUDIO_STOPPED_MS: u64 = 10_000;
/// Files and messages that the module on the line knows nothing of.
const OLD_MODULE: &str = "mod_audio_stream up to 1.0.2 takes raw audio for text, so that the caller hears nothing: write \
                          playback=file and start tandem_events.lua, or use a build that plays";

/// What is to be said of a leg before it has said anything.
pub(super) fn first_notes(defaults: &LegDefaults, kind: LegKind, fields: &CallFields) -> LegNotes {
    let mut notes = LegNotes::default();
    let plays = defaults.playback(kind, fields);
    if kind == LegKind::Ixwebsocket && plays == PlaybackFormat::Binary {
        notes.add(LegNote::CannotPlay(OLD_MODULE));
    }
    notes
}

impl Leg {
    /// Adds what became known of the call.
    pub(super) fn identify(&mut self, more: CallFields) -> Received {
        self.texts = self.texts.saturating_add(1);
        let merged = self.fields.clone().or(more);
        if self.texts > METADATA_TEXTS_MAX || merged == self.fields {
            return Received::Done;
        }
        self.adopt(merged);
        Received::Identified(Box::new(self.fields.clone()))
    }

    pub(super) fn adopt(&mut self, fields: CallFields) {
        self.wire.play_as(self.defaults.playback(self.kind, &fields));
        let mix = self.defaults.mix(self.kind, &fields);
        if mix != self.defaults.mix(self.kind, &self.fields) {
            self.decoder = UplinkDecoder::new(mix);
        }
        if fields.rate.is_some_and(|rate| rate != self.rate) {
            self.measure_anew();
        }
        self.rate = fields.rate.unwrap_or(self.rate);
        self.script |= fields.script == Some(true);
        let downlink = self.defaults.format_at(self.rate, self.kind, &fields);
        if self.shared.format() != downlink {
            self.shared.set_format(downlink);
        }
        self.fields = fields;
    }

    /// Looks at who says this text: a peer that says what only one says is that one.
    pub(super) fn revise(&mut self, text: &str) {
        if self.kind.traits().is_certain || self.texts >= METADATA_TEXTS_MAX {
            return;
        }
        let (was, Some(now)) = (self.kind, speaker(text)) else { return };
        // The script is mod_audio_stream's, of whichever version.
        let says_no_more = now == LegKind::ModAudioStream && was.traits().has_script;
        if now == was || says_no_more {
            return;
        }
        self.notes.add(LegNote::Revised { was, is: now });
        self.kind = now;
        self.wire = Wire::new(now, self.defaults.playback(now, &self.fields));
        self.decoder = UplinkDecoder::new(self.defaults.mix(now, &self.fields));
        self.measure_anew();
        self.shared.set_format(self.defaults.format_at(self.rate, now, &self.fields));
    }

    /// Looks at the time, a few times a second. Returns what the switch would report if it knew.
    pub fn look(&mut self, now: Instant) -> Option<LegReport> {
        let looked = self.wire.look(self.since, now);
        if let Some(text) = looked.say {
            // A switch that takes nothing is not asked either.
            _ = self.say(Message::text(text));
        }
        if looked.starts_without {
            self.notes.add(LegNote::NoMediaStart(self.rate));
        }
        if looked.always_full {
            self.notes.add(LegNote::AlwaysFull);
        }
        let silent_ms = now.since_ms(self.audio_at.unwrap_or(self.since));
        let seconds = silent_ms / 1000;
        match self.audio_at {
            None if silent_ms >= NO_AUDIO_MS => self.notes.add(LegNote::NoAudio(self.kind, seconds)),
            Some(_) if silent_ms >= AUDIO_STOPPED_MS && self.kind.traits().sends_silence => {
                self.notes.add(LegNote::AudioStopped(seconds));
            }
            _ => {}
        }
        self.unheard.look(now).then_some(LegReport::Unheard)
    }

    /// What is to be known of the leg, once.
    pub fn next_note(&mut self) -> Option<LegNote> {
        self.notes.next_note()
    }

    /// What asks the switch for a sign of life, where it can be asked.
    pub fn probe(&self) -> Option<Message> {
        self.wire.probe()
    }
}
