//! Members and their changes as JSON.
//!
//! ```text
//!  {"ev":"join","user":"ada","info":{…}}   {"ev":"leave","user":"ada"}    payloads of the log
//!  [{"user":"ada","info":{…},"count":1}]                                  a snapshot's members
//! ```

use std::io::Write;

use bytes::Bytes;
use everwire_channel::{Draft, EventName, Info, Roster, UserName, presence::Change};

/// A change as an entry of the log. Its name is said in the payload too, for the wires that tell no names of events:
/// a raw WebSocket, a long poll.
pub(super) fn draft(change: &Change) -> Draft {
    let (event, user, info) = match change {
        Change::Joined(member) => ("join", &member.user, member.info.as_ref()),
        Change::Left(member) => ("leave", &member.user, None),
    };
    let mut payload = Vec::with_capacity(64 + info.map_or(0, |info| info.as_str().len()));
    let _ = write!(payload, "{{\"ev\":\"{event}\",");
    write_member(user, info, &mut payload);
    payload.push(b'}');
    Draft {
        payload: payload.into_boxed_slice().into(), // kept long, so without spare room
        kind: None,
        event: Some(EventName::new(event).expect("it is a name")),
        publisher: None,
    }
}

/// `"total":2,"members":[{"user":"ada","info":{…},"count":1},…]`: by name, so many at most.
pub(super) fn members_json(roster: &Roster, listed_max: usize) -> Bytes {
    let members = roster.members();
    let mut out = Vec::new();
    let _ = write!(out, "\"total\":{},\"members\":[", members.len());
    for (index, (user, info, count)) in members.take(listed_max).enumerate() {
        out.extend_from_slice(if index > 0 { b",{" } else { b"{" });
        write_member(user, info, &mut out);
        let _ = write!(out, ",\"count\":{count}}}");
    }
    out.push(b']');
    Bytes::from(out)
}

fn write_member(user: &UserName, info: Option<&Info>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\"user\":");
    serde_json::to_writer(&mut *out, user.as_str()).expect("text is written to memory");
    if let Some(info) = info {
        out.extend_from_slice(b",\"info\":");
        out.extend_from_slice(info.as_str().as_bytes());
    }
}
