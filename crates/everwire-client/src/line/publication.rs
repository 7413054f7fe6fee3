//! What is published on a line.

use serde::Serialize;

use crate::Data;

/// What is published to a channel over a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The content. [`Data::Text`] is a string in a JSON channel and the text itself in a text channel.
    pub data: Data,
    /// The event's name, at most 64 bytes.
    pub event: Option<String>,
    /// The idempotency key, at most 255 bytes. Default: a new one, which is what most want.
    pub key: Option<String>,
}

impl Publication {
    /// Anything that can be written as JSON.
    ///
    /// # Errors
    ///
    /// It cannot, such as a map whose keys are no strings.
    pub fn json(value: &impl Serialize) -> serde_json::Result<Self> {
        Ok(Data::Json(serde_json::to_string(value)?).into())
    }
}

impl From<Data> for Publication {
    fn from(data: Data) -> Self {
        Self {
            data,
            event: None,
            key: None,
        }
    }
}

impl From<&str> for Publication {
    fn from(text: &str) -> Self {
        Data::Text(text.to_owned()).into()
    }
}
