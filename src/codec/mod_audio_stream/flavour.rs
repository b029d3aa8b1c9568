//! Which module is on the line, as far as its upgrade request tells.
//!
//! Runs in: the accept thread, once per call; pure. Owns nothing. Never guesses from anything but the request.
//! Invariant: a module that cannot be told apart is `Unknown`, which every build of mod_audio_stream understands.

use crate::codec::chan_websocket;

/// The subprotocols of mod_audio_fork: the module's own, and what jambonz sets it to
/// (`MOD_AUDIO_FORK_SUBPROTOCOL_NAME`). A server that wants to talk to it must answer with the one that it offers.
pub(crate) const AUDIO_FORK_SUBPROTOCOLS: [&str; 2] = ["audio.drachtio.org", "audio.jambonz.org"];

/// The subprotocol of the telephone in the browser, which offers its ticket beside it (`ticket.…`): a page can set no header of
/// a WebSocket but this.
pub const TELEPHONE_SUBPROTOCOL: &str = "tandem.telephone";

/// A family of modules with differences that matter to us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// mod_audio_fork of drachtio or jambonz: cleared by `killAudio`, reports marks.
    AudioFork,
    /// Asterisk's chan_websocket, which is no module of FreeSWITCH but asks for its upgrade in the same place.
    ChanWebSocket,
    /// mod_audio_stream up to 1.0.2, built on IXWebSocket: connects again within milliseconds after any close, takes
    /// binary messages for text.
    Ixwebsocket,
    /// The telephone in the browser: raw audio both ways, let in by a ticket.
    Telephone,
    /// Every other: the open build, 1.0.3 and cloudfieldcz send the same request.
    #[default]
    Unknown,
}

impl Flavour {
    /// The first of the offered subprotocols (`Sec-WebSocket-Protocol`, separated by commas) that is known, with the
    /// module that it belongs to. The answer to the upgrade must name it.
    pub(super) fn of_subprotocols(offered: &[u8]) -> Option<(Self, &'static str)> {
        let known = AUDIO_FORK_SUBPROTOCOLS.map(|name| (Self::AudioFork, name)).into_iter().chain([
            (Self::Telephone, TELEPHONE_SUBPROTOCOL),
            (Self::ChanWebSocket, chan_websocket::SUBPROTOCOL),
        ]);
        let mut offered = offered.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        offered.find_map(|one| known.clone().find(|(_, name)| one.eq_ignore_ascii_case(name.as_bytes())))
    }

    /// Learns from one header of the upgrade request other than its subprotocols; `self` is what is known so far.
    pub(super) fn refined_by_header(self, name: &str, value: &[u8]) -> Self {
        let is_ixwebsocket = name.eq_ignore_ascii_case("user-agent")
            && value
                .get(..b"ixwebsocket".len())
                .is_some_and(|start| start.eq_ignore_ascii_case(b"ixwebsocket"));
        if is_ixwebsocket && self == Self::Unknown { Self::Ixwebsocket } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subprotocol_tells_who_offers_it_and_is_what_the_answer_names() {
        for (offered, expected) in [
            ("audio.drachtio.org", Some((Flavour::AudioFork, "audio.drachtio.org"))),
            ("audio.jambonz.org", Some((Flavour::AudioFork, "audio.jambonz.org"))),
            ("x, Audio.Jambonz.org", Some((Flavour::AudioFork, "audio.jambonz.org"))),
            ("audio.jambonz.org, audio.drachtio.org", Some((Flavour::AudioFork, "audio.jambonz.org"))),
            ("media", Some((Flavour::ChanWebSocket, "media"))),
            ("tandem.telephone, ticket.a", Some((Flavour::Telephone, "tandem.telephone"))),
            ("audio.drachtio.org.example", None),
            ("", None),
        ] {
            assert_eq!(Flavour::of_subprotocols(offered.as_bytes()), expected, "{offered}");
        }
    }

    #[test]
    fn the_user_agent_tells_the_old_module_where_nothing_else_does() {
        let old = b"ixwebsocket/11.4.3 linux ssl/OpenSSL";
        assert_eq!(Flavour::Unknown.refined_by_header("User-Agent", old), Flavour::Ixwebsocket);
        assert_eq!(Flavour::AudioFork.refined_by_header("user-agent", old), Flavour::AudioFork);
        assert_eq!(Flavour::Unknown.refined_by_header("User-Agent", b"curl"), Flavour::Unknown);
        assert_eq!(Flavour::Unknown.refined_by_header("Host", b"ixwebsocket"), Flavour::Unknown);
    }
}
