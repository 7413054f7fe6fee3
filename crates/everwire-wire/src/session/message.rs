//! What a session is told: replies and events, as JSON text without anything around it.

use bytes::{BufMut, BytesMut};
use everwire_channel::{ChannelName, Entry, Gap, Offset};

use crate::{envelope, event_stream, framing::Source, problem::Problem};

/// What a session is told first.
#[derive(Clone, Copy, Debug)]
pub struct Welcome<'a> {
    /// The session's id.
    pub session: &'a str,
    /// What commands over HTTP are sent with; none for a WebSocket, which is its own proof.
    pub secret: Option<&'a str>,
    /// Something comes down at least every so many milliseconds.
    pub heartbeat_ms: u64,
    /// The channel that the line's own URL names, and where reading begins.
    pub own: Option<(&'a ChannelName, &'a Offset)>,
}

/// `{"ev":"welcome","session":"…","secret":"…","heartbeat_ms":25000,"channel":"…","offset":"…"}`
pub fn encode_welcome(welcome: &Welcome<'_>, out: &mut BytesMut) {
    out.put_slice(b"{\"ev\":\"welcome\",\"session\":");
    envelope::string(welcome.session, out);
    if let Some(secret) = welcome.secret {
        out.put_slice(b",\"secret\":");
        envelope::string(secret, out);
    }
    out.put_slice(b",\"heartbeat_ms\":");
    envelope::number(welcome.heartbeat_ms, out);
    if let Some((name, offset)) = welcome.own {
        out.put_slice(b",\"channel\":");
        envelope::string(name.as_str(), out);
        offset_member(offset, out);
    }
    out.put_slice(b"}");
}

/// `{"ev":"subscribed","channel":"…","offset":"…","recovered":true}`: what follows of the channel is what was asked for
/// last. For sessions whose replies come another way than their messages.
pub fn encode_subscribed(name: &ChannelName, offset: &Offset, recovered: bool, out: &mut BytesMut) {
    event("subscribed", name.as_str(), out);
    offset_member(offset, out);
    out.put_slice(match recovered {
        true => b",\"recovered\":true}",
        false => b",\"recovered\":false}",
    });
}

/// An entry of a channel, or of its presence log:
/// `{"ev":"entry","channel":"…","offset":"…","time":…,"event"?:"…","data":…}`,
/// `{"ev":"join","channel":"…","offset":"…","time":…,"user":"…","info"?:…}`.
pub(crate) fn entry(source: &Source<'_>, offset: &Offset, entry: &Entry, out: &mut BytesMut) {
    match source.name.presence_of() {
        None => {
            event("entry", source.name.as_str(), out);
            out.put_slice(b",");
            envelope::entry(source.kind_of(entry), offset, entry, out);
            out.put_slice(b"}");
        }
        Some(of) => {
            event(entry.event().unwrap_or("join"), of, out);
            offset_member(offset, out);
            out.put_slice(b",\"time\":");
            envelope::number(entry.time_ms, out);
            // The payload is an object of our own, which begins with the event's name, `{"ev":"join",…`, for the
            // wires that have no other place for it: what follows that stands in the event itself.
            let rest = memchr::memchr(b',', &entry.payload).map(|at| &entry.payload[at..]);
            out.put_slice(rest.unwrap_or(b"}"));
        }
    }
}

/// An upper bound of the bytes that [`entry`] writes.
pub(crate) fn entry_bytes_max(source: &Source<'_>, entry: &Entry) -> usize {
    // A character of a JSON string takes at most six bytes (`\u001f`).
    64 + 6 * source.name.as_str().len() + envelope::entry_bytes_max(source.kind_of(entry), entry)
}

/// `{"ev":"gap","channel":"…","oldest":"…","newest":"…"}`, of a presence log with `"presence":true`.
pub(crate) fn gap(name: &ChannelName, gap: &Gap, out: &mut BytesMut) {
    let of = name.presence_of();
    event("gap", of.unwrap_or(name.as_str()), out);
    if of.is_some() {
        out.put_slice(b",\"presence\":true");
    }
    out.put_slice(b",");
    let start = out.len();
    event_stream::gap_object(gap, out);
    // The members stand in the event itself: its own brace opens them.
    out[start] = b' ';
}

/// `{"ev":"revoked","channel":"…","detail":"…"}`: nothing of the channel follows, since the session may not read it any
/// more.
pub fn encode_revoked(name: &ChannelName, detail: &str, out: &mut BytesMut) {
    event("revoked", name.as_str(), out);
    out.put_slice(b",\"detail\":");
    envelope::string(detail, out);
    out.put_slice(b"}");
}

/// `{"ev":"closed","channel":"…","offset":"…"}`
pub(crate) fn closed(name: &ChannelName, offset: &Offset, out: &mut BytesMut) {
    event("closed", name.as_str(), out);
    offset_member(offset, out);
    out.put_slice(b"}");
}

