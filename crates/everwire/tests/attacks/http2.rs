//! The same over HTTP/2, by frames that no library would send (RFC 9113).

use serde_json::json;

use crate::{
    common::{Peer, issuer::Issuer, status},
    victim::Victim,
};

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It is malformed: its stream or its connection is ended (section 8.1.1).
    Ended,
    /// It is answered with this status.
    Answered(u16),
}
use Outcome::{Answered, Ended};

type Fields<'a> = Vec<(&'a str, &'a str)>;

#[test]
fn nobody_hides_a_field_or_a_request_in_another() {
    let victim = Victim::start("");
    let request = |method: &'static str, more: &[(&'static str, &'static str)]| -> Fields<'_> {
        let target = [
            (":method", method),
            (":scheme", "http"),
            (":authority", "x"),
            (":path", "/channels/target"),
        ];
        [&target[..], more].concat()
    };
    let with_path = |path: &'static str| -> Fields<'_> {
        let mut fields = request("POST", &[]);
        fields[3].1 = path;
        fields
    };
    let post = |more: &[(&'static str, &'static str)]| request("POST", more);
    let attacks = [
        ("a name in upper case", post(&[("X-Evil", "y")]), Ended),
        ("a name with a colon", post(&[("x:y", "z")]), Ended),
        ("a line's end in a name", post(&[("x\r\ny", "z")]), Ended),
        (
            "a line's end in a value",
            post(&[("x", "a\r\nhost: y")]),
            Ended,
        ),
        ("a bare LF in a value", post(&[("x", "a\nb")]), Ended),
        ("a NUL in a value", post(&[("x", "a\0b")]), Ended),
        (
            "a line's end in the target",
            with_path("/channels/target HTTP/1.1\r\nX: y"),
            Ended,
        ),
        ("no target", with_path(""), Ended),
        // The library cuts it off, where nobody sees the whole (SECURITY.md).
        ("a fragment", with_path("/channels/target#a"), Answered(204)),
        (
            "a target of somewhere else",
            with_path("http://evil.example/channels/target"),
            Ended,
        ),
        (
            "fields of a connection",
            post(&[("connection", "close")]),
            Ended,
        ),
        ("an upgrade", post(&[("upgrade", "websocket")]), Ended),
        ("chunks", post(&[("transfer-encoding", "chunked")]), Ended),
        ("codings of trailers", post(&[("te", "gzip")]), Ended),
        (
            "a target behind the fields",
            post(&[("x", "y"), (":path", "/healthz")]),
            Ended,
        ),
        ("two targets", post(&[(":path", "/healthz")]), Ended),
        ("two methods", post(&[(":method", "GET")]), Ended),
        (
            "a field of no meaning to anybody",
            post(&[(":evil", "y")]),
            Ended,
        ),
        (
            "a length that is not the content's",
            post(&[("content-length", "5")]),
            Ended,
        ),
        (
            "two lengths",
            post(&[("content-length", "1"), ("content-length", "5")]),
            Ended,
        ),
        (
            "a length that is none",
            post(&[("content-length", "one")]),
            Ended,
        ),
        ("two hosts", post(&[("host", "y")]), Answered(400)),
        (
            "two hosts, of which one is right",
            post(&[("host", "x"), ("host", "y")]),
            Answered(400),
        ),
        ("the same host twice", post(&[("host", "x")]), Answered(204)),
        (
            "a tunnel",
            vec![(":method", "CONNECT"), (":authority", "evil.example:80")],
            Answered(404),
        ),
        (
            "a tunnel of another kind",
            request("CONNECT", &[(":protocol", "connect-udp")]),
            Answered(405),
        ),
    ];
    for (name, fields, outcome) in attacks {
        let before = victim.metric("everwire_entries_published_total");
        assert_eq!(ask(&victim, &fields, Some(b"x")), outcome, "{name}");
        let published = victim.metric("everwire_entries_published_total") - before;
        assert_eq!(published, u64::from(outcome == Answered(204)), "{name}");
        victim.serves_others(name);
    }
}

/// Fields that begin with a colon have no place in trailers (RFC 9113, section 8.1), and make a request malformed. The
/// library drops them before the server sees any, so they cannot be refused: nobody hears them.
#[test]
fn what_stands_in_trailers_is_heard_by_nobody() {
    let victim = Victim::start("");
    let post = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "x"),
        (":path", "/channels/target"),
    ];
    assert_eq!(ask(&victim, &post, Some(b"x")), Answered(204));
    let channels = victim.metric("everwire_channels");
    for (name, trailers, outcome) in [
        ("nothing", vec![("x", "y")], Answered(204)),
        (
            "another target",
            vec![(":path", "/channels/other")],
            Answered(204),
        ),
        (
            "another method",
            vec![(":method", "DELETE"), (":path", "/channels/target")],
            Answered(204),
        ),
        ("a status", vec![(":status", "200")], Answered(204)),
        (
            "a credential",
            vec![("authorization", "Bearer x")],
            Answered(204),
        ),
        ("another host", vec![("host", "y")], Answered(204)),
        ("a condition", vec![("if-match", "\"none\"")], Answered(204)),
        (
            "a target behind a field",
            vec![("x", "y"), (":path", "/channels/other")],
            Ended,
        ),
        (
            "fields of a connection",
            vec![("transfer-encoding", "chunked")],
            Ended,
        ),
    ] {
        let before = victim.metric("everwire_entries_published_total");
        let answered = ask_with(&victim, &post, Some(b"x"), &trailers);
        assert_eq!(answered, outcome, "{name}");
        let published = victim.metric("everwire_entries_published_total") - before;
        assert_eq!(published, u64::from(outcome == Answered(204)), "{name}");
        assert_eq!(victim.metric("everwire_channels"), channels, "{name}");
        victim.serves_others(name);
    }
}

