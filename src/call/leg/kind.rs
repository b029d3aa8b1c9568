//! What a leg can be, and everything in which the kinds differ but the bytes on the wire: one row of one table each.
//!
//! Runs in: anywhere: pure. Owns the table. To add a kind, add its row, its wire format (`threads/telephony/wire.rs`) and, where
//! its socket is a new one, an arm of `threads/telephony/connection.rs`.
//! Invariant: the rows stand in the order of the kinds.

use crate::base::command::CommandKind;
use crate::base::{PlaybackFormat, SampleRate};

/// What speaks to the relay on the telephone's side of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum LegKind {
    /// FreeSWITCH's mod_audio_stream or a relative: whatever is not known to be another. The open build, 1.0.3 and
    /// cloudfieldcz send the same request.
    #[default]
    ModAudioStream,
    /// mod_audio_stream up to 1.0.2, built on IXWebSocket: connects again within milliseconds after any close, takes binary
    /// messages for text.
    Ixwebsocket,
    /// mod_audio_fork of drachtio or jambonz: cleared by `killAudio`, reports marks.
    AudioFork,
    /// Asterisk's AudioSocket.
    AudioSocket,
    /// Asterisk's chan_websocket.
    ChanWebsocket,
    /// The telephone in the browser: raw audio both ways, let in by a ticket.
    Telephone,
}

/// Which way a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over the leg's own socket.
    InBand,
    /// Over the event socket.
    EventSocket,
    /// By closing the leg, which is all that its protocol has.
    CloseLeg,
}

/// What a leg's connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LegSocket {
    /// A WebSocket.
    WebSocket,
    /// An AudioSocket.
    AudioSocket,
}

/// How far ahead of real time a switch is handed audio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lead {
    /// As its playback has it.
    Playback,
    /// As chan_websocket has it, in frames of 20 ms.
    Frames,
    /// Not at all: it queues nothing.
    None,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LegTraits {
    /// Whose row it is.
    kind: LegKind,
    /// The word in records and on the page.
    label: &'static str,
    /// What it is, in words.
    pub name: &'static str,
    /// What its connection is.
    pub socket: LegSocket,
    /// The subprotocols of WebSocket that tell it. The answer to its upgrade must name the one that it offers.
    pub subprotocols: &'static [&'static str],
    /// What makes it known at the door, where it was known by its words alone.
    pub known_by: &'static str,
    /// What it is was certain at the door, whatever it says.
    pub is_certain: bool,
    /// Its request has a place for a token.
    pub has_token: bool,
    /// It has a place for metadata, which come late.
    pub has_metadata: bool,
    /// Our script may be beside it, which carries out every command and says on which channel it is.
    pub has_script: bool,
    /// The switch can be told over the event socket what to do with its channel.
    pub has_event_socket: bool,
    /// What else it can be told, and how.
    pub ways: &'static [(CommandKind, Way)],
    /// Its rate before it has said one, if that is not configured.
    pub rate: Option<SampleRate>,
    /// What it sends may be mixed of caller and callee, or have two channels.
    pub mixes: bool,
    /// How audio goes back to it, if that is not configured.
    pub playback: Option<PlaybackFormat>,
    /// How far ahead it is handed audio.
    pub lead: Lead,
    /// It sends audio all the time, so that nothing of the caller is a fault.
    pub sends_silence: bool,
    /// It can be asked for a sign of life.
    pub can_be_asked: bool,
    /// A close with 1000 means nothing but that the caller hung up.
    pub closes_to_hang_up: bool,
    /// A leg that was lost may come back.
    pub comes_back: bool,
    /// It connects again by itself, whatever it was closed with and whether or not a script is beside it.
    pub connects_again: bool,
    /// Whoever connected it asks what is next when it has ended, because its protocol has no word for that.
    pub asks_afterwards: bool,
}

const MOD_AUDIO_STREAM: LegTraits = LegTraits {
    kind: LegKind::ModAudioStream,
    label: "mod_audio_stream",
    name: "a mod_audio_stream leg",
    socket: LegSocket::WebSocket,
    subprotocols: &[],
    known_by: "let it offer no subprotocol",
    is_certain: false,
    has_token: true,
    has_metadata: true,
    has_script: true,
    has_event_socket: true,
    ways: &[],
    rate: None,
    mixes: true,
    playback: None,
    lead: Lead::Playback,
    sends_silence: true,
    can_be_asked: true,
    closes_to_hang_up: false,
    comes_back: true,
    connects_again: false,
    asks_afterwards: false,
};

