//! Each reader of a channel sees each entry once, in order, or one explicit gap.

mod common;

use common::{Frame, Site};

const EVENTS: &str = "text/event-stream";
const NDJSON: &str = "application/x-ndjson";

/// What each live wire calls an entry whose payload is this number.
fn number_in(event: &str) -> Option<u64> {
    let data = event
        .lines()
        .find_map(|line| line.strip_prefix("data: "))
        .or_else(|| event.split_once("\"data\":").map(|(_, data)| data))?;
    data.trim_end_matches(['}', '\n']).parse().ok()
}

#[test]
fn every_wire_sees_every_entry_once_and_in_order() {
    let site = Site::start();
    let append = |from: u64, to: u64| {
        let batch: Vec<String> = (from..to).map(|n| n.to_string()).collect();
        site.publish(
            "numbers",
            "application/json",
            format!("[{}]", batch.join(",")),
        );
    };
    append(0, 50);
    let mut raw = site.websocket("numbers", "?offset=-1");
    let mut session = site.connect();
    session.open_websocket(
        "numbers",
        "?offset=-1",
        "Sec-WebSocket-Protocol: everwire.v1\r\n",
    );
    assert!(session.text().contains("\"welcome\""));
    let mut events = site.stream("numbers", "?offset=-1", EVENTS);
    assert!(events.event().starts_with("retry: "));
    let mut ndjson = site.stream("numbers", "?offset=-1", NDJSON);
    for n in 50..120 {
        append(n, n + 1);
    }
    append(120, 400);
    for n in 0..400 {
        assert_eq!(raw.text().parse(), Ok(n));
        assert_eq!(number_in(&session.text()), Some(n));
        assert_eq!(number_in(&events.event()), Some(n));
        assert_eq!(number_in(&ndjson.event()), Some(n));
    }
}

/// Entries that are gone before they could be read are told as one gap, and reading goes on after it.
#[test]
fn a_batch_beyond_what_is_kept_is_one_gap_and_reading_goes_on() {
    let site = Site::with(|config| config.channels.retain_entries = 2);
    let mut session = site.connect();
    session.open_websocket("few", "", "Sec-WebSocket-Protocol: everwire.v1\r\n");
    assert!(session.text().contains("\"welcome\""));
    let mut events = site.stream("few", "", EVENTS);
    assert!(events.event().starts_with("retry: "));
    let mut ndjson = site.stream("few", "", NDJSON);
    for round in 0..3 {
        let first = round * 10;
        // Longer than what comes after, so that positions in what was encoded are never mixed up.
        site.publish("few", "application/json", format!("{first:>500}"));
        site.publish(
            "few",
            "application/json",
            format!(
                "[{},{},{},{},{}]",
                first + 1,
                first + 2,
                first + 3,
                first + 4,
                first + 5
            ),
        );
        site.publish("few", "application/json", (first + 6).to_string());
        for peer in [&mut events, &mut ndjson] {
            assert_eq!(number_in(&peer.event()), Some(first));
            assert!(peer.event().contains("gap"));
            for n in 4..=6 {
                assert_eq!(number_in(&peer.event()), Some(first + n));
            }
        }
        assert_eq!(number_in(&session.text()), Some(first));
        assert!(session.text().contains("\"ev\":\"gap\""));
        for n in 4..=6 {
            assert_eq!(number_in(&session.text()), Some(first + n));
        }
    }
}

/// A raw WebSocket has no words for a gap: it ends with the close code that means one.
#[test]
fn a_gap_ends_a_raw_websocket_and_the_server_goes_on() {
    let site = Site::with(|config| config.channels.retain_entries = 1);
    let mut raw = site.websocket("one", "");
    site.publish("one", "application/json", "[1,2,3]");
    assert_eq!(raw.frame(), Frame::Close(4410));
    let mut next = site.websocket("one", "");
    site.publish("one", "application/json", "4");
    assert_eq!(next.text(), "4");
}

