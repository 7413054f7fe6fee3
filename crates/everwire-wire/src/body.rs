//! Bodies of catch-up and long poll: many entries, concatenated; for JSON, as one array.

use bytes::{BufMut, Bytes, BytesMut};
use everwire_channel::{ContentKind, Entry};

/// One page of a channel's history.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries' payloads, concatenated or as a JSON array.
    pub body: Bytes,
    /// The last entry that it holds; what follows is read after it.
    pub sequence: u64,
    /// Whether nothing followed that entry when the page was made.
    pub reached_head: bool,
}

/// Puts `entries`, which follow `after`, into a page of about `bytes_max` bytes: at least one entry, and no
/// further one once the limit is reached.
pub fn page<'a>(
    kind: ContentKind,
    after: u64,
    entries: impl ExactSizeIterator<Item = (u64, &'a Entry)>,
    bytes_max: usize,
) -> Page {
    let mut left = entries.len();
    let mut sequence = after;
    let mut body = BytesMut::new();
    if let ContentKind::Json = kind {
        body.put_slice(b"[");
    }
    for (at, entry) in entries {
        if sequence > after && body.len() + entry.payload.len() > bytes_max {
            break;
        }
        match kind {
            ContentKind::Json if sequence > after => body.put_slice(b","),
            ContentKind::Json | ContentKind::Text | ContentKind::Binary => {}
        }
        body.put_slice(&entry.payload);
        sequence = at;
        left -= 1;
    }
    if let ContentKind::Json = kind {
        body.put_slice(b"]");
    }
    Page {
        body: body.freeze(),
        sequence,
        reached_head: left == 0,
    }
}