/// `{"ev":"drain","after_ms":…}`
pub(crate) fn drain(after_ms: u64, out: &mut BytesMut) {
    out.put_slice(b"{\"ev\":\"drain\",\"after_ms\":");
    envelope::number(after_ms, out);
    out.put_slice(b"}");
}

/// A sign of life: `{"ev":"ping"}`
pub(crate) const PING: &[u8] = b"{\"ev\":\"ping\"}";

/// `{"re":2,"ok":{…}}`; `members` writes what stands in it.
pub fn encode_ok(id: Option<&str>, out: &mut BytesMut, members: impl FnOnce(&mut BytesMut)) {
    reply(id, out);
    out.put_slice(b"\"ok\":{");
    members(out);
    out.put_slice(b"}}");
}

/// `"offset":"…"`, for a reply.
pub fn offset_of_reply(offset: &Offset, out: &mut BytesMut) {
    out.put_slice(b"\"offset\":\"");
    out.put_slice(offset.to_token().as_bytes());
    out.put_slice(b"\"");
}

/// An entry in a reply: `{"offset":"…","time":…,"event"?:"…","data":…}`.
pub fn entry_of_reply(source: &Source<'_>, offset: &Offset, entry: &Entry, out: &mut BytesMut) {
    out.put_slice(b"{");
    envelope::entry(source.kind_of(entry), offset, entry, out);
    out.put_slice(b"}");
}

/// `{"re":3,"error":{"type":"…","title":"…","detail":"…","retry":false}}`, with the problem's further members.
pub fn encode_error(id: Option<&str>, problem: &Problem, out: &mut BytesMut) {
    reply(id, out);
    out.put_slice(b"\"error\":{\"type\":");
    envelope::string(problem.kind.name(), out);
    out.put_slice(b",\"title\":");
    envelope::string(problem.kind.title(), out);
    out.put_slice(b",\"detail\":");
    envelope::string(&problem.detail, out);
    for (name, value) in &problem.members {
        out.put_slice(b",");
        envelope::string(name, out);
        out.put_slice(b":");
        out.put_slice(value.to_string().as_bytes());
    }
    out.put_slice(match problem.kind.retry() {
        true => b",\"retry\":true}}",
        false => b",\"retry\":false}}",
    });
}

fn reply(id: Option<&str>, out: &mut BytesMut) {
    out.put_slice(b"{\"re\":");
    out.put_slice(id.unwrap_or("null").as_bytes());
    out.put_slice(b",");
}

fn event(ev: &str, channel: &str, out: &mut BytesMut) {
    out.put_slice(b"{\"ev\":\"");
    out.put_slice(ev.as_bytes());
    out.put_slice(b"\",\"channel\":");
    envelope::string(channel, out);
}

fn offset_member(offset: &Offset, out: &mut BytesMut) {
    out.put_slice(b",");
    offset_of_reply(offset, out);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use everwire_channel::{
        Append, Channel, ContentType, Draft, Epoch, EventName, Mark, Read, Setup,
    };

    use super::*;

    /// An entry of a presence log as a session is told it, and the offset in it.
    fn told(event: &str, payload: &'static str) -> (String, Offset) {
        let mut log = Channel::new(Setup::new(Epoch(1), Mark(7)), 0);
        let draft = Draft {
            payload: Bytes::from_static(payload.as_bytes()),
            kind: None,
            event: EventName::new(event).ok(),
            publisher: None,
        };
        let append = Append {
            entries: vec![draft],
            content_type: Some(&ContentType::json()),
            ..Append::default()
        };
        log.append(append, 17).unwrap();
        let Read::Entries(mut entries) = log.log().after(0) else {
            panic!("one was appended");
        };
        let name = "chat/lobby".parse::<ChannelName>().unwrap().presence_log();
        let source = Source {
            name: &name,
            kind: everwire_channel::ContentKind::Json,
        };
        let (head, mut out) = (log.log().head(), BytesMut::new());
        entry(&source, &head, entries.next().unwrap().1, &mut out);
        (String::from_utf8(out.to_vec()).unwrap(), head)
    }

    #[test]
    fn a_join_and_a_leave_are_events_of_their_channel() {
        for (event, payload, members) in [
            (
                "join",
                r#"{"ev":"join","user":"a,b","info":{"x":[1,2]}}"#,
                r#""user":"a,b","info":{"x":[1,2]}"#,
            ),
            ("leave", r#"{"ev":"leave","user":"ada"}"#, r#""user":"ada""#),
        ] {
            let (told, offset) = told(event, payload);
            let expected = format!(
                r#"{{"ev":"{event}","channel":"chat/lobby","offset":"{offset}","time":17,{members}}}"#
            );
            assert_eq!(told, expected);
        }
    }
}
