//! Channel names: what stands below `/channels/` in a URL.
//!
//! ```text
//!   chat/caf%C3%A9/7   ──from_path──▶   chat/café/7   ──to_path──▶   chat/caf%C3%A9/7
//! ```
//!
//! A name is 1–255 bytes of UTF-8 after percent-decoding: segments divided by `/`, none of them
//! empty, `.` or `..`, without control characters (C0, DEL, C1) and without `*`, which belongs to
//! [patterns](crate::pattern). Those whose first segment begins with `$` are the server's own.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::control::first_control;

/// The name of a channel. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// The largest name, in bytes after percent-decoding.
    pub const BYTES_MAX: usize = 255;

    /// Takes a name as people write it, not percent-encoded. Positions in the error count bytes of
    /// `decoded`.
    pub fn new(decoded: &str) -> Result<Self, NameError> {
        check(decoded)?;
        Ok(Self(decoded.into()))
    }

    /// Takes a name as it stands in a URL's path, percent-encoded (RFC 3986, section 2.1).
    /// Positions in the error count bytes of `encoded`.
    ///
    /// An encoded slash is refused: `a%2Fb` and `a/b` would be one channel to us and two to a proxy
    /// that guards paths.
    pub fn from_path(encoded: &str) -> Result<Self, NameError> {
        if memchr::memchr(b'%', encoded.as_bytes()).is_none() {
            return Self::new(encoded);
        }
        let bytes = decode(encoded)?;
        let decoded = std::str::from_utf8(&bytes).map_err(|error| NameError::Utf8 {
            byte: bytes[error.valid_up_to()],
            position: encoded_position(encoded, error.valid_up_to()),
        })?;
        Self::new(decoded)
            .map_err(|error| error.map_position(|position| encoded_position(encoded, position)))
    }

    /// A name that the server makes for itself of names that were checked.
    pub(crate) fn unchecked(decoded: &str) -> Self {
        Self(decoded.into())
    }

    /// The name, decoded.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as it stands in a URL's path: everything percent-encoded but ASCII letters, digits,
    /// `-._~` and the dividing `/`.
    pub fn to_path(&self) -> String {
        utf8_percent_encode(&self.0, ENCODED_IN_PATH).to_string()
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for ChannelName {
    type Err = NameError;

    fn from_str(decoded: &str) -> Result<Self, NameError> {
        Self::new(decoded)
    }
}

/// Why a text is no channel name. Positions are byte positions in what was given, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("the channel name is empty; name one, as in chat/lobby")]
    Empty,
    /// More than [`ChannelName::BYTES_MAX`] bytes after percent-decoding.
    #[error("the channel name is {bytes} bytes long after percent-decoding; use at most {max}", max = ChannelName::BYTES_MAX)]
    TooLong {
        /// How long it is, in bytes.
        bytes: usize,
    },
    /// Two slashes in a row, or one at either end.
    #[error(
        "the channel name has an empty segment at position {position}; write one `/` between segments and none at the ends"
    )]
    EmptySegment {
        /// Where the segment would start.
        position: usize,
    },
    /// A segment `.` or `..`, which URL handling along the way would remove.
    #[error(
        "the channel name has a segment `.` or `..` (byte 0x2e) at position {position}; rename the segment"
    )]
    DotSegment {
        /// Where the segment starts.
        position: usize,
    },
    /// A control character: C0, DEL or C1.
    #[error(
        "the channel name has a control character (byte {byte:#04x}) at position {position}; remove it"
    )]
    Control {
        /// The character's first byte.
        byte: u8,
        /// Where it stands.
        position: usize,
    },
    /// A `*`, which only patterns have.
    #[error(
        "the channel name has `*` (byte 0x2a) at position {position}; only patterns may, remove it"
    )]
    Star {
        /// Where it stands.
        position: usize,
    },
    /// A `%2F`.
    #[error(
        "the channel name has an encoded slash (byte 0x2f) at position {position}; write `/` to divide segments"
    )]
    EncodedSlash {
        /// Where the `%` stands.
        position: usize,
    },
    /// A `%` without two hexadecimal digits after it.
    #[error(
        "the channel name has a `%` (byte 0x25) without two hexadecimal digits at position {position}; write %25 for a percent sign"
    )]
    Percent {
        /// Where the `%` stands.
        position: usize,
    },
    /// Bytes that are not UTF-8, overlong forms and surrogates among them.
    #[error(
        "the channel name is not UTF-8 (byte {byte:#04x}) at position {position}; percent-encode its UTF-8 bytes"
    )]
    Utf8 {
        /// The first byte that does not belong.
        byte: u8,
        /// Where it stands.
        position: usize,
    },
}

