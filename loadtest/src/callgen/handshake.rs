//! The upgrade requests of the switches, byte for byte, and the reading of the answer.
//!
//! Runs in: a callgen worker; pure. Owns nothing. Never follows a redirect and never offers an extension, as the
//! module does not. Invariant: the order of the headers, the missing space after the colon and the lower case
//! `upgrade` are those captured from FreeSWITCH 1.10.12 with amigniter/mod_audio_stream main ec2a781 (libwsc);
//! those of mod_audio_fork from jambonz' 30f2189, those of chan_websocket from Asterisk 22.10.1.

use std::net::{SocketAddr, ToSocketAddrs};

use super::leg::Leg;
use super::options::Playback;

/// Longest head of an answer that is read.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Where calls go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `HOST:PORT` as it stands in the Host and Origin headers.
    pub authority: String,
    /// Path and query, at least `/`.
    pub path: String,
    /// The address to connect to, IPv4 if there is one (the module knows no other).
    pub addr: SocketAddr,
}

impl Target {
    /// Takes a `ws://HOST[:PORT][/PATH][?QUERY]` apart and resolves the host.
    ///
    /// # Errors
    /// A text that says what is wrong with the URL and what to write instead.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("ws://").ok_or_else(|| {
            format!(
                "the URL {url:?} does not begin with ws://; callgen makes plain connections: ws://HOST:PORT/"
            )
        })?;
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(at);
        if path.starts_with('?') {
            return Err(format!(
                "the URL {url:?} has a query without a path before it; write /?... (the module refuses it too)"
            ));
        }
        if path.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err(format!(
                "the URL {url:?} holds a space or control character; write it as %20 and so on"
            ));
        }
        let path = if path.is_empty() { "/" } else { path }.to_owned();
        let authority = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
        let addrs: Vec<SocketAddr> = authority
            .to_socket_addrs()
            .map_err(|e| {
                format!("cannot resolve {authority:?} of the URL {url:?}: {e}; write ws://HOST:PORT/")
            })?
            .collect();
        let addr = addrs.iter().find(|a| a.is_ipv4()).or(addrs.first()).copied();
        let addr = addr.ok_or_else(|| format!("{authority:?} of the URL {url:?} has no address"))?;
        Ok(Self { authority, path, addr })
    }

    /// Adds `name=value` to the query unless the URL says `name` already.
    pub fn add_query(&mut self, name: &str, value: &str) {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        if query.split('&').any(|pair| pair.split('=').next() == Some(name)) {
            return;
        }
        let separator = if self.path.contains('?') { '&' } else { '?' };
        self.path = format!("{}{separator}{name}={value}", self.path);
    }
}

/// The request of mod_audio_stream; as [`request_of`].
pub fn request(target: &Target, key: &str, extra: &[(String, String)]) -> Vec<u8> {
    request_of(Leg::ModAudioStream(Playback::Binary), target, key, extra)
}

