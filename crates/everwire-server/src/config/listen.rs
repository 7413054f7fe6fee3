//! Where to listen: one place or several, in the ways that people write them.
//!
//! ```text
//!  127.0.0.1:8080   [::1]:8080     this address
//!  localhost:8080                  loopback, over IPv4 and, where there is one, IPv6
//!  8080                            loopback with another port: as safe as the default
//!  :8080                           every address of this machine
//! ```

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where to listen: one place at least, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen(Vec<Place>);

/// A place to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Address(SocketAddr),
    /// 127.0.0.1 and ::1.
    Localhost(u16),
    /// Every address, of IPv4 and IPv6.
    Everywhere(u16),
}

impl Listen {
    /// So many places at most: each is a socket for each core thread.
    pub const PLACES_MAX: usize = 16;

    /// The first address.
    pub fn first(&self) -> SocketAddr {
        self.0[0].address()
    }

    /// Sets the port of all; 0 is any free one, and so another for each.
    pub fn set_port(&mut self, port: u16) {
        for place in &mut self.0 {
            match place {
                Place::Address(address) => address.set_port(port),
                Place::Localhost(of_place) | Place::Everywhere(of_place) => *of_place = port,
            }
        }
    }

    /// Whether nobody on another machine can reach any of them.
    pub fn is_loopback(&self) -> bool {
        self.0
            .iter()
            .all(|place| place.address().ip().is_loopback())
    }

    pub(crate) fn places(&self) -> &[Place] {
        &self.0
    }

    fn new(places: Vec<Place>) -> Result<Self, String> {
        if places.is_empty() {
            return Err(format!("names no address; {EXPECTED}"));
        }
        if places.len() > Self::PLACES_MAX {
            let most = Self::PLACES_MAX;
            return Err(format!(
                "names {} addresses; at most {most} make sense",
                places.len()
            ));
        }
        for (index, place) in places.iter().enumerate() {
            let is_any = place.address().port() == 0;
            if !is_any && places[..index].contains(place) {
                return Err(format!("names `{place}` twice; name it once"));
            }
        }
        Ok(Self(places))
    }
}

impl Place {
    /// The address to begin with.
    pub fn address(self) -> SocketAddr {
        match self {
            Self::Address(address) => address,
            Self::Localhost(port) => (Ipv4Addr::LOCALHOST, port).into(),
            Self::Everywhere(port) => (Ipv6Addr::UNSPECIFIED, port).into(),
        }
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self(vec![Place::Address(address)])
    }
}

impl FromStr for Listen {
    type Err = String;

    /// Takes places with commas between them. An error continues a sentence that begins with the setting.
    fn from_str(text: &str) -> Result<Self, String> {
        let places = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Self::new(places)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let wrong = |why: &str| Err(format!("is `{text}`, {why}; {EXPECTED}"));
        if text.is_empty() {
            return wrong("an empty address");
        }
        if text.contains("://") {
            return wrong("a URL, and not an address");
        }
        if text.parse::<IpAddr>().is_ok() || text.eq_ignore_ascii_case("localhost") {
            return wrong("an address without a port");
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
        let Ok(port) = port.parse::<u16>() else {
            return match port.bytes().all(|byte| byte.is_ascii_digit()) && !port.is_empty() {
                true => wrong("whose port is above 65535"),
                false => wrong("which ends in no port"),
            };
        };
        match host {
            "" | "*" => Ok(Self::Everywhere(port)),
            host if host.eq_ignore_ascii_case("localhost") => Ok(Self::Localhost(port)),
            host if host.parse::<Ipv6Addr>().is_ok() => {
                wrong("an IPv6 address without its brackets")
            }
            _ => wrong(
                "whose host is a name, while only addresses of this machine can be listened on",
            ),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
            Self::Everywhere(port) => write!(f, ":{port}"),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, place) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{place}")?;
        }
        Ok(())
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => serializer.collect_str(one),
            several => serializer.collect_seq(several.iter().map(Place::to_string)),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Places)
    }
}

/// Reads a text, a port or a list of both.
struct Places;

