//! Which module is on the line, as far as its upgrade request tells.
//!
//! Runs in: the accept thread, once per call; pure. Owns nothing. Never guesses from anything but the request.
//! Invariant: a module that cannot be told apart is `Unknown`, which every build of mod_audio_stream understands.

use crate::codec::chan_websocket;

/// The subprotocol of mod_audio_fork. A server that wants to talk to it must answer with this subprotocol.
pub const AUDIO_FORK_SUBPROTOCOL: &str = "audio.drachtio.org";

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
    /// Learns from one header of the upgrade request; `self` is what is known so far.
    pub(super) fn refined_by_header(self, name: &str, value: &[u8]) -> Self {
        if name.eq_ignore_ascii_case("sec-websocket-protocol") {
            let offered = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
            for one in offered {
                if one.eq_ignore_ascii_case(AUDIO_FORK_SUBPROTOCOL.as_bytes()) {
                    return Self::AudioFork;
                }
                if one == TELEPHONE_SUBPROTOCOL.as_bytes() {
                    return Self::Telephone;
                }
                if one.eq_ignore_ascii_case(chan_websocket::SUBPROTOCOL.as_bytes()) {
                    return Self::ChanWebSocket;
                }
            }
        }
        let is_ixwebsocket = name.eq_ignore_ascii_case("user-agent")
            && value
                .get(..b"ixwebsocket".len())
                .is_some_and(|start| start.eq_ignore_ascii_case(b"ixwebsocket"));
        if is_ixwebsocket && self == Self::Unknown { Self::Ixwebsocket } else { self }
    }

    /// The subprotocol that the answer to the upgrade must name, if any.
    pub const fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::AudioFork => Some(AUDIO_FORK_SUBPROTOCOL),
            Self::ChanWebSocket => Some(chan_websocket::SUBPROTOCOL),
            Self::Telephone => Some(TELEPHONE_SUBPROTOCOL),
            Self::Ixwebsocket | Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told_by(headers: &[(&str, &str)]) -> Flavour {
        headers.iter().fold(Flavour::default(), |flavour, (name, value)| {
            flavour.refined_by_header(name, value.as_bytes())
        })
    }

    #[test]
    fn the_subprotocol_tells_mod_audio_fork() {
        assert_eq!(told_by(&[("sec-websocket-protocol", "audio.drachtio.org")]), Flavour::AudioFork);
        assert_eq!(told_by(&[("Sec-WebSocket-Protocol", "x, audio.drachtio.org")]), Flavour::AudioFork);
        assert_eq!(told_by(&[("Sec-WebSocket-Protocol", "audio.drachtio.org.example")]), Flavour::Unknown);
        assert_eq!(Flavour::AudioFork.subprotocol(), Some("audio.drachtio.org"));
    }

    #[test]
    fn the_subprotocol_tells_chan_websocket() {
        assert_eq!(told_by(&[("Sec-WebSocket-Protocol", "media")]), Flavour::ChanWebSocket);
        assert_eq!(Flavour::ChanWebSocket.subprotocol(), Some("media"));
    }

    #[test]
    fn the_user_agent_tells_the_old_module() {
        let old = ("User-Agent", "ixwebsocket/11.4.3 linux ssl/OpenSSL");
        assert_eq!(told_by(&[old]), Flavour::Ixwebsocket);
        assert_eq!(told_by(&[old, ("Sec-WebSocket-Protocol", "audio.drachtio.org")]), Flavour::AudioFork);
        assert_eq!(told_by(&[("Sec-WebSocket-Protocol", "audio.drachtio.org"), old]), Flavour::AudioFork);
        assert_eq!(told_by(&[("User-Agent", "curl"), ("Host", "ixwebsocket")]), Flavour::Unknown);
    }
}
