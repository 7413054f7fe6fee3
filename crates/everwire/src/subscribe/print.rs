//! Entries as lines, for people and for programs.
//!
//! ```text
//!  default   the data, on one line whatever is in it        | while read -r, | grep, a terminal
//!  --raw     the data as it was published, and a line break | for one entry, or what has no line breaks
//!  --null    the data as it was published, and a zero byte  | xargs -0, | while read -rd ''
//!  --json    all that is known, as an object on one line    | jq
//! ```

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use everwire_client::{Data, Entry, Info};
use serde_json::Value;

use super::source::Told;

/// Writes entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printer {
    /// The data on one line. What would break the line, or steer a terminal, is escaped: a stranger published it.
    Line {
        /// Bytes are only counted, where base64 would help nobody.
        to_terminal: bool,
    },
    /// The data as it is, and this byte after it.
    Raw {
        /// What ends an entry.
        end: u8,
    },
    /// A JSON object for each entry, with the members that HTTP streaming has.
    Json,
}

impl Printer {
    /// Writes what was told of a channel: entries for everybody, all else for programs that read along. The
    /// channel is named where it is given.
    pub fn tell(self, channel: Option<&str>, told: &Told, out: &mut impl Write) -> io::Result<()> {
        match (self, told) {
            (Self::Json, told) => match object(told) {
                Some(object) => {
                    out.write_all(b"{")?;
                    if let Some(channel) = channel {
                        write!(out, "\"channel\":{},", string(channel))?;
                    }
                    writeln!(out, "{object}}}")?;
                }
                None => return Ok(()),
            },
            (Self::Line { .. } | Self::Raw { .. }, Told::Entry(entry)) => {
                if let Some(channel) = channel {
                    write!(out, "{}\t", on_one_line(channel))?;
                }
                self.data(&entry.data, out)?;
            }
            (
                Self::Line { .. } | Self::Raw { .. },
                Told::Unreadable(_)
                | Told::Gap(_)
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
            (Self::Raw { end }, data) => {
                out.write_all(data.as_bytes())?;
                out.write_all(&[end])
            }
            (Self::Line { .. } | Self::Json, Data::Json(json)) => {
                writeln!(out, "{}", json_on_one_line(json))
            }
            (Self::Line { .. } | Self::Json, Data::Text(text)) => {
                writeln!(out, "{}", on_one_line(text))
            }
            (Self::Line { to_terminal: true }, Data::Binary(bytes)) => writeln!(
                out,
                "({} bytes; send them to a file with --raw, or use --json)",
                bytes.len()
            ),
            (Self::Line { to_terminal: false } | Self::Json, Data::Binary(bytes)) => {
                writeln!(out, "{}", BASE64_STANDARD.encode(bytes))
            }
        }
    }
}

/// A text on one line, with nothing in it that steers a terminal: line breaks are `\n`, other control characters are
/// written as JSON writes them. Backslashes stay as they are, so that a text without such characters is not changed.
pub fn on_one_line(text: &str) -> Cow<'_, str> {
    escape(text, |char, out| match char {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        char => unicode_escape(char, out),
    })
}

/// A JSON text that means the same on one line: line breaks stand between its tokens, and the other control characters
/// that it holds raw (U+007F to U+009F) in strings.
fn json_on_one_line(json: &str) -> Cow<'_, str> {
    escape(json, |char, out| match char {
        '\n' | '\r' => out.push(' '),
        char => unicode_escape(char, out),
    })
}

/// A JSON string.
fn string(text: &str) -> String {
    json_on_one_line(&Value::from(text).to_string()).into_owned()
}

fn escape(text: &str, escaped: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(breaks_lines) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for char in text.chars() {
        match breaks_lines(char) {
            true => escaped(char, &mut out),
            false => out.push(char),
        }
    }
    out.into()
}

/// Control characters but the tab, and the two separators that programs take for line ends too.
fn breaks_lines(char: char) -> bool {
    (char.is_control() && char != '\t') || matches!(char, '\u{2028}' | '\u{2029}')
}

fn unicode_escape(char: char, out: &mut String) {
    write!(out, "\\u{:04x}", u32::from(char)).expect("a string takes all that is written");
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
            let listed: Vec<_> = (members.listed.iter())
                .map(|member| {
                    let user = user(&member.user, member.info.as_ref());
                    format!("{{{user},\"count\":{}}}", member.count)
                })
                .collect();
            format!(
                "\"total\":{},\"members\":[{}]",
                members.total,
                listed.join(",")
            )
        }
        Told::Join { user: name, info } => {
            format!("\"join\":{{{}}}", user(name, info.as_ref()))
        }
        Told::Leave { user: name } => format!("\"leave\":{{{}}}", user(name, None)),
        // A notice says it, and the end of the output.
        Told::Unreadable(_) | Told::Closed => return None,
    })
}

