//! The address of a WebSocket server, the Live API's or Asterisk's, taken apart once: scheme, host, port and path prefix.
//!
//! Runs in: anywhere: pure. Owns the parts of the URL. Never resolves a name.
//! Invariant: without TLS the host is a loopback address, so neither key nor speech leaves the machine in clear, or for a
//! switch one of a private network; there is no user, query or fragment, so no secret can hide in it and it may be logged.

use std::fmt;
use std::net::IpAddr;

/// `wss://HOST[:PORT][/PREFIX]`, or `ws://` to an address that is near enough: a simulator, a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    tls: bool,
    host: String,
    port: u16,
    path_prefix: String,
}

impl BaseUrl {
    /// Parses and checks the URL of a server that is sent key and speech.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence that begins with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let url = Self::take_apart(text)?;
        if !url.tls && !url.is_loopback() {
            return Err(
                "would send the key and the speech unencrypted: ws:// is for loopback addresses only".into(),
            );
        }
        Ok(url)
    }

    /// Parses and checks the URL of a switch, which speaks in clear within a private network.
    ///
    /// # Errors
    /// As [`BaseUrl::parse`].
    pub fn parse_of_switch(text: &str) -> Result<Self, String> {
        let url = Self::take_apart(text)?;
        if !url.tls && !is_near(&url.host) {
            return Err("would send the speech unencrypted: ws:// is for loopback and private addresses (numbers, no \
                        names), wss:// for all others"
                .into());
        }
        Ok(url)
    }

    fn take_apart(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text.parse().map_err(|error| format!("is not a URL ({error})"))?;
        let tls = match uri.scheme_str() {
            Some("wss") => true,
            Some("ws") => false,
            Some("https") => return Err("begins with https:// where wss:// is needed".into()),
            Some("http") => return Err("begins with http:// where ws:// is needed".into()),
            _ => return Err("does not begin with wss:// or ws://".into()),
        };
        let authority = uri.authority().ok_or("names no host")?;
        if authority.as_str().contains('@') {
            return Err("holds a user or password, which would appear in logs (a key for Gemini goes into \
                        gemini.api_key)"
                .into());
        }
        // http::Uri drops a fragment without a word, so it is looked for in the text.
        if uri.query().is_some() || text.contains('#') {
            return Err("holds a query or fragment (a key for Gemini goes into gemini.api_key)".into());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err("names no host".into());
        }
        // http::Uri reports a port it cannot read as no port at all.
        let written_port =
            authority.as_str().rsplit_once(':').map(|(_, port)| port).filter(|p| !p.contains(']'));
        let port = match (written_port, authority.port_u16()) {
            (None, _) => {
                if tls {
                    443
                } else {
                    80
                }
            }
            (Some(_), Some(port)) if port != 0 => port,
            (Some(written), _) => {
                return Err(format!("has a port {written:?} that is not one of 1 to 65535"));
            }
        };
        Ok(Self { tls, host, port, path_prefix: uri.path().trim_end_matches('/').to_owned() })
    }

    /// Whether the connection is encrypted (`wss`).
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// Host name or address, an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port, 443 or 80 where none was written.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What stands before the server's own path: empty, or `/prefix` without a slash at its end.
    pub fn path_prefix(&self) -> &str {
        &self.path_prefix
    }

    /// Whether the host is this machine (127.0.0.0/8, ::1, `localhost` as RFC 6761 section 6.3 fixes it): a simulator
    /// or a local proxy.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }

    /// `host:port` as a `Host` header has it (RFC 9110 section 7.2): IPv6 in brackets, the scheme's own port left out.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let own_port = if self.tls { 443 } else { 80 };
        if self.port == own_port { host } else { format!("{host}:{}", self.port) }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "wss" } else { "ws" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path_prefix)
    }
}

/// Whether a host is this machine or of a network that is nobody else's, so that nothing need be encrypted.
pub fn is_near(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    is_loopback(host) || host.parse().is_ok_and(is_near_address)
}

/// The same of an address.
pub fn is_near_address(address: IpAddr) -> bool {
    address.to_canonical().is_loopback() || is_private(address)
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether an address is of a network that is nobody else's: RFC 1918, RFC 4193, and link-local ones.
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        BaseUrl::parse(text).expect_err(text)
    }

    #[test]
    fn a_url_is_taken_apart() {
        let url = BaseUrl::parse("wss://generativelanguage.googleapis.com").unwrap();
        assert_eq!(
            (url.tls(), url.host(), url.port(), url.path_prefix()),
            (true, "generativelanguage.googleapis.com", 443, "")
        );
        let url = BaseUrl::parse("wss://proxy.example:8443/gemini/").unwrap();
        assert_eq!((url.port(), url.path_prefix()), (8443, "/gemini"));
        assert_eq!(url.to_string(), "wss://proxy.example:8443/gemini");
        assert!(!url.is_loopback());
    }

    #[test]
    fn clear_text_is_for_loopback_only() {
        for local in ["ws://127.0.0.1:8080", "ws://127.9.9.9", "ws://localhost:1", "ws://[::1]:9/"] {
            assert!(BaseUrl::parse(local).unwrap().is_loopback(), "{local}");
        }
        for far in [
            "ws://10.0.0.1",
            "ws://generativelanguage.googleapis.com",
            "ws://localhost.example",
            "ws://0.0.0.0",
        ] {
            assert!(wrong(far).contains("loopback addresses only"), "{far}");
        }
        assert_eq!(BaseUrl::parse("ws://[::1]:9/").unwrap().to_string(), "ws://[::1]:9");
    }

    #[test]
    fn clear_text_to_a_switch_stays_within_private_networks() {
        for near in [
            "ws://127.0.0.1:8088/media/",
            "ws://localhost",
            "ws://10.1.2.3:8088/media",
            "ws://172.31.0.1",
            "ws://192.168.1.9",
            "ws://[fd00::5]:8088",
        ] {
            assert!(BaseUrl::parse_of_switch(near).is_ok(), "{near}");
        }
        for far in
            ["ws://172.32.0.1", "ws://8.8.8.8", "ws://asterisk:8088", "ws://[2001:db8::1]", "ws://0.0.0.0"]
        {
            assert!(BaseUrl::parse_of_switch(far).expect_err(far).contains("wss:// for all others"), "{far}");
        }
        let far = BaseUrl::parse_of_switch("wss://asterisk.example:8089/media/").expect("encrypted");
        assert_eq!(far.to_string(), "wss://asterisk.example:8089/media");
    }

    #[test]
    fn what_cannot_be_dialled_or_may_hold_a_key_is_refused() {
        assert!(wrong("https://a.example").contains("wss:// is needed"));
        assert!(wrong("a.example").contains("does not begin with"));
        assert!(wrong("wss://").contains("not a URL"));
        assert!(wrong("wss://a.example?key=1").contains("gemini.api_key"));
        assert!(wrong("wss://a.example/#key").contains("gemini.api_key"));
        assert!(wrong("wss://me:pw@a.example").contains("gemini.api_key"));
        for port in ["wss://a.example:0", "wss://a.example:70000", "wss://[::1]:99999"] {
            assert!(BaseUrl::parse(port).is_err(), "{port}");
        }
    }
}
