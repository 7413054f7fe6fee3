//! Whether a request has content is judged by what the framing holds, not by the framing: a head alone, a length of 0,
//! no chunk, and an empty DATA frame all are no content, as proxies on the way write it.

mod common;

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use common::{Peer, Site, client_frame, websocket_request};
use http_body_util::BodyExt;
use hyper::{
    Method, Request,
    body::{Body, Bytes, Frame},
    client::conn::http2::handshake,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Ways to frame nothing over HTTP/1.1: fields, and what follows the head.
const NOTHING: [(&str, &str); 4] = [
    ("", ""),
    ("Content-Length: 0\r\n", ""),
    ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    (
        "Transfer-Encoding: chunked\r\n",
        "0\r\nX-Trailer: a\r\n\r\n",
    ),
];

/// Ways to frame something.
const SOMETHING: [(&str, &str); 2] = [
    ("Content-Length: 2\r\n", "{}"),
    ("Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
];

/// Reads over every wire, by target and fields, and the status with which they begin.
const READS: [(&str, &str, &str, u16); 9] = [
    ("GET", "/channels/c?offset=-1", "", 200),
    ("HEAD", "/channels/c", "", 200),
    ("GET", "/channels/c?offset=-1&live=long-poll", "", 200),
    ("GET", "/channels/c?offset=now", "Prefer: wait=0\r\n", 204),
    (
        "GET",
        "/channels/c?offset=-1",
        "Accept: text/event-stream\r\n",
        200,
    ),
    ("GET", "/channels/c?offset=-1&live=ndjson", "", 200),
    ("GET", "/connect", "Accept: application/json\r\n", 200),
    ("GET", "/connect", "Accept: text/event-stream\r\n", 200),
    ("GET", "/presence/c", "", 200),
];

fn request(method: &str, target: &str, fields: &str, content: (&str, &str)) -> String {
    let (framing, bytes) = content;
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}{framing}\r\n{bytes}")
}

fn status(peer: &mut Peer) -> u16 {
    peer.head()[9..12].parse().unwrap()
}

#[test]
fn a_read_without_content_is_a_read_however_nothing_is_framed() {
    let site = Site::start();
    site.publish("c", "application/json", "1");
    for (method, target, fields, expected) in READS {
        for nothing in NOTHING {
            let mut peer = site.connect();
            peer.send(request(method, target, fields, nothing));
            assert_eq!(
                status(&mut peer),
                expected,
                "{method} {target} {fields}{nothing:?}"
            );
        }
        for something in SOMETHING {
            let mut peer = site.connect();
            peer.send(request(method, target, fields, something));
            assert_eq!(
                status(&mut peer),
                400,
                "{method} {target} {fields}{something:?}"
            );
        }
    }
    for nothing in NOTHING {
        for (method, expected) in [("OPTIONS", 204), ("DELETE", 204)] {
            site.publish("gone", "application/json", "1");
            let answer = site.ask(&request(method, "/channels/gone", "", nothing));
            assert_eq!(answer.status, expected, "{method} {nothing:?}");
        }
    }
}

/// What frames nothing is the request's, and not the first of what its connection says as a line.
#[test]
fn a_connection_is_handed_over_without_what_framed_nothing() {
    let site = Site::start();
    for nothing in NOTHING {
        let mut peer = site.connect();
        let (framing, bytes) = nothing;
        let frame = client_frame(0x1, b"hello");
        let all = [
            websocket_request("/echo", framing).as_bytes(),
            bytes.as_bytes(),
            &frame,
        ]
        .concat();
        // The head alone at first, so that what frames nothing comes when it is waited for.
        let (head, rest) = all.split_at(all.len() - frame.len() - bytes.len());
        peer.send(head);
        peer.send(rest);
        assert_eq!(status(&mut peer), 101, "{nothing:?}");
        assert_eq!(peer.text(), "hello", "{nothing:?}");

        let mut poller = site.connect();
        poller.send(request(
            "GET",
            "/channels/p?offset=now&live=long-poll",
            "",
            nothing,
        ));
        poller.send(request("GET", "/healthz", "", nothing));
        site.until("the poll waits", |site| site.metric("everwire_lines") == 2);
        site.say("p", "there");
        assert_eq!(poller.response().text(), "there", "{nothing:?}");
        assert_eq!(poller.response().text(), "ok\n", "{nothing:?}");
        drop((peer, poller));
        site.until("both are gone", |site| site.metric("everwire_lines") == 0);
    }
    for something in SOMETHING {
        let (framing, bytes) = something;
        let answer = site.ask(&(websocket_request("/echo", framing) + bytes));
        assert_eq!(answer.status, 400, "{something:?} is not the line's");
    }
}

#[test]
fn content_that_never_comes_is_waited_for_no_longer_than_any() {
    let site = Site::with(|config| config.http.content_ms = 50);
    let answer = site.ask(&request(
        "GET",
        "/channels/c?live=ndjson",
        "",
        ("Transfer-Encoding: chunked\r\n", ""),
    ));
    assert_eq!(answer.status, 408);
    assert_eq!(
        site.metric_or_0("everwire_limits_met_total{limit=\"content_ms\"}"),
        1
    );
}

/// Content in these pieces, whose end is told after the last.
struct Pieces(VecDeque<&'static str>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(
            self.0
                .pop_front()
                .map(|piece| Ok(Frame::data(piece.into()))),
        )
    }
}

#[test]
fn over_http2_an_empty_data_frame_is_no_content() {
    let site = Site::start();
    site.publish("c", "application/json", "1");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(site.address).await.unwrap();
        let (mut client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        for (method, target, fields, expected) in READS {
            for (pieces, is_content) in [
                (&[][..], false),
                (&[""], false),
                (&["", ""], false),
                (&["", "{}"], true),
            ] {
                let mut request = Request::builder()
                    .method(Method::from_bytes(method.as_bytes()).unwrap())
                    .uri(format!("http://{}{target}", site.address));
                if let Some((name, value)) = fields.trim().split_once(": ") {
                    request = request.header(name, value);
                }
                let body = Pieces(pieces.iter().copied().collect());
                let mut answer = client
                    .send_request(request.body(body).unwrap())
                    .await
                    .unwrap();
                let expected = if is_content { 400 } else { expected };
                assert_eq!(
                    answer.status(),
                    expected,
                    "{method} {target} {fields}{pieces:?}"
                );
                if is_content && method != "HEAD" {
                    assert!(answer.frame().await.is_some(), "it says why");
                }
            }
        }
    });
}
