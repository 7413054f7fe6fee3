//! Entries as WebSocket messages.

use bytes::BytesMut;
use everwire_channel::{ContentKind, Entry};
use everwire_websocket::{MessageKind, WindowBits, encode_compressed_message, encode_message};

use crate::framing::{Deflaters, Source};

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
    let kind = match source.kind_of(entry) {
        ContentKind::Json | ContentKind::Text => MessageKind::Text,
        ContentKind::Binary => MessageKind::Binary,
    };
    message(kind, &entry.payload, window, deflaters, out);
}

/// One message, compressed where a window was negotiated and it is worth it.
pub(crate) fn message(
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
