//! A reader that takes its time costs others nothing, and loses nothing itself.

mod common;

use common::{Frame, Site, client_frame};

/// More lines than one slice of the walk has sends, so that entries come in the middle of a round.
#[test]
fn a_line_that_stops_reading_among_many_harms_nobody() {
    let site = Site::start();
    let mut slow: Vec<_> = (0..5).map(|_| site.connect_narrow()).collect();
    let mut readers = Vec::new();
    for index in 0..80 {
        if index % 16 == 15 {
            slow[index / 16].open_websocket("crowd", "", "");
        } else {
            readers.push(site.websocket("crowd", ""));
        }
    }
    const ROUNDS: usize = 400;
    let mut publisher = site.connect();
    let body = |n: usize| format!("{n:016}{}", "x".repeat(16 * 1024));
    let reading = std::thread::spawn(move || {
        for n in 0..ROUNDS {
            for reader in &mut readers {
                assert!(reader.text().starts_with(&format!("{n:016}")));
            }
        }
    });
    for n in 0..ROUNDS {
        publisher.send_append("crowd", "text/plain", body(n).as_bytes());
    }
    for _ in 0..ROUNDS {
        assert_eq!(publisher.response().status, 204);
    }
    reading.join().unwrap();
    for peer in &mut slow {
        for n in 0..ROUNDS {
            assert_eq!(peer.text(), body(n));
        }
    }
}

/// Each framing, with entries that are kept whole, in part, and not at all while their reader is blocked.
#[test]
fn a_reader_that_pauses_gets_everything_in_order() {
    let site = Site::start();
    let text = |n: usize| {
        let size = [10, 5 * 1024, 100 * 1024, 1024 * 1024][n % 4];
        format!("{n:08}{}", "abcdefgh".repeat(size / 8))
    };
    const ENTRIES: usize = 24;
    let mut raw = site.connect_narrow();
    raw.open_websocket("c", "", "");
    let mut session = site.connect_narrow();
    session.open_websocket("c", "", "Sec-WebSocket-Protocol: everwire.v1\r\n");
    assert!(session.text().contains("welcome"));
    let mut events = site.connect_narrow();
    events.open_stream("c", "", "text/event-stream");
    let mut ndjson = site.connect_narrow();
    ndjson.open_stream("c", "", "application/x-ndjson");
    let mut durable = site.connect_narrow();
    durable.open_stream("c", "?live=sse&offset=now", "*/*");
    for n in 0..ENTRIES {
        site.say("c", &text(n));
    }
    assert!(
        site.metric("everwire_lines_behind_total") >= 5,
        "all are blocked"
    );
    // What is asked while a line is inside an entry is answered after that entry.
    raw.send(client_frame(0x9, b"still there?"));
    let readers = [
        std::thread::spawn(move || {
            let mut pongs = 0;
            for n in 0..ENTRIES {
                let mut frame = raw.frame();
                if frame == Frame::Pong(b"still there?".to_vec()) {
                    pongs += 1;
                    frame = raw.frame();
                }
                assert!(frame == Frame::Text(text(n)), "entry {n}");
            }
            if pongs == 0 {
                assert_eq!(raw.frame(), Frame::Pong(b"still there?".to_vec()));
            }
        }),
        std::thread::spawn(move || {
            for n in 0..ENTRIES {
                let message = session.text();
                assert!(
                    message.ends_with(&format!("\"data\":\"{}\"}}", text(n))),
                    "entry {n}"
                );
            }
        }),
        std::thread::spawn(move || {
            assert!(events.event().starts_with("retry: "));
            for n in 0..ENTRIES {
                let event = events.event();
                assert!(
                    event.ends_with(&format!("\ndata: {}\n\n", text(n))),
                    "entry {n}"
                );
            }
        }),
        std::thread::spawn(move || {
            for n in 0..ENTRIES {
                let line = ndjson.event();
                assert!(
                    line.ends_with(&format!("\"data\":\"{}\"}}\n", text(n))),
                    "entry {n}"
                );
            }
        }),
        std::thread::spawn(move || {
            assert!(durable.event().contains("\"upToDate\":true"));
            for n in 0..ENTRIES {
                let event = durable.event();
                assert!(
                    event == format!("event: data\ndata:{}\n\n", text(n)),
                    "entry {n}"
                );
                let control = durable.event();
                assert!(control.starts_with("event: control\ndata:{\"streamNextOffset\":"));
                assert!(n + 1 < ENTRIES || control.contains("upToDate"), "{control}");
            }
        }),
    ];
    for reader in readers {
        reader.join().unwrap();
    }
}

