//! JSON that a user tells about itself.

use std::fmt;

use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// What a user tells about itself: a JSON value but `null`, as the text that it was sent as.
///
/// It is a text, since not all that the grammar of JSON allows (RFC 8259) has a value in every program: half of a
/// surrogate pair, or a number beyond all bounds. Nobody's info may so end the line of others.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Info(Box<RawValue>);

impl Info {
    /// The JSON text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Reads the value into a type.
    ///
    /// # Errors
    ///
    /// It is not of this type, or nothing that Rust can hold.
    pub fn to_json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.as_str())
    }
}

impl From<Value> for Info {
    fn from(value: Value) -> Self {
        let text = RawValue::from_string(value.to_string());
        Self(text.unwrap_or_else(|_| unreachable!("a value is written as JSON")))
    }
}

impl FromStr for Info {
    type Err = serde_json::Error;

    /// Takes a JSON text.
    fn from_str(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }
}

impl PartialEq for Info {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Info {}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
