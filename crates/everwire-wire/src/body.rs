//! Bodies of catch-up and long poll: many entries, concatenated; for JSON, as one array; a line of JSON each where they
//! are of several kinds.

use std::convert::Infallible;

use bytes::{BufMut, Bytes, BytesMut};
use everwire_channel::{ContentKind, Entry, Epoch, Offset, PublisherId};

use crate::{envelope, ndjson};

/// The form of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageForm {
    /// Payloads, one after the other.
    Concatenated,
    /// Payloads in a JSON array.
    Array,
    /// The lines of the ndjson wire, for entries that are not all of one kind.
    Lines {
        /// The epoch of the log, for offsets.
        epoch: Epoch,
        /// The kind of entries that have none of their own.
        kind: ContentKind,
    },
}

impl PageForm {
    /// The form for entries that are all of one kind.
    pub fn of(kind: ContentKind) -> Self {
        match kind {
            ContentKind::Json => Self::Array,
            ContentKind::Text | ContentKind::Binary => Self::Concatenated,
        }
    }
}

/// One page of a channel's history.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries in the form that was asked for.
    pub body: Bytes,
    /// The last entry that it holds; what follows is read after it.
    pub sequence: u64,
    /// Whether nothing followed that entry when the page was made.
    pub reached_head: bool,
}

/// Puts `entries`, which follow `after`, into a page of about `bytes_max` bytes: at least one entry, and no
/// further one once the limit is reached. What `own` published counts as put in, and is left out.
pub fn page<'a>(
    form: PageForm,
    after: u64,
    entries: impl ExactSizeIterator<Item = (u64, &'a Entry)> + Clone,
    own: Option<&PublisherId>,
    bytes_max: usize,
) -> Page {
    match page_if(form, after, entries, own, bytes_max, |_| {
        Ok::<_, Infallible>(())
    }) {
        Ok((page, ())) => page,
    }
}

/// The same, if there is room for a body of so many bytes, which is asked before it is made.
///
/// # Errors
///
/// What `has_room` says.
pub fn page_if<'a, T, E>(
    form: PageForm,
    after: u64,
    entries: impl ExactSizeIterator<Item = (u64, &'a Entry)> + Clone,
    own: Option<&PublisherId>,
    bytes_max: usize,
    has_room: impl FnOnce(usize) -> Result<T, E>,
) -> Result<(Page, T), E> {
    let is_left_out = |entry: &Entry| own.is_some() && entry.publisher() == own;
    let is_array = form == PageForm::Array;
    // What fits is counted first, so that the body is allocated once and as large as it is. In an array, each
    // entry has a bracket or a comma before it.
    let (mut count, mut bytes) = (0, 0);
    for (_, entry) in entries.clone() {
        if is_left_out(entry) {
            count += 1;
            continue;
        }
        let entry_bytes = match form {
            PageForm::Concatenated | PageForm::Array => entry.payload.len(),
            PageForm::Lines { kind, .. } => {
                envelope::entry_bytes_max(entry.kind().unwrap_or(kind), entry)
            }
        };
        if count > 0 && bytes + entry_bytes > bytes_max {
            break;
        }
        bytes += entry_bytes + usize::from(is_array);
        count += 1;
    }
    let reached_head = count == entries.len();

    let bytes = bytes + usize::from(is_array);
    let room = has_room(bytes)?;
    let mut body = BytesMut::with_capacity(bytes);
    let mut sequence = after;
    for (at, entry) in entries.take(count) {
        sequence = at;
        if is_left_out(entry) {
            continue;
        }
        match form {
            PageForm::Concatenated => body.put_slice(&entry.payload),
            PageForm::Array => {
                body.put_slice(if body.is_empty() { b"[" } else { b"," });
                body.put_slice(&entry.payload);
            }
            PageForm::Lines { epoch, kind } => {
                let offset = Offset {
                    epoch,
                    sequence: at,
                    mark: entry.mark,
                };
                ndjson::entry(entry.kind().unwrap_or(kind), &offset, entry, &mut body);
            }
        }
    }
    if is_array {
        body.put_slice(if body.is_empty() { b"[]" } else { b"]" });
    }
    let page = Page {
        body: body.freeze(),
        sequence,
        reached_head,
    };
    Ok((page, room))
}
