//! The client against endpoints that say what a test tells them to.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::mpsc::{self, Sender},
    thread,
};

use super::*;
use crate::payload::Payloads;

const READERS: usize = 3;

/// Accepts as many readers as a test has, answers each request with `head`, then writes to each
/// what it is given, in two parts; ends when the sender is dropped.
fn endpoint(head: &'static str) -> (SocketAddr, Sender<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    thread::spawn(move || {
        let mut readers: Vec<TcpStream> =
            (0..READERS).map(|_| listener.accept().unwrap().0).collect();
        for reader in &mut readers {
            reader.set_nodelay(true).unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                reader.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            reader.write_all(head.as_bytes()).unwrap();
        }
        for bytes in receiver {
            let (first, second) = bytes.split_at(bytes.len() / 2);
            for part in [first, second] {
                for reader in &mut readers {
                    // A client that found a mistake has gone away; what it says is tested.
                    let _ = reader.write_all(part);
                }
            }
        }
    });
    (address, sender)
}

/// Opens the readers, publishes four entries and lets the endpoint send those `delivered` to each.
fn run(
    wire: Wire,
    head: &'static str,
    encode: impl Fn(&str) -> Vec<u8>,
    delivered: &[usize],
) -> Result<Ledger> {
    let (address, say) = endpoint(head);
    let mut client = Client::new(address, Interrupt::default())?;
    let mut ledger = Ledger::new(Payloads::new(32), 1);
    client.open_readers(wire, "a", READERS, &mut ledger, |_| {})?;
    let payloads: Vec<String> = (0..4)
        .map(|_| {
            let mut payload = Vec::new();
            ledger.publish(0, &mut payload);
            String::from_utf8(payload).unwrap()
        })
        .collect();
    say.send(
        delivered
            .iter()
            .flat_map(|entry| encode(&payloads[*entry]))
            .collect(),
    )?;
    while !ledger.is_drained() {
        client.turn(&mut ledger)?;
    }
    Ok(ledger)
}

/// How a wire frames a payload.
type Encode = fn(&str) -> Vec<u8>;

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

fn event(payload: &str) -> Vec<u8> {
    chunk(&format!("id: 0hx\ndata: {payload}\n\n"))
}

fn object(payload: &str) -> Vec<u8> {
    chunk(&format!(
        "{{\"offset\":\"0hx\",\"time\":1,\"data\":\"{payload}\"}}\n"
    ))
}

fn frame(payload: &str) -> Vec<u8> {
    [&[0x81, payload.len() as u8], payload.as_bytes()].concat()
}

fn chunk(content: &str) -> Vec<u8> {
    format!("{:x}\r\n{content}\r\n", content.len()).into_bytes()
}

#[test]
fn every_live_wire_is_read_until_each_reader_has_each_entry() {
    let wires: [(Wire, &str, Encode); 3] = [
        (Wire::WebSocket, SWITCHING, frame),
        (Wire::EventStream, CHUNKED, event),
        (Wire::Ndjson, CHUNKED, object),
    ];
    for (wire, head, encode) in wires {
        let ledger = run(wire, head, encode, &[0, 1, 2, 3]).unwrap();
        assert_eq!(ledger.deliveries(), 4 * READERS as u64, "{wire:?}");
    }
}

#[test]
fn a_parked_poll_gets_its_entries_with_its_head() {
    let (address, say) = endpoint("");
    let mut client = Client::new(address, Interrupt::default()).unwrap();
    let mut ledger = Ledger::new(Payloads::new(32), 1);
    client
        .open_readers(Wire::LongPoll, "a", READERS, &mut ledger, |_| {})
        .unwrap();
    let mut content = Vec::new();
    ledger.publish(0, &mut content);
    ledger.publish(0, &mut content);
    let head = format!(
        "HTTP/1.1 200 OK\r\nstream-next-offset: 1k7\r\nContent-Length: {}\r\n\r\n",
        content.len()
    );
    say.send([head.as_bytes(), &content].concat()).unwrap();
    let mut polls_answered = 0;
    while polls_answered < READERS {
        polls_answered += client.turn(&mut ledger).unwrap().polls_answered;
    }
    assert!(ledger.is_drained());
}

