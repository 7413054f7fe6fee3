//! Members and their changes as JSON.
//!
//! ```text
//!  {"ev":"join","user":"ada","info":{…}}   {"ev":"leave","user":"ada"}    payloads of the log
//!  [{"user":"ada","info":{…},"count":1}]                                  a snapshot's members
//! ```

use std::fmt::Write;

use bytes::Bytes;
use everwire_channel::{Draft, EventName, Info, Roster, UserName, presence::Change};

/// A change as an entry of the log. Its name is said in the payload too, for the wires that tell no names of events:
/// a raw WebSocket, a long poll.
pub(super) fn draft(change: &Change) -> Draft {
    let (event, user, info) = match change {
        Change::Joined(member) => ("join", &member.user, member.info.as_ref()),
        Change::Left(member) => ("leave", &member.user, None),
    };
    let mut payload = format!("{{\"ev\":\"{event}\",");
    write_member(user, info, &mut payload);
    payload.push('}');
    Draft {
        payload: Bytes::from(payload),
        event: Some(EventName::new(event).expect("it is a name")),
        publisher: None,
    }
}

/// All members, by name.
pub(super) fn members_json(roster: &Roster) -> Bytes {
    let mut out = String::from("[");
    for (index, (user, info, count)) in roster.members().enumerate() {
        out.push_str(if index > 0 { ",{" } else { "{" });
        write_member(user, info, &mut out);
        let _ = write!(out, ",\"count\":{count}}}");
    }
    out.push(']');
    Bytes::from(out)
}

fn write_member(user: &UserName, info: Option<&Info>, out: &mut String) {
    let _ = write!(out, "\"user\":{}", serde_json::Value::from(user.as_str()));
    if let Some(info) = info {
        out.push_str(",\"info\":");
        out.push_str(info.as_str());
    }
}