impl NameError {
    fn map_position(mut self, map: impl Fn(usize) -> usize) -> Self {
        match &mut self {
            Self::Empty | Self::TooLong { .. } => {}
            Self::EmptySegment { position }
            | Self::DotSegment { position }
            | Self::Control { position, .. }
            | Self::Star { position }
            | Self::EncodedSlash { position }
            | Self::Percent { position }
            | Self::Utf8 { position, .. } => *position = map(*position),
        }
        self
    }
}

/// The rules that names and patterns share: all but the one about `*`.
pub(crate) fn check_path(path: &str) -> Result<(), NameError> {
    if path.is_empty() {
        return Err(NameError::Empty);
    }
    if path.len() > ChannelName::BYTES_MAX {
        return Err(NameError::TooLong { bytes: path.len() });
    }
    if let Some(position) = first_control(path) {
        let byte = path.as_bytes()[position];
        return Err(NameError::Control { byte, position });
    }
    let mut position = 0;
    for segment in path.as_bytes().split(|&byte| byte == b'/') {
        match segment {
            b"" => return Err(NameError::EmptySegment { position }),
            b"." | b".." => return Err(NameError::DotSegment { position }),
            _ => position += segment.len() + 1,
        }
    }
    Ok(())
}

fn check(name: &str) -> Result<(), NameError> {
    if is_plain(name.as_bytes()) && name.len() <= ChannelName::BYTES_MAX {
        return Ok(());
    }
    check_path(name)?;
    match memchr::memchr(b'*', name.as_bytes()) {
        Some(position) => Err(NameError::Star { position }),
        None => Ok(()),
    }
}

/// Whether a name is one of nearly all, which one look at each byte admits; the others need a closer look.
fn is_plain(name: &[u8]) -> bool {
    let mut begins_segment = true;
    for &byte in name {
        match LOOKS[usize::from(byte)] {
            Look::Plain => begins_segment = false,
            Look::Dot if !begins_segment => {}
            Look::Slash if !begins_segment => begins_segment = true,
            _ => return false,
        }
    }
    !begins_segment
}

/// What a byte of a name tells at a glance.
#[derive(Clone, Copy)]
enum Look {
    Plain,
    Dot,
    Slash,
    /// `*`, a control character, or what the two bytes of one beyond ASCII begin with.
    Odd,
}

const LOOKS: [Look; 256] = {
    let mut looks = [Look::Plain; 256];
    let mut control = 0;
    while control < b' ' {
        looks[control as usize] = Look::Odd;
        control += 1;
    }
    looks[0x7f] = Look::Odd;
    looks[0xc2] = Look::Odd;
    looks[b'*' as usize] = Look::Odd;
    looks[b'.' as usize] = Look::Dot;
    looks[b'/' as usize] = Look::Slash;
    looks
};

fn decode(encoded: &str) -> Result<Vec<u8>, NameError> {
    let encoded = encoded.as_bytes();
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut position = 0;
    while let Some(&byte) = encoded.get(position) {
        if byte != b'%' {
            decoded.push(byte);
            position += 1;
            continue;
        }
        let digit = |at: usize| char::from(*encoded.get(at)?).to_digit(16);
        let (Some(high), Some(low)) = (digit(position + 1), digit(position + 2)) else {
            return Err(NameError::Percent { position });
        };
        match (high * 16 + low) as u8 {
            b'/' => return Err(NameError::EncodedSlash { position }),
            byte => decoded.push(byte),
        }
        position += 3;
    }
    Ok(decoded)
}

/// Where the decoded byte at `decoded` stands in the encoded text, which [`decode`] has accepted.
fn encoded_position(encoded: &str, decoded: usize) -> usize {
    let encoded = encoded.as_bytes();
    (0..decoded).fold(0, |position, _| {
        position + if encoded[position] == b'%' { 3 } else { 1 }
    })
}