/// RFC 8441: browsers open WebSockets so, and name the page's origin as they do otherwise.
#[test]
fn a_hostile_page_reaches_nothing_over_http2_either() {
    let settings = "\n[http]\norigins = [\"https://app.example.org\"]\n";
    let victim = Victim::start_with(&["--tokens.cookie", "session"], settings);
    let token = Issuer::shared()
        .token(json!({"sub": "ada", "channels": [{"match": "**", "can": ["read"]}]}));
    let cookie = format!("session={token}");
    let forged = format!("Bearer {}x", &token[..token.len() - 1]);
    let request = |method, path, more: &[(&'static str, &'static str)]| -> Fields<'_> {
        let target = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "live.example.org"),
            (":path", path),
        ];
        [&target[..], more].concat()
    };
    let websocket = |path, origin| {
        let mut fields = request("CONNECT", path, &[(":protocol", "websocket")]);
        fields.extend([
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "everwire.v1"),
        ]);
        fields.extend([("origin", origin), ("cookie", &*cookie)]);
        fields
    };
    let read = |origin: Option<&'static str>| {
        let mut fields = request("GET", "/channels/chat/a", &[]);
        fields.extend(origin.map(|origin| ("origin", origin)));
        // In crumbs, as they may come (RFC 9113, section 8.2.3).
        fields.extend([("cookie", "theme=dark"), ("cookie", &*cookie)]);
        fields
    };
    let evil = "https://evil.example.net";
    let own = "https://live.example.org";
    let of_post = [("content-type", "text/plain"), ("origin", evil)];
    for (name, fields, status) in [
        ("a hijacked session", websocket("/connect", evil), 403),
        ("a hijacked line", websocket("/channels/chat/a", evil), 403),
        ("a page of no origin", websocket("/connect", "null"), 403),
        ("a page of this very site", websocket("/connect", own), 200),
        (
            "a page that is listed",
            websocket("/connect", "https://app.example.org"),
            200,
        ),
        (
            "a forged post",
            request("POST", "/channels/target", &of_post),
            403,
        ),
        ("a read of a hostile page", read(Some(evil)), 401),
        ("a read that nobody vouches for", read(None), 401),
        ("a read of the own page", read(Some(own)), 404),
        (
            "a line with a forged token",
            [
                websocket("/connect", own),
                vec![("authorization", &*forged)],
            ]
            .concat(),
            401,
        ),
    ] {
        assert_eq!(ask(&victim, &fields, None), Answered(status), "{name}");
        victim.serves_others(name);
    }
}

/// Sends one request on a connection of its own.
fn ask(victim: &Victim, fields: &Fields<'_>, content: Option<&[u8]>) -> Outcome {
    ask_with(victim, fields, content, &Fields::new())
}

/// The same, with fields behind the content if there are any.
fn ask_with(
    victim: &Victim,
    fields: &Fields<'_>,
    content: Option<&[u8]>,
    trailers: &Fields<'_>,
) -> Outcome {
    const HEADERS: u8 = 0x1;
    const RST_STREAM: u8 = 0x3;
    const GOAWAY: u8 = 0x7;
    let is_tunnel = fields[0].1 == "CONNECT";
    let mut peer = victim.connect();
    peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    peer.send(frame(0x4, 0, 0, &[]));
    let block = |fields: &Fields<'_>| -> Vec<u8> {
        let literals = fields.iter().map(|(name, value)| literal(name, value));
        literals.flatten().collect()
    };
    let content = content.filter(|_| !is_tunnel);
    // END_HEADERS, and END_STREAM where nothing follows.
    let ends = u8::from(content.is_none() && !is_tunnel);
    peer.try_send(frame(HEADERS, 0x4 | ends, 1, &block(fields)));
    if let Some(content) = content {
        peer.try_send(frame(0x0, u8::from(trailers.is_empty()), 1, content));
    }
    if !trailers.is_empty() {
        peer.try_send(frame(HEADERS, 0x4 | 0x1, 1, &block(trailers)));
    }
    loop {
        let (kind, stream, payload) = next_frame(&mut peer);
        match (kind, stream) {
            (HEADERS, 1) => return Answered(status(&payload)),
            (RST_STREAM, 1) | (GOAWAY, _) => return Ended,
            _ => {}
        }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub fn next_frame(peer: &mut Peer) -> (u8, u32, Vec<u8>) {
    let head = peer.take(9);
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u32::from(*byte))
    };
    let payload = peer.take(number(&head[..3]) as usize);
    (head[3], number(&head[5..]), payload)
}

/// A field as it is, neither indexed nor compressed (RFC 7541, section 6.2.2).
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        // Section 5.1: a prefix of seven bits, and then seven at a time.
        let mut length = match text.len() {
            short @ ..127 => vec![short as u8],
            long => {
                let rest = long - 127;
                vec![127, (rest & 0x7f) as u8 | 0x80, (rest >> 7) as u8]
            }
        };
        length.extend_from_slice(text.as_bytes());
        length
    };
    [vec![0], text(name), text(value)].concat()
}
