//! The members that tell an entry in JSON, the same on every wire that speaks JSON.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Undecodable;
use crate::{Data, Entry, Offset};

/// An object that may be an entry. On a session's wires it also says that it is one, and of which channel.
#[derive(Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow)]
    pub ev: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub channel: Option<Cow<'a, str>>,
    offset: Option<Offset>,
    time: Option<u64>,
    event: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data64: Option<Cow<'a, str>>,
}

impl Envelope<'_> {
    /// Whether it holds something that was published.
    pub fn has_data(&self) -> bool {
        self.data.is_some() || self.data64.is_some()
    }

    /// The entry; an error if a member is missing, or one too many is there.
    pub fn entry(self) -> Result<Entry, Undecodable> {
        let data = match (self.data, self.data64) {
            (Some(json), None) => value(json),
            (None, Some(text)) => Data::Binary(base64(text.as_bytes())?.into()),
            (Some(_), Some(_)) => {
                return Err(Undecodable::malformed(
                    "an entry has both `data` and `data64`",
                ));
            }
            (None, None) => {
                return Err(Undecodable::malformed(
                    "an entry has neither `data` nor `data64`",
                ));
            }
        };
        let offset = self.offset;
        Ok(Entry {
            offset: Some(offset.ok_or_else(|| Undecodable::malformed("an entry has no `offset`"))?),
            time_ms: self.time,
            event: self.event,
            data,
        })
    }
}

/// Standard base64 with padding (RFC 4648, section 4).
pub(crate) fn base64(text: impl AsRef<[u8]>) -> Result<Vec<u8>, Undecodable> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|error| Undecodable::Malformed(format!("bytes that are no base64: {error}")))
}

/// A member that is there, even where its value is `null`: that is an entry too.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A string that no text can hold, since half of a surrogate pair stands in it (RFC 8259, section 8.2), stays JSON.
fn value(json: &RawValue) -> Data {
    let text = match json.get().starts_with('"') {
        true => serde_json::from_str(json.get()).ok(),
        false => None,
    };
    text.map_or_else(|| Data::Json(json.get().to_owned()), Data::Text)
}
