//! Lines that come and go.

use std::os::fd::OwnedFd;

use super::*;
use crate::auth::{Known, Proof, Who};

/// A reader starts after all that was published, and the tail, which takes a megabyte at a time, is not there yet.
#[test]
fn a_line_ahead_of_the_tail_is_not_sent_what_is_before_it() {
    let mut bench = Bench::new();
    let _first = bench.reader("c", RAW, 0);
    bench.append("c", &vec![vec![b'x'; 700_000]; 4]);
    let mut late = bench.reader("c", RAW, 4);
    bench.append("c", &[b"hello".to_vec()]);
    assert_eq!(bench.read(&mut late, 7), b"\x81\x05hello");
}

#[test]
fn a_socket_that_cannot_be_watched_leaves_no_trace() {
    let mut bench = Bench::new();
    // The event queue refuses files.
    let file = std::fs::File::open("Cargo.toml").unwrap();
    let refused = bench.join(
        OwnedFd::from(file).into(),
        Wire::Echo { deflate: None },
        b"",
    );
    assert!(refused.is_err());
    assert_eq!((bench.shard.len(), bench.shared.census.lines()), (0, 0));
}

/// Edge-triggered readiness tells of data and of the end after it at once, and only once.
#[test]
fn an_end_that_comes_together_with_data_is_seen() {
    let mut bench = Bench::new();
    let mut peer = bench.reader("c", RAW, 0);
    bench.settle();
    peer.write_all(b"\x8a\x80\0\0\0\0").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    bench.settle();
    assert_eq!((bench.shard.len(), bench.shared.census.lines()), (0, 0));
}

/// The number of a line is given to the next, before the first one's timer has fired.
#[test]
fn a_timer_of_a_line_that_is_gone_does_not_end_the_next_of_its_number() {
    let mut bench = Bench::new();
    let (ours, short) = bench.pair();
    let mut entries = bench.entries("c", DURABLE, 0);
    entries.lifetime_ms = Some(30_000);
    bench.join(ours, Wire::Entries(entries), b"").unwrap();
    drop(short);
    bench.settle();
    let _long = bench.reader("c", DURABLE, 0);
    assert_eq!(bench.shard.lines.len(), 1, "the number is used again");
    // One that ends is closed some seconds later.
    for seconds in [31, 5] {
        bench.pass(Duration::from_secs(seconds));
        bench.settle();
    }
    assert_eq!(bench.shard.len(), 1);
}

/// A message is refused, and a Close frame comes in the same bytes.
#[test]
fn a_line_that_is_refused_and_closes_at_once_is_sent_one_close_frame() {
    let mut bench = Bench::new();
    let (ours, mut peer) = bench.pair();
    let mut entries = bench.entries("c", RAW, 0);
    entries.publish = Publishing::Never;
    bench.join(ours, Wire::Entries(entries), b"").unwrap();
    peer.write_all(b"\x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8")
        .unwrap();
    let told = bench.read(&mut peer, usize::from(u16::MAX));
    assert_eq!(
        told[..4],
        [0x88, told[1], 0x11, 0x33],
        "4403, not permitted"
    );
    assert_eq!(told.len(), 2 + usize::from(told[1]), "nothing follows it");
}

/// A line that has both more to send and more to read than its share waits for its turn once, not twice.
#[test]
fn a_busy_line_waits_for_its_turn_once() {
    let mut bench = Bench::new();
    let (ours, mut peer) = bench.pair();
    bench.join(ours, Wire::Echo { deflate: None }, b"").unwrap();
    for _ in 0..50 {
        bench.shard.ask_again(LineKey::at(0));
        bench.shard.ask_again(LineKey::at(0));
    }
    assert_eq!(bench.shard.again.len(), 1);
    bench.settle();
    peer.write_all(b"\x81\x82\0\0\0\0hi").unwrap();
    assert_eq!(bench.read(&mut peer, 4), b"\x81\x02hi");
}

/// Whoever becomes a line after the order to stop is told to go like all others.
#[test]
fn a_line_that_joins_while_the_shard_drains_is_told_too() {
    let mut bench = Bench::new();
    bench.shard.mailbox.post(Mail::Drain);
    bench.settle();
    let mut peer = bench.reader("c", RAW, 0);
    let told = bench.read(&mut peer, usize::from(u16::MAX));
    assert_eq!(told[..4], [0x88, told[1], 0x03, 0xe9], "1001, going away");
    drop(peer);
    bench.settle();
    assert_eq!((bench.shard.len(), bench.shared.census.lines()), (0, 0));
}

#[test]
fn the_last_reader_takes_feed_and_channel_with_it() {
    let mut bench = Bench::new();
    let peers = [
        bench.reader("c", RAW, 0),
        bench.reader("c", DURABLE, 0),
        bench.reader("c", RAW, 0),
    ];
    bench.settle();
    assert_eq!((bench.shard.feeds.len(), bench.shard.locals.len()), (2, 1));
    assert!(bench.channel("c").lock().is_watched());
    drop(peers);
    bench.settle();
    assert_eq!((bench.shard.feeds.len(), bench.shard.locals.len()), (0, 0));
    assert!(bench.shard.local_by_channel.is_empty());
    assert!(!bench.channel("c").lock().is_watched());
}

