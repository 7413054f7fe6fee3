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

/// Writes a JSON string, quotes included.
pub(crate) fn string(text: &str, out: &mut BytesMut) {
    serde_json::to_writer(out.writer(), text).expect("a string is written to memory");
}

/// Writes a decimal number.
pub(crate) fn number(n: u64, out: &mut BytesMut) {
    use std::fmt::Write;
    write!(out, "{n}").expect("a number is written to memory");
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
