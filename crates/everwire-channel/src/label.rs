//! Short texts that callers choose and that end up in fields and event streams.
//!
//! All are 1 byte up to a limit long and free of control characters (C0, DEL, C1), so that no CR,
//! LF or NUL can be smuggled into a framing.

use std::fmt;
use std::sync::Arc;

use crate::control::first_control;

/// The name of an event, as in `event: typing` of an event stream. At most 64 bytes. Cheap to
/// clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventName(Arc<str>);

/// Who published an entry, so that its own lines can skip it. At most 255 bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublisherId(Arc<str>);

/// A publisher's name for one append: a repeat of it is answered as the first one was. At most
/// 255 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotencyKey<'a>(&'a str);

/// A writer's own order over appends, `Stream-Seq`: it must rise, compared as bytes. At most 255
/// bytes. Its scope is the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamSeq<'a>(&'a str);

impl EventName {
    /// The largest event name, in bytes.
    pub const BYTES_MAX: usize = 64;

    /// Checks and takes the name.
    pub fn new(name: &str) -> Result<Self, LabelError> {
        check("event name", name, Self::BYTES_MAX).map(|name| Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PublisherId {
    /// The largest publisher id, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Checks and takes the id.
    pub fn new(id: &str) -> Result<Self, LabelError> {
        check("publisher id", id, Self::BYTES_MAX).map(|id| Self(id.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'a> IdempotencyKey<'a> {
    /// The largest key, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Checks and takes the key.
    pub fn new(key: &'a str) -> Result<Self, LabelError> {
        check("idempotency key", key, Self::BYTES_MAX).map(Self)
    }

    /// The key.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl<'a> StreamSeq<'a> {
    /// The largest value, in bytes.
    pub const BYTES_MAX: usize = 255;

    /// Checks and takes the value.
    pub fn new(value: &'a str) -> Result<Self, LabelError> {
        check("stream sequence", value, Self::BYTES_MAX).map(Self)
    }

    /// The value.
    pub fn as_str(&self) -> &'a str {
        self.0
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PublisherId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text cannot be the label named in `what`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Nothing was given.
    #[error("the {what} is empty; give one, or leave it out altogether")]
    Empty {
        /// What it should have been.
        what: &'static str,
    },
    /// Longer than its limit.
    #[error("the {what} is {bytes} bytes long; use at most {bytes_max}")]
    TooLong {
        /// What it should have been.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        bytes_max: usize,
    },
    /// A control character: C0, DEL or C1.
    #[error(
        "the {what} has a control character (byte {byte:#04x}) at position {position}; remove it"
    )]
    Control {
        /// What it should have been.
        what: &'static str,
        /// The character's first byte.
        byte: u8,
        /// Where it stands, from 0.
        position: usize,
    },
}

pub(crate) fn check<'a>(
    what: &'static str,
    text: &'a str,
    bytes_max: usize,
) -> Result<&'a str, LabelError> {
    if text.is_empty() {
        return Err(LabelError::Empty { what });
    }
    if text.len() > bytes_max {
        return Err(LabelError::TooLong {
            what,
            bytes: text.len(),
            bytes_max,
        });
    }
    match first_control(text) {
        Some(position) => Err(LabelError::Control {
            what,
            byte: text.as_bytes()[position],
            position,
        }),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Checked = fn(&str) -> Result<String, LabelError>;

    /// Each kind of label, its limit, and its constructor.
    const LABELS: [(&str, usize, Checked); 4] = [
        ("event name", 64, |text| {
            EventName::new(text).map(|label| label.to_string())
        }),
        ("publisher id", 255, |text| {
            PublisherId::new(text).map(|label| label.to_string())
        }),
        ("idempotency key", 255, |text| {
            IdempotencyKey::new(text).map(|label| label.as_str().into())
        }),
        ("stream sequence", 255, |text| {
            StreamSeq::new(text).map(|label| label.as_str().into())
        }),
    ];

    #[test]
    fn a_label_is_short_text() {
        for (what, bytes_max, new) in LABELS {
            for text in ["a", "typing", "user 17/é", &"x".repeat(bytes_max)] {
                assert_eq!(new(text).as_deref(), Ok(text), "{what}");
            }
        }
    }

    #[test]
    fn a_label_can_smuggle_nothing_into_a_framing() {
        for (what, bytes_max, new) in LABELS {
            assert_eq!(new(""), Err(LabelError::Empty { what }));
            let bytes = bytes_max + 1;
            assert_eq!(
                new(&"x".repeat(bytes)),
                Err(LabelError::TooLong {
                    what,
                    bytes,
                    bytes_max
                })
            );
            for (text, byte, position) in [
                ("a\rb", b'\r', 1),
                ("a\n", b'\n', 1),
                ("\0", 0, 0),
                ("é\x1b[2J", 0x1b, 2),
                ("x\x7f", 0x7f, 1),
                ("x\u{85}", 0xc2, 1),
            ] {
                let refused = Err(LabelError::Control {
                    what,
                    byte,
                    position,
                });
                assert_eq!(new(text), refused, "{what} {text:?}");
            }
        }
    }
}