/// The request of `leg`'s module; `extra` headers come last, sorted by name, as STREAM_EXTRA_HEADERS are.
pub fn request_of(leg: Leg, target: &Target, key: &str, extra: &[(String, String)]) -> Vec<u8> {
    let Target { authority, path, .. } = target;
    let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
    let mut text = match leg {
        // AudioSocket makes none.
        Leg::ModAudioStream(_) | Leg::AudioSocket => format!(
            "GET {path} HTTP/1.1\r\nHost:{authority}\r\nUpgrade:websocket\r\nConnection:upgrade\r\n\
             Sec-WebSocket-Key:{key}\r\nSec-WebSocket-Version:13\r\nOrigin:http://{authority}\r\n"
        ),
        Leg::AudioFork => format!(
            "GET {path} HTTP/1.1\r\nPragma: no-cache\r\nCache-Control: no-cache\r\nHost: {host}\r\n\
             Origin: http://{host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n\
             Sec-WebSocket-Protocol: audio.drachtio.org\r\nSec-WebSocket-Version: 13\r\n"
        ),
        Leg::ChanWebSocket => format!(
            "GET {path} HTTP/1.1\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Host: {authority}\r\nSec-WebSocket-Protocol: media\r\nSec-WebSocket-Key: {key}\r\n"
        ),
    };
    let mut extra: Vec<&(String, String)> = extra.iter().collect();
    extra.sort();
    for (name, value) in extra {
        text.push_str(&format!("{name}:{value}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// How far the answer has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// More bytes are needed.
    Incomplete,
    /// The connection is up; frames begin after this many bytes.
    Upgraded(usize),
    /// The server refused or answered wrongly; why, in words.
    Refused(String),
}

/// Whether what [`Answer::Refused`] says is a refusal, which a server may mean, and no mistake: any status but 101.
pub(super) fn is_refusal(why: &str) -> bool {
    why.starts_with("HTTP ")
}

/// As [`answer`], and checks that the server chose what `leg` offered: mod_audio_fork's library refuses any other
/// answer; Asterisk does not look, but a server that chooses something else has misunderstood it.
pub fn answer_to(leg: Leg, bytes: &[u8], key: &str) -> Answer {
    let answer = answer(bytes, key);
    let Answer::Upgraded(used) = answer else { return answer };
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    // It was understood just before.
    let _ = response.parse(bytes);
    let chosen = response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("sec-websocket-protocol"));
    match (leg.subprotocol(), chosen) {
        (Some(offered), Some(chosen)) if chosen.value.trim_ascii() == offered.as_bytes() => answer,
        (None, None) => Answer::Upgraded(used),
        (None, Some(_)) => Answer::Refused("101 with a subprotocol that was not offered".to_owned()),
        (Some(offered), _) => Answer::Refused(format!("101 without the subprotocol {offered}")),
    }
}

/// Reads the server's answer. The module checks neither the accept value nor anything else but status and presence
/// of the header; this generator checks both, because another client of the relay may.
pub fn answer(bytes: &[u8], key: &str) -> Answer {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(used)) => {
            let code = response.code.unwrap_or(0);
            if code != 101 {
                return Answer::Refused(
                    format!("HTTP {code} {}", response.reason.unwrap_or("")).trim_end().to_owned(),
                );
            }
            let accept =
                response.headers.iter().find(|h| h.name.eq_ignore_ascii_case("sec-websocket-accept"));
            let expected = tungstenite::handshake::derive_accept_key(key.as_bytes());
            match accept {
                Some(header) if header.value.trim_ascii() == expected.as_bytes() => Answer::Upgraded(used),
                Some(_) => Answer::Refused("101 with a wrong Sec-WebSocket-Accept".to_owned()),
                None => Answer::Refused("101 without Sec-WebSocket-Accept".to_owned()),
            }
        }
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => Answer::Incomplete,
        Ok(httparse::Status::Partial) => {
            Answer::Refused(format!("an answer of more than {HEAD_BYTES_MAX} bytes"))
        }
        Err(e) => Answer::Refused(format!("not an HTTP answer: {e}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_legs_requests_are_the_captured_ones() {
        let target = Target::parse("ws://127.0.0.1:9097/media?call=x").expect("a URL");
        let media = request_of(Leg::ChanWebSocket, &target, "9OYcNgAAAACqYbN/AAAAAA==", &[]);
        let captured = "GET /media?call=x HTTP/1.1\r\nSec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\nHost: 127.0.0.1:9097\r\nSec-WebSocket-Protocol: media\r\n\
                        Sec-WebSocket-Key: 9OYcNgAAAACqYbN/AAAAAA==\r\n\r\n";
        assert_eq!(String::from_utf8(media).expect("ASCII"), captured);
        let fork = request_of(Leg::AudioFork, &target, "z1/fGIhy1kmOACXviM9DkA==", &[]);
        let captured = "GET /media?call=x HTTP/1.1\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n\
                        Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\nSec-WebSocket-Key: z1/fGIhy1kmOACXviM9DkA==\r\n\
                        Sec-WebSocket-Protocol: audio.drachtio.org\r\nSec-WebSocket-Version: 13\r\n\r\n";
        assert_eq!(String::from_utf8(fork).expect("ASCII"), captured);
    }

    #[test]
    fn the_subprotocol_offered_must_be_chosen() {
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let with = |header: &str| {
            format!("HTTP/1.1 101 OK\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n{header}\r\n")
        };
        let answer = |leg, header| answer_to(leg, with(header).as_bytes(), key);
        let stream = Leg::ModAudioStream(Playback::Binary);
        let fork = "Sec-WebSocket-Protocol: audio.drachtio.org\r\n";
        assert!(matches!(answer(Leg::AudioFork, fork), Answer::Upgraded(_)));
        assert!(matches!(answer(stream, ""), Answer::Upgraded(_)));
        for (leg, header) in [(Leg::AudioFork, ""), (stream, fork), (Leg::ChanWebSocket, fork)] {
            assert!(matches!(answer(leg, header), Answer::Refused(_)), "{leg:?} {header}");
        }
    }

    #[test]
    fn the_request_is_the_captured_one() {
        let target = Target::parse("ws://127.0.0.1:9094").expect("a URL");
        let extra =
            [("X-Alpha".to_owned(), "one".to_owned()), ("Authorization".to_owned(), "Bearer t0k".to_owned())];
        let bytes = request(&target, "qZeamZnNe7hWTwEl2j/Phg==", &extra);
        let captured = "GET / HTTP/1.1\r\nHost:127.0.0.1:9094\r\nUpgrade:websocket\r\nConnection:upgrade\r\n\
                        Sec-WebSocket-Key:qZeamZnNe7hWTwEl2j/Phg==\r\nSec-WebSocket-Version:13\r\n\
                        Origin:http://127.0.0.1:9094\r\nAuthorization:Bearer t0k\r\nX-Alpha:one\r\n\r\n";
        assert_eq!(String::from_utf8(bytes).expect("ASCII"), captured);
    }

    #[test]
    fn settings_go_into_the_query_unless_the_url_names_them() {
        let mut target = Target::parse("ws://127.0.0.1:9094/call?rate=8000&x").expect("a URL");
        target.add_query("rate", "16000");
        target.add_query("playback", "json");
        assert_eq!(target.path, "/call?rate=8000&x&playback=json");
        let mut target = Target::parse("ws://127.0.0.1:9094").expect("a URL");
        target.add_query("mix", "mono");
        assert_eq!(target.path, "/?mix=mono");
        assert!(Target::parse("http://127.0.0.1").unwrap_err().contains("ws://"));
        assert!(Target::parse("ws://127.0.0.1:1?x=1").unwrap_err().contains("path"));
        assert!(Target::parse("ws://127.0.0.1:1/a b").unwrap_err().contains("%20"));
    }

    #[test]
    fn an_answer_is_taken_only_with_the_right_accept_value() {
        // Key and value of RFC 6455 section 1.3.
        let key = "dGhlIHNhbXBsZSBub25jZQ==";
        let good = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x82\x00";
        assert_eq!(answer(good, key), Answer::Upgraded(good.len() - 2));
        for n in 0..good.len() - 2 {
            assert_eq!(answer(&good[..n], key), Answer::Incomplete, "{n} bytes");
        }
        assert!(matches!(answer(good, "AAAA"), Answer::Refused(why) if why.contains("wrong")));
        let refused = answer(b"HTTP/1.1 503 Too many calls\r\n\r\n", key);
        assert_eq!(refused, Answer::Refused("HTTP 503 Too many calls".to_owned()));
        assert!(matches!(answer(b"\x00\x01\x02", key), Answer::Refused(_)));
    }
}
