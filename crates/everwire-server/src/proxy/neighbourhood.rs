//! Addresses that count as one.

use std::net::{IpAddr, Ipv6Addr};

/// The part of an address that counts as one: of IPv6 a whole /64, which is what a single host or household is given.
/// Otherwise whoever has one could have as many addresses as all of IPv4 squared.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}