/// All but the unreserved characters of RFC 3986, section 2.3, and the slash: then no framework
/// on the way reads a name differently.
const ENCODED_IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_segments_divided_by_slashes() {
        let longest = "n".repeat(ChannelName::BYTES_MAX);
        for name in [
            "news",
            "chat/lobby",
            "a/b/c",
            "...",
            ".hidden/..x",
            "café/日本",
            "with space",
            "q?x=1#y",
            "100%",
            "-1",
            "now",
            &longest,
        ] {
            assert_eq!(ChannelName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_is_no_name_is_refused_at_its_offending_byte() {
        use NameError::*;
        let too_long = "n".repeat(ChannelName::BYTES_MAX + 1);
        for (name, expected) in [
            ("", Empty),
            (too_long.as_str(), TooLong { bytes: 256 }),
            ("/a", EmptySegment { position: 0 }),
            ("a/", EmptySegment { position: 2 }),
            ("a//b", EmptySegment { position: 2 }),
            ("/", EmptySegment { position: 0 }),
            ("./a", DotSegment { position: 0 }),
            ("a/.", DotSegment { position: 2 }),
            ("ab/../c", DotSegment { position: 3 }),
            (
                "a\0",
                Control {
                    byte: 0,
                    position: 1,
                },
            ),
            (
                "a\nb",
                Control {
                    byte: 0x0a,
                    position: 1,
                },
            ),
            (
                "é\x7f",
                Control {
                    byte: 0x7f,
                    position: 2,
                },
            ),
            (
                "a\u{85}",
                Control {
                    byte: 0xc2,
                    position: 1,
                },
            ),
            ("chat/*", Star { position: 5 }),
        ] {
            assert_eq!(ChannelName::new(name), Err(expected), "name {name:?}");
        }
    }

    #[test]
    fn a_path_is_percent_decoded_once() {
        for (path, name) in [
            ("chat/lobby", "chat/lobby"),
            ("caf%C3%A9", "café"),
            ("caf%c3%a9", "café"),
            ("a%20b", "a b"),
            ("a+b", "a+b"),
            ("%2541", "%41"),
            ("%3F%23", "?#"),
        ] {
            assert_eq!(ChannelName::from_path(path).unwrap().as_str(), name);
        }
        let encoded = "%61".repeat(ChannelName::BYTES_MAX);
        assert_eq!(
            ChannelName::from_path(&encoded).unwrap().as_str().len(),
            255
        );
    }

    #[test]
    fn tricks_in_a_path_are_refused_where_they_stand() {
        use NameError::*;
        for (path, expected) in [
            ("a%2Fb", EncodedSlash { position: 1 }),
            ("a%2fb", EncodedSlash { position: 1 }),
            ("%", Percent { position: 0 }),
            ("ab%4", Percent { position: 2 }),
            ("a%G0", Percent { position: 1 }),
            ("a%+1", Percent { position: 1 }),
            ("%61%é", Percent { position: 3 }),
            ("a/%2e%2E/b", DotSegment { position: 2 }),
            ("%61/%2e", DotSegment { position: 4 }),
            ("%61//b", EmptySegment { position: 4 }),
            (
                "a%00",
                Control {
                    byte: 0,
                    position: 1,
                },
            ),
            (
                "%61%0D",
                Control {
                    byte: 0x0d,
                    position: 3,
                },
            ),
            (
                "%61%C2%80",
                Control {
                    byte: 0xc2,
                    position: 3,
                },
            ),
            ("%61%2A", Star { position: 3 }),
            // An overlong slash, a surrogate, a lone continuation, a cut sequence.
            (
                "a%C0%AFb",
                Utf8 {
                    byte: 0xc0,
                    position: 1,
                },
            ),
            (
                "%61%ED%A0%80",
                Utf8 {
                    byte: 0xed,
                    position: 3,
                },
            ),
            (
                "a%80",
                Utf8 {
                    byte: 0x80,
                    position: 1,
                },
            ),
            (
                "a%C3",
                Utf8 {
                    byte: 0xc3,
                    position: 1,
                },
            ),
        ] {
            assert_eq!(ChannelName::from_path(path), Err(expected), "path {path:?}");
        }
        let too_long = "%61".repeat(ChannelName::BYTES_MAX + 1);
        assert_eq!(
            ChannelName::from_path(&too_long),
            Err(TooLong { bytes: 256 })
        );
    }

    #[test]
    fn an_error_says_byte_and_place() {
        let error = ChannelName::from_path("news/%0A").unwrap_err();
        assert_eq!(
            error.to_string(),
            "the channel name has a control character (byte 0x0a) at position 5; remove it"
        );
    }

    proptest! {
        #[test]
        fn what_is_admitted_at_a_glance_a_close_look_admits_too(name in "[a/.*é\u{7f}\u{85}\u{a0} ]{0,8}|[ -~]{1,12}|.{0,8}") {
            if is_plain(name.as_bytes()) {
                prop_assert_eq!(check_path(&name), Ok(()));
                prop_assert!(!name.contains('*'));
            }
        }

        #[test]
        fn every_name_survives_its_path(text in "[^*\\x00-\\x1f]{1,80}") {
            if let Ok(name) = ChannelName::new(&text) {
                let path = name.to_path();
                prop_assert!(path.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/%".contains(&b)));
                prop_assert_eq!(ChannelName::from_path(&path), Ok(name));
            }
        }

        #[test]
        fn no_path_breaks_the_rules_of_names(path in "([a-c/.%]|%[0-9a-fA-F]{2}|\\PC){0,40}") {
            if let Ok(name) = ChannelName::from_path(&path) {
                prop_assert_eq!(ChannelName::new(name.as_str()), Ok(name.clone()));
                prop_assert!(!name.as_str().chars().any(char::is_control));
            }
        }
    }
}
