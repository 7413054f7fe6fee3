//! Bodies of catch-up and long poll: many entries, concatenated; for JSON, as one array.

use bytes::{BufMut, Bytes, BytesMut};
use everwire_channel::{ContentKind, Entry, PublisherId};

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
/// further one once the limit is reached. What `own` published counts as put in, and is left out.
pub fn page<'a>(
    kind: ContentKind,
    after: u64,
    entries: impl ExactSizeIterator<Item = (u64, &'a Entry)> + Clone,
    own: Option<&PublisherId>,
    bytes_max: usize,
) -> Page {
    let is_left_out = |entry: &Entry| own.is_some() && entry.publisher() == own;
    let is_array = kind == ContentKind::Json;
    // What fits is counted first, so that the body is allocated once and as large as it is. In an array, each
    // entry has a bracket or a comma before it.
    let (mut count, mut bytes) = (0, 0);
    for (_, entry) in entries.clone() {
        if is_left_out(entry) {
            count += 1;
            continue;
        }
        if count > 0 && bytes + entry.payload.len() > bytes_max {
            break;
        }
        bytes += entry.payload.len() + usize::from(is_array);
        count += 1;
    }
    let reached_head = count == entries.len();

    let mut body = BytesMut::with_capacity(bytes + usize::from(is_array));
    let mut sequence = after;
    for (at, entry) in entries.take(count) {
        sequence = at;
        if is_left_out(entry) {
            continue;
        }
        if is_array {
            body.put_slice(if body.is_empty() { b"[" } else { b"," });
        }
        body.put_slice(&entry.payload);
    }
    if is_array {
        body.put_slice(if body.is_empty() { b"[]" } else { b"]" });
    }
    Page {
        body: body.freeze(),
        sequence,
        reached_head,
    }
}
