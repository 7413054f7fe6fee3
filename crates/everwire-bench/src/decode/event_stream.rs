//! Event streams (WHATWG HTML, section 9.2.6): one event is one entry.

use super::{DecodeError, Event};

/// The events of a line, fed with its lines of text.
#[derive(Debug, Default)]
pub struct EventStream {
    /// Whether the event under way already had its data.
    has_data: bool,
}

impl EventStream {
    /// Takes one line; its data is given to `on_event` at once.
    ///
    /// # Errors
    /// If the stream tells a gap or its end, if data takes more than one line (no load payload
    /// does), and whatever `on_event` fails with.
    pub fn decode(
        &mut self,
        line: &[u8],
        mut on_event: impl FnMut(Event<'_>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let (field, value) = match memchr::memchr(b':', line) {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"data" if self.has_data => Err(DecodeError::notice("a second line of data", line)),
            b"data" => {
                self.has_data = true;
                on_event(Event::Entry(value))
            }
            b"event" if matches!(value, b"gap" | b"closed") => {
                Err(DecodeError::notice("an event that ends continuity", line))
            }
            b"" if line.is_empty() => {
                self.has_data = false;
                Ok(())
            }
            // Comments, `id`, `retry`, and fields the standard says to ignore.
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(stream: &str) -> Result<Vec<String>, DecodeError> {
        let (mut decoder, mut entries) = (EventStream::default(), Vec::new());
        for line in stream.lines() {
            decoder.decode(line.as_bytes(), |event| {
                if let Event::Entry(payload) = event {
                    entries.push(String::from_utf8(payload.to_vec()).unwrap());
                }
                Ok(())
            })?;
        }
        Ok(entries)
    }

    #[test]
    fn each_event_with_data_is_one_entry() {
        let stream = "retry: 3000\n\n: heartbeat\n\nid: e7-1\ndata: one\n\n\
                      id: e7-2\nevent: typing\ndata:two\n\ndata\n\n";
        assert_eq!(decode(stream).unwrap(), ["one", "two", ""]);
    }

    #[test]
    fn what_is_not_one_entry_an_event_is_told() {
        for stream in [
            "data: a\ndata: b\n\n",
            "event: gap\ndata: {}\n\n",
            "event: closed\ndata:\n\n",
        ] {
            let decoded = decode(stream);
            assert!(
                matches!(decoded, Err(DecodeError::Notice { .. })),
                "{stream:?}: {decoded:?}"
            );
        }
    }
}
