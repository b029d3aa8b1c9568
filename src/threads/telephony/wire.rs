//! The wire format of a leg: what its switch speaks. Audio, commands and reports to and from messages.
//!
//! Runs in: the telephony thread, and tests: pure. Owns what a format has to remember between messages.
//! Never sees a ring, a socket or a clock: flow and turns are [`super::leg`]'s.
//! Invariant: audio costs one allocation a message, the message's own bytes.
//!
//! A command for the switch is made into a message here and leaves through [`super::leg::Leg::say`]; a report of the
//! switch comes out of [`Wire::read`] as [`Said::Report`] and goes to control as it is.

use tungstenite::{Bytes, Message};

use super::chan_websocket::{ChanWebSocket, Looked, Reported};
use crate::base::command::Command;
use crate::base::{Instant, LegReport, PlaybackFormat, SampleRate, Turn};
use crate::call::leg::{CallFields, FieldNote, OrderNumber};
use crate::call::{LegKind, LegNote};
use crate::codec::audiosocket::{self, Frame, Meaning, Mislabelled};
use crate::codec::mod_audio_stream::{LegText, orders, playback};

/// G.711 where linear audio was announced, or nothing was.
const COMPANDED: &str =
    "chan_websocket sends G.711: write c(slin16), or another linear format, in Dial(WebSocket/...)";
/// A rate of AudioSocket that the relay has no filter for.
const UNSUPPORTED_RATE: &str = "Asterisk sends audio at 12, 44.1, 96 or 192 kHz (kinds 0x11, 0x15, 0x17, 0x18): write \
                                c(slin16), or c(slin), c(slin24), c(slin32), c(slin48), in Dial(AudioSocket/...)";
/// A format of chan_websocket that is not linear, or of a rate without a filter.
const UNSUPPORTED_FORMAT: &str = "chan_websocket announces a format that is not linear at 8, 16, 24, 32 or 48 kHz: \
                                  write c(slin16), or another such, in Dial(WebSocket/...)";
/// An error that the other end reports.
const REPORTED_ERROR: &str = "Asterisk reports an error (kind 0xff): its log says which";

/// What a text or a frame of the switch says.
#[derive(Debug, PartialEq)]
pub enum Said {
    /// Nothing that concerns the relay.
    Nothing,
    /// More about the call, and what of it could not be used.
    Fields(CallFields, Vec<FieldNote>),
    /// Something that an operator should know.
    Note(LegNote),
    /// The rate of the audio both ways, and what is known of the call.
    Started(SampleRate, CallFields),
    /// So many more frames of 20 ms were played to the caller.
    Heard(u32),
    /// Something that control has to know.
    Report(LegReport),
    /// The caller's audio, mono s16le at this rate.
    Audio(SampleRate, Bytes),
    /// The switch hangs up.
    HungUp,
    /// Something that cannot work, and what to do about it.
    Refused(&'static str),
}

/// A command as this switch is told it.
#[derive(Debug, PartialEq)]
pub struct Told {
    /// The message.
    pub message: Message,
    /// The switch reports what became of it; otherwise saying it is all there is.
    pub reported: bool,
}

/// See the head of this file.
pub enum Wire {
    /// FreeSWITCH's mod_audio_stream and its relatives.
    ModAudioStream {
        /// Which module is on the line.
        kind: LegKind,
        /// How audio goes back.
        playback: PlaybackFormat,
        /// Messages of the turn so far, in file playback.
        chunk: u32,
        /// The turn that they belong to.
        chunk_turn: Turn,
    },
    /// Asterisk's AudioSocket. It knows no command but to hang up, which closing the connection says.
    AudioSocket,
    /// Asterisk's chan_websocket.
    ChanWebSocket(ChanWebSocket),
}

impl Wire {
    /// The format of a leg that plays as `playback` says, where it has a choice.
    pub fn new(kind: LegKind, playback: PlaybackFormat) -> Self {
        match kind {
            LegKind::ChanWebsocket => Self::ChanWebSocket(ChanWebSocket::default()),
            LegKind::AudioSocket => Self::AudioSocket,
            kind => Self::ModAudioStream { kind, playback, chunk: 0, chunk_turn: 0 },
        }
    }

