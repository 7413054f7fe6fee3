//! The PROXY protocol, versions 1 and 2: what a proxy says of a connection before its first byte.
//!
//! ```text
//!  1  PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n                  at most 107 bytes
//!  2  0d0a0d0a 000d0a51 5549540a │ 2 command │ family transport │ length │ addresses │ TLVs
//!     12 bytes                      1          1                  2        length
//! ```
//!
//! After <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>. The crate `ppp` tells some broken headers of
//! version 1 from incomplete ones by nothing but the time that passes; here each byte that can be wrong is wrong at once.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// All so far may be a header's beginning.
    Incomplete,
    /// A header, and how many bytes it has.
    Header {
        /// Who is behind the proxy; `None` is the proxy itself, or somebody without an address.
        client: Option<IpAddr>,
        /// Bytes that the header takes.
        length: usize,
    },
}

/// Why it is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// Neither version begins like that.
    #[error(
        "the connection does not begin with a PROXY header; set the proxy to send one, or http.proxy_protocol to off"
    )]
    NoHeader,
    /// A line of version 1 that says no addresses, or too much.
    #[error("the PROXY header of version 1 is broken")]
    BrokenLine,
    /// A header of version 2 with something unknown, or too short for its addresses.
    #[error("the PROXY header of version 2 is broken")]
    Broken,
    /// A header of version 2 with more than [`HEADER_BYTES_MAX`].
    #[error("the PROXY header of version 2 has {0} bytes; set the proxy to send fewer TLVs")]
    TooLong(usize),
}

/// Most bytes of a header, TLVs included.
pub const HEADER_BYTES_MAX: usize = 4096;

/// The longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;

const LINE_START: &[u8] = b"PROXY ";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of version 2 before the addresses.
const FIXED_BYTES: usize = 16;

/// Looks at what a connection begins with.
///
/// # Errors
///
/// It is no header, however much more comes.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProtocolError> {
    let begins = |with: &[u8]| bytes.starts_with(&with[..with.len().min(bytes.len())]);
    if begins(SIGNATURE) {
        parse_binary(bytes)
    } else if begins(LINE_START) {
        parse_line(bytes)
    } else {
        Err(ProtocolError::NoHeader)
    }
}

fn parse_line(bytes: &[u8]) -> Result<Parsed, ProtocolError> {
    let head = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
        return match head.len() < LINE_BYTES_MAX {
            true => Ok(Parsed::Incomplete),
            false => Err(ProtocolError::BrokenLine),
        };
    };
    let line = head[..end].strip_suffix(b"\r");
    let line = line.and_then(|line| std::str::from_utf8(&line[LINE_START.len()..]).ok());
    let client = line.and_then(client_of_line);
    Ok(Parsed::Header {
        client: client.ok_or(ProtocolError::BrokenLine)?,
        length: end + 1,
    })
}

/// The client of a line without its beginning and end; `None` if it is broken.
fn client_of_line(line: &str) -> Option<Option<IpAddr>> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None); // whatever follows is to be ignored
    }
    let addresses: [&str; 2] = [words.next()?, words.next()?];
    let ports: [&str; 2] = [words.next()?, words.next()?];
    let is_port =
        |port: &str| port.bytes().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok();
    if words.next().is_some() || !ports.into_iter().all(is_port) {
        return None;
    }
    let [source, _destination] = match family {
        "TCP4" => addresses.map(|text| text.parse::<Ipv4Addr>().map(IpAddr::V4)),
        "TCP6" => addresses.map(|text| text.parse::<Ipv6Addr>().map(IpAddr::V6)),
        _ => return None,
    };
    _destination.ok()?;
    Some(Some(source.ok()?.to_canonical()))
}

