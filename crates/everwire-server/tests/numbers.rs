//! Each number of the configuration at its ends: nothing panics, whatever a setting says that is taken.

mod common;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use everwire_server::{Config, Server, config::settings};

/// Panics of all threads so far.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A configuration with one number set, and what stands beside it; nothing if that is refused.
fn with(path: &str, value: i64) -> Option<Config> {
    let beside = "[[tokens.jwks]]\nurl = \"http://127.0.0.1:1/\"\n";
    let mut table: toml::Table = beside.parse().unwrap();
    set(
        &mut table,
        "channels.anonymous",
        ["read", "publish", "presence"]
            .map(toml::Value::from)
            .to_vec()
            .into(),
    );
    set(&mut table, "listen", "127.0.0.1:0".into());
    set(&mut table, "threads", 1.into());
    set(&mut table, "stop.drain_ms", 100.into());
    set(&mut table, path, value.into());
    Config::from_table(table).ok()
}

fn set(table: &mut toml::Table, path: &str, value: toml::Value) {
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), value)),
        Some((section, rest)) => {
            let inner = table
                .entry(section)
                .or_insert_with(|| toml::Table::new().into());
            set(inner.as_table_mut().unwrap(), rest, value);
        }
    }
}

/// The largest number that is taken.
fn largest(path: &str) -> Option<i64> {
    if with(path, i64::MAX).is_some() {
        return Some(i64::MAX);
    }
    let mut taken = (0..62)
        .map(|bit| 1_i64 << bit)
        .rfind(|value| with(path, *value).is_some())?;
    let mut step = taken;
    while step > 0 {
        if with(path, taken + step).is_some() {
            taken += step;
        }
        step /= 2;
    }
    Some(taken)
}

/// A request on each wire. What is answered depends on the limits that are set, and is not looked at.
fn ask_on_each_wire(address: SocketAddr) {
    let websocket = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (line, fields, content) in [
        ("POST /channels/a", "Content-Type: text/plain\r\n", "hello"),
        ("GET /channels/a", "", ""),
        (
            "GET /channels/a?live=long-poll&offset=now",
            "Prefer: wait=1\r\n",
            "",
        ),
        ("GET /channels/a", "Accept: text/event-stream\r\n", ""),
        ("GET /channels/a?live=ndjson", "", ""),
        ("GET /channels/a", websocket, ""),
        ("GET /connect", websocket, ""),
        ("GET /connect", "Accept: application/json\r\n", ""),
        (
            "GET /channels/b",
            "Authorization: Bearer eyJhbGciOiJFZERTQSIsImtpZCI6ImsifQ.e30.AAAA\r\n",
            "",
        ),
    ] {
        let Ok(mut peer) = TcpStream::connect(address) else {
            continue;
        };
        peer.set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let length = content.len();
        let head = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{fields}\r\n{content}"
        );
        let _ = peer.write_all(head.as_bytes());
        let _ = peer.read(&mut [0; 4096]);
    }
    if let Ok(mut peer) = TcpStream::connect(address) {
        peer.set_read_timeout(Some(Duration::from_millis(5)))
            .unwrap();
        let _ = peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        // GET /channels/a, all fields as literals or from the static table.
        let fields = b"\x82\x86\x04\x0b/channels/a\x01\x01x";
        let mut frame = vec![0, 0, fields.len() as u8, 1, 5, 0, 0, 0, 1];
        frame.extend(fields);
        let _ = peer.write_all(&frame);
        let _ = peer.read(&mut [0; 4096]);
    }
}

#[test]
fn no_number_that_is_taken_has_the_server_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(panic);
    }));
    let mut tried = 0;
    for setting in settings() {
        let path = setting.path.as_str();
        let is_number = with(path, 7).is_some() || with(path, 70_000).is_some();
        // Where to listen and how many threads are this test's own.
        if !is_number || ["threads", "listen"].contains(&path) {
            continue;
        }
        let values = [Some(0), Some(1), largest(path)];
        for value in values.into_iter().flatten() {
            let Some(config) = with(path, value) else {
                continue;
            };
            let server =
                Server::start(config).unwrap_or_else(|error| panic!("{path} = {value}: {error}"));
            ask_on_each_wire(server.address());
            server.abandon();
            assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{path} = {value}");
            tried += 1;
        }
    }
    assert!(tried > 150, "{tried}");
}

#[test]
fn times_that_are_none_are_refused_with_their_setting() {
    for path in [
        "tokens.jwks_stale_s_max",
        "tokens.jwks_refresh_s",
        "tokens.jwks_fetch_ms",
        "http.idle_ms",
        "channels.retain_ms",
    ] {
        assert!(with(path, i64::MAX).is_none(), "{path}");
        let error = Config::from_toml(&format!("{path} = {}", i64::MAX))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(path) && error.contains("a century"),
            "{error}"
        );
    }
    let rule = format!("[[rules]]\nmatch = \"a\"\nretain_ms = {}\n", i64::MAX);
    let error = Config::from_toml(&rule).unwrap_err().to_string();
    assert!(error.contains("rules[0].retain_ms"), "{error}");
}
