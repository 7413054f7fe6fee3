//! Close codes and the payload of a Close frame (RFC 6455, sections 5.5.1 and 7.4).
//!
//! ```text
//!  (nothing)            no reason is given
//!  code: u16 | reason   reason is UTF-8, at most 123 bytes
//! ```

use std::fmt;

use crate::Failure;

/// A status code that may stand in a Close frame (RFC 6455, section 7.4).
///
/// 1005, 1006 and 1015 are names for "no Close frame said so" and can never be sent; they are no
/// `CloseCode`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose of the connection is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// 1001: the server goes down, or the browser leaves the page.
    pub const GOING_AWAY: Self = Self(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// 1003: a kind of data that this endpoint cannot accept, as binary where only text is known.
    pub const UNSUPPORTED: Self = Self(1003);
    /// 1007: data that is not what its message type says, as text that is not UTF-8.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// 1008: a message breaks this endpoint's policy; the general code when none fits better.
    pub const POLICY: Self = Self(1008);
    /// 1009: a message is too big to process.
    pub const TOO_BIG: Self = Self(1009);
    /// 1010: the client needs an extension that the server did not accept.
    pub const MANDATORY_EXTENSION: Self = Self(1010);
    /// 1011: the server met something it did not expect.
    pub const INTERNAL_ERROR: Self = Self(1011);
    /// 1012: the service restarts; registered with IANA.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// 1013: try again later; registered with IANA.
    pub const OVERLOADED: Self = Self(1013);
    /// 1014: an upstream server gave an invalid answer; registered with IANA.
    pub const BAD_GATEWAY: Self = Self(1014);

    /// A code of the application's own.
    ///
    /// # Panics
    ///
    /// If `code` is not in 4000–4999, the range left to private use; in a `const` that is a compile
    /// error.
    pub const fn new(code: u16) -> Self {
        assert!(
            matches!(code, 4000..=4999),
            "private close codes are 4000-4999"
        );
        Self(code)
    }

    /// The code that arrived in a Close frame; `None` if it must not be on the wire.
    ///
    /// Allowed: 1000–1003 and 1007–1011 of the RFC, 1012–1014 registered later, 3000–3999 for
    /// libraries, 4000–4999 for private use.
    pub const fn from_wire(code: u16) -> Option<Self> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CloseCode({})", self.0)
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads the payload of a Close frame.
pub(crate) fn decode(payload: &[u8]) -> Result<Option<(CloseCode, &str)>, Failure> {
    match payload {
        [] => Ok(None),
        [_] => Err(Failure::ClosePayloadOfOneByte),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            let code = CloseCode::from_wire(code).ok_or(Failure::CloseCodeForbidden(code))?;
            let reason =
                simdutf8::basic::from_utf8(reason).map_err(|_| Failure::CloseReasonNotUtf8)?;
            Ok(Some((code, reason)))
        }
    }
}

/// As much of `reason` as a Close frame can carry, cut between two characters.
pub(crate) fn fitting(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)]
}

/// A control frame carries 125 bytes (section 5.5); the code takes two of them.
const REASON_BYTES_MAX: usize = 123;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_be_sent_are_accepted() {
        let allowed =
            |code| matches!(code, 1000..=1003 | 1007..=1014) || (3000..5000).contains(&code);
        for code in 0..=u16::MAX {
            let parsed = CloseCode::from_wire(code).map(CloseCode::as_u16);
            assert_eq!(parsed, allowed(code).then_some(code), "close code {code}");
        }
    }

    #[test]
    fn a_private_code_is_a_constant() {
        const GAP: CloseCode = CloseCode::new(4410);
        assert_eq!(CloseCode::from_wire(4410), Some(GAP));
    }

    #[test]
    #[should_panic(expected = "private close codes are 4000-4999")]
    fn a_code_that_others_define_is_not_private() {
        CloseCode::new(1006);
    }

    #[test]
    fn a_close_payload_is_nothing_or_a_code_and_utf8() {
        type Decoded = Result<Option<(u16, &'static str)>, Failure>;
        let rows: [(&[u8], Decoded); 8] = [
            (b"", Ok(None)),
            (b"\x03", Err(Failure::ClosePayloadOfOneByte)),
            (b"\x03\xe8", Ok(Some((1000, "")))),
            (b"\x03\xe8bye", Ok(Some((1000, "bye")))),
            (b"\x0f\xa0\xc3\xa4", Ok(Some((4000, "ä")))),
            (b"\x03\xed", Err(Failure::CloseCodeForbidden(1005))),
            (b"\x03\xe8\xff", Err(Failure::CloseReasonNotUtf8)),
            (b"\x03\xe8\xc3", Err(Failure::CloseReasonNotUtf8)),
        ];
        for (payload, expected) in rows {
            let decoded =
                decode(payload).map(|close| close.map(|(code, reason)| (code.as_u16(), reason)));
            assert_eq!(decoded, expected, "payload {payload:02x?}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        assert_eq!(fitting(&"a".repeat(200)).len(), 123);
        assert_eq!(fitting(&"ä".repeat(200)), "ä".repeat(61));
        assert_eq!(fitting("short"), "short");
    }
}
