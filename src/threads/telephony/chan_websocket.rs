//! What a chan_websocket leg has to remember: how it writes, whether it buffers and takes audio, what was marked.
//!
//! Runs in: the telephony thread, and tests: pure. Owns counts and flags.
//! Never sees audio, a ring or a clock.
//! Invariant: no audio leaves before buffering was asked for, so that Asterisk throws no remainder of a message away.

use crate::codec::chan_websocket::{Command, Control, Event, Mark, MediaStart};

/// Frames of 20 ms from one mark to the next: five marks a second say what was heard to a fifth of a second.
const MARK_EVERY_FRAMES: u32 = 10;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct ChanWebSocket {
    /// How control messages are written, once the first event said so.
    control: Option<Control>,
    buffers: bool,
    paused: bool,
    flushes: u32,
    /// Frames handed over since the last flush, how many of them were marked, and how many played.
    frames: u32,
    marked: u32,
    heard: u32,
}

/// What an event means to the leg.
#[derive(Debug, PartialEq)]
pub enum Reported {
    /// Nothing more than what was remembered.
    Nothing,
    /// The channel is there.
    Started(Box<MediaStart>),
    /// So many more frames of 20 ms were played to the caller.
    Heard(u32),
    /// The caller pressed a key.
    Dtmf(char),
}

impl ChanWebSocket {
    /// Reads a text message of Asterisk.
    pub fn read(&mut self, text: &str) -> Reported {
        match Event::parse(text) {
            Event::MediaStart(start) => {
                self.control = Some(start.control);
                Reported::Started(start)
            }
            Event::Xoff => {
                self.paused = true;
                Reported::Nothing
            }
            Event::Xon => {
                self.paused = false;
                Reported::Nothing
            }
            Event::Mark(mark) => self.played(mark),
            Event::Dtmf(digit) => Reported::Dtmf(digit),
            Event::Other => Reported::Nothing,
        }
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
    pub fn next_command(&mut self) -> Option<String> {
        let control = self.control?;
        if !self.buffers {
            self.buffers = true;
            return Some(Command::StartBuffering.text(control));
        }
        if self.frames - self.marked >= MARK_EVERY_FRAMES {
            self.marked = self.frames;
            return Some(Command::Mark(Mark { flushes: self.flushes, frames: self.frames }).text(control));
        }
        None
    }

    /// Whether audio has to wait.
    pub fn holds_audio(&self) -> bool {
        self.paused || self.control.is_none()
    }

    /// A frame was handed over.
    pub fn sent(&mut self) {
        self.frames = self.frames.saturating_add(1);
    }

    /// The command that empties Asterisk's queue; what it buffered and marked is gone with it.
    pub fn flush(&mut self) -> Option<String> {
        let control = self.control?;
        *self = Self { control: Some(control), flushes: self.flushes.wrapping_add(1), ..Self::default() };
        Some(Command::Flush.text(control))
    }
}
