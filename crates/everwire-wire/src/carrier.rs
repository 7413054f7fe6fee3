//! How a session's messages are carried: the same JSON text, with what a wire puts around it.

use bytes::{BufMut, BytesMut};
use everwire_websocket::{
    CloseCode, MessageKind, WindowBits, encode_close, encode_message_with, encode_ping,
};

use crate::{
    event_stream,
    framing::{Deflaters, drain_close},
    ndjson,
    session::message::{self, PING},
    transfer::{LAST_CHUNK, Transfer},
    websocket,
};

/// A wire as sessions use it. Sessions of one carrier share the bytes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// A text message each.
    WebSocket {
        /// The server's window of permessage-deflate.
        window: Option<WindowBits<9>>,
    },
    /// An event each, without name and id.
    EventStream(Transfer),
    /// A line each.
    Ndjson(Transfer),
    /// Each followed by a comma: the elements of an array, of which a poll takes as many as there are.
    Poll,
}

impl Carrier {
    /// Writes one message, whose text is what `write` writes, of at most `bytes_max` bytes.
    pub fn message(
        self,
        bytes_max: usize,
        deflaters: &mut Deflaters,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut),
    ) {
        match self {
            Self::WebSocket { window: None } => {
                encode_message_with(MessageKind::Text, bytes_max, out, write);
            }
            Self::WebSocket { window } => {
                let mut text = BytesMut::new();
                write(&mut text);
                websocket::message(MessageKind::Text, &text, window, deflaters, out);
            }
            Self::EventStream(_) | Self::Ndjson(_) | Self::Poll => {
                self.plain(bytes_max, out, write);
            }
        }
    }

    /// Writes one message that is never compressed: a reply, or what is rare.
    pub fn plain(self, bytes_max: usize, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
        match self {
            Self::WebSocket { .. } => {
                encode_message_with(MessageKind::Text, bytes_max, out, write);
            }
            Self::EventStream(transfer) => transfer.piece(out, bytes_max + 8, |out| {
                out.put_slice(b"data: ");
                write(out);
                out.put_slice(b"\n\n");
            }),
            Self::Ndjson(transfer) => transfer.piece(out, bytes_max + 1, |out| {
                write(out);
                out.put_slice(b"\n");
            }),
            Self::Poll => {
                write(out);
                out.put_slice(b",");
            }
        }
    }

    /// Writes a message whose text is there already.
    pub fn text(self, text: &[u8], out: &mut BytesMut) {
        self.plain(text.len(), out, |out| out.put_slice(text));
    }

    /// Shows that the line is alive. A WebSocket's peer has to answer; its page, which sees no Ping, is told too
    /// if it heard nothing else.
    pub fn encode_heartbeat(self, is_silent: bool, out: &mut BytesMut) {
        match self {
            Self::WebSocket { .. } => {
                encode_ping(b"", out);
                if is_silent {
                    self.text(PING, out);
                }
            }
            Self::EventStream(transfer) if is_silent => {
                transfer.piece(out, 3, event_stream::heartbeat);
            }
            Self::Ndjson(transfer) if is_silent => transfer.piece(out, 3, ndjson::heartbeat),
            // A poll is answered by its own time.
            Self::EventStream(_) | Self::Ndjson(_) | Self::Poll => {}
        }
    }

    /// Ends a session because the server stops, with the hint to come back after that many milliseconds.
    pub fn encode_drain(self, after_ms: u64, out: &mut BytesMut) {
        self.plain(64, out, |out| message::drain(after_ms, out));
        match self {
            Self::WebSocket { .. } => drain_close(after_ms, out),
            Self::EventStream(_) | Self::Ndjson(_) | Self::Poll => self.encode_end(out),
        }
    }

    /// Ends a response body.
    pub fn encode_end(self, out: &mut BytesMut) {
        if let Some(Transfer::Chunked) = self.transfer() {
            out.put_slice(LAST_CHUNK);
        }
    }

    /// Ends a session for a reason: with the close code where there is one, else as a body ends.
    pub fn encode_close(self, code: CloseCode, reason: &str, out: &mut BytesMut) {
        match self {
            Self::WebSocket { .. } => encode_close(Some((code, reason)), out),
            Self::EventStream(_) | Self::Ndjson(_) | Self::Poll => self.encode_end(out),
        }
    }

    /// The media type of a response body; `None` for WebSocket.
    pub fn content_type(self) -> Option<&'static str> {
        match self {
            Self::WebSocket { .. } => None,
            Self::EventStream(_) => Some("text/event-stream"),
            Self::Ndjson(_) => Some("application/x-ndjson"),
            Self::Poll => Some("application/json"),
        }
    }

    /// The wire's name, as settings, metrics and the command line have it.
    pub fn wire(self) -> &'static str {
        match self {
            Self::WebSocket { .. } => "websocket",
            Self::EventStream(_) => "event-stream",
            Self::Ndjson(_) => "ndjson",
            Self::Poll => "long-poll",
        }
    }

    /// Whether messages are WebSocket frames.
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket { .. })
    }

    /// How a response body is delimited, where there is one that stays open.
    pub fn transfer(self) -> Option<Transfer> {
        match self {
            Self::EventStream(transfer) | Self::Ndjson(transfer) => Some(transfer),
            Self::WebSocket { .. } | Self::Poll => None,
        }
    }
}