#[test]
fn a_wrong_delivery_ends_the_run() {
    let cases: [(&[usize], &str); 3] = [
        (&[0, 2], "saw entry 2 of source 0 where number 1 comes next"),
        (&[0, 1, 0], "saw entry 0 of source 0 again"),
        (
            &[0, 1, 3, 2],
            "saw entry 3 of source 0 where number 2 comes next",
        ),
    ];
    for (delivered, expected) in cases {
        for (wire, head, encode) in [
            (Wire::WebSocket, SWITCHING, frame as Encode),
            (Wire::EventStream, CHUNKED, event),
        ] {
            let error = format!("{:#}", run(wire, head, encode, delivered).err().unwrap());
            assert!(error.contains(expected), "{wire:?} {delivered:?}: {error}");
        }
    }
}

#[test]
fn a_refused_or_closed_line_ends_the_run() {
    let refusal = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfull";
    let error = format!(
        "{:#}",
        run(Wire::WebSocket, refusal, frame, &[0]).err().unwrap()
    );
    assert!(
        error.contains("needs status 101") && error.contains("503"),
        "{error}"
    );

    let close = |_: &str| b"\x88\x06\x03\xf5slow".to_vec();
    let error = format!(
        "{:#}",
        run(Wire::WebSocket, SWITCHING, close, &[0]).err().unwrap()
    );
    assert!(error.contains("code 1013 \"slow\""), "{error}");

    let (address, say) = endpoint(CHUNKED);
    let mut client = Client::new(address, Interrupt::default()).unwrap();
    let mut ledger = Ledger::new(Payloads::new(32), 1);
    client
        .open_readers(Wire::Ndjson, "a", READERS, &mut ledger, |_| {})
        .unwrap();
    drop(say);
    let error = loop {
        if let Err(error) = client.turn(&mut ledger) {
            break format!("{error:#}");
        }
    };
    assert!(error.contains("the server closed a ndjson line"), "{error}");
}

#[test]
fn pings_are_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::new(listener.local_addr().unwrap(), Interrupt::default()).unwrap();
    let mut ledger = Ledger::new(Payloads::new(32), 1);
    let answer = thread::spawn(move || {
        let mut reader = listener.accept().unwrap().0;
        let request = reader.read(&mut [0; 1024]).unwrap();
        assert!(request > 0);
        reader
            .write_all(&[SWITCHING.as_bytes(), b"\x89\x02hi"].concat())
            .unwrap();
        let mut pong = [0; 8];
        reader.read_exact(&mut pong).unwrap();
        pong
    });
    client
        .open_readers(Wire::WebSocket, "a", 1, &mut ledger, |_| {})
        .unwrap();
    while !answer.is_finished() {
        client.rest(Duration::from_millis(1), &mut ledger).ok();
    }
    assert_eq!(&answer.join().unwrap(), b"\x8a\x82\0\0\0\0hi");
}

#[test]
fn an_answered_poll_asks_for_what_follows() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = Client::new(address, Interrupt::default()).unwrap();
    let mut ledger = Ledger::new(Payloads::new(32), 1);
    client
        .open_readers(Wire::LongPoll, "a", 1, &mut ledger, |_| {})
        .unwrap();
    let mut poller = listener.accept().unwrap().0;
    for (asked, next) in [("now", "1k7"), ("1k7", "1k8"), ("1k8", "1k9")] {
        let mut content = Vec::new();
        ledger.publish(0, &mut content);
        let expected = crate::wire::poll_request(address, "a", asked);
        let mut request = vec![0; expected.len()];
        poller.read_exact(&mut request).unwrap();
        assert_eq!(
            String::from_utf8_lossy(&request),
            String::from_utf8_lossy(&expected)
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\nstream-next-offset: {next}\r\nContent-Length: {}\r\n\r\n",
            content.len()
        );
        poller
            .write_all(&[head.as_bytes(), &content].concat())
            .unwrap();
        while !ledger.is_drained() {
            client.turn(&mut ledger).unwrap();
        }
    }
}