static TABLE: [LegTraits; 6] = [
    MOD_AUDIO_STREAM,
    LegTraits { kind: LegKind::Ixwebsocket, connects_again: true, ..MOD_AUDIO_STREAM },
    LegTraits {
        kind: LegKind::AudioFork,
        label: "mod_audio_fork",
        name: "a mod_audio_fork leg",
        // The module's own, and what jambonz sets it to (`MOD_AUDIO_FORK_SUBPROTOCOL_NAME`).
        subprotocols: &["audio.drachtio.org", "audio.jambonz.org"],
        known_by: "let it offer the subprotocol audio.jambonz.org or audio.drachtio.org (MOD_AUDIO_FORK_SUBPROTOCOL_NAME)",
        has_script: false,
        // jambonz ends its `listen` with the connection, and goes on with the application behind it.
        ways: &[(CommandKind::HangUp, Way::CloseLeg), (CommandKind::Break, Way::InBand)],
        playback: Some(PlaybackFormat::Binary),
        closes_to_hang_up: true,
        ..MOD_AUDIO_STREAM
    },
    LegTraits {
        kind: LegKind::AudioSocket,
        label: "audiosocket",
        name: "an AudioSocket leg",
        socket: LegSocket::AudioSocket,
        is_certain: true,
        has_token: false,
        has_metadata: false,
        has_script: false,
        has_event_socket: false,
        ways: &[(CommandKind::HangUp, Way::CloseLeg)],
        // What every version of Asterisk takes. Its first frame says what the call has.
        rate: Some(SampleRate::Hz8000),
        mixes: false,
        lead: Lead::None,
        sends_silence: false,
        // A caller on hold sends nothing for as long as it likes; a dead switch is found by what it does not acknowledge of
        // the frames that keep the call alive.
        can_be_asked: false,
        asks_afterwards: true,
        ..MOD_AUDIO_STREAM
    },
    LegTraits {
        kind: LegKind::ChanWebsocket,
        label: "chan_websocket",
        name: "a chan_websocket leg",
        // What Asterisk asks for, as `protocols` in websocket_client.conf says.
        subprotocols: &["media"],
        known_by: "write protocols = media into websocket_client.conf",
        has_script: false,
        has_event_socket: false,
        ways: &[(CommandKind::HangUp, Way::CloseLeg), (CommandKind::Break, Way::InBand)],
        mixes: false,
        lead: Lead::Frames,
        sends_silence: false,
        closes_to_hang_up: true,
        asks_afterwards: true,
        ..MOD_AUDIO_STREAM
    },
    LegTraits {
        kind: LegKind::Telephone,
        label: "telephone",
        name: "the telephone in the browser",
        // Its ticket is offered beside it (`ticket.…`): a page can set no header of a WebSocket but this.
        subprotocols: &["tandem.telephone"],
        is_certain: true,
        has_metadata: false,
        has_script: false,
        has_event_socket: false,
        ways: &[(CommandKind::HangUp, Way::CloseLeg)],
        playback: Some(PlaybackFormat::Binary),
        // A ticket is for one call.
        comes_back: false,
        ..MOD_AUDIO_STREAM
    },
];

impl LegKind {
    /// Its row.
    pub(crate) fn traits(self) -> &'static LegTraits {
        &TABLE[self as usize]
    }

    /// The word in records and on the page.
    pub fn label(self) -> &'static str {
        self.traits().label
    }

    /// The first of the offered subprotocols (`Sec-WebSocket-Protocol`, separated by commas) that is known, with what it
    /// tells. The answer to the upgrade must name it.
    pub(crate) fn of_subprotocols(offered: &[u8]) -> Option<(Self, &'static str)> {
        let known = || TABLE.iter().flat_map(|row| row.subprotocols.iter().map(|name| (row.kind, *name)));
        let mut offered = offered.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        offered.find_map(|one| known().find(|(_, name)| one.eq_ignore_ascii_case(name.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_row() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.kind as usize, at);
        }
    }

    #[test]
    fn the_subprotocol_tells_who_offers_it_and_is_what_the_answer_names() {
        for (offered, expected) in [
            ("audio.drachtio.org", Some((LegKind::AudioFork, "audio.drachtio.org"))),
            ("audio.jambonz.org", Some((LegKind::AudioFork, "audio.jambonz.org"))),
            ("x, Audio.Jambonz.org", Some((LegKind::AudioFork, "audio.jambonz.org"))),
            ("audio.jambonz.org, audio.drachtio.org", Some((LegKind::AudioFork, "audio.jambonz.org"))),
            ("media", Some((LegKind::ChanWebsocket, "media"))),
            ("tandem.telephone, ticket.a", Some((LegKind::Telephone, "tandem.telephone"))),
            ("audio.drachtio.org.example", None),
            ("", None),
        ] {
            assert_eq!(LegKind::of_subprotocols(offered.as_bytes()), expected, "{offered}");
        }
    }
}
