//! What a chan_websocket leg has to remember: how it writes, whether it buffers and takes audio, what was marked.
//!
//! Runs in: the telephony thread, and tests: pure. Owns counts and flags.
//! Never sees audio or a ring, and never reads a clock: time comes with each look, a few times a second.
//! Invariant: no audio leaves before buffering was asked for, so that Asterisk throws no remainder of a message away.

use crate::base::Instant;
use crate::codec::chan_websocket::{Command, Control, Event, Mark, MediaStart};

/// Frames of 20 ms from one mark to the next: five marks a second say what was heard to a fifth of a second.
const MARK_EVERY_FRAMES: u32 = 10;
/// How long the first event is waited for: Asterisk sends it with the connection.
const START_WITHIN_MS: u64 = 2_000;
/// How long a queue that counts as full is believed: from 900 frames to 800 takes Asterisk 2 s.
const FULL_MS_MAX: u64 = 6_000;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct ChanWebSocket {
    /// How control messages are written, once the first event said so.
    control: Option<Control>,
    /// Something of Asterisk says how it writes, be it not the first event.
    certain: bool,
    buffers: bool,
    paused: bool,
    /// Since when, as far as anybody looked; and whether it was asked how its queue stands.
    paused_since: Option<Instant>,
    asked: bool,
    flushes: u32,
    /// Frames handed over since the last flush, how many of them were marked, and how many played.
    frames: u32,
    marked: u32,
    heard: u32,
}

/// What an event means to the leg.
#[derive(Debug, PartialEq)]
pub(crate) enum Reported {
    /// Nothing more than what was remembered.
    Nothing,
    /// The channel is there.
    Started(Box<MediaStart>),
    /// So many more frames of 20 ms were played to the caller.
    Heard(u32),
    /// The caller pressed a key.
    Dtmf(char),
    /// Something is wrong, in Asterisk's words.
    Error(String),
}

/// What looking at the time led to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Looked {
    /// To be said to Asterisk.
    pub say: Option<String>,
    /// The first event has not come, and is waited for no longer.
    pub starts_without: bool,
    /// The queue counted as full for ever, and is taken for empty.
    pub always_full: bool,
}

impl ChanWebSocket {
    /// Reads a text message of Asterisk.
    pub(crate) fn read(&mut self, text: &str) -> Reported {
        let event = Event::parse(text);
        if !self.certain && event != Event::Other {
            // Whatever was said to it before in the other way of writing was lost on it.
            let control = if text.trim_start().starts_with('{') { Control::Json } else { Control::Plain };
            self.certain = true;
            self.buffers &= self.control == Some(control);
            self.control = self.control.map(|_| control);
        }
        match event {
            Event::MediaStart(start) => {
                self.control = Some(start.control);
                Reported::Started(start)
            }
            Event::Xoff => self.is_full(true),
            Event::Xon => self.is_full(false),
            Event::Status { full } => self.is_full(full),
            Event::Mark(mark) => self.played(mark),
            Event::Dtmf(digit) => Reported::Dtmf(digit),
            Event::Error(text) => Reported::Error(text),
            Event::Other => Reported::Nothing,
        }
    }

    fn is_full(&mut self, full: bool) -> Reported {
        if self.paused != full {
            (self.paused, self.paused_since, self.asked) = (full, None, false);
        }
        Reported::Nothing
    }

    /// What asks for a sign of life: a ping of WebSocket hangs the channel up in versions before 20.18, 22.8 and 23.2, and
    /// in every 21.
    pub(crate) fn probe(&self) -> String {
        Command::Status.text(self.control.unwrap_or(Control::Plain))
    }

    /// Looks at the time of a leg that came at `since`.
    pub(crate) fn look(&mut self, since: Instant, now: Instant) -> Looked {
        let mut looked = Looked::default();
        if self.control.is_none() && now.since_ms(since) >= START_WITHIN_MS {
            // Whole frames are played without any command too. The answer, or the error, tells how it writes.
            self.control = Some(Control::Plain);
            self.certain = false;
            (looked.say, looked.starts_without) = (Some(self.probe()), true);
        }
        if self.paused {
            let paused_ms = now.since_ms(*self.paused_since.get_or_insert(now));
            if paused_ms >= FULL_MS_MAX {
                (self.paused, self.paused_since, self.asked) = (false, None, false);
                looked.always_full = true;
            } else if paused_ms >= FULL_MS_MAX / 2 && !self.asked {
                self.asked = true;
                looked.say = Some(self.probe());
            }
        }
        looked
    }

