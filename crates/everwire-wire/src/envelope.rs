//! The members that tell an entry in JSON, the same on every wire that speaks JSON:
//! `"offset":"…","time":…,"event":"…","data":…`.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::{BufMut, BytesMut};
use everwire_channel::{ContentKind, Entry, Offset};

/// Writes the members of an entry, without the braces around them.
pub(crate) fn entry(kind: ContentKind, offset: &Offset, entry: &Entry, out: &mut BytesMut) {
    out.put_slice(b"\"offset\":\"");
    out.put_slice(offset.to_token().as_bytes());
    out.put_slice(b"\",\"time\":");
    number(entry.time_ms, out);
    if let Some(event) = entry.event() {
        out.put_slice(b",\"event\":");
        string(event, out);
    }
    match kind {
        // Checked when it was appended, and a single line since then.
        ContentKind::Json => {
            out.put_slice(b",\"data\":");
            out.put_slice(&entry.payload);
        }
        ContentKind::Text => {
            out.put_slice(b",\"data\":");
            string(text(&entry.payload), out);
        }
        ContentKind::Binary => {
            out.put_slice(b",\"data64\":\"");
            base64(&entry.payload, out);
            out.put_slice(b"\"");
        }
    }
}

/// An upper bound of the bytes that [`entry`] writes.
pub(crate) fn entry_bytes_max(kind: ContentKind, entry: &Entry) -> usize {
    const MEMBERS: usize = 96;
    // A character of a JSON string takes at most six bytes (`\u001f`).
    let labels = 6 * entry.event().map_or(0, str::len);
    let data = entry.payload.len();
    MEMBERS
        + labels
        + match kind {
            ContentKind::Json => data,
            ContentKind::Text => 6 * data,
            ContentKind::Binary => data.div_ceil(3) * 4,
        }
}

/// Writes a JSON string, quotes included. What must be escaped is (RFC 8259, section 7), and what some readers take for a
/// line's end: U+0085, U+2028 and U+2029.
pub(crate) fn string(text: &str, out: &mut BytesMut) {
    let text = text.as_bytes();
    out.reserve(text.len() + 2);
    out.put_u8(b'"');
    let mut written = 0;
    for (index, &byte) in text.iter().enumerate() {
        if IS_PLAIN[usize::from(byte)] {
            continue;
        }
        let separator: &[u8] = match text[index..] {
            [0xc2, 0x85, ..] => b"\\u0085",
            [0xe2, 0x80, 0xa8, ..] => b"\\u2028",
            [0xe2, 0x80, 0xa9, ..] => b"\\u2029",
            [0xc2 | 0xe2, ..] => continue,
            _ => b"",
        };
        if !separator.is_empty() {
            out.put_slice(&text[written..index]);
            out.put_slice(separator);
            written = index + if byte == 0xc2 { 2 } else { 3 };
            continue;
        }
        out.put_slice(&text[written..index]);
        written = index + 1;
        match byte {
            b'"' | b'\\' => out.put_slice(&[b'\\', byte]),
            b'\n' => out.put_slice(b"\\n"),
            b'\r' => out.put_slice(b"\\r"),
            b'\t' => out.put_slice(b"\\t"),
            0x08 => out.put_slice(b"\\b"),
            0x0c => out.put_slice(b"\\f"),
            _ => {
                let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
                out.put_slice(b"\\u00");
                out.put_slice(&[hex(byte >> 4), hex(byte & 15)]);
            }
        }
    }
    out.put_slice(&text[written..]);
    out.put_u8(b'"');
}

/// Bytes that stand in a JSON string as they are, whatever follows them.
const IS_PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < b' ' as usize {
        plain[byte] = false;
        byte += 1;
    }
    plain[b'"' as usize] = false;
    plain[b'\\' as usize] = false;
    // Where a separator of lines may begin.
    plain[0xc2] = false;
    plain[0xe2] = false;
    plain
};

/// Writes a decimal number.
pub(crate) fn number(n: u64, out: &mut BytesMut) {
    out.put_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Writes standard base64 with padding (RFC 4648, section 4).
pub(crate) fn base64(bytes: &[u8], out: &mut BytesMut) {
    let start = out.len();
    out.put_bytes(b'=', bytes.len().div_ceil(3) * 4);
    BASE64_STANDARD
        .encode_slice(bytes, &mut out[start..])
        .expect("the room is exactly what base64 takes");
}

/// The payload of a text entry. It was checked to be UTF-8 when it was appended.
pub(crate) fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).expect("a text entry is UTF-8 since it was appended")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_string_is_written_as_a_json_library_writes_it(
            text in "\\PC{0,20}|[\0-\x7f]{0,40}|.{0,20}|[a\u{84}\u{85}\u{2027}\u{2028}\u{2029}\u{202a}]{0,9}",
        ) {
            let mut out = BytesMut::new();
            string(&text, &mut out);
            let expected = serde_json::to_string(&text).unwrap();
            let expected = expected.replace('\u{85}', "\\u0085").replace('\u{2028}', "\\u2028");
            prop_assert_eq!(out, expected.replace('\u{2029}', "\\u2029"));
        }
    }
}
