//! Somebody else's account, from another address, which uses all that there is round after round: it must not notice what
//! anybody does to the server.

use std::net::SocketAddr;

use everwire_server::auth::{GENERATED_BYTES, NewKey};
use serde_json::{Value, json};

use crate::common::{Frame, Peer, Response, client_frame, websocket_request};

/// Reads the room over three wires from its first round to its last.
pub struct Neighbour {
    address: SocketAddr,
    key: String,
    /// A connection that it keeps, for what it publishes.
    kept: Peer,
    stream: Peer,
    socket: Socket,
    polls: Polls,
    rounds: u32,
}

impl Neighbour {
    /// What the server needs to know of it, as lines of its configuration. It publishes and reads everywhere, and about
    /// what is below `asked/` the application is asked.
    pub fn settings() -> String {
        let sha256 = key().sha256;
        format!(
            "
[[keys]]
id = \"neighbour\"
sha256 = {sha256:?}
channels = [{{ match = \"**\", can = [\"read\", \"publish\", \"presence\"] }}]

[[rules]]
match = \"asked/*\"
decide = [\"publish\"]

[[rules]]
match = \"neighbour/large\"
retain_entries = 1

[[rules]]
match = \"neighbour/*\"
retain_entries = 100
"
        )
    }

    /// Begins to read.
    pub fn move_in(address: SocketAddr) -> Self {
        let key = key().key;
        let connect = || Peer::connect_from(ELSEWHERE, address);
        let mut kept = connect();
        let made = kept.append_as(&key, "room", "the first entry");
        assert_eq!(made.status, 204, "{}", made.text());
        let mut stream = connect();
        stream.send(format!(
            "GET /channels/room HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
             Accept: text/event-stream\r\n\r\n"
        ));
        assert!(stream.head().starts_with("HTTP/1.1 200 "));
        let mut socket = Socket::open(connect(), &key);
        socket.be_in("room");
        let polls = Polls::open(connect(), &key);
        Self {
            address,
            key,
            kept,
            stream,
            socket,
            polls,
            rounds: 0,
        }
    }

    /// Publishes little and much, is told so over each wire, reads back, comes and goes, looks who is there, and has the
    /// application asked.
    pub fn goes_round(&mut self) {
        self.rounds += 1;
        let said = format!("all is well {}", self.rounds);
        let published = self.kept.append_as(&self.key, "room", &said);
        assert_eq!(published.status, 204, "{}", published.text());
        while !self.stream.event().contains(&said) {}
        while !self.socket.event().contains(&said) {}
        while !self.polls.poll().contains(&said) {}

        let own = format!("neighbour/{}", self.rounds % 7);
        let mut fresh = self.connect();
        assert_eq!(fresh.append_as(&self.key, &own, &said).status, 204);
        let page = self.get(&format!("/channels/{own}?last=1"));
        assert_eq!((page.status, page.text()), (200, &*said));
        let mut visit = Socket::open(self.connect(), &self.key);
        visit.be_in(&own);
        let large = json!({"id": 2, "op": "publish", "channel": "neighbour/large", "data": "x".repeat(200_000)});
        let frame = client_frame(0x1, large.to_string().as_bytes());
        let (first, rest) = frame.split_at(150_000);
        visit.0.send(first);
        for place in [&own, "room"] {
            let present = self.get(&format!("/presence/{place}"));
            assert_eq!(present.status, 200, "{}", present.text());
            assert!(present.text().contains(NAME), "{}", present.text());
        }
        // The server has come round to the first part of it by now, and keeps that.
        visit.0.send(rest);
        let reply = visit.reply();
        assert!(reply.contains("\"ok\":"), "{reply}");
        let asked = fresh.append_as(&self.key, "asked/neighbour", &said);
        assert_eq!(asked.status, 204, "{}", asked.text());
    }

    fn get(&self, target: &str) -> Response {
        let mut peer = self.connect();
        peer.send(format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            self.key
        ));
        peer.response()
    }

    fn connect(&self) -> Peer {
        Peer::connect_from(ELSEWHERE, self.address)
    }
}

impl Peer {
    /// Appends a line of text with a credential.
    pub fn append_as(&mut self, credential: &str, name: &str, text: &str) -> Response {
        self.send(append(credential, name, text));
        self.response()
    }
}

/// The request that appends a line of text with a credential.
pub fn append(credential: &str, name: &str, text: &str) -> String {
    format!(
        "POST /channels/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {credential}\r\n\
         Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// A session over a WebSocket.
pub struct Socket(Peer);

impl Socket {
    pub fn open(mut peer: Peer, credential: &str) -> Self {
        let fields = format!(
            "Sec-WebSocket-Protocol: everwire.v1\r\nAuthorization: Bearer {credential}\r\n"
        );
        peer.send(websocket_request("/connect", &fields));
        let head = peer.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self(peer)
    }

    pub fn send(&mut self, command: &Value) {
        self.0
            .send(client_frame(0x1, command.to_string().as_bytes()));
    }

    /// The next message.
    pub fn event(&mut self) -> String {
        loop {
            match self.0.frame() {
                Frame::Text(text) => return text,
                Frame::Ping(payload) => self.0.send(client_frame(0xa, &payload)),
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    /// The next reply to a command.
    pub fn reply(&mut self) -> String {
        loop {
            let message = self.event();
            if message.starts_with("{\"re\":") {
                return message;
            }
        }
    }

    /// Reads a channel, and is seen there.
    fn be_in(&mut self, channel: &str) {
        let presence = json!({"user": NAME});
        self.send(&json!({"id": 1, "op": "subscribe", "channel": channel, "presence": presence}));
        let reply = self.reply();
        assert!(reply.contains("\"ok\":"), "{reply}");
    }
}

/// A session by long polls that reads the room.
struct Polls {
    peer: Peer,
    fields: String,
    session: String,
    last: u64,
}

impl Polls {
    fn open(mut peer: Peer, key: &str) -> Self {
        peer.send(format!(
            "GET /connect HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nAuthorization: Bearer {key}\r\n\r\n"
        ));
        let welcome: Value = serde_json::from_slice(&peer.response().body).expect("JSON");
        let text = |name: &str| {
            let text = welcome["messages"][0][name].as_str();
            text.expect("a text").to_owned()
        };
        let mut polls = Self {
            peer,
            fields: format!("Host: x\r\nEverwire-Secret: {}\r\n", text("secret")),
            session: text("session"),
            last: 1,
        };
        let command = json!({"id": 1, "op": "subscribe", "channel": "room"}).to_string();
        let length = format!("Content-Length: {}\r\n", command.len());
        let reply = polls.ask("POST", "", &length, &command);
        assert!(reply.contains("\"ok\":"), "{reply}");
        polls
    }

    /// What has come since the last poll, or comes first.
    fn poll(&mut self) -> String {
        let page = self.ask("GET", &format!("?ack={}", self.last), "", "");
        // A poll for which nothing came is over without content.
        if let Ok(page) = serde_json::from_str::<Value>(&page) {
            self.last = page["last"].as_u64().expect("a number");
        }
        page
    }

    fn ask(&mut self, method: &str, query: &str, fields: &str, content: &str) -> String {
        let Self {
            session,
            fields: own,
            ..
        } = self;
        self.peer.send(format!(
            "{method} /connect/{session}{query} HTTP/1.1\r\n{own}{fields}\r\n{content}"
        ));
        let response = self.peer.response();
        assert!(matches!(response.status, 200 | 204), "{}", response.text());
        response.text().to_owned()
    }
}

/// The name by which it is present.
const NAME: &str = "the neighbour";

/// Where it connects from.
const ELSEWHERE: [u8; 4] = [127, 0, 0, 9];

fn key() -> NewKey {
    NewKey::new("neighbour", [9; GENERATED_BYTES]).expect("an id")
}
