//! HTTP streaming as newline-delimited JSON: an object a line, an empty object as heartbeat.

use bytes::{BufMut, BytesMut};
use everwire_channel::{ContentKind, Entry, Gap, Offset};

use crate::{envelope, event_stream};

/// `{"offset":"…","time":…,"event"?:"…","data":…}`
pub(crate) fn entry(kind: ContentKind, offset: &Offset, entry: &Entry, out: &mut BytesMut) {
    out.put_slice(b"{");
    envelope::entry(kind, offset, entry, out);
    out.put_slice(b"}\n");
}

/// `{"gap":{"oldest":"…","newest":"…"}}`
pub(crate) fn gap(gap: &Gap, out: &mut BytesMut) {
    out.put_slice(b"{\"gap\":");
    event_stream::gap_object(gap, out);
    out.put_slice(b"}\n");
}

/// `{"closed":true}`
pub(crate) fn closed(out: &mut BytesMut) {
    out.put_slice(b"{\"closed\":true}\n");
}

/// `{"drain":{"after_ms":…}}`
pub(crate) fn drain(after_ms: u64, out: &mut BytesMut) {
    out.put_slice(b"{\"drain\":{\"after_ms\":");
    envelope::number(after_ms, out);
    out.put_slice(b"}}\n");
}

/// `{}`
pub(crate) fn heartbeat(out: &mut BytesMut) {
    out.put_slice(b"{}\n");
}
