//! The messages of a WebSocket with the subprotocol `everwire.v1`.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Undecodable, envelope};
use crate::{Gap, Offset, signal::Signal};

/// Reads one message.
pub(crate) fn decode(text: &[u8]) -> Result<Signal, Undecodable> {
    let message: Message<'_> = serde_json::from_slice(text)?;
    let missing = |member: &str| {
        Undecodable::Malformed(format!(
            "a `{}` has no `{member}`",
            message.ev.as_deref().unwrap_or("")
        ))
    };
    match message.ev.as_deref() {
        Some("welcome") => Ok(Signal::Opened(message.offset)),
        Some("entry") => {
            let Message {
                offset,
                time,
                event,
                data,
                data64,
                ..
            } = message;
            envelope::entry(offset, time, event, data, data64.as_deref()).map(Signal::Entry)
        }
        Some("gap") => {
            let oldest = message.oldest.clone().ok_or_else(|| missing("oldest"))?;
            let newest = message.newest.clone().ok_or_else(|| missing("newest"))?;
            Ok(Signal::Gap(Gap { oldest, newest }))
        }
        Some("closed") => Ok(Signal::Closed),
        Some("drain") => {
            let after_ms = message.after_ms.ok_or_else(|| missing("after_ms"))?;
            Ok(Signal::Drain(Duration::from_millis(after_ms)))
        }
        // A reply, or an event that a reader of one channel has no use for.
        Some(_) | None => Ok(Signal::Alive),
    }
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    ev: Option<Cow<'a, str>>,
    offset: Option<Offset>,
    time: Option<u64>,
    event: Option<String>,
    #[serde(borrow, default, deserialize_with = "envelope::present")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    data64: Option<Cow<'a, str>>,
    oldest: Option<Offset>,
    newest: Option<Offset>,
    after_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Data, Entry};

    #[test]
    fn each_message_is_one_signal() {
        let offset = |token: &str| token.parse::<Offset>().unwrap();
        let entry = Entry {
            offset: Some(offset("a1")),
            time_ms: Some(1_790_000_000_000),
            event: Some("greeting".into()),
            data: Data::Json(r#"{"text":"hi"}"#.into()),
        };
        for (message, expected) in [
            (
                r#"{"ev":"welcome","channel":"c","offset":"a0"}"#,
                Signal::Opened(Some(offset("a0"))),
            ),
            (
                r#"{"ev":"entry","channel":"c","offset":"a1","time":1790000000000,"event":"greeting","data":{"text":"hi"}}"#,
                Signal::Entry(entry),
            ),
            (
                r#"{"ev":"gap","channel":"c", "oldest":"a3","newest":"a9"}"#,
                Signal::Gap(Gap {
                    oldest: offset("a3"),
                    newest: offset("a9"),
                }),
            ),
            (
                r#"{"ev":"closed","channel":"c","offset":"a9"}"#,
                Signal::Closed,
            ),
            (
                r#"{"ev":"drain","after_ms":250}"#,
                Signal::Drain(Duration::from_millis(250)),
            ),
            (r#"{"ev":"join","channel":"c","user":"ada"}"#, Signal::Alive),
            (r#"{"re":2,"ok":{"offset":"a2"}}"#, Signal::Alive),
        ] {
            assert_eq!(decode(message.as_bytes()), Ok(expected), "{message}");
        }
    }

    #[test]
    fn a_message_that_lacks_a_member_names_it() {
        for (message, expected) in [
            (r#"{"ev":"gap","oldest":"a3"}"#, "`gap` has no `newest`"),
            (r#"{"ev":"drain"}"#, "`drain` has no `after_ms`"),
            (
                r#"{"ev":"entry","offset":"a1"}"#,
                "neither `data` nor `data64`",
            ),
            (r#"{"ev":"entry","data":1}"#, "no `offset`"),
            ("hello", "expected value"),
        ] {
            let Err(Undecodable::Malformed(problem)) = decode(message.as_bytes()) else {
                panic!("{message} was read");
            };
            assert!(problem.contains(expected), "{message} gave {problem:?}");
        }
    }
}
