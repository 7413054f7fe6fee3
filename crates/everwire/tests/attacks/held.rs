//! What the server holds for peers, each way by a thousand requests or as many as it takes: its memory stays within what
//! the settings say, and the bystander does not notice.

use serde_json::{Value, json};

use crate::{
    common::Peer,
    http2::{frame, literal, next_frame},
    victim::Victim,
};

/// Whoever is returned has something held until they are dropped.
type Attack = fn(&Victim) -> Vec<Peer>;

const MIB: u64 = 1024 * 1024;

/// Whatever one caller has the server hold, twice, since memory is not given back to the last byte; and entries of the
/// attack in the log.
const HELD_BYTES_MAX: u64 = (2 * 32 + 16) * MIB;

/// Everything comes from one address, and what is held is what is looked at.
const RATES: &str = "\n[limits]\nconnections_per_second_max = 0\nappends_per_second_max = 10000\n";

/// Each row: a way to have something held.
#[test]
fn a_thousand_requests_have_no_more_held_than_a_caller_may() {
    let attacks: [(&str, Attack); 8] = [
        ("commands of a stranger's session", commands),
        ("contents to be published", contents),
        ("pages that are not taken", pages),
        ("pages that are not taken, over HTTP/2", pages_over_http2),
        ("long polls that one entry answers", polls),
        ("the same over HTTP/2", polls_over_http2),
        ("sessions by polls that one entry is told to", poll_sessions),
        ("replies to a session that are not taken", replies),
    ];
    for (name, attack) in attacks {
        let victim = Victim::start(RATES);
        victim.serves_others("its start");
        let before = victim.peak_bytes();
        let peers = attack(&victim);
        victim.serves_others(name);
        let more = victim.peak_bytes() - before;
        assert!(more < HELD_BYTES_MAX, "{name}: {} MiB", more / MIB);
        drop(peers);
        all_is_let_go(&victim);
        victim.serves_others(name);
    }
}

/// As a container of 256 MiB: what nobody has set fits into it, whatever one caller does.
#[test]
fn a_server_in_256_mib_lives_through_all_of_it() {
    let victim = Victim::start_within(256 * MIB, RATES);
    for attack in [
        commands,
        contents,
        pages,
        pages_over_http2,
        poll_sessions,
        replies,
    ] {
        let peers = attack(&victim);
        victim.serves_others("an attack in little memory");
        drop(peers);
        all_is_let_go(&victim);
    }
    assert!(victim.peak_bytes() < 256 * MIB);
}

fn all_is_let_go(victim: &Victim) {
    while victim.metric("everwire_in_flight_bytes") > 0 {
        std::thread::yield_now();
    }
}

fn commands(victim: &Victim) -> Vec<Peer> {
    let session = Session::open(victim);
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", &*session.path),
        ("everwire-secret", &*session.secret),
    ];
    upload(victim, &fields, 60_000)
}

fn contents(victim: &Victim) -> Vec<Peer> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/channels/target"),
        ("content-type", "text/plain"),
    ];
    upload(victim, &fields, 80_000)
}

fn pages(victim: &Victim) -> Vec<Peer> {
    publish(victim, b'x', 4 * MIB);
    let get = "GET /channels/target HTTP/1.1\r\nHost: x\r\n\r\n";
    all_answered((0..100).map(|_| ask_narrowly(victim, get)).collect())
}

fn pages_over_http2(victim: &Victim) -> Vec<Peer> {
    publish(victim, b'x', MIB);
    let targets = vec!["/channels/target".to_owned(); 100];
    get_over_http2(victim, 10, &targets)
}

/// Each of another shape, since those of one share their answer.
fn polls(victim: &Victim) -> Vec<Peer> {
    publish(victim, b'x', 1);
    let waiting = (0..200).map(|n| {
        ask_narrowly(
            victim,
            &format!(
                "GET /channels/target?live=long-poll&offset=now&cursor={n} HTTP/1.1\r\nHost: x\r\n\r\n"
            ),
        )
    });
    let waiting = waiting.collect();
    while victim.metric("everwire_lines") < 201 {}
    publish(victim, b'x', 4 * MIB);
    all_answered(waiting)
}

fn polls_over_http2(victim: &Victim) -> Vec<Peer> {
    publish(victim, b'x', 1);
    let target = |n| format!("/channels/target?live=long-poll&offset=now&cursor={n}");
    let waiting = get_over_http2(victim, 1, &(0..200).map(target).collect::<Vec<_>>());
    while victim.metric("everwire_lines") < 201 {}
    publish(victim, b'x', 4 * MIB);
    waiting
}

/// A control character is six bytes of JSON.
fn poll_sessions(victim: &Victim) -> Vec<Peer> {
    let sessions: Vec<_> = (0..50).map(|_| Session::open(victim)).collect();
    for session in &sessions {
        let subscribe = json!({"op": "subscribe", "channel": "target"});
        assert_eq!(session.post(victim, &subscribe).status, 200);
    }
    publish(victim, 1, 2 * MIB);
    for session in &sessions {
        session.poll(victim);
    }
    Vec::new()
}