/// A compressed entry is compressed to the same bytes each time it is encoded.
#[test]
fn a_compressed_entry_goes_on_where_it_was_blocked() {
    let site = Site::start();
    let mut reader = site.connect_narrow();
    let head = reader.open_websocket("c", "", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    assert!(head.contains("permessage-deflate"), "{head}");
    // Digits of a generator, which compress to about half.
    let mut state = 1u64;
    let mut text = || -> String {
        (0..1_500_000)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                char::from(b'0' + (state >> 33) as u8 % 10)
            })
            .collect()
    };
    let texts: Vec<String> = (0..5).map(|_| text()).collect();
    for text in &texts {
        site.say("c", text);
    }
    assert!(
        site.metric("everwire_lines_behind_total") >= 1,
        "it is blocked"
    );
    let mut twin = site.connect();
    twin.open_websocket(
        "c",
        "?offset=-1",
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    );
    for text in &texts {
        let (head, payload) = reader.raw_frame();
        assert_eq!(head, 0xc1, "a compressed text");
        assert_ne!(payload.len(), text.len());
        assert!(
            (head, payload) == twin.raw_frame(),
            "the same bytes as without a pause"
        );
    }
}

/// Publishes so many numbered entries of a size on one connection.
fn publish_many(site: &Site, entries: usize, size: usize) {
    let mut publisher = site.connect();
    let sending = "x".repeat(size);
    for batch in (0..entries).collect::<Vec<_>>().chunks(50) {
        for n in batch {
            publisher.send_append("c", "text/plain", format!("{n:08}{sending}").as_bytes());
        }
        for _ in batch {
            assert_eq!(publisher.response().status, 204);
        }
    }
}

/// The number of an entry told by ndjson, and its offset.
fn entry(line: &str) -> (usize, &str) {
    let (_, data) = line.split_once("\"data\":\"").unwrap();
    let (_, offset) = line.split_once("\"offset\":\"").unwrap();
    (data[..8].parse().unwrap(), &offset[..26])
}

/// Retention goes on without a reader that is too slow for it: it is told where it missed something.
#[test]
fn a_reader_too_slow_for_retention_is_told_of_each_gap() {
    let site = Site::with(|config| config.channels.retain_entries = 8);
    let mut slow = site.connect_narrow();
    slow.open_stream("c", "", "application/x-ndjson");
    const ENTRIES: usize = 3_000;
    publish_many(&site, ENTRIES, 3 * 1024);
    let (mut next, mut gaps) = (0, 0);
    while next < ENTRIES {
        let line = slow.event();
        if line.starts_with("{\"gap\":") {
            gaps += 1;
            let (n, _) = entry(&slow.event());
            assert!(n > next, "a gap is told where there is one");
            next = n + 1;
        } else {
            assert_eq!(entry(&line).0, next);
            next += 1;
        }
    }
    assert!(gaps > 0);
}

/// However large: an entry that a line is inside of is finished before the gap is told.
#[test]
fn a_reader_inside_an_entry_that_is_gone_gets_the_rest_of_it() {
    let site = Site::with(|config| config.channels.retain_entries = 8);
    let mut slow = site.connect_narrow();
    slow.open_stream("c", "", "application/x-ndjson");
    const ENTRIES: usize = 100;
    publish_many(&site, ENTRIES, 200 * 1024);
    let mut next = 0;
    while next < ENTRIES {
        let mut line = slow.event();
        if line.starts_with("{\"gap\":") {
            line = slow.event();
            assert!(entry(&line).0 > next);
        } else {
            assert_eq!(entry(&line).0, next);
        }
        assert!(line.len() > 200 * 1024);
        next = entry(&line).0 + 1;
    }
}
