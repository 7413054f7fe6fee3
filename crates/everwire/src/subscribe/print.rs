//! Entries as lines, for people and for programs.

use std::io::{self, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use everwire_client::{Data, Entry};
use serde_json::{Value, json};

use super::source::Told;

/// Writes entries.
#[derive(Clone, Copy, Debug)]
pub enum Printer {
    /// The data as it is.
    Data,
    /// The data, made harmless: what a stranger publishes must not steer the terminal.
    Terminal,
    /// A JSON object for each entry, with the members that HTTP streaming has.
    Json,
}

impl Printer {
    pub fn new(json: bool, is_terminal: bool) -> Self {
        match (json, is_terminal) {
            (true, _) => Self::Json,
            (false, true) => Self::Terminal,
            (false, false) => Self::Data,
        }
    }

    /// Writes what was told of a channel: entries for everybody, all else for programs that read along. The
    /// channel is named where it is given.
    pub fn tell(self, channel: Option<&str>, told: &Told, out: &mut impl Write) -> io::Result<()> {
        match (self, told) {
            (Self::Json, told) => match object(told) {
                Some(object) => {
                    out.write_all(b"{")?;
                    if let Some(channel) = channel {
                        write!(out, "\"channel\":{},", Value::from(channel))?;
                    }
                    writeln!(out, "{object}}}")?;
                }
                None => return Ok(()),
            },
            (Self::Data | Self::Terminal, Told::Entry(entry)) => {
                if let Some(channel) = channel {
                    write!(out, "{}\t", harmless(channel))?;
                }
                self.data(&entry.data, out)?;
                out.write_all(b"\n")?;
            }
            (
                Self::Data | Self::Terminal,
                Told::Gap(_)
                | Told::Members(_)
                | Told::Join { .. }
                | Told::Leave { .. }
                | Told::Closed,
            ) => return Ok(()),
        }
        out.flush()
    }

    fn data(self, data: &Data, out: &mut impl Write) -> io::Result<()> {
        match (self, data) {
            (Self::Data | Self::Json, data) => out.write_all(data.as_bytes()),
            (Self::Terminal, Data::Json(text) | Data::Text(text)) => {
                out.write_all(harmless(text).as_bytes())
            }
            (Self::Terminal, Data::Binary(bytes)) => write!(
                out,
                "({} bytes; send them to a file, or use --json)",
                bytes.len()
            ),
        }
    }
}

/// A text without what would steer a terminal.
pub fn harmless(text: &str) -> String {
    text.chars()
        .map(|char| match char {
            '\n' | '\t' => char,
            char if char.is_control() => char::REPLACEMENT_CHARACTER,
            char => char,
        })
        .collect()
}

/// The members of the object that tells it, between the braces.
fn object(told: &Told) -> Option<String> {
    Some(match told {
        Told::Entry(entry) => entry_members(entry),
        Told::Gap(gap) => format!(
            r#""gap":{{"oldest":"{}","newest":"{}"}}"#,
            gap.oldest, gap.newest
        ),
        Told::Members(members) => {
            let listed: Vec<_> = members
                .listed
                .iter()
                .map(|member| {
                    let mut object = user(&member.user, member.info.as_ref());
                    object["count"] = Value::from(member.count);
                    object
                })
                .collect();
            format!(
                "\"total\":{},\"members\":{}",
                members.total,
                Value::from(listed)
            )
        }
        Told::Join { user: name, info } => format!("\"join\":{}", user(name, info.as_ref())),
        Told::Leave { user: name } => format!("\"leave\":{}", user(name, None)),
        // The end of the output says it.
        Told::Closed => return None,
    })
}

fn user(name: &str, info: Option<&Value>) -> Value {
    let mut object = json!({ "user": name });
    if let Some(info) = info {
        object["info"] = info.clone();
    }
    object
}

fn entry_members(entry: &Entry) -> String {
    let mut members = String::new();
    if let Some(offset) = &entry.offset {
        members += &format!("\"offset\":\"{offset}\",");
    }
    if let Some(time_ms) = entry.time_ms {
        members += &format!("\"time\":{time_ms},");
    }
    if let Some(event) = &entry.event {
        members += &format!("\"event\":{},", Value::from(event.as_str()));
    }
    members += &match &entry.data {
        // As it was published: a number keeps all its digits. Between its tokens line breaks may stand.
        Data::Json(text) => format!("\"data\":{}", text.replace(['\n', '\r'], " ")),
        Data::Text(text) => format!("\"data\":{}", Value::from(text.as_str())),
        Data::Binary(bytes) => format!("\"data64\":\"{}\"", BASE64_STANDARD.encode(bytes)),
    };
    members
}

#[cfg(test)]
mod tests {
    use everwire_client::{Gap, Members};

    use super::*;

    fn print(printer: Printer, data: Data) -> String {
        let entry = Entry {
            offset: None,
            time_ms: None,
            event: None,
            data,
        };
        tell(printer, None, &Told::Entry(entry))
    }

    fn tell(printer: Printer, channel: Option<&str>, told: &Told) -> String {
        let mut out = Vec::new();
        printer.tell(channel, told, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn data_is_printed_as_it_is_and_harmless_in_a_terminal() {
        let text = || Data::Text("a\u{1b}[31m\tb\nc\u{9b}".into());
        assert_eq!(print(Printer::Data, text()), "a\u{1b}[31m\tb\nc\u{9b}\n");
        assert_eq!(
            print(Printer::Terminal, text()),
            "a\u{fffd}[31m\tb\nc\u{fffd}\n"
        );
        let bytes = || Data::Binary("\0\u{1}".into());
        assert_eq!(print(Printer::Data, bytes()), "\0\u{1}\n");
        assert_eq!(
            print(Printer::Terminal, bytes()),
            "(2 bytes; send them to a file, or use --json)\n"
        );
    }

    #[test]
    fn json_is_one_object_a_line_with_what_is_known() {
        for (data, expected) in [
            (
                Data::Json("{\"n\":\r\n12345678901234567890.10}".into()),
                "{\"data\":{\"n\":  12345678901234567890.10}}\n",
            ),
            (
                Data::Text("two\nlines".into()),
                "{\"data\":\"two\\nlines\"}\n",
            ),
            (Data::Binary("\0\u{7f}".into()), "{\"data64\":\"AH8=\"}\n"),
        ] {
            assert_eq!(print(Printer::Json, data), expected);
        }
        let entry = Entry {
            offset: Some("a1".parse().unwrap()),
            time_ms: Some(7),
            event: Some("say \"hi\"".into()),
            data: Data::Json("1".into()),
        };
        let expected = "{\"offset\":\"a1\",\"time\":7,\"event\":\"say \\\"hi\\\"\",\"data\":1}\n";
        assert_eq!(tell(Printer::Json, None, &Told::Entry(entry)), expected);
    }

    #[test]
    fn what_is_no_entry_stands_among_the_objects_for_programs_alone() {
        let gap = Gap {
            oldest: "a3".parse().unwrap(),
            newest: "a9".parse().unwrap(),
        };
        let join = Told::Join {
            user: "~ada".into(),
            info: Some(json!({"admin": false})),
        };
        let leave = Told::Leave {
            user: "~ada".into(),
        };
        for (told, expected) in [
            (
                Told::Gap(gap),
                r#"{"channel":"a","gap":{"oldest":"a3","newest":"a9"}}"#,
            ),
            (
                Told::Members(Members::default()),
                r#"{"channel":"a","total":0,"members":[]}"#,
            ),
            (
                join,
                r#"{"channel":"a","join":{"info":{"admin":false},"user":"~ada"}}"#,
            ),
            (leave, r#"{"channel":"a","leave":{"user":"~ada"}}"#),
        ] {
            let printed = tell(Printer::Json, Some("a"), &told);
            assert_eq!(printed, format!("{expected}\n"));
            for printer in [Printer::Data, Printer::Terminal] {
                assert_eq!(tell(printer, Some("a"), &told), "", "{printer:?}");
            }
        }
        assert_eq!(tell(Printer::Json, None, &Told::Closed), "");
    }

    #[test]
    fn a_channel_is_named_where_there_are_several() {
        let entry = || {
            let data = Data::Text("hi".into());
            Told::Entry(Entry {
                offset: None,
                time_ms: None,
                event: None,
                data,
            })
        };
        for (printer, expected) in [
            (Printer::Data, "chat/a\thi\n"),
            (Printer::Terminal, "chat/a\thi\n"),
            (Printer::Json, "{\"channel\":\"chat/a\",\"data\":\"hi\"}\n"),
        ] {
            assert_eq!(tell(printer, Some("chat/a"), &entry()), expected);
        }
    }
}
