//! What an operator should know of a call's leg: what a switch said that cannot be used, what it does not say, what it sends
//! against what was written.
//!
//! Runs in: made by the telephony thread, told by control: pure. Owns what it says.
//! Never decides anything: whoever makes a note has done what it says.
//! Invariant: a note names what is wrong and what to do, and holds nothing that may not stand in a log.

use std::fmt;

use crate::base::SampleRate;
use crate::call::LegKind;
use crate::call::leg::FieldNote;

/// See the head of this file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegNote {
    /// Something of the metadata was left out, or read with reservations.
    Field(FieldNote),
    /// The switch reports an error, in its words.
    Error(String),
    /// Nothing was heard of the caller since the leg came, this long ago in seconds.
    NoAudio(LegKind, u64),
    /// Nothing is heard of the caller any more, for so many seconds.
    AudioStopped(u64),
    /// Asterisk's first event did not come, and the call goes on at this rate.
    NoMediaStart(SampleRate),
    /// Asterisk's queue counts as full for ever, and is taken for empty.
    AlwaysFull,
    /// The audio comes at another rate than is written for this call or in the configuration, which counts all the same.
    RateContradicts {
        /// What is written.
        written: SampleRate,
        /// What comes, in samples a second of the channels that are written.
        hz: u64,
        /// Where it is written.
        place: &'static str,
    },
    /// Nothing is written of the rate, and this is what comes.
    RateMeasured {
        /// What it was taken for.
        was: SampleRate,
        /// What it is.
        is: SampleRate,
    },
    /// The audio comes at no rate that there is a filter for.
    RateUnknown(u64),
    /// What AudioSocket calls 8 kHz comes faster, and is heard as fast.
    Mislabelled(&'static str, SampleRate),
    /// The leg said what it is after it was taken for something else.
    Revised {
        /// What it was taken for.
        was: LegKind,
        /// What it is.
        is: LegKind,
    },
    /// The switch cannot play what it is sent, and what to do.
    CannotPlay(&'static str),
}

impl LegNote {
    /// What it is about, in a word.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Field(_) => "metadata",
            Self::Error(_) => "switch_error",
            Self::NoAudio(..) => "no_audio",
            Self::AudioStopped(_) => "audio_stopped",
            Self::NoMediaStart(_) => "no_media_start",
            Self::AlwaysFull => "always_full",
            Self::RateContradicts { .. } => "rate_contradicts",
            Self::RateMeasured { .. } => "rate_measured",
            Self::RateUnknown(_) => "rate_unknown",
            Self::Mislabelled(..) => "mislabelled",
            Self::Revised { .. } => "revised",
            Self::CannotPlay(_) => "cannot_play",
        }
    }

    /// Whether `other` says the same, so that one of the two is enough.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Field(one), Self::Field(other)) => one.is_like(other),
            (one, other) => one.kind() == other.kind(),
        }
    }
}

impl fmt::Display for LegNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(note) => note.fmt(f),
            Self::Error(text) => write!(f, "the switch reports an error: \"{text}\""),
            Self::NoAudio(kind, seconds) if !kind.traits().sends_silence => write!(
                f,
                "no audio of the caller for {seconds} s: a caller on hold or a telephone that leaves silence out sends none; else \
                 look whether RTP reaches Asterisk"
            ),
            Self::NoAudio(_, seconds) => write!(
                f,
                "the leg is connected and sends no audio for {seconds} s: mixed and stereo send none while nothing is written to \
                 the caller (set send_silence_when_idle=-1), and a playback in the dialplan stops the stream"
            ),
            Self::AudioStopped(seconds) => write!(
                f,
                "the leg sends no audio any more, for {seconds} s, and is still there: was the stream paused, or does the \
                 dialplan play something?"
            ),
            Self::NoMediaStart(rate) => write!(
                f,
                "MEDIA_START has not come from Asterisk: the call goes on at {rate}, and Asterisk's queue is not counted; \
                 is something between that takes texts away?"
            ),
            Self::AlwaysFull => f.write_str(
                "Asterisk said MEDIA_XOFF and never MEDIA_XON, long after its queue must have run dry: audio is sent again",
            ),
            Self::RateContradicts { written, hz, place } => write!(
                f,
                "the caller's audio comes at about {hz} samples a second, and {written} is written in {place}, which counts: what \
                 is heard is too slow or too fast; write the rate with which the stream is started (and mix=stereo, if it has two \
                 channels)"
            ),
            Self::RateMeasured { was, is } => write!(
                f,
                "the caller's audio comes at {is} and was taken for {was}: it goes on at {is}; write rate={} into the URL, or \
                 leg.rate",
                is.hz()
            ),
            Self::RateUnknown(hz) => write!(
                f,
                "the caller's audio comes at about {hz} samples a second, which is none of 8000, 16000, 24000, 32000, 48000: what is \
                 heard is too slow or too fast"
            ),
            Self::Mislabelled(what, rate) => write!(f, "audio labelled 8 kHz comes at {rate}: {what}"),
            Self::Revised { was, is } => {
                let (was, known_by) = (was.label(), is.traits().known_by);
                write!(f, "taken for {was}, and is {} by its own words: it goes on as that; {known_by}", is.label())
            }
            Self::CannotPlay(why) => f.write_str(why),
        }
    }
}

/// The notes of one leg: each kind once.
#[derive(Debug, Default)]
pub struct LegNotes {
    notes: Vec<LegNote>,
    given: usize,
}

/// More kinds than there are, with the fields that metadata can have wrong in their ways.
const NOTES_MAX: usize = 32;

impl LegNotes {
    /// Adds a note, unless one like it was made before.
    pub fn add(&mut self, note: LegNote) {
        if self.notes.len() < NOTES_MAX && !self.notes.iter().any(|told| told.is_like(&note)) {
            self.notes.push(note);
        }
    }

    /// The next note that nobody was told of.
    pub fn next_note(&mut self) -> Option<LegNote> {
        let note = self.notes.get(self.given)?.clone();
        self.given += 1;
        Some(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_note_is_given_once() {
        let mut notes = LegNotes::default();
        for note in [
            LegNote::Error("first".into()),
            LegNote::AlwaysFull,
            LegNote::Error("second".into()),
            LegNote::AudioStopped(10),
        ] {
            notes.add(note);
        }
        let mut given = std::iter::from_fn(|| notes.next_note()).collect::<Vec<_>>();
        assert_eq!(given, [LegNote::Error("first".into()), LegNote::AlwaysFull, LegNote::AudioStopped(10)]);
        notes.add(LegNote::AlwaysFull);
        notes.add(LegNote::RateUnknown(11_025));
        given = std::iter::from_fn(|| notes.next_note()).collect();
        assert_eq!(given, [LegNote::RateUnknown(11_025)]);
    }
}
