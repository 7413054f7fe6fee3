//! The wires a reader can ask for, and the request heads that ask for them.

use std::net::SocketAddr;

use memchr::{memchr, memmem};

/// How entries reach a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Each entry is one message (RFC 6455).
    WebSocket,
    /// Each entry is one event (WHATWG HTML, server-sent events).
    EventStream,
    /// Each entry is one JSON object on a line.
    Ndjson,
    /// Entries are the body of a response that was held back until there were some.
    LongPoll,
}

impl Wire {
    /// Every wire, in the order of the report.
    pub const ALL: [Self; 4] = [
        Self::WebSocket,
        Self::EventStream,
        Self::Ndjson,
        Self::LongPoll,
    ];

    /// The name used in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::EventStream => "event-stream",
            Self::Ndjson => "ndjson",
            Self::LongPoll => "long-poll",
        }
    }

    /// The request head that opens a reading line at the tail of `channel`.
    pub fn request(self, host: SocketAddr, channel: &str) -> Vec<u8> {
        let fields = match self {
            Self::WebSocket => UPGRADE,
            Self::EventStream => "Accept: text/event-stream\r\n",
            Self::Ndjson => "Accept: application/x-ndjson\r\n",
            Self::LongPoll => return poll_request(host, channel, "now"),
        };
        format!("GET /channels/{channel} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n").into_bytes()
    }
}

/// The name of the channel with this number.
pub fn channel_name(number: usize) -> String {
    format!("{CHANNELS}{number}")
}

/// The number of the channel with this name, if it is one of the load's.
pub fn channel_number(name: &[u8]) -> Option<usize> {
    let digits = name.strip_prefix(CHANNELS.as_bytes())?;
    str::from_utf8(digits).ok()?.parse().ok()
}

const CHANNELS: &str = "bench/";

/// Fields of a WebSocket's opening handshake (RFC 6455, section 4.1). The key is the RFC's own
/// example: the accept key is not what is measured.
pub const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// The request that asks for what follows `offset` in `channel`, and waits for it.
pub fn poll_request(host: SocketAddr, channel: &str, offset: &str) -> Vec<u8> {
    // As long as the server lets a poll wait, so that none ends while it is measured.
    format!(
        "GET /channels/{channel}?offset={offset}&live=long-poll HTTP/1.1\r\nHost: {host}\r\n\
         Prefer: wait=60\r\n\r\n"
    )
    .into_bytes()
}

/// The same poll with another offset.
///
/// # Panics
/// If `poll` was not made by [`poll_request`].
pub fn poll_from(poll: &[u8], offset: &str) -> Vec<u8> {
    const BEFORE: &[u8] = b"?offset=";
    let start = memmem::find(poll, BEFORE).expect("a poll asks for an offset") + BEFORE.len();
    let end = start + memchr(b'&', &poll[start..]).expect("a poll says that it is one");
    [&poll[..start], offset.as_bytes(), &poll[end..]].concat()
}

/// The request head that opens a WebSocket on which each message comes back.
pub fn echo_request(host: SocketAddr) -> Vec<u8> {
    format!("GET /echo HTTP/1.1\r\nHost: {host}\r\n{UPGRADE}\r\n").into_bytes()
}

/// The request that creates `channel` for plain text.
pub fn create_request(host: SocketAddr, channel: &str) -> Vec<u8> {
    format!(
        "PUT /channels/{channel} HTTP/1.1\r\nHost: {host}\r\n\
         Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

/// The head of a request that publishes `bytes` of plain text to `channel`.
pub fn publish_head(host: SocketAddr, channel: &str, bytes: usize) -> Vec<u8> {
    format!(
        "POST /channels/{channel} HTTP/1.1\r\nHost: {host}\r\n\
         Content-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n"
    )
    .into_bytes()
}

/// The head of a request that publishes `bytes` of items to the channels that they name.
pub fn batch_head(host: SocketAddr, bytes: usize) -> Vec<u8> {
    format!(
        "POST /publish HTTP/1.1\r\nHost: {host}\r\n\
         Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_is_found_by_its_name() {
        assert_eq!(channel_number(channel_name(217).as_bytes()), Some(217));
        for other in ["bench/", "bench/x", "217", "other/217"] {
            assert_eq!(channel_number(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn each_wire_is_asked_for_by_its_own_field() {
        let host = SocketAddr::from(([127, 0, 0, 1], 80));
        let asked = [
            (
                Wire::WebSocket,
                "GET /channels/a HTTP/1.1",
                "Upgrade: websocket",
            ),
            (
                Wire::EventStream,
                "GET /channels/a HTTP/1.1",
                "Accept: text/event-stream",
            ),
            (
                Wire::Ndjson,
                "GET /channels/a HTTP/1.1",
                "Accept: application/x-ndjson",
            ),
            (
                Wire::LongPoll,
                "GET /channels/a?offset=now&live=long-poll HTTP/1.1",
                "Prefer: wait=60",
            ),
        ];
        for (wire, request_line, field) in asked {
            let request = String::from_utf8(wire.request(host, "a")).unwrap();
            assert_eq!(request.lines().next(), Some(request_line));
            assert!(request.lines().any(|line| line == field), "{request}");
            assert!(request.contains("\r\nHost: 127.0.0.1:80\r\n"), "{request}");
            assert!(request.ends_with("\r\n\r\n"), "{request}");
        }
    }

    #[test]
    fn a_poll_goes_on_from_another_offset() {
        let host = SocketAddr::from(([127, 0, 0, 1], 80));
        let poll = poll_from(&Wire::LongPoll.request(host, "a"), "1k7");
        assert_eq!(poll, poll_request(host, "a", "1k7"));
        assert_eq!(poll_from(&poll, "now"), Wire::LongPoll.request(host, "a"));
    }
}
