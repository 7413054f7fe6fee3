//! Hosts by which a server is asked, without a port: names of DNS and addresses.
//!
//! ```text
//!  live.example.org       that very name, in any case, with a dot at its end or without
//!  *.example.org          every name below it, however deep, and not example.org itself
//!  192.0.2.7, 2001:db8::1 that address, however it is written
//! ```

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A host that a configuration lists, or all those below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host(Listed);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Listed {
    Address(IpAddr),
    /// In lower case, without a dot at its end, as is the next.
    Name(String),
    Below(String),
}

/// A host that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked<'a> {
    Address(IpAddr),
    /// Without a dot at its end.
    Name(&'a str),
}

impl<'a> Asked<'a> {
    /// Reads an authority, a host with a port or without. `None` if it names no host.
    pub fn by(authority: &'a str) -> Option<Self> {
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next()?,
            None => authority.split(':').next()?,
        };
        match host.parse::<IpAddr>() {
            Ok(address) => Some(Self::Address(address.to_canonical())),
            Err(_) if host.is_empty() => None,
            Err(_) => Some(Self::Name(host.strip_suffix('.').unwrap_or(host))),
        }
    }
}

impl Host {
    /// Whether a request for this host is one for the listed one, or for one of those below it.
    pub(crate) fn covers(&self, asked: Asked<'_>) -> bool {
        match (&self.0, asked) {
            (Listed::Address(listed), Asked::Address(asked)) => *listed == asked,
            (Listed::Name(listed), Asked::Name(asked)) => listed.eq_ignore_ascii_case(asked),
            (Listed::Below(parent), Asked::Name(asked)) => is_below(asked, parent),
            (Listed::Address(_), Asked::Name(_))
            | (Listed::Name(_) | Listed::Below(_), Asked::Address(_)) => false,
        }
    }
}

/// Whether a name is one below another, however deep.
pub(super) fn is_below(name: &str, parent: &str) -> bool {
    let parent_at = name.len().checked_sub(parent.len());
    parent_at.is_some_and(|at| {
        let name = name.as_bytes();
        at > 1 && name[at - 1] == b'.' && name[at..].eq_ignore_ascii_case(parent.as_bytes())
    })
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
            return Ok(Self(Listed::Address(address.to_canonical())));
        }
        let wrong = |why: &str| Err(format!("`{text}` is no host: {why}"));
        if text == "*" {
            return wrong("an empty list is any; `*.example.org` is every name below one");
        }
        if text.contains("://") || text.contains('/') {
            return wrong("write it without a scheme and a path, such as `live.example.org`");
        }
        if text.contains(':') {
            return wrong(
                "ports are not compared; write it without one, such as `live.example.org`",
            );
        }
        if !text.is_ascii() {
            return wrong("write it as DNS has it, in ASCII, which begins with `xn--`");
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let (name, is_parent) = match name.strip_prefix("*.") {
            Some(parent) => (parent.to_owned(), true),
            None => (name, false),
        };
        if name.contains('*') {
            return wrong("`*` stands for whatever is below a name: `*.example.org`");
        }
        let is_label = |label: &str| {
            let is_of_a_name = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
            !label.is_empty() && label.bytes().all(is_of_a_name)
        };
        // What ends in a number is an address to everybody who resolves names, and this is none.
        let ends_in_a_number =
            (name.rsplit('.').next()).is_some_and(|last| last.bytes().all(|c| c.is_ascii_digit()));
        if !name.split('.').all(is_label) || ends_in_a_number {
            return wrong("write a name, such as `live.example.org`, or an address");
        }
        Ok(Self(match is_parent {
            true => Listed::Below(name),
            false => Listed::Name(name),
        }))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Listed::Address(address) => address.fmt(f),
            Listed::Name(name) => f.write_str(name),
            Listed::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_its_port_by_what_it_means() {
        for (listed, authority, expected) in [
            ("example.org", "example.org", true),
            ("example.org", "example.org:8443", true),
            ("Example.ORG.", "EXAMPLE.org", true),
            ("example.org", "example.org.:80", true),
            ("example.org", "example.org..", false),
            ("example.org", "a.example.org", false),
            ("example.org", "example.org.evil.net", false),
            ("example.org", "", false),
            ("example.org", ":80", false),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "A.b.Example.org.:443", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.example.org", "evilexample.org", false),
            ("*.example.org", "a.example.org.evil.net", false),
            ("*.example.org", "192.0.2.7", false),
            ("192.0.2.7", "192.0.2.7:80", true),
            ("192.0.2.7", "192.0.2.8", false),
            ("192.0.2.7", "[::ffff:192.0.2.7]", true),
            ("192.0.2.7", "192.0.2.7.evil.net", false),
            ("[2001:db8::1]", "[2001:DB8:0:0:0:0:0:1]:443", true),
            ("2001:db8::1", "[2001:db8::1]", true),
            ("2001:db8::1", "[2001:db8::2]", false),
        ] {
            let host: Host = listed.parse().unwrap();
            let found = Asked::by(authority).is_some_and(|asked| host.covers(asked));
            assert_eq!(found, expected, "{listed} {authority}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("live.example.org", None),
            ("devbox", None),
            ("my_host", None),
            ("*.example.org", None),
            ("[::1]", None),
            ("::1", None),
            ("", Some("write a name")),
            (".", Some("write a name")),
            ("a..b", Some("write a name")),
            (".example.org", Some("write a name")),
            ("ada@example.org", Some("write a name")),
            ("192.0.2.300", Some("write a name")),
            ("*", Some("an empty list is any")),
            ("a.*.example.org", Some("below a name")),
            ("*example.org", Some("below a name")),
            ("https://example.org", Some("without a scheme")),
            ("example.org/live", Some("without a scheme")),
            ("example.org:8080", Some("ports are not compared")),
            ("[::1]:8080", Some("ports are not compared")),
            ("bücher.example", Some("`xn--`")),
        ] {
            let found = text.parse::<Host>().err();
            match (expected, found) {
                (None, found) => assert_eq!(found, None, "{text}"),
                (Some(expected), Some(found)) => assert!(found.contains(expected), "{found}"),
                (Some(_), None) => panic!("{text} is taken"),
            }
        }
    }
}