/// The members that tell a user.
fn user(name: &str, info: Option<&Info>) -> String {
    let name = string(name);
    match info {
        Some(info) => format!(
            "\"user\":{name},\"info\":{}",
            json_on_one_line(info.as_str())
        ),
        None => format!("\"user\":{name}"),
    }
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
        members += &format!("\"event\":{},", string(event));
    }
    members += &match &entry.data {
        // As it was published: a number keeps all its digits.
        Data::Json(text) => format!("\"data\":{}", json_on_one_line(text)),
        Data::Text(text) => format!("\"data\":{}", string(text)),
        Data::Binary(bytes) => format!("\"data64\":\"{}\"", BASE64_STANDARD.encode(bytes)),
    };
    members
}

#[cfg(test)]
mod tests {
    use everwire_client::{Gap, Members};
    use proptest::prelude::*;

    use super::*;

    const PIPE: Printer = Printer::Line { to_terminal: false };
    const TERMINAL: Printer = Printer::Line { to_terminal: true };
    const RAW: Printer = Printer::Raw { end: b'\n' };
    const NULL: Printer = Printer::Raw { end: 0 };

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
    fn data_is_one_line_that_steers_nothing_unless_it_is_wanted_raw() {
        for (data, line, raw) in [
            (Data::Text("hi".into()), "hi", "hi"),
            (
                Data::Text("a\u{1b}[31m\tb\r\nc\u{9b}\u{2028}\u{7f}\0".into()),
                "a\\u001b[31m\tb\\r\\nc\\u009b\\u2028\\u007f\\u0000",
                "a\u{1b}[31m\tb\r\nc\u{9b}\u{2028}\u{7f}\0",
            ),
            (Data::Text("C:\\new".into()), "C:\\new", "C:\\new"),
            (
                Data::Json("{\"a\":\r\n\"\u{9b}\u{2029}\"}".into()),
                "{\"a\":  \"\\u009b\\u2029\"}",
                "{\"a\":\r\n\"\u{9b}\u{2029}\"}",
            ),
        ] {
            for printer in [PIPE, TERMINAL] {
                assert_eq!(print(printer, data.clone()), format!("{line}\n"));
            }
            assert_eq!(print(RAW, data.clone()), format!("{raw}\n"));
            assert_eq!(print(NULL, data), format!("{raw}\0"));
        }
        let bytes = || Data::Binary("\0\n".into());
        assert_eq!(print(PIPE, bytes()), "AAo=\n");
        assert_eq!(
            print(TERMINAL, bytes()),
            "(2 bytes; send them to a file with --raw, or use --json)\n"
        );
        assert_eq!(print(RAW, bytes()), "\0\n\n");
    }

    #[test]
    fn json_is_one_object_a_line_with_what_is_known() {
        for (data, expected) in [
            (
                Data::Json("{\"n\":\r\n12345678901234567890.10}".into()),
                "{\"data\":{\"n\":  12345678901234567890.10}}\n",
            ),
            (
                Data::Json("[\"\\ud800\",1e400]".into()),
                "{\"data\":[\"\\ud800\",1e400]}\n",
            ),
            (
                Data::Text("two\nlines\u{9b}".into()),
                "{\"data\":\"two\\nlines\\u009b\"}\n",
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

    proptest! {
        #[test]
        fn whatever_text_comes_is_one_line(text in "\\PC{0,20}|[\0-\u{a0}\u{2020}-\u{2030}]{0,40}") {
            for printer in [PIPE, TERMINAL, Printer::Json] {
                let printed = print(printer, Data::Text(text.clone()));
                let line = printed.strip_suffix('\n').unwrap();
                prop_assert!(!line.contains(breaks_lines), "{line:?}");
            }
            let printed: Value = serde_json::from_str(&print(Printer::Json, Data::Text(text.clone()))).unwrap();
            prop_assert_eq!(&printed["data"], &Value::from(text.clone()));
            prop_assert_eq!(print(NULL, Data::Text(text.clone())), text + "\0");
        }
    }

    #[test]
    fn what_is_no_entry_stands_among_the_objects_for_programs_alone() {
        let gap = Gap {
            oldest: "a3".parse().unwrap(),
            newest: "a9".parse().unwrap(),
        };
        let join = Told::Join {
            user: "~ada".into(),
            info: Some(serde_json::from_str("{\"admin\": 1e400}").unwrap()),
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
                r#"{"channel":"a","join":{"user":"~ada","info":{"admin": 1e400}}}"#,
            ),
            (leave, r#"{"channel":"a","leave":{"user":"~ada"}}"#),
        ] {
            let printed = tell(Printer::Json, Some("a"), &told);
            assert_eq!(printed, format!("{expected}\n"));
            for printer in [PIPE, TERMINAL, RAW, NULL] {
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
            (PIPE, "chat/a\thi\n"),
            (TERMINAL, "chat/a\thi\n"),
            (RAW, "chat/a\thi\n"),
            (NULL, "chat/a\thi\0"),
            (Printer::Json, "{\"channel\":\"chat/a\",\"data\":\"hi\"}\n"),
        ] {
            assert_eq!(tell(printer, Some("chat/a"), &entry()), expected);
        }
    }
}
