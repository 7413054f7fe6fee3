//! The grammar of event streams (WHATWG HTML, section 9.2.6), whatever they carry.

use std::time::Duration;

use crate::decode::{Undecodable, append};

/// Cuts a stream into its parts: `\n`, `\r` or `\r\n` ends a line, an empty line ends an event.
#[derive(Debug)]
pub(crate) struct Parser {
    bytes_max: usize,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The last byte was CR: an LF now belongs to it.
    after_cr: bool,
    /// Before the end of the first line a byte order mark may stand.
    at_start: bool,
    /// The event that has not ended yet; each value of its `data` ends with a line feed.
    event: Event,
}

/// Something that a stream says.
#[derive(Debug)]
pub(crate) enum Part {
    /// An event that has data; without, it says nothing.
    Event(Event),
    /// The reconnection time.
    Retry(Duration),
    /// A line that begins with a colon.
    Comment,
}

/// One event.
#[derive(Debug, Default)]
pub(crate) struct Event {
    pub id: Option<Vec<u8>>,
    pub name: Vec<u8>,
    /// The entry's own kind, as Everwire's `kind` field names it.
    pub kind: Option<Vec<u8>>,
    pub data: Vec<u8>,
}

impl Parser {
    /// `bytes_max` bounds a line and the data of an event.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            line: Vec::new(),
            after_cr: false,
            at_start: true,
            event: Event::default(),
        }
    }

    /// Takes the next piece of the stream, and hands over each part that it ends.
    pub fn parse(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(Part) -> Result<(), Undecodable>,
    ) -> Result<(), Undecodable> {
        if std::mem::take(&mut self.after_cr) {
            match bytes {
                [] => self.after_cr = true,
                [b'\n', rest @ ..] => bytes = rest,
                [..] => {}
            }
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            append(&mut self.line, &bytes[..end], self.bytes_max)?;
            let mut line = std::mem::take(&mut self.line);
            if let Some(part) = self.take_line(&line)? {
                each(part)?;
            }
            line.clear();
            self.line = line;
            bytes = match (bytes[end], &bytes[end + 1..]) {
                (b'\r', [b'\n', rest @ ..]) => rest,
                (b'\r', []) => {
                    self.after_cr = true;
                    &[]
                }
                (_, rest) => rest,
            };
        }
        append(&mut self.line, bytes, self.bytes_max)
    }

    fn take_line(&mut self, line: &[u8]) -> Result<Option<Part>, Undecodable> {
        let line = match std::mem::take(&mut self.at_start) {
            true => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            false => line,
        };
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"" if line.is_empty() => {
                let mut event = std::mem::take(&mut self.event);
                // The line feed after its last value; an event without any says nothing.
                return Ok(event.data.pop().map(|_| Part::Event(event)));
            }
            b"" => return Ok(Some(Part::Comment)),
            b"id" => self.event.id = Some(value.to_vec()),
            b"event" => self.event.name = value.to_vec(),
            b"kind" => self.event.kind = Some(value.to_vec()),
            b"data" => {
                append(&mut self.event.data, value, self.bytes_max)?;
                self.event.data.push(b'\n');
            }
            b"retry" => {
                // Digits only, or the field is ignored.
                let digits = std::str::from_utf8(value).ok();
                let ms = digits.and_then(|digits| digits.parse().ok());
                return Ok(ms.map(|ms| Part::Retry(Duration::from_millis(ms))));
            }
            _ => {}
        }
        Ok(None)
    }
}

const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
