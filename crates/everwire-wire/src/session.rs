//! The messages of a session (`everwire.v1`), each a JSON object.
//!
//! ```text
//!  → {"id":2,"op":"publish","channel":"chat/lobby","data":{"text":"hello"},"key":"c1-17"}
//!  ← {"re":2,"ok":{"offset":"0hx…"}}
//!  ← {"ev":"entry","channel":"chat/lobby","offset":"0hx…","time":1790000000000,"data":{"text":"hi"}}
//! ```
//!
//! A line on a channel's own URL with this subprotocol is a session already subscribed to that channel. It
//! takes `publish` and `ping`; sessions over many channels come later and will take the rest.

use bytes::{BufMut, BytesMut};
use everwire_channel::{ChannelName, Gap, Offset};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{envelope, event_stream, problem::Problem};

/// The WebSocket subprotocol of sessions.
pub const SUBPROTOCOL: &str = "everwire.v1";

/// One message from a session's client.
#[derive(Debug)]
pub struct Command<'a> {
    /// Chosen by the client and repeated in the reply; any JSON value, as it was written.
    pub id: Option<&'a RawValue>,
    /// What is asked for.
    pub operation: Operation<'a>,
}

/// What a session's client asks for.
#[derive(Debug)]
pub enum Operation<'a> {
    /// Append an entry.
    Publish {
        /// The channel; the line's own where it has just one.
        channel: Option<String>,
        /// The payload as JSON text.
        data: &'a RawValue,
        /// The event's name.
        event: Option<String>,
        /// The idempotency key: a repeat is answered as the first was.
        key: Option<String>,
    },
    /// Ask for a sign of life.
    Ping,
}

/// Why a message is no command.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The message is not a JSON object; the line is closed with 4400.
    #[error("a session's message is one JSON object; this was not one: {0}")]
    NotAnObject(String),
    /// The message is an object that asks for nothing known; it gets an error reply and the line stays open.
    #[error("{problem}")]
    Refused {
        /// The `id` of the message, as it was written.
        id: Option<String>,
        /// What is wrong with it.
        problem: String,
    },
}

impl<'a> Command<'a> {
    /// Reads one message.
    pub fn parse(text: &'a str) -> Result<Self, CommandError> {
        // An array would be taken for the members in their order.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(CommandError::NotAnObject(
                "it does not begin with {".to_owned(),
            ));
        }
        let fields: Fields<'a> = match serde_json::from_str(text) {
            Ok(fields) => fields,
            Err(error) if error.is_data() => {
                let id = serde_json::from_str::<IdOnly<'_>>(text)
                    .ok()
                    .and_then(|only| only.id);
                let id = id.map(|id| id.get().to_owned());
                return Err(CommandError::Refused {
                    id,
                    problem: error.to_string(),
                });
            }
            Err(error) => return Err(CommandError::NotAnObject(error.to_string())),
        };
        let refused = |problem: String| {
            Err(CommandError::Refused {
                id: fields.id.map(|id| id.get().to_owned()),
                problem,
            })
        };
        let operation = match fields.op.as_deref() {
            Some("publish") => match fields.data {
                Some(data) => Operation::Publish {
                    channel: fields.channel,
                    data,
                    event: fields.event,
                    key: fields.key,
                },
                None => return refused("publish needs the member `data`".to_owned()),
            },
            Some("ping") => Operation::Ping,
            Some(other) => {
                return refused(format!(
                    "`{other}` is no operation of this line; it takes publish and ping"
                ));
            }
            None => {
                return refused("the member `op` names the operation: publish or ping".to_owned());
            }
        };
        Ok(Self {
            id: fields.id,
            operation,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a command")]
struct Fields<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    op: Option<String>,
    channel: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    event: Option<String>,
    key: Option<String>,
}

#[derive(Deserialize)]
struct IdOnly<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
}

/// `{"ev":"welcome","channel":"…","offset":"…"}`: where the line starts to read.
pub fn encode_welcome(name: &ChannelName, offset: &Offset, out: &mut BytesMut) {
    event("welcome", name, out);
    offset_member(offset, out);
    out.put_slice(b"}");
}

/// `{"ev":"gap","channel":"…","oldest":"…","newest":"…"}`
pub(crate) fn encode_gap(name: &ChannelName, gap: &Gap, out: &mut BytesMut) {
    event("gap", name, out);
    out.put_slice(b",");
    let start = out.len();
    event_stream::gap_object(gap, out);
    // The members stand in the event itself: its own brace opens them.
    out[start] = b' ';
}

/// `{"ev":"closed","channel":"…","offset":"…"}`
pub(crate) fn encode_closed(name: &ChannelName, offset: &Offset, out: &mut BytesMut) {
    event("closed", name, out);
    offset_member(offset, out);
    out.put_slice(b"}");
}

/// `{"ev":"drain","after_ms":…}`
pub(crate) fn encode_drain(after_ms: u64, out: &mut BytesMut) {
    out.put_slice(b"{\"ev\":\"drain\",\"after_ms\":");
    envelope::number(after_ms, out);
    out.put_slice(b"}");
}

/// `{"re":2,"ok":{"offset":"…"}}`; without an offset `{"re":2,"ok":{}}`.
pub fn encode_ok(id: Option<&str>, offset: Option<&Offset>, out: &mut BytesMut) {
    reply(id, out);
    out.put_slice(b"\"ok\":{");
    if let Some(offset) = offset {
        out.put_slice(b"\"offset\":\"");
        out.put_slice(offset.to_token().as_bytes());
        out.put_slice(b"\"");
    }
    out.put_slice(b"}}");
}

/// `{"re":3,"error":{"type":"…","title":"…","detail":"…","retry":false}}`
pub fn encode_error(id: Option<&str>, problem: &Problem, out: &mut BytesMut) {
    reply(id, out);
    out.put_slice(b"\"error\":{\"type\":");
    envelope::string(problem.kind.name(), out);
    out.put_slice(b",\"title\":");
    envelope::string(problem.kind.title(), out);
    out.put_slice(b",\"detail\":");
    envelope::string(&problem.detail, out);
    out.put_slice(if problem.kind.retry() {
        b",\"retry\":true}}"
    } else {
        b",\"retry\":false}}"
    });
}

fn reply(id: Option<&str>, out: &mut BytesMut) {
    out.put_slice(b"{\"re\":");
    out.put_slice(id.unwrap_or("null").as_bytes());
    out.put_slice(b",");
}

fn event(ev: &str, name: &ChannelName, out: &mut BytesMut) {
    out.put_slice(b"{\"ev\":\"");
    out.put_slice(ev.as_bytes());
    out.put_slice(b"\",\"channel\":");
    envelope::string(name.as_str(), out);
}

fn offset_member(offset: &Offset, out: &mut BytesMut) {
    out.put_slice(b",\"offset\":\"");
    out.put_slice(offset.to_token().as_bytes());
    out.put_slice(b"\"");
}