fn replies(victim: &Victim) -> Vec<Peer> {
    publish(victim, 1, MIB / 2);
    let session = Session::open(victim);
    let history = json!({"op": "history", "channel": "target", "last": 1});
    let request = session.request("POST", &history.to_string());
    all_answered((0..100).map(|_| ask_narrowly(victim, &request)).collect())
}

/// A session of somebody without any right.
struct Session {
    path: String,
    secret: String,
}

impl Session {
    fn open(victim: &Victim) -> Self {
        let get = "GET /connect HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n";
        let page: Value = serde_json::from_slice(&victim.ask(get).body).expect("JSON");
        let text = |name: &str| {
            page["messages"][0][name]
                .as_str()
                .expect("a text")
                .to_owned()
        };
        Self {
            path: format!("/connect/{}", text("session")),
            secret: text("secret"),
        }
    }

    fn request(&self, method: &str, content: &str) -> String {
        let Self { path, secret } = self;
        format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nEverwire-Secret: {secret}\r\nPrefer: wait=0\r\n\
             Content-Length: {}\r\n\r\n{content}",
            content.len()
        )
    }

    fn post(&self, victim: &Victim, command: &Value) -> crate::common::Response {
        victim.ask(self.request("POST", &command.to_string()))
    }

    fn poll(&self, victim: &Victim) {
        victim.ask(self.request("GET", ""));
    }
}

fn publish(victim: &Victim, byte: u8, length: u64) {
    let entry = vec![byte; length as usize];
    let response = victim.connect().append("target", "text/plain", &entry);
    assert_eq!(response.status, 204, "{}", response.text());
}

/// Every answer has begun.
fn all_answered(mut peers: Vec<Peer>) -> Vec<Peer> {
    for peer in &mut peers {
        peer.head();
    }
    peers
}

/// Asks on a connection of its own, and takes nothing of the answer.
fn ask_narrowly(victim: &Victim, request: &str) -> Peer {
    let mut peer = Peer::connect(victim.address, Some(4096));
    peer.send(request);
    peer
}

/// Connections over HTTP/2 whose client opens no window, each with these requests.
fn get_over_http2(victim: &Victim, connections: usize, targets: &[String]) -> Vec<Peer> {
    let requests = targets
        .iter()
        .zip((1..).step_by(2))
        .map(|(target, stream)| {
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "x"),
                (":path", target),
            ];
            head(&fields, stream, true)
        });
    let requests: Vec<u8> = requests.flatten().collect();
    let ask = |_| {
        let mut peer = speak(victim);
        peer.send(&requests);
        // Its answers have begun: that of the ping comes after their requests were read.
        peer.send(frame(PING, 0, 0, &[7; 8]));
        while next_frame(&mut peer).0 != PING {}
        peer
    };
    (0..connections).map(ask).collect()
}

/// A thousand requests with content that does not end, as much of each as the server takes.
fn upload(victim: &Victim, fields: &[(&str, &str)], length: usize) -> Vec<Peer> {
    (0..10)
        .map(|_| {
            let mut peer = speak(victim);
            let streams = (1..201).step_by(2);
            for stream in streams.clone() {
                peer.send(head(fields, stream, false));
            }
            let mut room = 65_535; // of the connection, until the server opens it further
            let mut ended = Vec::new();
            for _ in 0..length.div_ceil(PIECE_BYTES) {
                for stream in streams.clone() {
                    while room < PIECE_BYTES {
                        match next_frame(&mut peer) {
                            (WINDOW_UPDATE, 0, more) => {
                                room += u32::from_be_bytes(more[..4].try_into().unwrap()) as usize;
                            }
                            (RST_STREAM, stream, _) => ended.push(stream),
                            (GOAWAY, ..) => return peer,
                            _ => {}
                        }
                    }
                    if !ended.contains(&stream) {
                        peer.send(frame(DATA, 0, stream, &[b' '; PIECE_BYTES]));
                        room -= PIECE_BYTES;
                    }
                }
            }
            peer
        })
        .collect()
}

fn speak(victim: &Victim) -> Peer {
    let mut peer = victim.connect();
    peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    // SETTINGS_INITIAL_WINDOW_SIZE 0.
    peer.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    peer
}

fn head(fields: &[(&str, &str)], stream: u32, is_all: bool) -> Vec<u8> {
    let literals = fields.iter().flat_map(|(name, value)| literal(name, value));
    let block: Vec<u8> = literals.collect();
    frame(HEADERS, END_HEADERS | u8::from(is_all), stream, &block)
}

const PIECE_BYTES: usize = 10_000;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const END_HEADERS: u8 = 0x4;
