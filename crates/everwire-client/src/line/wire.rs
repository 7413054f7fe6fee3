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
use crate::decode::Undecodable;
use crate::decode::session::{self, Message};
use crate::http::NoResponse;
use crate::{LineWire, ServerUrl, Unreadable};

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

/// Reads a message of a wire that has had its welcome, or not. One message that cannot be read ends no session; what
/// begins with one is none.
fn read(text: &[u8], is_welcomed: bool) -> Result<Message, Undecodable> {
    match session::decode(text) {
        Ok(Message::Unreadable { unreadable, .. }) if !is_welcomed => {
            Err(Undecodable::Malformed(unreadable.problem))
        }
        Err(Undecodable::Malformed(problem)) if is_welcomed => Ok(Message::Unreadable {
            channel: None,
            unreadable: Unreadable {
                offset: None,
                problem,
            },
        }),
        read => read,
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

#[cfg(test)]
mod tests {
    use super::*;

    const WELCOME: &str = r#"{"ev":"welcome","session":"s1","secret":"hush"}"#;
    const ENTRY: &str = r#"{"ev":"entry","channel":"a","offset":"a1","data":1}"#;

    /// A wire, as far as messages come down on it.
    struct Down {
        wire: LineWire,
        carrier: Carrier,
        answers: u64,
    }

    impl Down {
        fn open(wire: LineWire) -> Self {
            let opening = Opening {
                url: "http://h".parse().unwrap(),
                publisher: PublisherId::new("p").unwrap(),
                token: None,
                poll: Duration::from_secs(25),
                message_bytes_max: 1000,
            };
            let (carrier, _) = Carrier::open(wire, &opening);
            let mut down = Self {
                wire,
                carrier,
                answers: 0,
            };
            if wire != LineWire::LongPoll {
                down.head();
            }
            down
        }

        /// The head of a response; a WebSocket has had its own.
        fn head(&mut self) -> Vec<Told> {
            let media_type = match self.wire {
                LineWire::WebSocket => return vec![],
                LineWire::EventStream => "text/event-stream",
                LineWire::Ndjson => "application/x-ndjson",
                LineWire::LongPoll => "application/json",
            };
            let headers = [(::http::header::CONTENT_TYPE, media_type.parse().unwrap())];
            self.carrier.handle(Happened::Head {
                lane: Lane::Down,
                status: StatusCode::OK,
                headers: headers.into_iter().collect(),
                at: SystemTime::UNIX_EPOCH,
            })
        }

        /// What comes of a message, in short.
        fn take(&mut self, message: &str) -> Vec<String> {
            let piece = |text: String| Happened::Piece {
                lane: Lane::Down,
                bytes: text.into(),
            };
            let mut told = Vec::new();
            match self.wire {
                LineWire::WebSocket => {
                    told.extend(
                        self.carrier
                            .handle(Happened::Text(message.to_owned().into())),
                    );
                }
                LineWire::EventStream => {
                    told.extend(self.carrier.handle(piece(format!("data: {message}\n\n"))));
                }
                LineWire::Ndjson => {
                    told.extend(self.carrier.handle(piece(format!("{message}\n"))));
                }
                LineWire::LongPoll => {
                    self.answers += 1;
                    told.extend(self.head());
                    let last = self.answers;
                    told.extend(self.carrier.handle(piece(format!(
                        "{{\"last\":{last},\"messages\":[{message}]}}"
                    ))));
                    told.extend(self.carrier.handle(Happened::End { lane: Lane::Down }));
                }
            }
            let short = |told| match told {
                Told::Message(Message::Welcome(_)) => Some("welcome".to_owned()),
                Told::Message(Message::Entry { channel, .. }) => {
                    Some(format!("entry of {channel}"))
                }
                Told::Message(Message::Unreadable { channel, .. }) => {
                    Some(format!("unreadable of {}", channel.unwrap_or_default()))
                }
                Told::Ended(_) => Some("ended".to_owned()),
                Told::Message(_) | Told::Heard | Told::Text(_) | Told::Request(..) => None,
            };
            told.into_iter().filter_map(short).collect()
        }
    }

    #[test]
    fn one_message_that_cannot_be_read_ends_no_wire() {
        for wire in LineWire::ALL {
            let mut down = Down::open(wire);
            assert_eq!(down.take(WELCOME), ["welcome"], "{wire}");
            for (bad, expected) in [
                (r#"{"ev":"entry","channel":"b"}"#, "unreadable of b"),
                (r#"{"ev":"gap","channel":1}"#, "unreadable of "),
                (r#"{"re":"one","ok":{}}"#, "unreadable of "),
                ("[1]", "unreadable of "),
                ("7", "unreadable of "),
            ] {
                assert_eq!(down.take(bad), [expected], "{bad} over {wire}");
                assert_eq!(down.take(ENTRY), ["entry of a"], "after {bad} over {wire}");
            }
            // The answer to a poll is one JSON value; elsewhere a message ends where its framing says.
            if wire != LineWire::LongPoll {
                assert_eq!(down.take("{{{"), ["unreadable of "], "{wire}");
                assert_eq!(down.take(ENTRY), ["entry of a"], "{wire}");
            }
        }
    }

    #[test]
    fn a_wire_that_begins_with_something_else_is_none() {
        for wire in LineWire::ALL {
            for bad in ["<h1>please log in</h1>", r#"{"ev":"entry","channel":"b"}"#] {
                assert_eq!(Down::open(wire).take(bad), ["ended"], "{bad} over {wire}");
            }
        }
    }
}
