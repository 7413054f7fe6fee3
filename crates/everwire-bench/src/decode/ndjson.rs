//! HTTP streaming as ndjson: one object with a `data` member is one entry.

use memchr::memmem;

use super::{DecodeError, Event};

/// Takes one line; its `data` is given to `on_event`.
///
/// # Errors
/// If the line is not an object of text data, if it tells a gap or the end, and whatever
/// `on_event` fails with.
pub fn decode(
    line: &[u8],
    mut on_event: impl FnMut(Event<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    if line.is_empty() || line == b"{}" {
        return Ok(()); // heartbeat
    }
    if let Some(data) = last_member(line) {
        return on_event(Event::Entry(data));
    }
    // Whatever way the server writes its objects, this reads them; the way above is only faster.
    let object: serde_json::Value = serde_json::from_slice(line)
        .map_err(|_| DecodeError::notice("a line that is not json", line))?;
    match object.get("data").and_then(serde_json::Value::as_str) {
        Some(data) => on_event(Event::Entry(data.as_bytes())),
        None => Err(DecodeError::notice("an object without text data", line)),
    }
}

/// The value of `data`, if it stands last and has nothing escaped.
fn last_member(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(b"\"}")?;
    let start = memmem::find(line, DATA)? + DATA.len();
    let data = &line[start..];
    memchr::memchr2(b'"', b'\\', data).is_none().then_some(data)
}

const DATA: &[u8] = b"\"data\":\"";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Vec<String>, DecodeError> {
        let mut entries = Vec::new();
        decode(line.as_bytes(), |event| {
            if let Event::Entry(payload) = event {
                entries.push(String::from_utf8(payload.to_vec()).unwrap());
            }
            Ok(())
        })?;
        Ok(entries)
    }

    #[test]
    fn data_is_found_however_the_object_is_written() {
        for line in [
            r#"{"offset":"0hx","time":1790000000000,"data":"hello"}"#,
            r#"{"data":"hello","offset":"0hx"}"#,
            r#"{ "data" : "hello" }"#,
            r#"{"offset":"0hx","data":"hel\u006co"}"#,
        ] {
            assert_eq!(check(line).unwrap(), ["hello"], "{line}");
        }
    }

    #[test]
    fn a_heartbeat_is_no_entry() {
        for line in ["{}", ""] {
            assert_eq!(check(line).unwrap(), [""; 0], "{line}");
        }
    }

    #[test]
    fn what_is_not_an_entry_is_told() {
        for line in [
            r#"{"gap":{}}"#,
            r#"{"closed":true}"#,
            r#"{"data":17}"#,
            r#"{"data":"a"#,
            "null",
        ] {
            let decoded = check(line);
            assert!(
                matches!(decoded, Err(DecodeError::Notice { .. })),
                "{line}: {decoded:?}"
            );
        }
    }
}
