//! What is said in a session: many channels over one line, each message a JSON object.
//!
//! ```text
//!  {"id":0,"op":"subscribe","channel":"bench/7","offset":"…"} ─▶
//!                     ◀─ {"re":0,"ok":{"offset":"…","recovered":true}}
//!                     ◀─ {"ev":"entry","channel":"bench/7","offset":"…","time":…,"data":"…"}
//! ```
//!
//! Read by hand, and apart from the server's own code, for the reasons that frames are: it takes
//! the load client little, and a mistake of the server's is not shared.

use std::net::SocketAddr;

use memchr::{memchr, memmem};

use crate::{dialect::Envelope, publish, response::excerpt, wire::UPGRADE};

/// The request that opens a session over a WebSocket.
pub fn open_request(host: SocketAddr) -> Vec<u8> {
    format!(
        "GET /connect HTTP/1.1\r\nHost: {host}\r\nSec-WebSocket-Protocol: everwire.v1\r\n\
         {UPGRADE}\r\n"
    )
    .into_bytes()
}

/// The request that opens a session over an event stream.
pub fn open_stream_request(host: SocketAddr) -> Vec<u8> {
    format!("GET /connect HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n")
        .into_bytes()
}

/// Who a session over an event stream is, for requests that speak for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    session: String,
    secret: String,
}

impl Identity {
    /// The request by which the session asks for `channels`.
    pub fn subscribe_request(
        &self,
        host: SocketAddr,
        channels: impl Iterator<Item = String>,
    ) -> Vec<u8> {
        let commands: Vec<String> = channels
            .map(|channel| subscribe(&channel, Wish::Now))
            .collect();
        let content = format!("[{}]", commands.join(","));
        let Self { session, secret } = self;
        format!(
            "POST /connect/{session} HTTP/1.1\r\nHost: {host}\r\nEverwire-Secret: {secret}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{content}",
            content.len()
        )
        .into_bytes()
    }
}

/// How a session asks for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    /// What follows from now on.
    Now,
    /// What follows this offset.
    After(&'a str),
    /// What follows from now on, and to be among its members.
    Present,
}

/// Appends a message that asks for `channel`.
pub fn write_subscribe(channel: &str, wish: Wish<'_>, out: &mut Vec<u8>) {
    publish::write_text(&subscribe(channel, wish), out);
}

fn subscribe(channel: &str, wish: Wish<'_>) -> String {
    let more = match wish {
        Wish::Now => String::new(),
        Wish::After(offset) => format!(",\"offset\":\"{offset}\""),
        Wish::Present => ",\"presence\":true".to_owned(),
    };
    format!("{{\"id\":0,\"op\":\"subscribe\",\"channel\":\"{channel}\"{more}}}")
}

/// What stands around a payload in a command that publishes it to `channel`.
pub fn publish_envelope(channel: &str) -> Envelope {
    Envelope {
        before: format!("{{\"id\":0,\"op\":\"publish\",\"channel\":\"{channel}\",\"data\":\"")
            .into_bytes(),
        after: b"\"}".to_vec(),
    }
}

/// Bytes of an entry's message besides the payload.
pub fn entry_bytes_besides(channel: &str) -> usize {
    const OFFSET_BYTES: usize = 26;
    const TIME_BYTES: usize = 13; // milliseconds since 1970, until the year 2286
    let texts = [ENTRY, channel, OFFSET, TIME, DATA, END];
    texts.map(str::len).iter().sum::<usize>() + OFFSET_BYTES + TIME_BYTES
}

/// A message to a session, as far as the load looks at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// An entry of a channel.
    Entry {
        /// The channel's name.
        channel: &'a [u8],
        /// The position after it.
        offset: &'a [u8],
        /// What was published.
        payload: &'a [u8],
    },
    /// A command succeeded.
    Done,
    /// The first message over an event stream.
    Welcome(Identity),
    /// Something else that is no fault, such as a member that joins.
    Other,
}

const ENTRY: &str = "{\"ev\":\"entry\",\"channel\":\"";
const OFFSET: &str = "\",\"offset\":\"";
const TIME: &str = "\",\"time\":";
const DATA: &str = ",\"data\":\"";
const END: &str = "\"}";

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    /// If it tells of a refusal, a gap or an end, or is nothing that a session is told.
    pub fn parse(text: &'a [u8]) -> Result<Self, Complaint> {
        let complain = |what| {
            let message = excerpt(text);
            Err(Complaint { what, message })
        };
        if let Some(rest) = text.strip_prefix(ENTRY.as_bytes()) {
            return Self::entry(rest).map_or_else(|| complain("a malformed entry"), Ok);
        }
        let has = |part: &[u8]| memmem::find(text, part).is_some();
        // Over an event stream the reply comes elsewhere, and this event says the same.
        let is_subscribed = text.starts_with(b"{\"ev\":\"subscribed\"");
        if is_subscribed || text.starts_with(b"{\"re\":") {
            let is_ok = is_subscribed || has(b"\"ok\":{");
            return match (is_ok, has(b"\"recovered\":false")) {
                (true, false) => Ok(Self::Done),
                (true, true) => complain("that entries are gone"),
                (false, _) => complain("a refusal"),
            };
        }
        if let Some((session, secret)) = member(text, "session").zip(member(text, "secret")) {
            return Ok(Self::Welcome(Identity { session, secret }));
        }
        let harmless = ["welcome", "ping", "join", "leave"];
        let is = |event: &&str| text.starts_with(format!("{{\"ev\":\"{event}\"").as_bytes());
        match harmless.iter().any(is) {
            true => Ok(Self::Other),
            false => complain("what a load does not bring about"),
        }
    }

    /// From what follows [`ENTRY`].
    fn entry(text: &'a [u8]) -> Option<Self> {
        let (channel, rest) = text.split_at(memchr(b'"', text)?);
        let rest = rest.strip_prefix(OFFSET.as_bytes())?;
        let (offset, rest) = rest.split_at(memchr(b'"', rest)?);
        let rest = rest.strip_prefix(TIME.as_bytes())?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let payload = rest[digits..].strip_prefix(DATA.as_bytes())?;
        Some(Self::Entry {
            channel,
            offset,
            payload: payload.strip_suffix(END.as_bytes())?,
        })
    }
}

