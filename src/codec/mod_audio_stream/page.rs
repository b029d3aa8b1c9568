//! Whether a web page asks: by what a browser adds to its request and no page can change.
//!
//! Runs in: the accept thread, once per call, before the 101; pure. Owns the signs that were seen.
//! `Origin` decides, because every browser sends it with a WebSocket. mod_audio_stream sends one too, and always that of the relay
//! itself (`http://` or `ws://` and what stands in `Host`); the media port serves no page, so that only a name which was pointed at
//! this machine (DNS rebinding) can make a page's origin the same, and then the browser shows by what else it sends.
//! Never asks for `User-Agent` alone: any program may call itself `Mozilla/`.
//! Invariant: a request with a token in a header is no page's, which can set none.

/// What was seen of a request's headers.
#[derive(Debug, Clone, Default)]
pub(super) struct PageSigns {
    host: Option<Vec<u8>>,
    origins: Vec<Vec<u8>>,
    /// `Sec-Fetch-…`, which browsers send where the connection is trustworthy, and nobody else does.
    fetches: bool,
    /// `User-Agent: Mozilla/…`.
    mozilla: bool,
}

/// Most `Origin` headers that are looked at. One is right.
const ORIGINS_MAX: usize = 4;

impl PageSigns {
    /// Takes a header.
    pub(super) fn see(&mut self, name: &str, value: &[u8]) {
        if name.eq_ignore_ascii_case("host") {
            self.host.get_or_insert_with(|| value.to_vec());
        } else if name.eq_ignore_ascii_case("origin") {
            if self.origins.len() < ORIGINS_MAX {
                self.origins.push(value.to_vec());
            }
        } else if name.get(..10).is_some_and(|start| start.eq_ignore_ascii_case("sec-fetch-")) {
            self.fetches = true;
        } else if name.eq_ignore_ascii_case("user-agent") {
            self.mozilla |= value.starts_with(b"Mozilla/");
        }
    }

    /// Whether a page asks, of a request that has a token in a header or not.
    pub(super) fn is_page(&self, has_header_token: bool) -> bool {
        if has_header_token {
            return false;
        }
        let host = self.host.as_deref().unwrap_or_default();
        let foreign = self.origins.iter().any(|origin| !is_own(origin, host));
        self.fetches || foreign || (self.mozilla && !self.origins.is_empty())
    }
}

/// Whether this origin is the relay, as the same request names it.
fn is_own(origin: &[u8], host: &[u8]) -> bool {
    // A page's address never has these, and modules up to 1.0.2 send them whatever a proxy makes of Host.
    if [&b"ws://"[..], b"wss://"].iter().any(|scheme| origin.starts_with(scheme)) {
        return true;
    }
    let authority = [&b"http://"[..], b"https://"].iter().find_map(|scheme| origin.strip_prefix(*scheme));
    let Some(authority) = authority.filter(|authority| !authority.is_empty()) else { return false };
    let ((name, port), (own_name, own_port)) = (parts(authority), parts(host));
    // A standard port may be said or left out.
    name.eq_ignore_ascii_case(own_name) && (port == own_port || port.is_none() || own_port.is_none())
}

/// Name and port; an IPv6 address is in brackets (RFC 3986 section 3.2.2).
fn parts(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    let colon = authority.iter().rposition(|&byte| byte == b':');
    match colon.map(|at| (&authority[..at], &authority[at + 1..])) {
        Some((name, port)) if port.iter().all(u8::is_ascii_digit) && !port.is_empty() => (name, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_page(headers: &[(&str, &str)], has_header_token: bool) -> bool {
        let mut signs = PageSigns::default();
        headers.iter().for_each(|(name, value)| signs.see(name, value.as_bytes()));
        signs.is_page(has_header_token)
    }

    const HOST: (&str, &str) = ("Host", "10.1.2.3:9094");

    #[test]
    fn what_switches_send_is_no_page() {
        for headers in [
            &[HOST][..],
            &[HOST, ("Origin", "http://10.1.2.3:9094")],
            &[
                ("host", "10.1.2.3:9094"),
                ("ORIGIN", "ws://10.1.2.3:9094"),
                ("User-Agent", "ixwebsocket/11.4.3"),
            ],
            &[("Host", "127.0.0.1"), ("Origin", "http://127.0.0.1")],
            &[("Host", "Relay.Example:443"), ("Origin", "http://relay.example")],
            &[("Host", "relay.example"), ("Origin", "https://relay.example:443")],
            &[("Host", "[2001:db8::1]:9094"), ("Origin", "http://[2001:db8::1]:9094")],
            &[HOST, ("User-Agent", "Mozilla/4.0 (compatible; some switch)")],
            &[],
        ] {
            assert!(!is_page(headers, false), "{headers:?}");
        }
    }

    #[test]
    fn a_page_is_known_by_its_origin_whatever_it_calls_itself() {
        for origin in [
            "http://any.example",
            "https://10.1.2.4:9094",
            "http://10.1.2.3:9095",
            "http://10.1.2.3:9094.any.example",
            "http://any.example:9094",
            "http://10.1.2.33:9094",
            "http://",
            "null",
            "",
            "file://",
            "chrome-extension://abcdefgh",
            "http://user@10.1.2.3:9094",
        ] {
            for agent in ["curl/8.5", "Mozilla/5.0 (X11)"] {
                let headers = [HOST, ("Origin", origin), ("User-Agent", agent)];
                assert!(is_page(&headers, false), "{headers:?}");
                assert!(!is_page(&headers, true), "no page can set such a header: {headers:?}");
            }
        }
        let two = [HOST, ("Origin", "http://10.1.2.3:9094"), ("Origin", "http://any.example")];
        assert!(is_page(&two, false));
        assert!(is_page(&[("Origin", "http://any.example")], false));
    }

    #[test]
    fn a_page_whose_name_was_pointed_here_is_known_by_what_else_its_browser_sends() {
        let pointed = [("Host", "evil.example:9094"), ("Origin", "http://evil.example:9094")];
        for sign in [
            ("Sec-Fetch-Site", "same-origin"),
            ("sec-fetch-mode", "websocket"),
            ("User-Agent", "Mozilla/5.0"),
        ] {
            assert!(is_page(&[pointed[0], pointed[1], sign], false), "{sign:?}");
        }
    }
}