/// When the credential of a line ends: in so many seconds of the bench's clock.
const ENDS_S: u64 = 20;

fn ending(bench: &Bench, framing: Framing) -> Entries {
    let mut entries = bench.entries("c", framing, 0);
    entries.caller = caller_until(Some(bench.now.unix_ms + ENDS_S * 1000));
    entries
}

#[test]
fn a_line_ends_with_the_credential_that_opened_it() {
    let ndjson = Framing::Ndjson(Transfer::Chunked);
    for (framing, publisher, goodbye) in [
        (RAW, None, &b"\x88"[..]),
        (RAW, Some("me"), b"\x88"),
        (ndjson, None, b"0\r\n\r\n"),
        (ndjson, Some("me"), b"0\r\n\r\n"),
    ] {
        let mut bench = Bench::new();
        let mut entries = ending(&bench, framing);
        entries.publisher = publisher.map(|id| PublisherId::new(id).unwrap());
        let (ours, mut peer) = bench.pair();
        bench.join(ours, Wire::Entries(entries), b"").unwrap();
        bench.settle();
        bench.pass(Duration::from_secs(ENDS_S - 1));
        bench.append("c", &[b"in time".to_vec()]);
        bench.settle();
        bench.pass(Duration::from_secs(2));
        bench.settle();
        bench.append("c", &[b"too late".to_vec()]);
        let told = bench.read(&mut peer, usize::from(u16::MAX));
        let text = String::from_utf8_lossy(&told);
        assert!(
            text.contains("in time") && !text.contains("too late"),
            "{framing:?}: {text}"
        );
        let at = told
            .windows(goodbye.len())
            .rposition(|found| found == goodbye)
            .unwrap();
        if framing == RAW {
            assert_eq!(told[at + 2..at + 4], 4401u16.to_be_bytes(), "{text}");
        } else {
            assert_eq!(at + goodbye.len(), told.len(), "{text}");
        }
        drop(peer);
        bench.settle();
        assert_eq!(
            (bench.shard.len(), bench.shared.census.lines()),
            (0, 0),
            "{framing:?}"
        );
    }
}

/// Its reader takes nothing while the time goes by, and then all at once.
#[test]
fn a_slow_line_ends_after_the_entry_that_it_was_inside_of() {
    let mut bench = Bench::new();
    let (ours, mut peer) = bench.pair();
    let entries = ending(&bench, RAW);
    bench.join(ours, Wire::Entries(entries), b"").unwrap();
    bench.pass(Duration::from_secs(ENDS_S - 2));
    bench.settle();
    bench.append("c", &[vec![b'a'; 500_000], b"bbb".to_vec()]);
    bench.settle();
    bench.pass(Duration::from_secs(3));
    bench.settle();
    bench.append("c", &[b"ccc".to_vec()]);
    let told = bench.read(&mut peer, 1_000_000);
    assert!(told[10..][..500_000].iter().all(|byte| *byte == b'a'));
    assert_eq!(
        told[10 + 500_000],
        0x88,
        "the Close frame follows the entry"
    );
    assert_eq!(told[10 + 500_000 + 2..][..2], 4401u16.to_be_bytes());
}

/// A caller whose credential ends then, in Unix milliseconds.
fn caller_until(ends_ms: Option<u64>) -> Caller {
    Caller::known(Known {
        proof: Proof::Key([0; 32]),
        who: Who::Server("a".to_owned()),
        grants: Vec::new(),
        told: None,
        can: Vec::new(),
        ends_ms,
    })
}

/// A caller whose credential ends in so many seconds.
fn caller_for(bench: &Bench, seconds: u64) -> Caller {
    caller_until(Some(bench.now.unix_ms + seconds * 1000))
}

#[test]
fn a_session_ends_with_its_credential_unless_that_is_renewed() {
    for (renewals, ends_s) in [
        (&[][..], 10),
        (&[15], 15),
        (&[15, 12, 20], 20),
        (&[5], 5),
        (&[5, 15], 15),
    ] {
        let mut bench = Bench::new();
        let (ours, mut peer) = bench.pair();
        let carrier = Carrier::WebSocket { window: None };
        let mut request = session(bench.channel("c"), carrier, 0);
        request.caller = caller_for(&bench, 10);
        bench.join(ours, Wire::Session(request), b"").unwrap();
        for seconds in renewals {
            let caller = caller_for(&bench, *seconds);
            bench.shard.session_mut(LineKey::at(0)).unwrap().caller = caller;
            bench.shard.watch_expiry(LineKey::at(0));
        }
        bench.pass(Duration::from_millis(ends_s * 1000 - 200));
        bench.settle();
        assert!(
            bench.shard.session(LineKey::at(0)).is_some(),
            "{renewals:?}"
        );
        bench.pass(Duration::from_millis(400));
        let told = bench.read(&mut peer, usize::from(u16::MAX));
        let close = [0x11, 0x31];
        assert!(
            told[0] == 0x88 && told[2..4] == close,
            "4401 after {renewals:?}: {told:x?}"
        );
        drop(peer);
        bench.settle();
        assert_eq!((bench.shard.len(), bench.shard.sides.len()), (0, 0));
    }
}