impl<'de> Visitor<'de> for Places {
    type Value = Listen;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address, a port or a list of them")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Listen, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, port: i64) -> Result<Listen, E> {
        port.to_string().parse().map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Listen, A::Error> {
        let mut places = Vec::new();
        while let Some(Listen(more)) = list.next_element()? {
            places.extend(more);
        }
        Listen::new(places).map_err(de::Error::custom)
    }
}

const EXPECTED: &str = "write an address and a port, such as 127.0.0.1:8080 or [::1]:8080, a port alone for this machine \
                        only (8080), or :8080 for all its addresses";

#[cfg(test)]
mod tests {
    /// What `listen = …` is taken for, or why it is refused.
    fn read(toml: &str) -> Result<String, String> {
        match crate::Config::from_toml(&format!("listen = {toml}\n")) {
            Ok(config) => Ok(format!("{:?}", config.listen.0)),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn an_address_is_taken_in_the_ways_that_people_write_it() {
        for (toml, expected) in [
            ("'127.0.0.1:9'", "[Address(127.0.0.1:9)]"),
            ("'[::1]:9'", "[Address([::1]:9)]"),
            ("' 0.0.0.0:0 '", "[Address(0.0.0.0:0)]"),
            ("'localhost:9'", "[Localhost(9)]"),
            ("'LocalHost:9'", "[Localhost(9)]"),
            ("'9'", "[Localhost(9)]"),
            ("9", "[Localhost(9)]"),
            ("':9'", "[Everywhere(9)]"),
            ("'*:9'", "[Everywhere(9)]"),
            (
                "'127.0.0.1:9, [::1]:9'",
                "[Address(127.0.0.1:9), Address([::1]:9)]",
            ),
            (
                "['127.0.0.1:9', ':10', 11]",
                "[Address(127.0.0.1:9), Everywhere(10), Localhost(11)]",
            ),
            (
                "['127.0.0.1:0', '127.0.0.1:0']",
                "[Address(127.0.0.1:0), Address(127.0.0.1:0)]",
            ),
        ] {
            assert_eq!(read(toml).as_deref(), Ok(expected), "{toml}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_with_what_is_expected() {
        for (toml, expected) in [
            ("''", "is ``, an empty address; write"),
            (
                "'127.0.0.1'",
                "is `127.0.0.1`, an address without a port; write",
            ),
            ("'::1'", "is `::1`, an address without a port; write"),
            (
                "'localhost'",
                "is `localhost`, an address without a port; write",
            ),
            (
                "'http://localhost:8080'",
                "a URL, and not an address; write",
            ),
            (
                "'example.org:80'",
                "whose host is a name, while only addresses of this machine can be listened on; write",
            ),
            ("'127.0.0.1:http'", "which ends in no port; write"),
            ("'127.0.0.1:'", "which ends in no port; write"),
            ("'127.0.0.1:70000'", "whose port is above 65535; write"),
            ("70000", "is `70000`, whose port is above 65535; write"),
            ("-1", "is `-1`, which ends in no port; write"),
            ("'fe80::1:z:8080'", "whose host is a name"),
            ("'fe80::1:2:3:4:5:8080'", "an address without a port; write"),
            (
                "'1:2:3:4:5:6:7:8:80'",
                "an IPv6 address without its brackets; write",
            ),
            ("'everywhere'", "which ends in no port; write"),
            ("'127.0.0.1:9,'", "an empty address; write"),
            (
                "'127.0.0.1:9,127.0.0.1:9'",
                "names `127.0.0.1:9` twice; name it once",
            ),
            ("[]", "names no address; write"),
            ("true", "write an address, a port or a list of them"),
            (
                "{ port = 8080 }",
                "write an address, a port or a list of them",
            ),
        ] {
            let error = read(toml).expect_err(toml);
            assert!(error.contains("line 1"), "{toml} gave {error}");
            assert!(error.contains(expected), "{toml} gave {error}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for toml in ["'127.0.0.1:9'", "[':9', 'localhost:10']"] {
            let config = crate::Config::from_toml(&format!("listen = {toml}\n")).unwrap();
            let written = toml::to_string(&config).unwrap();
            assert_eq!(
                crate::Config::from_toml(&written).unwrap().listen,
                config.listen
            );
        }
    }
}