    fn played(&mut self, mark: Mark) -> Reported {
        // What a peer says was played is believed as far as it was sent.
        if mark.flushes != self.flushes || mark.frames > self.frames || mark.frames <= self.heard {
            return Reported::Nothing;
        }
        let more = mark.frames - self.heard;
        self.heard = mark.frames;
        Reported::Heard(more)
    }

    /// The command that has to leave before any more audio.
    pub(crate) fn next_command(&mut self) -> Option<String> {
        let control = self.control?;
        if !self.buffers {
            self.buffers = true;
            return Some(Command::StartBuffering.text(control));
        }
        // Marks came to Asterisk together with JSON (20.18, 22.8, 23.2); an older one would log a warning for each.
        if control == Control::Json && self.frames - self.marked >= MARK_EVERY_FRAMES {
            self.marked = self.frames;
            return Some(Command::Mark(Mark { flushes: self.flushes, frames: self.frames }).text(control));
        }
        None
    }

    /// Whether audio has to wait.
    pub(crate) fn holds_audio(&self) -> bool {
        self.paused || self.control.is_none()
    }

    /// A frame was handed over.
    pub(crate) fn sent(&mut self) {
        self.frames = self.frames.saturating_add(1);
    }

    /// The command that empties Asterisk's queue; what it buffered and marked is gone with it.
    pub(crate) fn flush(&mut self) -> Option<String> {
        let control = self.control?;
        let flushes = self.flushes.wrapping_add(1);
        *self = Self { control: Some(control), certain: self.certain, flushes, ..Self::default() };
        Some(Command::Flush.text(control))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    const FULL: &str = "STATUS channel_id:1 queue_length:900 queue_full:true";

    #[test]
    fn without_the_first_event_the_call_goes_on_and_how_asterisk_writes_is_learnt_from_its_answer() {
        let mut channel = ChanWebSocket::default();
        assert_eq!(channel.look(at(0), at(1_999)), Looked::default());
        assert!(channel.holds_audio());
        let looked = channel.look(at(0), at(2_000));
        assert_eq!((looked.say.as_deref(), looked.starts_without), (Some("GET_STATUS"), true));
        assert_eq!(channel.look(at(0), at(9_000)), Looked::default(), "once");
        assert!(!channel.holds_audio());
        assert_eq!(channel.next_command().as_deref(), Some("START_MEDIA_BUFFERING"));
        channel.read(r#"{"event":"ERROR","channel_id":"1","error_text":"Unable to parse JSON command"}"#);
        assert_eq!(channel.next_command().as_deref(), Some(r#"{"command":"START_MEDIA_BUFFERING"}"#));
        assert_eq!(channel.probe(), r#"{"command":"GET_STATUS"}"#);
        let mut late = ChanWebSocket::default();
        late.look(at(0), at(2_000));
        assert_eq!(late.next_command().as_deref(), Some("START_MEDIA_BUFFERING"));
        late.read("STATUS channel_id:1 queue_length:0 queue_full:false");
        assert_eq!(late.next_command(), None, "it was understood");
        assert!(matches!(late.read("MEDIA_START format:slin16"), Reported::Started(_)));
    }

    #[test]
    fn a_queue_that_counts_as_full_is_asked_and_then_not_believed_for_ever() {
        let mut channel = ChanWebSocket::default();
        channel.read("MEDIA_START format:slin16");
        channel.read("MEDIA_XOFF");
        assert_eq!(channel.look(at(0), at(10_000)), Looked::default());
        assert_eq!(channel.look(at(0), at(13_000)).say.as_deref(), Some("GET_STATUS"));
        assert_eq!(channel.look(at(0), at(14_000)), Looked::default(), "asked once");
        channel.read(FULL);
        assert!(channel.holds_audio());
        let looked = channel.look(at(0), at(16_000));
        assert!(looked.always_full && looked.say.is_none() && !channel.holds_audio());
        channel.read("MEDIA_XOFF");
        channel.look(at(0), at(17_000));
        channel.read("STATUS channel_id:1 queue_length:3 queue_full:false");
        assert!(!channel.holds_audio(), "its own word counts at once");
    }
}
