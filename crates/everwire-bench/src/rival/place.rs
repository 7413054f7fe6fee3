//! Where the payload stands in a delivered message.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::template::{ChannelPlace, Template};
use crate::payload::Payloads;

/// Where the payload stands in a message, as a description says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PayloadPlace {
    /// The message is the payload.
    #[default]
    Whole,
    /// Between texts that are the same in each message.
    Between(Between),
    /// Somewhere; a message may hold several, or none.
    Anywhere,
}

/// Texts that are the same in each message.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// Before the payload.
    before: Template<ChannelPlace>,
    /// After the payload.
    after: Template<ChannelPlace>,
}

/// Finds the payloads in the messages of one channel.
#[derive(Clone, Debug)]
pub enum Finder {
    /// Each message is a payload.
    Whole,
    /// Each message is a payload between two texts.
    Between {
        /// Before the payload.
        before: Vec<u8>,
        /// After the payload.
        after: Vec<u8>,
    },
    /// Payloads are told by how they look.
    Anywhere,
}

impl PayloadPlace {
    /// What finds the payloads in messages of `channel`.
    pub fn finder(&self, channel: &str) -> Finder {
        match self {
            Self::Whole => Finder::Whole,
            Self::Between(Between { before, after }) => Finder::Between {
                before: before.about(channel).into_bytes(),
                after: after.about(channel).into_bytes(),
            },
            Self::Anywhere => Finder::Anywhere,
        }
    }
}

impl Finder {
    /// The first payload of `message`, and the rest of it if that may hold more.
    ///
    /// A message that differs from what was described is given whole, so that it is refused as no
    /// payload. Where payloads may stand anywhere, one that was damaged is not seen: its reader
    /// misses it.
    pub fn find<'a>(
        &self,
        message: &'a [u8],
        payloads: &Payloads,
    ) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        match self {
            Self::Whole => Some((message, None)),
            Self::Between { before, after } => {
                let inner = message.strip_prefix(before.as_slice());
                let inner = inner.and_then(|inner| inner.strip_suffix(after.as_slice()));
                Some((inner.unwrap_or(message), None))
            }
            Self::Anywhere => payloads
                .find(message)
                .map(|(payload, after)| (payload, Some(after))),
        }
    }
}

impl<'de> Deserialize<'de> for PayloadPlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Forms;
        impl<'de> Visitor<'de> for Forms {
            type Value = PayloadPlace;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(r#""whole", "anywhere" or { before = "…", after = "…" }"#)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PayloadPlace, E> {
                match text {
                    "whole" => Ok(PayloadPlace::Whole),
                    "anywhere" => Ok(PayloadPlace::Anywhere),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PayloadPlace, A::Error> {
                let between = Between::deserialize(MapAccessDeserializer::new(map));
                between.map(PayloadPlace::Between).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(Forms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Stamp;

    fn payload(number: u64) -> String {
        let mut out = Vec::new();
        Payloads::new(32).write(Stamp { source: 3, number }, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn found(finder: &Finder, message: &str) -> Vec<String> {
        let (payloads, mut found) = (Payloads::new(32), Vec::new());
        let mut rest = Some(message.as_bytes());
        while let Some((payload, after)) = rest.and_then(|rest| finder.find(rest, &payloads)) {
            found.push(String::from_utf8(payload.to_vec()).unwrap());
            rest = after;
        }
        found
    }

    #[test]
    fn payloads_are_found_where_they_are_said_to_stand() {
        let (one, two) = (payload(1), payload(2));
        let between = Finder::Between {
            before: b"{\"data\":\"".to_vec(),
            after: b"\"}".to_vec(),
        };
        let anywhere = Finder::Anywhere;
        for (finder, message, expected) in [
            (&Finder::Whole, one.clone(), vec![one.clone()]),
            (
                &between,
                format!("{{\"data\":\"{one}\"}}"),
                vec![one.clone()],
            ),
            (
                &between,
                "{\"welcome\":1}".to_owned(),
                vec!["{\"welcome\":1}".to_owned()],
            ),
            (&anywhere, one.clone(), vec![one.clone()]),
            (
                &anywhere,
                format!("{{\"12:0\":{{\"data\":\"{one}\"}}}}"),
                vec![one.clone()],
            ),
            (
                &anywhere,
                format!("[{one},{two}]\n{one}"),
                vec![one.clone(), two, one.clone()],
            ),
            (&anywhere, "{}".to_owned(), vec![]),
            (&anywhere, one.replace("abc", "abd"), vec![]),
        ] {
            assert_eq!(found(finder, &message), expected, "{finder:?} in {message}");
        }
    }
}
