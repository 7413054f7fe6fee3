//! The wires of a line, without IO: from what happens on a transport to messages, and from commands to requests.
//!
//! ```text
//!  transport ─ Happened ─▶ Carrier ─ Told ─▶ messages, signs of life, the end
//!  commands  ────────────▶ Carrier ─ Told ─▶ requests and texts for the transport
//! ```

mod http;
mod websocket;

use std::time::{Duration, SystemTime};

use ::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use everwire_channel::PublisherId;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use self::http::HttpWire;
use self::websocket::WebSocketWire;
use super::ending::Ending;
use crate::decode::session::Message;
use crate::http::NoResponse;
use crate::{LineWire, ServerUrl};

/// One wire, from its first request to its end.
#[derive(Debug)]
pub(crate) enum Carrier {
    WebSocket(WebSocketWire),
    Http(Box<HttpWire>),
}

/// What a wire needs to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    pub url: ServerUrl,
    pub publisher: PublisherId,
    pub token: Option<String>,
    /// How long the server may hold a long poll, if its welcome does not say.
    pub poll: Duration,
    pub message_bytes_max: usize,
}

/// The two ways of a wire over plain HTTP, each with one request at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Where messages come from: a stream, or one poll after the other.
    Down,
    /// Where commands go: their replies are the responses' content.
    Up,
}

/// What happens on the transport of a wire.
#[derive(Clone, Debug)]
pub(crate) enum Happened {
    /// The head of a response came.
    Head {
        lane: Lane,
        status: StatusCode,
        headers: HeaderMap,
        at: SystemTime,
    },
    /// A piece of its content came.
    Piece { lane: Lane, bytes: Bytes },
    /// The content is complete.
    End { lane: Lane },
    /// The content broke off.
    Broken { lane: Lane, error: String },
    /// There is no response.
    Failed { lane: Lane, error: NoResponse },
    /// A text message came on the WebSocket.
    Text(Bytes),
    /// A Ping or Pong came.
    Alive,
    /// The WebSocket ended.
    Ended(Ending),
}

/// What comes of it.
#[derive(Debug)]
pub(crate) enum Told {
    Message(Message),
    /// Something came down.
    Heard,
    /// To be sent on this lane; for a WebSocket, the opening handshake.
    Request(Lane, Request<Bytes>),
    /// To be sent as a text message.
    Text(String),
    /// The wire is over; nothing follows.
    Ended(Ending),
}

impl Carrier {
    /// A wire, and its first request.
    pub fn open(wire: LineWire, opening: &Opening) -> (Self, Request<Bytes>) {
        match wire {
            LineWire::WebSocket => {
                let (websocket, request) = WebSocketWire::open(opening);
                (Self::WebSocket(websocket), request)
            }
            LineWire::EventStream | LineWire::Ndjson | LineWire::LongPoll => {
                let (http, request) = HttpWire::open(wire, opening);
                (Self::Http(Box::new(http)), request)
            }
        }
    }

    /// Something happened on the transport.
    pub fn handle(&mut self, happened: Happened) -> Vec<Told> {
        match self {
            Self::WebSocket(wire) => wire.handle(happened),
            Self::Http(wire) => wire.handle(happened),
        }
    }

    /// Sends commands, each a JSON object as text, in this order.
    pub fn send(&mut self, commands: Vec<String>) -> Vec<Told> {
        match self {
            Self::WebSocket(_) => commands.into_iter().map(Told::Text).collect(),
            Self::Http(wire) => wire.send(commands),
        }
    }

    /// The request that ends a session which would outlive its transport.
    pub fn farewell(&self) -> Option<Request<Bytes>> {
        match self {
            Self::WebSocket(_) => None,
            Self::Http(wire) => wire.farewell(),
        }
    }
}

/// A request with the fields that all have.
fn request(
    opening: &Opening,
    below: &str,
    parameters: &[(&str, String)],
) -> ::http::Request<Bytes> {
    use ::http::HeaderValue;
    use ::http::header::{AUTHORIZATION, HOST};

    let url = opening.url.http();
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = url.target_below(below, parameters).into();
    let fields = request.headers_mut();
    fields.insert(HOST, url.host());
    if let Some(token) = &opening.token
        && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}"))
    {
        value.set_sensitive(true);
        fields.insert(AUTHORIZATION, value);
    }
    request
}

/// The first request of a wire.
fn first_request(opening: &Opening) -> Request<Bytes> {
    let publisher = utf8_percent_encode(opening.publisher.as_str(), NON_ALPHANUMERIC).to_string();
    request(opening, "/connect", &[("publisher", publisher)])
}