/// Many publishers and readers over two core threads: nobody's wake-up is lost, and all agree on one order.
#[test]
fn all_readers_on_all_threads_agree_with_the_log() {
    const PUBLISHERS: usize = 4;
    const EACH: usize = 250;
    let site = Site::with(|config| config.threads = 2);
    let mut raw: Vec<_> = (0..12).map(|_| site.websocket("c", "")).collect();
    let mut events: Vec<_> = (0..12).map(|_| site.stream("c", "", EVENTS)).collect();
    for peer in &mut events {
        assert!(peer.event().starts_with("retry: "));
    }
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let mut peer = site.connect();
            std::thread::spawn(move || {
                for n in 0..EACH {
                    let body = (publisher * EACH + n).to_string();
                    assert_eq!(
                        peer.append("c", "application/json", body.as_bytes()).status,
                        204
                    );
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.join().unwrap();
    }
    let log = site.ask("GET /channels/c HTTP/1.1\r\nHost: x\r\n\r\n");
    let log: Vec<u64> = log
        .text()
        .trim_matches(['[', ']'])
        .split(',')
        .map(|n| n.parse().unwrap())
        .collect();
    assert_eq!(log.len(), PUBLISHERS * EACH);
    for n in &log {
        for peer in &mut raw {
            assert_eq!(peer.text().parse(), Ok(*n));
        }
        for peer in &mut events {
            assert_eq!(number_in(&peer.event()), Some(*n));
        }
    }
}

/// A reader that comes back with the offset that it saw last, over another wire each time.
#[test]
fn a_reader_may_change_its_wire_after_any_entry() {
    let site = Site::start();
    let batch: Vec<String> = (0..60).map(|n| n.to_string()).collect();
    site.publish("c", "application/json", format!("[{}]", batch.join(",")));
    let mut offset = "-1".to_owned();
    for n in 0..60 {
        let query = format!("?offset={offset}");
        let after = |text: &str, mark: &str| text.split_once(mark).unwrap().1[..26].to_owned();
        let (number, next) = match n % 4 {
            0 => {
                let mut peer = site.stream("c", &query, EVENTS);
                assert!(peer.event().starts_with("retry: "));
                let event = peer.event();
                (number_in(&event), after(&event, "id: "))
            }
            1 => {
                let line = site.stream("c", &query, NDJSON).event();
                (number_in(&line), after(&line, "\"offset\":\""))
            }
            2 => {
                let mut peer = site.connect();
                let fields = "Sec-WebSocket-Protocol: everwire.v1\r\n";
                peer.open_websocket("c", &query, fields);
                assert!(peer.text().contains("\"ev\":\"welcome\""));
                let message = peer.text();
                (number_in(&message), after(&message, "\"offset\":\""))
            }
            _ => {
                let mut peer = site.connect();
                peer.open_stream("c", &format!("{query}&live=sse"), "*/*");
                let data = peer.event();
                let number = data.split_once("data:[").unwrap().1;
                let number = number.split_once(']').unwrap().0.parse().ok();
                (number, after(&peer.event(), "streamNextOffset\":\""))
            }
        };
        assert_eq!(number, Some(n));
        offset = next;
    }
}

/// Deleting ends every wire in its own words, and a channel of the same name is another one.
#[test]
fn a_deleted_channel_ends_its_readers() {
    let site = Site::start();
    for _ in 0..3 {
        let mut raw = site.websocket("c", "");
        let mut ndjson = site.stream("c", "", NDJSON);
        let mut durable = site.connect();
        durable.open_stream("c", "?live=sse&offset=now", "*/*");
        assert!(durable.event().contains("\"upToDate\":true"));
        site.say("c", "last");
        let deleted = site.ask("DELETE /channels/c HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(deleted.status, 204);
        assert_eq!(raw.text(), "last");
        assert_eq!(raw.frame(), Frame::Close(1000));
        assert!(ndjson.event().ends_with("\"data\":\"last\"}\n"));
        assert_eq!(ndjson.event(), "{\"closed\":true}\n");
        assert_eq!(ndjson.chunk(), b"");
        assert_eq!(durable.event(), "event: data\ndata:last\n\n");
        assert!(durable.event().starts_with("event: control\n"));
        assert!(durable.event().contains("\"streamClosed\":true"));
        assert_eq!(durable.chunk(), b"");
        for mut peer in [raw, ndjson, durable] {
            assert_eq!(peer.rest(), b"");
        }
    }
    site.until("no line is left", |site| site.metric("everwire_lines") == 0);
}

/// No reader may meet text that is none: it is refused where it comes in.
#[test]
fn what_is_no_text_does_not_get_into_a_text_channel() {
    let site = Site::start();
    site.say("c", "hello");
    let mut ndjson = site.stream("c", "", NDJSON);
    assert_eq!(
        site.connect().append("c", "text/plain", b"\xff").status,
        400
    );
    let mut raw = site.websocket("c", "");
    raw.send(common::client_frame(0x2, b"\xff"));
    assert!(matches!(raw.frame(), Frame::Close(1003 | 1007 | 4400)));
    let put = site.ask(
        "PUT /channels/d HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n\u{1}",
    );
    assert_eq!(put.status, 201, "a control character is text");
    site.say("c", "still here");
    assert!(ndjson.event().ends_with("\"data\":\"still here\"}\n"));
}

/// A page sees no comments: by a parameter it is told that its stream is alive, which moves no id.
#[test]
fn a_page_sees_heartbeats_where_it_asks_for_them() {
    let site = Site::with(|config| config.http.heartbeat_ms = 50);
    site.say("c", "hello");
    let mut stream = site.stream("c", "?offset=-1&heartbeat=event", "text/event-stream");
    assert_eq!(stream.event(), "retry: 2000\n");
    assert!(stream.event().starts_with("id: "));
    assert_eq!(stream.event(), "event: heartbeat\ndata: {}\n\n");
    let refused = site.ask(
        "GET /channels/c?heartbeat=loud HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n",
    );
    assert_eq!(refused.status, 400);
    let taken = site.ask(
        "POST /channels/c HTTP/1.1\r\nHost: x\r\nEverwire-Event: heartbeat\r\nContent-Length: 1\r\n\r\nx",
    );
    assert_eq!(taken.status, 400, "nobody else says it");
}
