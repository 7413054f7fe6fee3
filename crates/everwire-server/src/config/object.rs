//! Objects that others write as JSON. Left to itself, serde takes an array for a struct's members in their order, so
//! that one text could be read in two ways.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// What an object holds, and nothing else does.
#[derive(Debug)]
pub(crate) struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OfObject(PhantomData))
    }
}

struct OfObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

/// A list of objects, for `deserialize_with`.
pub(crate) fn objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let all = Vec::<Object<T>>::deserialize(deserializer)?;
    Ok(all.into_iter().map(|Object(one)| one).collect())
}

/// The same where the list may be left out.
pub(crate) fn some_objects<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    objects(deserializer).map(Some)
}

/// Whether a member is there at all, be it as `null`; for `deserialize_with` beside `default`.
pub(crate) fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Pair<'a> {
        a: u8,
        #[serde(borrow)]
        b: Option<&'a RawValue>,
        #[serde(default, deserialize_with = "is_there")]
        c: bool,
    }

    #[test]
    fn an_object_is_no_array() {
        for (json, expected) in [
            (r#"{"a":1}"#, Some((1, None, false))),
            (r#"{"b":[2, 3],"a":1}"#, Some((1, Some("[2, 3]"), false))),
            (r#"{"a":1,"c":null}"#, Some((1, None, true))),
            ("[1,2]", None),
            ("[1,2,3]", None),
            ("[]", None),
            ("1", None),
            ("null", None),
            (r#"{"a":1,"a":1}"#, None),
        ] {
            let read = serde_json::from_str::<Object<Pair<'_>>>(json);
            let found = read
                .ok()
                .map(|Object(pair)| (pair.a, pair.b.map(RawValue::get), pair.c));
            assert_eq!(found, expected, "{json}");
        }
    }
}
