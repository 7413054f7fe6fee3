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
