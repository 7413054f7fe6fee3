//! A session's client over any wire, by hand.

use std::collections::VecDeque;

use everwire_server::Config;
use serde_json::{Value, json};

use super::{Frame, Peer, Response, Site, client_frame, websocket_request};

/// How a session's messages are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    WebSocket,
    EventStream,
    Ndjson,
    LongPoll,
}

/// Every wire that carries sessions.
pub const CARRIERS: [Carrier; 4] = [
    Carrier::WebSocket,
    Carrier::EventStream,
    Carrier::Ndjson,
    Carrier::LongPoll,
];

/// An open session.
pub struct Session<'s> {
    site: &'s Site,
    pub carrier: Carrier,
    /// Where messages come down, and for a WebSocket also what commands go up.
    pub peer: Peer,
    pub welcome: Value,
    last: u64,
    /// Messages that came and were not asked for.
    events: VecDeque<Value>,
    replies: VecDeque<Value>,
}

impl Carrier {
    fn accept(self) -> &'static str {
        match self {
            Self::WebSocket => "*/*",
            Self::EventStream => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
            Self::LongPoll => "application/json",
        }
    }
}

impl<'s> Session<'s> {
    /// Opens a session; `query` begins with its `?`.
    pub fn open(site: &'s Site, carrier: Carrier, query: &str) -> Self {
        Self::open_with(site, carrier, query, "")
    }

    /// Opens a session with further lines of the request's head.
    pub fn open_with(site: &'s Site, carrier: Carrier, query: &str, fields: &str) -> Self {
        Self::open_on(site, site.connect(), carrier, (query, fields))
    }

    /// Opens a session whose client holds few bytes that were not read.
    pub fn open_narrow(site: &'s Site, carrier: Carrier) -> Self {
        Self::open_on(site, site.connect_narrow(), carrier, ("", ""))
    }

    fn open_on(
        site: &'s Site,
        mut peer: Peer,
        carrier: Carrier,
        (query, fields): (&str, &str),
    ) -> Self {
        let target = format!("/connect{query}");
        match carrier {
            Carrier::WebSocket => peer.send(websocket_request(
                &target,
                &format!("Sec-WebSocket-Protocol: everwire.v1\r\n{fields}"),
            )),
            _ => peer.send(format!(
                "GET {target} HTTP/1.1\r\nHost: x\r\nAccept: {}\r\n{fields}\r\n",
                carrier.accept()
            )),
        }
        let mut session = Self {
            site,
            carrier,
            peer,
            welcome: Value::Null,
            last: 1,
            events: VecDeque::new(),
            replies: VecDeque::new(),
        };
        match carrier {
            Carrier::LongPoll => {
                let response = session.peer.response();
                assert_eq!(response.status, 200, "{}", response.text());
                session.take_page(&response);
            }
            _ => {
                session.peer.head();
            }
        }
        session.welcome = session.event();
        assert_eq!(session.welcome["ev"], "welcome");
        session
    }

    /// Sends one command and waits for its reply.
    pub fn ask(&mut self, command: impl Into<Value>) -> Value {
        let command = command.into();
        if self.carrier == Carrier::WebSocket {
            self.peer
                .send(client_frame(0x81, command.to_string().as_bytes()));
            while self.replies.is_empty() {
                self.hear();
            }
            return self.replies.pop_front().unwrap();
        }
        let response = self.post(&command.to_string());
        assert_eq!(response.status, 200, "{}", response.text());
        let replies: Vec<Value> = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(replies.len(), 1);
        replies.into_iter().next().unwrap()
    }

    /// The next reply that comes down a WebSocket.
    pub fn reply(&mut self) -> Value {
        while self.replies.is_empty() {
            self.hear();
        }
        self.replies.pop_front().unwrap()
    }

