//! When a channel ends by itself.

/// When a channel ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// So long after the last read or write, in milliseconds (`Stream-TTL`).
    Sliding {
        /// The window in milliseconds.
        ttl_ms: u64,
    },
    /// At that moment (`Stream-Expires-At`).
    At {
        /// The moment in Unix milliseconds.
        unix_ms: u64,
    },
}

impl Expiry {
    /// Reads a `Stream-TTL` field: whole seconds in decimal digits, without a sign, a leading
    /// zero, a fraction or an exponent.
    pub fn from_ttl_seconds(field: &str) -> Result<Self, TtlError> {
        if field.is_empty() || !field.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TtlError::NotDigits);
        }
        if field.starts_with('0') && field != "0" {
            return Err(TtlError::LeadingZero);
        }
        let seconds: Option<u64> = field.parse().ok();
        match seconds.and_then(|seconds| seconds.checked_mul(1000)) {
            Some(ttl_ms) => Ok(Self::Sliding { ttl_ms }),
            None => Err(TtlError::TooLarge),
        }
    }

    /// When the channel ends, if it was last read or written at `touched_ms`; in Unix milliseconds.
    pub fn ends_at_ms(&self, touched_ms: u64) -> u64 {
        match *self {
            Self::Sliding { ttl_ms } => touched_ms.saturating_add(ttl_ms),
            Self::At { unix_ms } => unix_ms,
        }
    }
}

/// Why a field is no `Stream-TTL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TtlError {
    /// Empty, or with something else than decimal digits.
    #[error("the TTL is not in decimal digits alone; write whole seconds, as in 3600")]
    NotDigits,
    /// A zero before other digits.
    #[error("the TTL has a leading zero; write whole seconds, as in 3600")]
    LeadingZero,
    /// Its milliseconds do not fit 64 bits.
    #[error("the TTL is too large; leave it out for a channel that shall not expire")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_whole_seconds_in_plain_digits() {
        use TtlError::*;
        for (field, expected) in [
            ("3600", Ok(3_600_000)),
            ("1", Ok(1000)),
            ("0", Ok(0)),
            ("18446744073709551", Ok(18_446_744_073_709_551_000)),
            ("18446744073709552", Err(TooLarge)),
            ("99999999999999999999", Err(TooLarge)),
            ("", Err(NotDigits)),
            ("+3600", Err(NotDigits)),
            ("-1", Err(NotDigits)),
            ("3600.0", Err(NotDigits)),
            ("3.6e3", Err(NotDigits)),
            (" 1", Err(NotDigits)),
            ("abc", Err(NotDigits)),
            ("١", Err(NotDigits)),
            ("03600", Err(LeadingZero)),
            ("00", Err(LeadingZero)),
        ] {
            let expected = expected.map(|ttl_ms| Expiry::Sliding { ttl_ms });
            assert_eq!(Expiry::from_ttl_seconds(field), expected, "{field:?}");
        }
    }

    #[test]
    fn a_sliding_end_moves_and_a_fixed_one_does_not() {
        for (expiry, touched_ms, ends_at_ms) in [
            (Expiry::Sliding { ttl_ms: 10 }, 5, 15),
            (Expiry::Sliding { ttl_ms: u64::MAX }, 5, u64::MAX),
            (Expiry::At { unix_ms: 7 }, 5, 7),
        ] {
            assert_eq!(expiry.ends_at_ms(touched_ms), ends_at_ms);
        }
    }
}
