//! Entries as WebSocket messages: one message an entry, or the session's JSON.

use bytes::{BufMut, BytesMut};
use everwire_channel::{ContentKind, Entry, Offset};
use everwire_websocket::{
    MessageKind, WindowBits, encode_compressed_message, encode_message, encode_message_with,
};

use crate::{
    envelope,
    framing::{Deflaters, Source},
};

/// Messages shorter than this are sent as they are: compression saves nothing worth its time.
const DEFLATE_BYTES_MIN: usize = 64;

/// The entry's payload as one message: text for JSON and text, binary otherwise.
pub(crate) fn raw_entry(
    source: &Source<'_>,
    entry: &Entry,
    window: Option<WindowBits<9>>,
    deflaters: &mut Deflaters,
    out: &mut BytesMut,
) {
    let kind = match source.kind {
        ContentKind::Json | ContentKind::Text => MessageKind::Text,
        ContentKind::Binary => MessageKind::Binary,
    };
    message(kind, &entry.payload, window, deflaters, out);
}

/// `{"ev":"entry","channel":"…","offset":"…","time":…,"event"?:"…","data":…}`
pub(crate) fn session_entry(
    source: &Source<'_>,
    offset: &Offset,
    entry: &Entry,
    window: Option<WindowBits<9>>,
    deflaters: &mut Deflaters,
    out: &mut BytesMut,
) {
    let write = |out: &mut BytesMut| {
        out.put_slice(b"{\"ev\":\"entry\",\"channel\":");
        envelope::string(source.name.as_str(), out);
        out.put_slice(b",");
        envelope::entry(source.kind, offset, entry, out);
        out.put_slice(b"}");
    };
    match window {
        Some(_) => {
            let mut text = BytesMut::new();
            write(&mut text);
            message(MessageKind::Text, &text, window, deflaters, out);
        }
        None => {
            let bytes_max = session_entry_bytes_max(source, entry);
            encode_message_with(MessageKind::Text, bytes_max, out, write);
        }
    }
}

/// An upper bound of the bytes of a session's message for an entry.
fn session_entry_bytes_max(source: &Source<'_>, entry: &Entry) -> usize {
    // A character of a JSON string takes at most six bytes (`\u001f`).
    64 + 6 * source.name.as_str().len() + envelope::entry_bytes_max(source.kind, entry)
}

fn message(
    kind: MessageKind,
    payload: &[u8],
    window: Option<WindowBits<9>>,
    deflaters: &mut Deflaters,
    out: &mut BytesMut,
) {
    match window {
        Some(window) if payload.len() >= DEFLATE_BYTES_MIN => {
            encode_compressed_message(kind, payload, deflaters.of(window), out);
        }
        _ => encode_message(kind, payload, out),
    }
}
