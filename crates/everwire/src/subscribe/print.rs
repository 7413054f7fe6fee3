//! Entries as lines, for people and for programs.

use std::io::{self, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use everwire_client::{Data, Entry, Gap};
use serde_json::Value;

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

    /// Writes an entry, with a line feed after it.
    pub fn entry(self, entry: &Entry, out: &mut impl Write) -> io::Result<()> {
        match (self, &entry.data) {
            (Self::Json, data) => json(entry, data, out)?,
            (Self::Data, data) => out.write_all(data.as_bytes())?,
            (Self::Terminal, Data::Json(text) | Data::Text(text)) => {
                out.write_all(text.chars().map(harmless).collect::<String>().as_bytes())?;
            }
            (Self::Terminal, Data::Binary(bytes)) => {
                write!(
                    out,
                    "({} bytes; send them to a file, or use --json)",
                    bytes.len()
                )?;
            }
        }
        out.write_all(b"\n")?;
        out.flush()
    }

    /// Writes that entries are gone, where a program reads along.
    pub fn gap(self, gap: &Gap, out: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Json => {
                writeln!(
                    out,
                    r#"{{"gap":{{"oldest":"{}","newest":"{}"}}}}"#,
                    gap.oldest, gap.newest
                )?;
                out.flush()
            }
            Self::Data | Self::Terminal => Ok(()),
        }
    }
}

fn json(entry: &Entry, data: &Data, out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"{")?;
    if let Some(offset) = &entry.offset {
        write!(out, "\"offset\":\"{offset}\",")?;
    }
    if let Some(time_ms) = entry.time_ms {
        write!(out, "\"time\":{time_ms},")?;
    }
    if let Some(event) = &entry.event {
        write!(out, "\"event\":{},", Value::from(event.as_str()))?;
    }
    match data {
        // As it was published: a number keeps all its digits. Between its tokens line breaks may stand.
        Data::Json(text) => write!(out, "\"data\":{}", text.replace(['\n', '\r'], " "))?,
        Data::Text(text) => write!(out, "\"data\":{}", Value::from(text.as_str()))?,
        Data::Binary(bytes) => write!(out, "\"data64\":\"{}\"", BASE64_STANDARD.encode(bytes))?,
    }
    out.write_all(b"}")
}

fn harmless(char: char) -> char {
    match char {
        '\n' | '\t' => char,
        char if char.is_control() => char::REPLACEMENT_CHARACTER,
        char => char,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(printer: Printer, data: Data) -> String {
        let entry = Entry {
            offset: None,
            time_ms: None,
            event: None,
            data,
        };
        let mut out = Vec::new();
        printer.entry(&entry, &mut out).unwrap();
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
        let mut out = Vec::new();
        Printer::Json.entry(&entry, &mut out).unwrap();
        let expected = "{\"offset\":\"a1\",\"time\":7,\"event\":\"say \\\"hi\\\"\",\"data\":1}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn a_gap_stands_among_the_objects_for_programs_alone() {
        let gap = Gap {
            oldest: "a3".parse().unwrap(),
            newest: "a9".parse().unwrap(),
        };
        for (printer, expected) in [
            (
                Printer::Json,
                "{\"gap\":{\"oldest\":\"a3\",\"newest\":\"a9\"}}\n",
            ),
            (Printer::Data, ""),
            (Printer::Terminal, ""),
        ] {
            let mut out = Vec::new();
            printer.gap(&gap, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{printer:?}");
        }
    }
}