fn parse_binary(bytes: &[u8]) -> Result<Parsed, ProtocolError> {
    let mut rest = bytes.iter().skip(SIGNATURE.len()).copied();
    let Some(command) = rest.next() else {
        return Ok(Parsed::Incomplete);
    };
    if !matches!(command, 0x20 | 0x21) {
        return Err(ProtocolError::Broken);
    }
    let Some(family) = rest.next() else {
        return Ok(Parsed::Incomplete);
    };
    let addresses_bytes = match (command, family) {
        // From the proxy itself, to look whether we are there: what it says of addresses is to be ignored.
        (0x20, _) => 0,
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        (0x21, 0x31 | 0x32) => 216, // a socket of the proxy's system, which has no address
        (0x21, 0x00) => 0,
        _ => return Err(ProtocolError::Broken),
    };
    let (Some(high), Some(low)) = (rest.next(), rest.next()) else {
        return Ok(Parsed::Incomplete);
    };
    let follows = usize::from(u16::from_be_bytes([high, low]));
    let length = FIXED_BYTES + follows;
    if follows < addresses_bytes {
        return Err(ProtocolError::Broken);
    }
    if length > HEADER_BYTES_MAX {
        return Err(ProtocolError::TooLong(length));
    }
    let Some(addresses) = bytes.get(FIXED_BYTES..length) else {
        return Ok(Parsed::Incomplete);
    };
    let client = match (command, family) {
        (0x21, 0x11) => addresses
            .first_chunk::<4>()
            .map(|source| IpAddr::from(*source)),
        (0x21, 0x21) => addresses
            .first_chunk::<16>()
            .map(|source| IpAddr::from(*source).to_canonical()),
        _ => None,
    };
    Ok(Parsed::Header { client, length })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of version 2.
    fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        [SIGNATURE, &[command, family], &length, content].concat()
    }

    /// Addresses of version 2, source and destination, with their ports.
    fn pair<const N: usize>(source: [u8; N]) -> Vec<u8> {
        [&source[..], &[9; N], &[0xc8, 0x22, 0x01, 0xbb]].concat()
    }

    fn header(client: Option<&str>) -> impl Fn(usize) -> Result<Parsed, ProtocolError> {
        let client = client.map(|text| text.parse().unwrap());
        move |length| Ok(Parsed::Header { client, length })
    }

    #[test]
    fn both_versions_say_who_is_behind_the_proxy() {
        let v6 = "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets();
        let mapped = "::ffff:203.0.113.7".parse::<Ipv6Addr>().unwrap().octets();
        for (bytes, client) in [
            (
                b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\r\n".to_vec(),
                Some("203.0.113.7"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 2001:db8::1 51234 443\r\n".to_vec(),
                Some("2001:db8::7"),
            ),
            (
                b"PROXY TCP6 ::ffff:203.0.113.7 ::1 0 65535\r\n".to_vec(),
                Some("203.0.113.7"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff:: ::1 what ever\r\n".to_vec(), None),
            (
                binary(0x21, 0x11, &pair([203, 0, 113, 7])),
                Some("203.0.113.7"),
            ),
            (binary(0x21, 0x21, &pair(v6)), Some("2001:db8::7")),
            (binary(0x21, 0x21, &pair(mapped)), Some("203.0.113.7")),
            (
                binary(
                    0x21,
                    0x11,
                    &[&pair([203, 0, 113, 7])[..], &[4, 0, 2, 1, 2]].concat(),
                ),
                Some("203.0.113.7"),
            ),
            (binary(0x21, 0x31, &[0; 216]), None),
            (binary(0x21, 0x00, &[]), None),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &pair([203, 0, 113, 7])), None),
        ] {
            let expected = header(client)(bytes.len());
            assert_eq!(parse(&bytes), expected, "{}", bytes.escape_ascii());
            let followed = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&followed), expected, "with what follows");
            for cut in 0..bytes.len() {
                assert_eq!(
                    parse(&bytes[..cut]),
                    Ok(Parsed::Incomplete),
                    "{} cut at {cut}",
                    bytes.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_is_clear() {
        use ProtocolError::{Broken, BrokenLine, NoHeader, TooLong};
        let long = [b"PROXY ".as_slice(), &[b'x'; 101]].concat();
        for (bytes, expected) in [
            (b"G".to_vec(), NoHeader),
            (b"PROXYTCP4".to_vec(), NoHeader),
            (b"\x16\x03\x01".to_vec(), NoHeader),
            (b"\r\n\r\n\0\r\nQUIX".to_vec(), NoHeader),
            (b"PROXY \r\n".to_vec(), BrokenLine),
            (b"PROXY TCP4 203.0.113.7\r\n".to_vec(), BrokenLine),
            (
                b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443\n".to_vec(),
                BrokenLine,
            ),
            (
                b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 443 more\r\n".to_vec(),
                BrokenLine,
            ),
            (
                b"PROXY TCP4 203.0.113.7 198.51.100.1 51234 65536\r\n".to_vec(),
                BrokenLine,
            ),
            (
                b"PROXY TCP4 203.0.113.7 198.51.100.1 +1 443\r\n".to_vec(),
                BrokenLine,
            ),
            (
                b"PROXY TCP4 203.0.113.7 ::1 51234 443\r\n".to_vec(),
                BrokenLine,
            ),
            (
                b"PROXY TCP4 203.0.113.07 198.51.100.1 51234 443\r\n".to_vec(),
                BrokenLine,
            ),
            (
                b"PROXY TCP6 203.0.113.7 198.51.100.1 51234 443\r\n".to_vec(),
                BrokenLine,
            ),
            (
                b"PROXY UDP4 203.0.113.7 198.51.100.1 51234 443\r\n".to_vec(),
                BrokenLine,
            ),
            (
                b"PROXY TCP4 203.0.113.7\xff 198.51.100.1 51234 443\r\n".to_vec(),
                BrokenLine,
            ),
            (long, BrokenLine),
            (binary(0x11, 0x11, &pair([1; 4])), Broken),
            (binary(0x22, 0x11, &pair([1; 4])), Broken),
            (binary(0x21, 0x12, &pair([1; 4])), Broken),
            (binary(0x21, 0x41, &pair([1; 4])), Broken),
            (binary(0x21, 0x11, &pair([1; 4])[..11]), Broken),
            (binary(0x21, 0x21, &pair([1; 4])), Broken),
            (binary(0x20, 0x00, &[0; 4081]), TooLong(4097)),
        ] {
            assert_eq!(parse(&bytes), Err(expected), "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        /// More bytes never change what was found, and less than the longest header is asked for.
        #[test]
        fn what_is_found_stays_so_whatever_follows(
            start in prop::sample::select(vec![&b""[..], b"PROXY TCP4 1.2.3.4 ", b"PROXY UNKNOWN", SIGNATURE, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"]),
            rest in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b" .:0159\r\n".to_vec())], 0..300),
        ) {
            let bytes = [start, &rest].concat();
            let whole = parse(&bytes);
            for cut in 0..bytes.len() {
                match parse(&bytes[..cut]) {
                    Ok(Parsed::Incomplete) => prop_assert!(cut < HEADER_BYTES_MAX),
                    known => prop_assert_eq!(known, whole, "cut at {}", cut),
                }
            }
            if let Ok(Parsed::Header { length, .. }) = whole {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
