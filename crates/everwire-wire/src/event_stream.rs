//! Event streams (WHATWG HTML, section 9.2), in two dialects.
//!
//! ```text
//!  for a bare EventSource              as Durable Streams defines it (`?live=sse`)
//!  id: <offset>                        event: data
//!  event: <name>                       data: <line>
//!  data: <line>                        ⏎
//!  ⏎                                   event: control
//!                                      data: {"streamNextOffset":"…","streamCursor":"…","upToDate":true}
//!                                      ⏎
//! ```
//!
//! Each empty line ends an event that has data. After a comment or a reconnection time alone there is none: many parsers
//! make an empty message of it.
//!
//! A line break of any kind inside text ends a `data:` line and starts the next, so that no payload can write
//! a field of its own; event names and offsets hold none by their types.

use bytes::{BufMut, BytesMut};
use everwire_channel::{ContentKind, Entry, Gap, Offset};

use crate::{cursor::StreamCursor, envelope};

/// An entry for a bare `EventSource`.
pub(crate) fn entry(kind: ContentKind, offset: &Offset, entry: &Entry, out: &mut BytesMut) {
    id(offset, out);
    if let Some(event) = entry.event() {
        out.put_slice(b"event: ");
        out.put_slice(event.as_bytes());
        out.put_slice(b"\n");
    }
    if let Some(kind) = entry.kind() {
        // The head cannot tell the kind where each entry has its own. Browsers ignore fields that they do not know.
        out.put_slice(match kind {
            ContentKind::Json => b"kind: json\n",
            ContentKind::Text => b"kind: text\n",
            ContentKind::Binary => b"kind: bytes\n",
        });
    }
    data(kind, &entry.payload, out);
    out.put_slice(b"\n");
}

/// An upper bound of the bytes that [`entry`] and [`durable_entry`] write.
pub(crate) fn entry_bytes_max(kind: ContentKind, entry: &Entry) -> usize {
    const FIELDS: usize = 96;
    let data = entry.payload.len();
    FIELDS
        + entry.event().map_or(0, str::len)
        + match kind {
            ContentKind::Json => data,
            // Each line break becomes one and `data: ` before the next line.
            ContentKind::Text => {
                data + 6 * memchr::memchr2_iter(b'\n', b'\r', &entry.payload).count()
            }
            ContentKind::Binary => data.div_ceil(3) * 4,
        }
}

/// Tells that entries between the reader's offset and the oldest kept one are gone. Its id is the oldest kept
/// position, so that a reconnect goes on there and is not told again.
pub(crate) fn gap(gap: &Gap, out: &mut BytesMut) {
    id(&gap.oldest, out);
    out.put_slice(b"event: gap\ndata: ");
    gap_object(gap, out);
    out.put_slice(b"\n\n");
}

/// Tells that the channel is closed and nothing will follow.
pub(crate) fn closed(offset: &Offset, out: &mut BytesMut) {
    id(offset, out);
    out.put_slice(b"event: closed\ndata: {\"offset\":\"");
    out.put_slice(offset.to_token().as_bytes());
    out.put_slice(b"\"}\n\n");
}

/// A comment, which keeps the connection and the proxies before it awake.
pub(crate) fn heartbeat(out: &mut BytesMut) {
    out.put_slice(b":\n");
}

/// A heartbeat that a page sees, which comments are hidden from. It has no id: where the page stands is as it was.
pub(crate) fn heartbeat_event(out: &mut BytesMut) {
    out.put_slice(b"event: heartbeat\ndata: {}\n\n");
}

/// The reconnection time, in milliseconds.
pub(crate) fn retry(after_ms: u64, out: &mut BytesMut) {
    out.put_slice(b"retry: ");
    envelope::number(after_ms, out);
    out.put_slice(b"\n");
}

/// The data event of an entry in the Durable Streams dialect; its control event follows it.
pub(crate) fn durable_entry(kind: ContentKind, entry: &Entry, out: &mut BytesMut) {
    out.put_slice(b"event: data\n");
    match kind {
        // Readers of a JSON stream expect arrays (section 9.1.5 there).
        ContentKind::Json => {
            out.put_slice(b"data:[");
            out.put_slice(&entry.payload);
            out.put_slice(b"]\n");
        }
        ContentKind::Text => lines(&entry.payload, |line| {
            // Readers of this dialect expect no space after the colon; one that belongs to the text is doubled,
            // since a parser takes the first away.
            out.put_slice(if line.starts_with(b" ") {
                b"data: "
            } else {
                b"data:"
            });
            out.put_slice(line);
            out.put_slice(b"\n");
        }),
        ContentKind::Binary => {
            out.put_slice(b"data:");
            envelope::base64(&entry.payload, out);
            out.put_slice(b"\n");
        }
    }
    out.put_slice(b"\n");
}

/// What a control event of the Durable Streams dialect says besides the offset.
pub(crate) enum Control {
    /// More entries follow at once.
    Behind(StreamCursor),
    UpToDate(StreamCursor),
    Closed,
}

/// An upper bound of the bytes that [`control`] writes.
pub(crate) const CONTROL_BYTES_MAX: usize = 160;

/// The control event of the Durable Streams dialect.
pub(crate) fn control(offset: &Offset, control: &Control, out: &mut BytesMut) {
    out.put_slice(b"event: control\ndata:{\"streamNextOffset\":\"");
    out.put_slice(offset.to_token().as_bytes());
    out.put_slice(b"\"");
    let (cursor, flags): (_, &[u8]) = match control {
        Control::Behind(cursor) => (Some(cursor), b""),
        Control::UpToDate(cursor) => (Some(cursor), b",\"upToDate\":true"),
        // A closed stream has no next poll, so it names no cursor.
        Control::Closed => (None, b",\"upToDate\":true,\"streamClosed\":true"),
    };
    if let Some(cursor) = cursor {
        out.put_slice(b",\"streamCursor\":\"");
        envelope::number(cursor.0, out);
        out.put_slice(b"\"");
    }
    out.put_slice(flags);
    out.put_slice(b"}\n\n");
}

/// `{"oldest":"…","newest":"…"}`
pub(crate) fn gap_object(gap: &Gap, out: &mut BytesMut) {
    out.put_slice(b"{\"oldest\":\"");
    out.put_slice(gap.oldest.to_token().as_bytes());
    out.put_slice(b"\",\"newest\":\"");
    out.put_slice(gap.newest.to_token().as_bytes());
    out.put_slice(b"\"}");
}

fn id(offset: &Offset, out: &mut BytesMut) {
    out.put_slice(b"id: ");
    out.put_slice(offset.to_token().as_bytes());
    out.put_slice(b"\n");
}

fn data(kind: ContentKind, payload: &[u8], out: &mut BytesMut) {
    match kind {
        ContentKind::Json => data_line(payload, out),
        ContentKind::Text => lines(payload, |line| data_line(line, out)),
        ContentKind::Binary => {
            out.put_slice(b"data: ");
            envelope::base64(payload, out);
            out.put_slice(b"\n");
        }
    }
}

/// Each line of a text; CR LF, LF and CR end one, as the reader's parser has it.
fn lines(mut text: &[u8], mut each: impl FnMut(&[u8])) {
    while let Some(at) = memchr::memchr2(b'\n', b'\r', text) {
        each(&text[..at]);
        let pair = text[at..].starts_with(b"\r\n");
        text = &text[at + 1 + usize::from(pair)..];
    }
    each(text);
}

fn data_line(line: &[u8], out: &mut BytesMut) {
    out.put_slice(b"data: ");
    out.put_slice(line);
    out.put_slice(b"\n");
}
