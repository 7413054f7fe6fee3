//! HTTP/2 on the same port, by prior knowledge.

mod common;

use std::net::SocketAddr;

use common::{
    Site,
    application::Application,
    client_frame,
    issuer::{Issuer, trust_all},
};
use everwire_server::{Config, config::Action};
use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http2::{SendRequest, handshake},
    upgrade::Upgraded,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What a client begins with: the preface and its empty settings (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

type Client = SendRequest<Empty<Bytes>>;

async fn client(address: SocketAddr) -> Client {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

async fn read(client: &mut Client, address: SocketAddr, target: &str) -> Response<Incoming> {
    let uri = format!("http://{address}/channels/{target}");
    let request = Request::get(uri).header("accept", "application/x-ndjson");
    client
        .send_request(request.body(Empty::new()).unwrap())
        .await
        .unwrap()
}

/// Opens a WebSocket on a stream of its own; `protocol` is its subprotocol.
async fn websocket(site: &Site, target: &str, protocol: Option<&str>) -> TokioIo<Upgraded> {
    let mut client = client(site.address).await;
    // The server's settings, which allow this, have come with its first answer.
    read(&mut client, site.address, "none").await;
    let mut request = Request::connect(format!("http://{}{target}", site.address))
        .extension(hyper::ext::Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13");
    if let Some(protocol) = protocol {
        request = request.header("sec-websocket-protocol", protocol);
    }
    let request = request.body(Empty::new()).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    TokioIo::new(hyper::upgrade::on(response).await.unwrap())
}

/// Runs what speaks HTTP/2 beside what blocks.
fn run(site: &Site, peers: impl AsyncFnOnce(&Site)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(peers(site));
}

async fn text(response: Response<Incoming>) -> String {
    let body = response.into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}

#[test]
fn many_readers_share_one_connection() {
    run(&Site::start(), async |site| {
        let mut client = client(site.address).await;
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(read(&mut client, site.address, "c?offset=-1").await);
        }
        let poll = {
            let mut client = client.clone();
            let address = site.address;
            tokio::spawn(async move {
                let answer = read(&mut client, address, "c?live=long-poll&offset=-1").await;
                (answer.status(), text(answer).await)
            })
        };
        site.until("all are lines", |site| site.metric("everwire_lines") == 4);
        site.say("c", "hello");
        assert_eq!(poll.await.unwrap(), (StatusCode::OK, "hello".to_owned()));
        for n in 0..20 {
            site.say("c", &n.to_string());
        }
        assert_eq!(
            site.ask("DELETE /channels/c HTTP/1.1\r\nHost: x\r\n\r\n")
                .status,
            204
        );
        for stream in streams {
            let all = text(stream).await;
            let lines: Vec<&str> = all.lines().filter(|line| *line != "{}").collect();
            assert_eq!(lines.len(), 22, "{all}");
            assert!(lines[0].ends_with("\"data\":\"hello\"}"));
            for (n, line) in lines[1..21].iter().enumerate() {
                assert!(line.ends_with(&format!("\"data\":\"{n}\"}}")), "{line}");
            }
            assert_eq!(lines[21], "{\"closed\":true}");
        }
        site.until("no line is left", |site| site.metric("everwire_lines") == 0);
    });
}

/// Dropping a response resets its stream.
#[test]
fn a_reader_that_resets_its_stream_is_gone() {
    run(&Site::start(), async |site| {
        let mut client = client(site.address).await;
        let stream = read(&mut client, site.address, "c").await;
        site.until("it is a line", |site| site.metric("everwire_lines") == 1);
        drop(stream);
        // What the client library has to say is said while this task lets it.
        while site.metric("everwire_lines") > 0 {
            tokio::task::yield_now().await;
        }
    });
}

/// Moving to the workers does not take a connection out of the count.
#[test]
fn connections_over_http2_are_counted() {
    let site = Site::with(|config| config.limits.connections_max = 1);
    let mut first = site.connect();
    first.send(PREFACE);
    // The server's settings: what is spoken is known.
    first.take(9);
    let read = "GET /channels/c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let second = site.ask(read);
    assert_eq!(second.status, 503, "there is room for one");
    drop(first);
    site.until("the place is free again", |site| {
        site.ask(read).status == 404
    });
}

/// Extended CONNECT (RFC 8441): the stream is the connection.
#[test]
fn a_websocket_over_a_stream_reads_and_publishes() {
    run(&Site::start(), async |site| {
        let mut stream = websocket(site, "/channels/c", None).await;
        site.until("it is a line", |site| site.metric("everwire_lines") == 1);
        stream
            .write_all(&client_frame(0x1, b"hello"))
            .await
            .unwrap();
        stream.write_all(&client_frame(0x9, b"")).await.unwrap();
        let mut got = [0; 9];
        stream.read_exact(&mut got).await.unwrap();
        // The entry and the pong, in whichever order.
        let both = [*b"\x81\x05hello\x8a\0", *b"\x8a\0\x81\x05hello"];
        assert!(both.contains(&got), "{got:?}");
        stream.write_all(&client_frame(0x8, &[])).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"\x88\0");
    });
}

/// A session over HTTP/2 lives on a shard and speaks through a pipe.
#[test]
fn a_session_over_a_stream_is_like_any_other() {
    run(&Site::start(), async |site| {
        let mut client = client(site.address).await;
        let open = Request::get(format!("http://{}/connect", site.address))
            .header("accept", "application/x-ndjson")
            .body(Empty::new())
            .unwrap();
        let mut stream = client.send_request(open).await.unwrap();
        let mut welcome: Value = next_line(&mut stream).await;
        let id = welcome["session"].as_str().unwrap().to_owned();
        let secret = welcome["secret"].take();
        let command = json!({"op": "subscribe", "channel": "c"}).to_string();
        let subscribed = site.ask(&format!(
            "POST /connect/{id} HTTP/1.1\r\nHost: x\r\nEverwire-Secret: {}\r\nContent-Length: {}\r\n\r\n{command}",
            secret.as_str().unwrap(),
            command.len()
        ));
        assert_eq!(subscribed.status, 200);
        assert_eq!(next_line(&mut stream).await["ev"], "subscribed");
        for n in 0..3 {
            site.publish("c", "application/json", n.to_string());
            assert_eq!(next_line(&mut stream).await["data"], n);
        }
        // More than a pipe takes at once: the rest waits in the log, until the reader takes what it has.
        let large = format!("\"{}\"", "x".repeat(50_000));
        for _ in 0..30 {
            site.publish("c", "application/json", &large);
        }
        let mut rest = Vec::new();
        while rest.len() < 30 * large.len() {
            rest.extend(stream.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(rest.split_inclusive(|byte| *byte == b'\n').count(), 30);
        drop(stream);
        while site.metric("everwire_sessions") > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(site.metric("everwire_lines"), 0);
    });
}

#[test]
fn a_session_over_a_websocket_over_a_stream_is_like_any_other() {
    run(&Site::start(), async |site| {
        let mut stream = websocket(site, "/connect", Some("everwire.v1")).await;
        assert_eq!(next_message(&mut stream).await["ev"], "welcome");
        for command in [
            json!({"id": 1, "op": "subscribe", "channel": "c"}),
            json!({"id": 2, "op": "publish", "channel": "c", "data": 7}),
        ] {
            let frame = client_frame(0x81, command.to_string().as_bytes());
            stream.write_all(&frame).await.unwrap();
            assert_eq!(next_message(&mut stream).await["re"], command["id"]);
        }
        assert_eq!(next_message(&mut stream).await["data"], 7);
        stream.write_all(&client_frame(0x88, &[])).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"\x88\0");
        site.until("no session is left", |site| {
            site.metric("everwire_sessions") == 0
        });
    });
}

/// Messages wait for their decisions one after the other, beside what is read.
#[test]
fn messages_over_a_stream_are_judged_by_the_application() {
    let judge = |question: &Value| match question["entries"][0]["data"].as_str() {
        Some("no") => json!({"allow": false, "reason": "not that"}),
        Some("rude") => json!({"allow": true, "entries": [{"data": "***"}]}),
        _ => json!({"allow": true}),
    };
    let application = Application::start(judge);
    run(
        &Site::with(|config| application.decides(config)),
        async |site| {
            let mut client = client(site.address).await;
            read(&mut client, site.address, "none").await;
            let request = Request::connect(format!("http://{}/channels/c", site.address))
                .extension(hyper::ext::Protocol::from_static("websocket"))
                .header("sec-websocket-version", "13")
                .body(Empty::new())
                .unwrap();
            let response = client.send_request(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            let mut stream = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
            for text in ["kind", "rude", "no", "late"] {
                stream
                    .write_all(&client_frame(0x81, text.as_bytes()))
                    .await
                    .unwrap();
            }
            let mut told = Vec::new();
            stream.read_to_end(&mut told).await.unwrap();
            let close = told
                .windows(4)
                .rposition(|found| found[0] == 0x88 && found[2..] == 4403_u16.to_be_bytes());
            let (entries, _) = told.split_at(close.expect("4403, refused"));
            assert!(b"\x81\x04kind\x81\x03***".starts_with(entries), "{told:?}");
            let page = read(&mut client, site.address, "c?offset=-1").await;
            let mut page = page.into_body();
            let first = page.frame().await.unwrap().unwrap().into_data().unwrap();
            let text = String::from_utf8(first.to_vec()).unwrap();
            assert!(
                text.contains("kind") && text.contains("***") && !text.contains("late"),
                "{text}"
            );
        },
    );
}

/// Its flow-control window is never opened, so that what it is sent piles up.
#[test]
fn a_session_that_takes_nothing_is_cut_off_its_stream() {
    let site = Site::with(|config| config.limits.write_stall_ms = 50);
    run(&site, async |site| {
        let mut stream = websocket(site, "/connect", Some("everwire.v1")).await;
        assert_eq!(next_message(&mut stream).await["ev"], "welcome");
        let command = json!({"id": 1, "op": "subscribe", "channel": "c"}).to_string();
        let subscribe = client_frame(0x81, command.as_bytes());
        stream.write_all(&subscribe).await.unwrap();
        assert_eq!(next_message(&mut stream).await["re"], 1);
        let large = format!("\"{}\"", "x".repeat(1 << 20));
        while site.metric("everwire_sessions") > 0 {
            site.publish("c", "application/json", &large);
        }
        let pings = client_frame(0x89, &[b'x'; 100]).repeat(100);
        // Either the stream is reset, or its own window stays closed.
        let patience = std::time::Duration::from_millis(500);
        let mut taken = 0;
        while let Ok(Ok(())) = tokio::time::timeout(patience, stream.write_all(&pings)).await {
            taken += 1;
            assert!(taken < 10_000, "it is listened to for ever");
        }
    });
}

/// The next line of a response whose lines come one at a time.
async fn next_line(stream: &mut Response<Incoming>) -> Value {
    let line = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    serde_json::from_slice(&line).unwrap()
}

/// The next message of a WebSocket that is shorter than 64 KiB.
async fn next_message(stream: &mut (impl AsyncReadExt + Unpin)) -> Value {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[0], 0x81);
    let length = match head[1] {
        126 => usize::from(stream.read_u16().await.unwrap()),
        length => usize::from(length),
    };
    let mut text = vec![0; length];
    stream.read_exact(&mut text).await.unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn streams_end_when_the_token_that_opened_them_is_taken_back() {
    run(&Site::with(trust_all_in_dev), async |site| {
        let mut client = client(site.address).await;
        let token = |id: &str| {
            Issuer::shared()
                .token(json!({"jti": id, "channels": [{"match": "c", "can": ["read"]}]}))
        };
        let mut streams = Vec::new();
        for (id, target) in [
            ("a", "/channels/c"),
            ("a", "/channels/c?live=long-poll&offset=-1"),
            ("a", "/connect"),
            ("b", "/channels/c"),
        ] {
            let request = Request::get(format!("http://{}{target}", site.address))
                .header("accept", "application/x-ndjson")
                .header("authorization", format!("Bearer {}", token(id)))
                .body(Empty::<Bytes>::new())
                .unwrap();
            streams.push(tokio::spawn(client.send_request(request)));
        }
        site.until("all are open", |site| site.metric("everwire_lines") == 4);
        let revoked = site.ask(
            "POST /revocations HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n{\"jti\":\"a\"}",
        );
        assert_eq!(revoked.status, 200, "{}", revoked.text());
        site.until("three have ended", |site| {
            site.metric("everwire_lines") == 1
        });
        let stays = streams.pop().unwrap().await.unwrap().unwrap();
        for (stream, status) in streams.into_iter().zip([200, 204, 200]) {
            let response = stream.await.unwrap().unwrap();
            assert_eq!(response.status(), status);
            text(response).await;
        }
        site.say("c", "on");
        let frame = stays.into_body().frame().await.unwrap().unwrap();
        assert!(frame.into_data().unwrap().starts_with(b"{\"offset\":"));
    });
}

/// Tokens of every issuer, on a server where everybody may do everything.
fn trust_all_in_dev(config: &mut Config) {
    trust_all(config);
    config.dev = true;
}

#[test]
fn a_reader_whose_right_a_reload_takes_is_ended() {
    let mut config = Config::default();
    let site = Site::with(|start| {
        start.dev = false;
        start.channels.anonymous = vec![Action::Read];
        config = start.clone();
    });
    run(&site, async |site| {
        let mut client = client(site.address).await;
        let stream = read(&mut client, site.address, "c").await;
        let poll = tokio::spawn({
            let (mut client, address) = (client.clone(), site.address);
            async move {
                read(&mut client, address, "c?live=long-poll&offset=now")
                    .await
                    .status()
            }
        });
        site.until("both are lines", |site| site.metric("everwire_lines") == 2);
        config.limits.lines_max = 7;
        let _ = site.server.reloader().reload(config.clone()).unwrap();
        config.channels.anonymous.clear();
        let _ = site.server.reloader().reload(config.clone()).unwrap();
        assert_eq!(text(stream).await, "", "it ends, without an entry");
        assert_eq!(poll.await.unwrap(), StatusCode::NO_CONTENT);
        let refused = read(&mut client, site.address, "c").await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    });
}
