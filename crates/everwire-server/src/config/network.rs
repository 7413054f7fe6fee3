//! A range of addresses.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A range of addresses, such as `10.0.0.0/8`, or a single one, such as `::1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

impl Network {
    /// Whether an address is in it. One of IPv4 written as IPv6 is taken for what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => Ok(IpNet::from(address.to_canonical())),
            Err(_) => text.parse(),
        };
        network.map(Self).map_err(|_| {
            format!(
                "`{text}` is no range of addresses; write one as `10.0.0.0/8` or `fd00::/8`, or a single address"
            )
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("::ffff:192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
            ("::1", "::1", "127.0.0.1"),
            ("0.0.0.0/0", "127.0.0.1", "::1"),
        ] {
            let range: Network = network.parse().unwrap();
            assert!(
                range.contains(inside.parse().unwrap()),
                "{inside} in {network}"
            );
            assert!(
                !range.contains(outside.parse().unwrap()),
                "{outside} not in {network}"
            );
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_what_to_write() {
        for text in ["", "10.0.0.0/33", "10.0.0", "localhost", "10.0.0.1-9", "*"] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.contains("`10.0.0.0/8`"), "{error}");
        }
    }
}