#[test]
fn no_source_serves_two_connections_at_once() {
    let sources = (0..Client::LINES_MAX).map(|n| source(40_000, n));
    let different: std::collections::HashSet<_> = sources.collect();
    assert_eq!(different.len(), Client::LINES_MAX);
}

/// A session that reads channels 0 and 1, after `told`, and what became of its line.
fn session(told: &[&str]) -> Result<(Ledger, usize)> {
    let (address, say) = endpoint(SWITCHING);
    let mut client = Client::new(address, Interrupt::default())?;
    let mut ledger = Ledger::of_channels(Payloads::new(16), &[1, 1]);
    ledger.keep_offsets();
    for _ in 0..READERS {
        let readers = ledger.join(0)..ledger.join(1) + 1;
        let subscription = Subscription::session(address, Vec::new(), 2);
        client.open(readers, Arc::new(subscription), &ledger)?;
    }
    for source in [0, 1] {
        ledger.publish(source, &mut Vec::new());
    }
    say.send(told.iter().flat_map(|message| frame(message)).collect())?;
    let mut opened = 0;
    while opened < READERS || !ledger.is_drained() {
        opened += client.turn(&mut ledger)?.opened;
    }
    Ok((ledger, opened))
}

const WELCOME: &str = r#"{"ev":"welcome","session":"1","heartbeat_ms":1}"#;
const DONE: &str = r#"{"re":0,"ok":{"offset":"a","recovered":true}}"#;
const FIRST: &str =
    r#"{"ev":"entry","channel":"bench/0","offset":"b","time":1,"data":"0000:0000000000:"}"#;
const SECOND: &str =
    r#"{"ev":"entry","channel":"bench/1","offset":"c","time":1,"data":"0001:0000000000:"}"#;

/// What a subscription lets begin may come before the reply to the next one.
#[test]
fn a_session_is_open_when_all_commands_have_succeeded() {
    let (ledger, opened) = session(&[WELCOME, DONE, FIRST, DONE, SECOND]).unwrap();
    assert_eq!(opened, READERS);
    assert_eq!(ledger.deliveries(), 2 * READERS as u64);
    assert_eq!(ledger.place(0), (0, Some("b")));
    assert_eq!(ledger.place(1), (1, Some("c")));
}

#[test]
fn a_session_that_is_told_something_wrong_ends_the_run() {
    let gap = r#"{"ev":"gap","channel":"bench/0"}"#;
    let refused = r#"{"re":0,"error":{"type":"forbidden"}}"#;
    let astray =
        r#"{"ev":"entry","channel":"bench/1","offset":"b","time":1,"data":"0000:0000000000:"}"#;
    let unasked =
        r#"{"ev":"entry","channel":"bench/7","offset":"b","time":1,"data":"0000:0000000000:"}"#;
    let cases: [(&[&str], &str); 5] = [
        (&[WELCOME, DONE, refused], "told a session a refusal"),
        (&[WELCOME, DONE, DONE, gap], "does not bring about"),
        (
            &[WELCOME, DONE, DONE, FIRST, FIRST],
            "saw entry 0 of source 0 again",
        ),
        (
            &[WELCOME, DONE, DONE, astray],
            "published to another channel",
        ),
        (&[WELCOME, DONE, DONE, unasked], "which it does not read"),
    ];
    for (told, expected) in cases {
        let error = format!("{:#}", session(told).err().unwrap());
        assert!(error.contains(expected), "{told:?}: {error}");
    }
}
