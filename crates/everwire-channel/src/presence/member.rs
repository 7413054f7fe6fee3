//! A member: a user, and what it says about itself.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::label::{self, LabelError};
use crate::split::json_entry;

/// Who is in a channel, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name, by which sessions of one user are one member.
    pub user: UserName,
    /// What the user says about itself, if anything.
    pub info: Option<Info>,
}

/// The name of a user: 1 to 128 bytes without control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

/// What a user says about itself: any JSON value, on one line. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Info(Bytes);

/// Why a JSON value cannot be a member's info.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InfoError {
    /// Longer than its limit.
    #[error(
        "the info is {bytes} bytes long and at most {bytes_max} are taken; say less, or publish it"
    )]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// Nested deeper than an entry may be.
    #[error("the info is nested deeper than many parsers take; send it flatter")]
    TooDeep,
}

impl UserName {
    /// The largest name, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// Checks and takes the name.
    pub fn new(name: &str) -> Result<Self, LabelError> {
        label::check("user name", name, Self::BYTES_MAX).map(|name| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Info {
    /// Takes a JSON value of at most so many bytes.
    pub fn new(value: &RawValue, bytes_max: usize) -> Result<Self, InfoError> {
        let bytes = value.get().len();
        if bytes > bytes_max {
            return Err(InfoError::TooLong { bytes, bytes_max });
        }
        json_entry(value).map(Self).map_err(|_| InfoError::TooDeep)
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("JSON text stays UTF-8 on one line")
    }
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_name_is_short_text() {
        let longest = "u".repeat(UserName::BYTES_MAX);
        for name in ["ada", "~ada", "Ada L. é", &longest] {
            assert_eq!(UserName::new(name).unwrap().as_str(), name);
        }
        let too_long = "u".repeat(UserName::BYTES_MAX + 1);
        for name in ["", "a\nb", &too_long] {
            assert!(UserName::new(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn info_is_json_of_a_few_bytes_on_one_line() {
        let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
        for (json, expected) in [
            ("{\"a\":\n\"b c\"}", Ok("{\"a\": \"b c\"}")),
            ("null", Ok("null")),
            (
                "\"12345678901\"",
                Err(InfoError::TooLong {
                    bytes: 13,
                    bytes_max: 12,
                }),
            ),
        ] {
            let value: &RawValue = serde_json::from_str(json).unwrap();
            let info = Info::new(value, 12);
            let found = info.as_ref().map(Info::as_str).map_err(|error| *error);
            assert_eq!(found, expected, "{json}");
        }
        let value = RawValue::from_string(deep).unwrap();
        assert_eq!(Info::new(&value, 1024), Err(InfoError::TooDeep));
    }
}
