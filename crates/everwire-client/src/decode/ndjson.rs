//! HTTP streaming of a channel's entries as newline-delimited JSON.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use super::{Undecodable, envelope::Envelope, lines::Lines, one_of_many};
use crate::{Gap, signal::Signal};

/// Reads one object a line.
#[derive(Debug)]
pub(crate) struct NdjsonDecoder(Lines);

impl NdjsonDecoder {
    /// `bytes_max` bounds a line.
    pub fn new(bytes_max: usize) -> Self {
        Self(Lines::new(bytes_max))
    }

    pub fn decode(
        &mut self,
        bytes: &[u8],
        signals: &mut VecDeque<Signal>,
    ) -> Result<(), Undecodable> {
        self.0.cut(bytes, |line| {
            signals.push_back(one_of_many(signal(line))?);
            Ok(())
        })
    }
}

fn signal(line: &[u8]) -> Result<Signal, Undecodable> {
    let envelope: Envelope<'_> = serde_json::from_slice(line)?;
    if envelope.has_data() {
        return envelope.entry().map(Signal::Entry);
    }
    Ok(match serde_json::from_slice(line)? {
        Notice { gap: Some(gap), .. } => Signal::Gap(gap),
        Notice {
            closed: Some(true), ..
        } => Signal::Closed,
        Notice {
            drain: Some(drain), ..
        } => Signal::Drain(Duration::from_millis(drain.after_ms)),
        // A heartbeat, or something that a later server says.
        Notice { .. } => Signal::Alive,
    })
}

/// What stands between the entries.
#[derive(Deserialize)]
struct Notice {
    gap: Option<Gap>,
    closed: Option<bool>,
    drain: Option<Drain>,
}

#[derive(Deserialize)]
struct Drain {
    after_ms: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::{Decoder, tests};
    use crate::{Data, Entry, ReadError};

    fn check(body: &str, expected: &[Signal]) {
        tests::check(|| Decoder::Ndjson(NdjsonDecoder::new(200)), body, expected);
    }

    fn entry(data: Data) -> Signal {
        Signal::Entry(Entry {
            offset: Some("a1".parse().unwrap()),
            time_ms: Some(7),
            event: None,
            data,
        })
    }

    #[test]
    fn an_entry_is_an_object_on_its_line() {
        for (data, expected) in [
            (
                r#""data":{"text": "hi"}"#,
                Data::Json(r#"{"text": "hi"}"#.into()),
            ),
            (r#""data":12"#, Data::Json("12".into())),
            (r#""data":null"#, Data::Json("null".into())),
            (r#""data":"two\nlines""#, Data::Text("two\nlines".into())),
            (r#""data":"\ud83d!""#, Data::Json(r#""\ud83d!""#.into())),
            (r#""data":[1e400]"#, Data::Json("[1e400]".into())),
            (r#""data64":"AP8=""#, Data::Binary(vec![0, 255].into())),
            (r#""data64":"\u0041P8=""#, Data::Binary(vec![0, 255].into())),
        ] {
            check(
                &format!("{{\"offset\":\"a1\",\"time\":7,{data}}}\n"),
                &[entry(expected)],
            );
        }
    }

    #[test]
    fn an_event_may_be_named() {
        let named = Entry {
            offset: Some("a1".parse().unwrap()),
            time_ms: None,
            event: Some("typing ä".into()),
            data: Data::Json("1".into()),
        };
        check(
            "{\"offset\":\"a1\",\"event\":\"typing ä\",\"data\":1}\n",
            &[Signal::Entry(named)],
        );
    }

    #[test]
    fn what_is_no_entry_is_told_beside_them() {
        let gap = Gap {
            oldest: "a3".parse().unwrap(),
            newest: "a9".parse().unwrap(),
        };
        for (line, expected) in [
            ("{}", Signal::Alive),
            (r#"{"something":"new"}"#, Signal::Alive),
            (r#"{"gap":{"oldest":"a3","newest":"a9"}}"#, Signal::Gap(gap)),
            (r#"{"closed":true,"offset":"a9"}"#, Signal::Closed),
            (
                r#"{"drain":{"after_ms":1500}}"#,
                Signal::Drain(Duration::from_millis(1500)),
            ),
        ] {
            check(&format!("{line}\n"), &[expected]);
        }
    }

    #[test]
    fn a_line_without_its_end_says_nothing() {
        check("{}\n{\"closed\":true}", &[Signal::Alive]);
    }

    #[test]
    fn a_line_that_is_no_entry_and_no_notice_is_told_in_its_place() {
        for line in [
            "<html>",
            "[]",
            "",
            r#"{"data":1}"#,
            r#"{"offset":"A!","data":1}"#,
            r#"{"offset":"a1","data":1,"data64":""}"#,
            r#"{"offset":"a1","data64":"???"}"#,
        ] {
            let signals = tests::signals(
                Decoder::Ndjson(NdjsonDecoder::new(200)),
                &[format!("{line}\n{{}}\n").as_bytes()],
            );
            assert!(
                matches!(signals[..], [Signal::Unreadable(_), Signal::Alive]),
                "{line:?} gave {signals:?}"
            );
        }
    }

    #[test]
    fn a_line_beyond_the_limit_fails_before_its_end() {
        check(
            &"x".repeat(201),
            &[Signal::Failed(ReadError::TooLarge { bytes_max: 200 })],
        );
    }
}
