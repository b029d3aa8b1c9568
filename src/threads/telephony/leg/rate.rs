//! The rate of a leg: what is written counts, and what is measured takes its place where nothing is, or is told.
//!
//! Runs in: the telephony thread, and tests. Owns nothing: the numbers are the leg's.
//! Invariant: what is measured never ends a call whose audio is linear, and changes no rate that somebody wrote.

use super::super::meter::Measured;
use super::{Leg, Meter};
use crate::base::{Instant, SampleRate};
use crate::call::LegKind;
use crate::call::LegNote;
use crate::codec::audiosocket::Mislabelled;

impl Leg {
    /// Without a word about the rate, the first message is a first guess where it is one usual frame of 20 ms.
    pub(super) fn infer_rate(&mut self, bytes: usize) {
        if self.place_of_rate().is_some() {
            return;
        }
        let channels = self.channels();
        let told = SampleRate::ALL.into_iter().find(|rate| rate.samples_per_frame() * 2 * channels == bytes);
        if let Some(rate) = told {
            self.set_rate(rate);
        }
    }

    /// Takes a message to measure. Returns why it cannot be used, where it is no linear audio at all.
    pub(super) fn measure(&mut self, message: &[u8], now: Instant) -> Option<&'static str> {
        let measured = self.meter.take(message, now)?;
        if measured.is_g711()
            && let Some(why) = self.wire.companded()
        {
            return Some(why);
        }
        let heard = self.heard_rate.unwrap_or(self.rate);
        match measured.rate(self.channels()) {
            Some(rate) if rate == heard => self.measured = true,
            Some(rate) => self.hears(rate, measured),
            // Half the pace may be silence left out as much as another rate, and is looked at on.
            None if measured.hz(self.channels()) < u64::from(heard.hz()) => {}
            None => {
                self.notes.add(LegNote::RateUnknown(measured.hz(self.channels())));
                self.measured = true;
            }
        }
        None
    }

    /// The caller's audio comes at another rate than it is heard at.
    fn hears(&mut self, rate: SampleRate, measured: Measured) {
        if self.kind == LegKind::AudioSocket {
            // Versions before 20.17, 21.12, 22.7 and 23.1 label every rate as 8 kHz. Any other label was meant.
            if self.rate == SampleRate::Hz8000 && rate != SampleRate::Hz8000 {
                self.heard_rate = Some(rate);
                self.notes.add(LegNote::Mislabelled(Mislabelled::HigherRate.explanation(), rate));
            }
            self.measured = true;
            return;
        }
        match self.place_of_rate() {
            Some(place) => {
                let (written, hz) = (self.rate, measured.hz(self.channels()));
                self.notes.add(LegNote::RateContradicts { written, hz, place });
                self.measured = true;
            }
            None => {
                self.notes.add(LegNote::RateMeasured { was: self.rate, is: rate });
                self.set_rate(rate);
            }
        }
    }

    /// Where the rate is written, if it is.
    fn place_of_rate(&self) -> Option<&'static str> {
        match self.kind.traits().rate {
            _ if self.fields.rate.is_some() => {
                Some("what the switch said of the call (URL, headers, metadata or MEDIA_START)")
            }
            None if self.defaults.rate_is_written => Some("leg.rate"),
            _ => None,
        }
    }

    fn channels(&self) -> usize {
        self.defaults.mix(self.kind, &self.fields).channels()
    }

    /// What was measured was of something else.
    pub(super) fn measure_anew(&mut self) {
        (self.meter, self.measured, self.heard_rate) = (Meter::default(), false, None);
    }

    pub(super) fn set_rate(&mut self, rate: SampleRate) {
        if rate != self.rate {
            self.rate = rate;
            self.shared.set_format(self.defaults.format_at(rate, self.kind, &self.fields));
        }
    }
}