    /// Goes on with another connection of the same switch.
    pub fn reconnected(&mut self, now: LegKind, playback: PlaybackFormat) {
        match (&mut *self, Self::new(now, playback)) {
            // The script that plays files is still there, and counts their chunks.
            (Self::ModAudioStream { kind, .. }, Self::ModAudioStream { .. }) => *kind = now,
            (_, wire) => *self = wire,
        }
    }

    /// The message with audio of `turn`: mono `samples` at `rate`. `is_last`: what was to be said ends with it.
    pub fn audio(&mut self, samples: &[i16], rate: SampleRate, turn: Turn, is_last: bool) -> Message {
        match self {
            Self::ChanWebSocket(channel) => {
                channel.sent();
                let mut bytes = Vec::with_capacity(playback::binary_len(samples.len()));
                playback::write_binary(&mut bytes, samples);
                Message::binary(bytes)
            }
            Self::ModAudioStream { playback: PlaybackFormat::Binary, .. } => {
                let mut bytes = Vec::with_capacity(playback::binary_len(samples.len()));
                playback::write_binary(&mut bytes, samples);
                Message::binary(bytes)
            }
            Self::ModAudioStream { playback, chunk, chunk_turn, .. } => {
                let place = (*playback == PlaybackFormat::File).then(|| {
                    *chunk = if *chunk_turn == turn { chunk.wrapping_add(1) } else { 1 };
                    *chunk_turn = turn;
                    playback::Chunk { number: *chunk, is_last }
                });
                let mut json = Vec::new();
                playback::write_stream_audio(&mut json, samples, rate, turn, place);
                Message::text(String::from_utf8(json).unwrap_or_default())
            }
            Self::AudioSocket => {
                let mut frame = Vec::new();
                audiosocket::write_audio(&mut frame, samples, rate);
                Message::binary(frame)
            }
        }
    }

    /// What keeps a call alive in which nothing was sent for a second, where it needs that: Asterisk ends one without
    /// traffic for 2 s.
    pub fn keepalive(&mut self, rate: SampleRate) -> Option<Message> {
        match self {
            Self::ModAudioStream { .. } | Self::ChanWebSocket(_) => None,
            Self::AudioSocket => self.silence(rate),
        }
    }

    /// A frame of silence, where speech that is broken off needs one behind it: Asterisk's resampler keeps the last
    /// 5 ms of what it was given, and would play them as a click before the next sound.
    pub fn silence(&mut self, rate: SampleRate) -> Option<Message> {
        let silence = [0; SampleRate::Hz48000.samples_per_frame()];
        let frame = silence.get(..rate.samples_per_frame()).unwrap_or_default();
        match self {
            Self::ModAudioStream { .. } => None,
            Self::AudioSocket => Some(self.audio(frame, rate, 0, false)),
            // Not counted among the frames whose playing is reported: it is nobody's speech.
            Self::ChanWebSocket(_) => {
                let mut bytes = Vec::with_capacity(playback::binary_len(frame.len()));
                playback::write_binary(&mut bytes, frame);
                Some(Message::binary(bytes))
            }
        }
    }

    /// The message that takes back what was handed over of older turns than `turn`, where the switch can.
    pub fn clear(&mut self, turn: Turn) -> Option<Message> {
        match self {
            Self::ModAudioStream { playback: PlaybackFormat::File, .. } => {
                Some(Message::text(playback::clear_files(turn)))
            }
            Self::ModAudioStream { kind, .. } => Some(Message::text(playback::clear_message(*kind))),
            // There is nothing to take back: what comes is sent on at once.
            Self::AudioSocket => None,
            Self::ChanWebSocket(channel) => channel.flush().map(Message::text),
        }
    }

    /// What has to leave before any more audio, because the format wants it so.
    pub fn before_audio(&mut self) -> Option<Message> {
        match self {
            Self::ModAudioStream { .. } | Self::AudioSocket => None,
            Self::ChanWebSocket(channel) => channel.next_command().map(Message::text),
        }
    }

    /// Whether the switch wants no audio now.
    pub fn holds_audio(&self) -> bool {
        matches!(self, Self::ChanWebSocket(channel) if channel.holds_audio())
    }

