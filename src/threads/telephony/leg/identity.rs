//! What a leg is, and whether it lives: what it was taken for at the door is revised by its own words, and waits end.
//!
//! Runs in: the telephony thread, and tests. Owns nothing: the state is the leg's.
//! Invariant: a peer that says unmistakably what it is, is treated as that from then on.

use tungstenite::Message;

use super::super::defaults::LegDefaults;
use super::super::wire::{Protocol, Wire};
use super::{Leg, LegNotes, Received, UplinkDecoder};
use crate::base::{Instant, LegReport, PlaybackFormat};
use crate::call::LegNote;
use crate::call::leg::CallFields;
use crate::codec::mod_audio_stream::{Flavour, Speaker, speaker};

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
pub(super) fn first_notes(defaults: &LegDefaults, protocol: Protocol, fields: &CallFields) -> LegNotes {
    let mut notes = LegNotes::default();
    let plays = defaults.playback(protocol, fields);
    if protocol == Protocol::WebSocket(Flavour::Ixwebsocket) && plays == PlaybackFormat::Binary {
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
        self.wire.play_as(self.defaults.playback(self.protocol, &fields));
        let mix = self.defaults.mix(self.protocol, &fields);
        if mix != self.defaults.mix(self.protocol, &self.fields) {
            self.decoder = UplinkDecoder::new(mix);
        }
        if fields.rate.is_some_and(|rate| rate != self.rate) {
            self.measure_anew();
        }
        self.rate = fields.rate.unwrap_or(self.rate);
        self.script |= fields.script == Some(true);
        let downlink = self.defaults.format_at(self.rate, self.protocol, &fields);
        if self.shared.format() != downlink {
            self.shared.set_format(downlink);
        }
        self.fields = fields;
    }

    /// Looks at who says this text: a peer that says what only one says is that one.
    pub(super) fn revise(&mut self, text: &str) {
        let Protocol::WebSocket(taken_for) = self.protocol else { return };
        if self.texts >= METADATA_TEXTS_MAX {
            return;
        }
        let is = match (taken_for, speaker(text)) {
            (Flavour::Telephone, _) | (_, None) => return,
            (_, Some(Speaker::ChanWebSocket)) => Flavour::ChanWebSocket,
            (_, Some(Speaker::AudioFork)) => Flavour::AudioFork,
            // The script is mod_audio_stream's, of whichever version.
            (Flavour::ChanWebSocket | Flavour::AudioFork, Some(Speaker::Script)) => Flavour::Unknown,
            (_, Some(Speaker::Script)) => return,
        };
        if is == taken_for {
            return;
        }
        let (was, now) = (self.protocol, Protocol::WebSocket(is));
        self.notes.add(LegNote::Revised { was: was.kind(), is: now.kind() });
        self.protocol = now;
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
        match (self.audio_at, self.protocol) {
            (None, protocol) if silent_ms >= NO_AUDIO_MS => {
                self.notes.add(LegNote::NoAudio(protocol.kind(), seconds));
            }
            (Some(_), Protocol::WebSocket(flavour))
                if flavour != Flavour::ChanWebSocket && silent_ms >= AUDIO_STOPPED_MS =>
            {
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

    /// What asks the switch for a sign of life, where it does not bear a ping of WebSocket.
    pub fn probe(&self) -> Option<Message> {
        self.wire.probe()
    }
}