    /// Sends one command, which must be carried out; what `ok` holds.
    pub fn ok(&mut self, command: impl Into<Value>) -> Value {
        let command = command.into();
        let reply = self.ask(command.clone());
        assert!(reply["ok"].is_object(), "{command} gave {reply}");
        reply["ok"].clone()
    }

    /// Sends a content to the session's address.
    pub fn post(&self, content: &str) -> Response {
        self.request("POST", "", content)
    }

    pub fn request(&self, method: &str, query: &str, content: &str) -> Response {
        self.request_with(method, query, "", content)
    }

    /// A poll that waits for nothing.
    pub fn poll_briefly(&self, query: &str) -> Response {
        self.request_with("GET", query, "Prefer: wait=0\r\n", "")
    }

    fn request_with(&self, method: &str, query: &str, fields: &str, content: &str) -> Response {
        self.site.ask(&format!(
            "{method} /connect/{}{query} HTTP/1.1\r\nHost: x\r\nEverwire-Secret: {}\r\n{fields}Content-Length: {}\r\n\r\n{content}",
            self.welcome["session"].as_str().unwrap(),
            self.welcome["secret"].as_str().unwrap_or(""),
            content.len(),
        ))
    }

    /// The next event.
    pub fn event(&mut self) -> Value {
        while self.events.is_empty() {
            self.hear();
        }
        self.events.pop_front().unwrap()
    }

    /// The next entry: its channel and what it holds.
    pub fn entry(&mut self) -> (String, Value) {
        let event = self.event();
        assert_eq!(event["ev"], "entry", "{event}");
        let channel = event["channel"].as_str().unwrap().to_owned();
        (channel, event["data"].clone())
    }

    /// Takes the next messages.
    fn hear(&mut self) {
        match self.carrier {
            Carrier::WebSocket => match self.peer.frame() {
                Frame::Text(text) => self.take(&text),
                Frame::Ping(payload) => self.peer.send(client_frame(0x8a, &payload)),
                other => panic!("{other:?} instead of a message"),
            },
            Carrier::EventStream => {
                let chunk = String::from_utf8(self.peer.chunk()).unwrap();
                for event in chunk.split_terminator("\n\n").filter(|event| *event != ":") {
                    self.take(event.strip_prefix("data: ").expect("an event's data"));
                }
            }
            Carrier::Ndjson => {
                let chunk = String::from_utf8(self.peer.chunk()).unwrap();
                chunk
                    .lines()
                    .filter(|line| *line != "{}")
                    .for_each(|line| self.take(line));
            }
            Carrier::LongPoll => {
                let response = self.request("GET", &format!("?ack={}", self.last), "");
                if response.status == 200 {
                    self.take_page(&response);
                } else {
                    assert_eq!(response.status, 204, "{}", response.text());
                }
            }
        }
    }

    fn take_page(&mut self, response: &Response) {
        let page: Value = serde_json::from_slice(&response.body).unwrap();
        self.last = page["last"].as_u64().unwrap();
        for message in page["messages"].as_array().unwrap() {
            self.take(&message.to_string());
        }
    }

    fn take(&mut self, text: &str) {
        let message: Value =
            serde_json::from_str(text).unwrap_or_else(|_| panic!("{text} is JSON"));
        match message.get("re") {
            Some(_) => self.replies.push_back(message),
            // Says what the reply said, for clients that ask again for what they have left.
            None if message["ev"] == "subscribed" => {}
            None => self.events.push_back(message),
        }
    }
}

/// Each wire in turn, each on a server of its own.
pub fn over_every_wire(check: impl Fn(&Site, Carrier)) {
    for carrier in CARRIERS {
        eprintln!("over {carrier:?}");
        check(&Site::start(), carrier);
    }
}

/// The command that reads a channel from now on.
pub fn subscribe(channel: &str) -> Value {
    json!({"id": 1, "op": "subscribe", "channel": channel})
}

/// Has who leaves be missed at once.
pub fn without_linger(config: &mut Config) {
    config.presence.linger_ms = 0;
}
