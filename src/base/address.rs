//! Whose address it is, as limits count it.
//!
//! Runs in: anywhere: pure. Owns nothing.
//! Invariant: what one outsider can have at will is one address here.

use std::net::{IpAddr, Ipv6Addr};

/// The address to which a limit belongs: an IPv4 address as it is, also where it comes in the clothes of IPv6, and of any
/// other IPv6 address its network of 64 bits, out of which each host has as many as it likes (RFC 7421).
pub(crate) fn party(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        canonical => canonical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_one_host_has_at_will_are_one() {
        for (address, expected) in [
            ("192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
            ("2001:db8:1:3::1", "2001:db8:1:3::"),
            ("::1", "::1"),
        ] {
            let [address, expected] = [address, expected].map(|text| text.parse::<IpAddr>().expect(text));
            assert_eq!(party(address), expected);
        }
    }
}
