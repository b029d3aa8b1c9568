//! The header of the PROXY protocol, versions 1 and 2 (haproxy.org, proxy-protocol.txt): whose connection a proxy passes on.
//!
//! Runs in: the accept thread; pure. Owns the bounds; the parser is that of `proxy-header`. Never sizes anything by what the
//! peer says.
//! Invariant: whatever the bytes, and in whatever pieces, they make a header, a wish for more of them within
//! [`HEADER_BYTES`], or a refusal.

use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, Protocol, ProxyHeader};

/// Bytes of a header at most. Version 1 has 107; in version 2, addresses and what HAProxy can add of TLS and of itself are a
/// few hundred.
pub(crate) const HEADER_BYTES: usize = 2048;

/// What the bytes are.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// A header of this length, and whose connection it is. A proxy that speaks for itself, as at a check, names nobody.
    Complete(usize, Option<SocketAddr>),
    /// The beginning of one.
    More,
    /// None that is understood.
    Wrong,
}

/// Whether a connection begins with a header, of which the first bytes are here.
pub(crate) fn is_header(first: &[u8]) -> bool {
    // Nothing else that comes to the door begins with a line end.
    first.first() == Some(&b'\r') || first.starts_with(b"PROXY ")
}

/// Reads what a proxy's connection begins with.
pub(crate) fn parse(bytes: &[u8]) -> Header {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(bytes, config) {
        Ok((header, length)) => match header.proxied_address() {
            Some(address) if address.protocol != Protocol::Stream => Header::Wrong,
            Some(address) => {
                let ip = address.source.ip().to_canonical();
                Header::Complete(length, Some(SocketAddr::new(ip, address.source.port())))
            }
            None => Header::Complete(length, None),
        },
        Err(Error::BufferTooShort) if bytes.len() < HEADER_BYTES => Header::More,
        Err(_) => Header::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop_oneof, proptest};
    use proptest::strategy::{Just, Strategy};

    use super::*;

    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    /// A header of version 2 with this command and family, and these bytes behind them.
    fn second(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        [SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
    }

    fn addresses_v4() -> Vec<u8> {
        [&[203, 0, 113, 7, 10, 0, 0, 1][..], &4711u16.to_be_bytes(), &9094u16.to_be_bytes()].concat()
    }

    fn from(text: &str) -> Option<SocketAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn both_versions_say_whose_connection_it_is_and_leave_what_follows() {
        let v6 = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[9], &[0; 15], &[1], &[0x12, 0x67], &[0, 1]].concat();
        let mut mapped = v6.clone();
        mapped[..16].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 7]);
        let with_more = [addresses_v4(), vec![0x04, 0, 2, 1, 2]].concat();
        for (header, source) in [
            (b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 9094\r\n".to_vec(), from("203.0.113.7:4711")),
            (b"PROXY TCP6 2001:db8::9 ::1 4711 9094\r\n".to_vec(), from("[2001:db8::9]:4711")),
            (b"PROXY TCP6 ::ffff:203.0.113.7 ::1 4711 9094\r\n".to_vec(), from("203.0.113.7:4711")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (second(0x21, 0x11, &addresses_v4()), from("203.0.113.7:4711")),
            (second(0x21, 0x11, &with_more), from("203.0.113.7:4711")),
            (second(0x21, 0x21, &v6), from("[2001:db8::9]:4711")),
            (second(0x21, 0x21, &mapped), from("203.0.113.7:4711")),
            (second(0x21, 0x00, &[]), None),
            (second(0x20, 0x00, &[]), None),
            (second(0x20, 0x11, &addresses_v4()), None),
        ] {
            let behind = [&header[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&behind), Header::Complete(header.len(), source), "{header:?}");
            for length in 0..header.len() {
                assert_eq!(parse(&header[..length]), Header::More, "{length} bytes of {header:?}");
            }
        }
    }

    #[test]
    fn what_is_no_header_is_wrong_at_once() {
        for bytes in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            vec![0x16, 3, 1],
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 99999\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.256 10.0.0.1 4711 9094\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.7 10.0.0.1 4711 9094\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 10.0.0.1 4711 9094\rX".to_vec(),
            [&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat(),
            second(0x11, 0x11, &addresses_v4()),
            second(0x22, 0x11, &addresses_v4()),
            second(0x21, 0x12, &addresses_v4()),
            [second(0x21, 0x11, &addresses_v4()[..8]), b"GET / HTTP/1.1".to_vec()].concat(),
            // It says that it is longer than we listen to.
            [SIGNATURE, &[0x21, 0x11, 0xff, 0xff], &[0; HEADER_BYTES]].concat(),
        ] {
            let heard = &bytes[..bytes.len().min(HEADER_BYTES)];
            assert_eq!(parse(heard), Header::Wrong, "{heard:?}");
        }
    }

    #[test]
    fn a_header_is_told_from_what_else_comes_to_the_door() {
        assert!(is_header(b"\r") && is_header(SIGNATURE) && is_header(b"PROXY TCP4"));
        for other in [&b""[..], b"P", b"PROX", b"POST / HTTP/1.1", b"GET /", &[0x16, 3], &[0x01, 0, 16]] {
            assert!(!is_header(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_judged_within_its_bound(
            begin in prop_oneof![
                Just(SIGNATURE.to_vec()),
                Just([SIGNATURE, &[0x21, 0x11]].concat()),
                Just([SIGNATURE, &[0x21, 0x21, 0]].concat()),
                Just(b"PROXY TCP4 ".to_vec()),
                Just(b"PROXY TCP6 ::1 ".to_vec()),
                Just(b"PROXY ".to_vec()),
                vec(any::<u8>(), 0..20),
            ].boxed(),
            rest in prop_oneof![vec(any::<u8>(), 0..300), "[ -~]{0,120}\r\n".prop_map(String::into_bytes)],
        ) {
            let bytes = [begin, rest].concat();
            match parse(&bytes) {
                Header::Complete(length, _) => assert!(length <= bytes.len()),
                Header::More => assert!(bytes.len() < HEADER_BYTES),
                Header::Wrong => {}
            }
            let long = [&bytes[..], &[b'x'; HEADER_BYTES]].concat();
            assert_ne!(parse(&long[..HEADER_BYTES]), Header::More);
        }
    }
}
