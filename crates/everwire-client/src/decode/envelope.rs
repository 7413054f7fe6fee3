//! The members that tell an entry in JSON, the same on every wire that speaks JSON.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::Undecodable;
use crate::{Data, Entry, Offset};

/// Puts an entry together from the members `offset`, `time`, `event`, and `data` or `data64`.
pub(crate) fn entry(
    offset: Option<Offset>,
    time_ms: Option<u64>,
    event: Option<String>,
    data: Option<&RawValue>,
    data64: Option<&str>,
) -> Result<Entry, Undecodable> {
    let data = match (data, data64) {
        (Some(json), None) => value(json)?,
        (None, Some(text)) => Data::Binary(base64(text)?.into()),
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
    let offset = offset.ok_or_else(|| Undecodable::malformed("an entry has no `offset`"))?;
    Ok(Entry {
        offset: Some(offset),
        time_ms,
        event,
        data,
    })
}

/// A member that is there, even where its value is `null`: that is an entry too.
pub(crate) fn present<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Standard base64 with padding (RFC 4648, section 4).
pub(crate) fn base64(text: impl AsRef<[u8]>) -> Result<Vec<u8>, Undecodable> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|error| Undecodable::Malformed(format!("bytes that are no base64: {error}")))
}

fn value(json: &RawValue) -> Result<Data, Undecodable> {
    match json.get().starts_with('"') {
        true => Ok(Data::Text(serde_json::from_str(json.get())?)),
        false => Ok(Data::Json(json.get().to_owned())),
    }
}