/// The text of a member that has no escapes.
fn member(text: &[u8], name: &str) -> Option<String> {
    let before = format!("\"{name}\":\"");
    let rest = &text[memmem::find(text, before.as_bytes())? + before.len()..];
    let text = &rest[..memchr(b'"', rest)?];
    String::from_utf8(text.to_vec()).ok()
}

/// A session was told something that a load must not bring about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server told a session {what}: {message}")]
pub struct Complaint {
    what: &'static str,
    message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &[u8] = b"{\"ev\":\"entry\",\"channel\":\"bench/7\",\
        \"offset\":\"1k7sguhl0000000000305248rv\",\"time\":1795179891150,\"data\":\"0007:x\"}";

    #[test]
    fn an_entry_names_its_channel_and_offset() {
        let expected = Message::Entry {
            channel: b"bench/7",
            offset: b"1k7sguhl0000000000305248rv",
            payload: b"0007:x",
        };
        assert_eq!(Message::parse(ENTRY), Ok(expected));
        let besides = ENTRY.len() - b"0007:x".len();
        assert_eq!(entry_bytes_besides("bench/7"), besides);
    }

    #[test]
    fn what_must_not_come_is_told() {
        for (message, expected) in [
            (r#"{"re":0,"ok":{"offset":"a","recovered":true}}"#, None),
            (r#"{"ev":"welcome","session":"a","heartbeat_ms":1}"#, None),
            (r#"{"ev":"ping"}"#, None),
            (
                r#"{"ev":"subscribed","channel":"a","recovered":true}"#,
                None,
            ),
            (
                r#"{"ev":"subscribed","channel":"a","recovered":false}"#,
                Some("entries are gone"),
            ),
            (r#"{"ev":"join","channel":"a","user":"~b"}"#, None),
            (
                r#"{"re":0,"ok":{"offset":"a","recovered":false}}"#,
                Some("entries are gone"),
            ),
            (
                r#"{"re":0,"error":{"type":"forbidden"}}"#,
                Some("a refusal"),
            ),
            (
                r#"{"ev":"gap","channel":"a"}"#,
                Some("does not bring about"),
            ),
            (
                r#"{"ev":"closed","channel":"a"}"#,
                Some("does not bring about"),
            ),
            (
                r#"{"ev":"entry","channel":"a","data":"b"}"#,
                Some("malformed"),
            ),
            ("hello", Some("does not bring about")),
        ] {
            let told = Message::parse(message.as_bytes()).err();
            let told = told.map(|complaint| complaint.to_string());
            match expected {
                Some(expected) => assert!(told.unwrap().contains(expected), "{message}"),
                None => assert_eq!(told, None, "{message}"),
            }
        }
    }

    #[test]
    fn a_session_over_a_stream_asks_by_requests() {
        let welcome = r#"{"ev":"welcome","session":"7735","secret":"55a5","heartbeat_ms":1}"#;
        let Ok(Message::Welcome(identity)) = Message::parse(welcome.as_bytes()) else {
            panic!("{welcome} says who it is");
        };
        let host = SocketAddr::from(([127, 0, 0, 1], 80));
        let channels = ["a", "b"].map(str::to_owned).into_iter();
        let request = String::from_utf8(identity.subscribe_request(host, channels)).unwrap();
        let (head, content) = request.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("POST /connect/7735 HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nEverwire-Secret: 55a5\r\n"), "{head}");
        assert!(
            head.ends_with(&format!("Content-Length: {}", content.len())),
            "{head}"
        );
        let commands: Vec<serde_json::Value> = serde_json::from_str(content).unwrap();
        assert_eq!(commands.len(), 2);
        assert_eq!(commands[1]["channel"], "b");
    }

    #[test]
    fn a_session_asks_as_the_protocol_has_it() {
        for (wish, expected) in [
            (Wish::Now, r#"{"id":0,"op":"subscribe","channel":"a"}"#),
            (
                Wish::After("1k7"),
                r#"{"id":0,"op":"subscribe","channel":"a","offset":"1k7"}"#,
            ),
            (
                Wish::Present,
                r#"{"id":0,"op":"subscribe","channel":"a","presence":true}"#,
            ),
        ] {
            let (mut frame, mut text) = (Vec::new(), Vec::new());
            write_subscribe("a", wish, &mut frame);
            publish::write_text(expected, &mut text);
            assert_eq!(frame, text, "{wish:?}");
        }
    }
}