    /// The message that tells the switch to carry out `command`, or `None` where its protocol has none.
    pub fn command(&mut self, number: OrderNumber, command: &Command) -> Option<Told> {
        match self {
            // It has a message that empties its queue, and no script.
            Self::ModAudioStream { kind: LegKind::AudioFork, .. } => {
                let message = Message::text(playback::clear_message(LegKind::AudioFork));
                (*command == Command::Break).then_some(Told { message, reported: false })
            }
            Self::ModAudioStream { .. } => {
                let message = Message::text(orders::order_message(number, command));
                Some(Told { message, reported: true })
            }
            // Its only command is the end of the call, which is the close of the leg.
            Self::AudioSocket => None,
            // Of the others only this; the end of the call is the close of the leg here too.
            Self::ChanWebSocket(channel) if *command == Command::Break => {
                Some(Told { message: Message::text(channel.flush()?), reported: false })
            }
            Self::ChanWebSocket(_) => None,
        }
    }

    /// Reads a text message of the switch.
    pub fn read(&mut self, text: &str) -> Said {
        match self {
            Self::ModAudioStream { .. } => match LegText::parse(text) {
                LegText::Metadata(metadata) => Said::Fields(metadata.fields, metadata.notes),
                LegText::Report(report) => Said::Report(report),
                LegText::Mark { .. } | LegText::Other => Said::Nothing,
            },
            Self::AudioSocket => Said::Nothing,
            Self::ChanWebSocket(channel) => match channel.read(text) {
                Reported::Nothing => Said::Nothing,
                Reported::Started(start) => match start.rate {
                    Some(rate) => Said::Started(rate, start.fields),
                    None => Said::Refused(UNSUPPORTED_FORMAT),
                },
                Reported::Heard(frames) => Said::Heard(frames),
                Reported::Dtmf(digit) => LegReport::dtmf(digit).map_or(Said::Nothing, Said::Report),
                Reported::Error(text) => Said::Note(LegNote::Error(text)),
            },
        }
    }

    /// Reads a frame of an AudioSocket.
    pub fn read_frame(&mut self, frame: Frame) -> Said {
        let Self::AudioSocket = self else { return Said::Nothing };
        match frame.meaning() {
            Meaning::Audio(_, audio) if audio.is_empty() => Said::Nothing,
            Meaning::Audio(hz, audio) => match SampleRate::from_hz(hz) {
                Some(rate) => Said::Audio(rate, audio),
                None => Said::Refused(UNSUPPORTED_RATE),
            },
            Meaning::Dtmf(digit) => LegReport::dtmf(digit).map_or(Said::Nothing, Said::Report),
            Meaning::Hangup => Said::HungUp,
            Meaning::Error => Said::Refused(REPORTED_ERROR),
            Meaning::Uuid(_) | Meaning::Unknown => Said::Nothing,
        }
    }

    /// Why audio that is G.711 by its pace and its noise cannot be used, where a switch may send some.
    pub fn companded(&self) -> Option<&'static str> {
        match self {
            Self::ModAudioStream { .. } => None,
            Self::AudioSocket => Some(Mislabelled::G711.explanation()),
            Self::ChanWebSocket(_) => Some(COMPANDED),
        }
    }

    /// What asks the switch for a sign of life, where it can be asked ([`LegKind`]'s table) and bears it.
    pub fn probe(&self) -> Option<Message> {
        match self {
            Self::ModAudioStream { .. } => Some(Message::Ping(Bytes::new())),
            Self::AudioSocket => None,
            Self::ChanWebSocket(channel) => Some(Message::text(channel.probe())),
        }
    }

    /// Looks at the time of a leg that came at `since`.
    pub(crate) fn look(&mut self, since: Instant, now: Instant) -> Looked {
        match self {
            Self::ModAudioStream { .. } | Self::AudioSocket => Looked::default(),
            Self::ChanWebSocket(channel) => channel.look(since, now),
        }
    }

    /// Whether a script gets the audio as files, and is to report that it plays them.
    pub fn plays_files(&self) -> bool {
        matches!(self, Self::ModAudioStream { playback: PlaybackFormat::File, .. })
    }

    /// Audio goes back so from now on, where there is a choice.
    pub fn play_as(&mut self, now: PlaybackFormat) {
        match self {
            Self::ModAudioStream { playback, .. } => *playback = now,
            Self::AudioSocket | Self::ChanWebSocket(_) => {}
        }
    }
}
