//! Lines whose peers read slowly.

use super::*;

/// A line is blocked over and over; one timer looks after it.
#[test]
fn a_line_that_blocks_often_has_one_stall_timer() {
    let mut bench = Bench::new();
    let mut peer = bench.reader("c", RAW, 0);
    bench.settle();
    let before = bench.shard.timers.wheel.armed();
    for _ in 0..5 {
        bench.append("c", &[vec![b'x'; 1_000_000]]);
        bench.settle();
        assert_eq!(bench.shard.sides.len(), 1, "it is blocked");
        assert_eq!(bench.read(&mut peer, 1_000_010).len(), 1_000_010);
        bench.settle();
        assert!(bench.shard.sides.is_empty(), "it is not blocked any more");
    }
    assert_eq!(bench.shard.timers.wheel.armed(), before + 1);
}

/// Who takes bytes is there, even where a backlog keeps pings from it that it could answer.
#[test]
fn a_slow_line_that_takes_bytes_is_not_taken_for_dead() {
    let mut bench = Bench::new();
    let mut peer = bench.reader("c", RAW, 0);
    bench.append("c", &[vec![b'x'; 4_000_000]]);
    bench.settle();
    for _ in 0..30 {
        bench.pass(Duration::from_secs(10));
        assert_eq!(bench.read(&mut peer, 100_000).len(), 100_000);
    }
    assert_eq!(bench.shard.len(), 1);
}

#[test]
fn a_line_that_takes_nothing_is_cut() {
    let mut bench = Bench::new();
    let _peer = bench.reader("c", RAW, 0);
    bench.append("c", &[vec![b'x'; 4_000_000]]);
    bench.settle();
    assert_eq!(bench.shard.len(), 1);
    bench.pass(Duration::from_secs(31));
    bench.settle();
    assert_eq!((bench.shard.len(), bench.shared.census.lines()), (0, 0));
}

/// Pings are answered between messages, never inside one.
#[test]
fn a_ping_inside_a_large_message_is_answered_after_it() {
    let mut bench = Bench::new();
    let mut peer = bench.reader("c", RAW, 0);
    bench.settle();
    bench.append("c", &[vec![b'x'; 1_000_000], vec![b'y'; 1_000_000]]);
    bench.settle();
    peer.write_all(b"\x89\x80\0\0\0\0").unwrap();
    let got = bench.read(&mut peer, 2 * 1_000_010 + 2);
    let pong = got.windows(2).position(|bytes| bytes == b"\x8a\0").unwrap();
    assert_eq!(pong % 1_000_010, 0, "it is on a boundary");
}

/// The order to stop comes between an entry and the lines of the second slice.
#[test]
fn what_was_published_is_sent_before_the_goodbye() {
    let mut bench = Bench::new();
    let mut peers: Vec<_> = (0..70).map(|_| bench.reader("c", RAW, 0)).collect();
    bench.settle();
    bench.append("c", &[b"last".to_vec()]);
    bench.shard.mailbox.post(Mail::Drain);
    for peer in &mut peers {
        let told = bench.read(peer, usize::from(u16::MAX));
        assert_eq!(told[..6], *b"\x81\x04last");
        assert_eq!(told[6..10], [0x88, told[7], 0x03, 0xe9], "1001, going away");
    }
}

#[test]
fn a_stream_lives_to_the_end_of_the_entry_it_is_inside_of() {
    let mut bench = Bench::new();
    bench.append("c", &[vec![b'x'; 4_000_000], vec![b'y'; 4_000_000]]);
    let (ours, mut peer) = bench.pair();
    let mut entries = bench.entries("c", DURABLE, 0);
    entries.lifetime_ms = Some(60_000);
    bench.join(ours, Wire::Entries(entries), b"").unwrap();
    for _ in 0..7 {
        bench.pass(Duration::from_secs(10));
        assert_eq!(bench.read(&mut peer, 100_000).len(), 100_000);
    }
    let rest = bench.read(&mut peer, usize::from(u16::MAX) * 1024);
    let rest = String::from_utf8(rest).unwrap();
    let (entry, control) = rest.split_once("\n\nevent: control\n").unwrap();
    assert_eq!(
        entry.len() + 700_000,
        "event: data\ndata:".len() + 4_000_000
    );
    assert!(control.starts_with("data:{\"streamNextOffset\""));
    assert!(control.ends_with("}\n\n") && !control.contains('y'));
}

/// Invariant: no copy of a payload for each reader.
#[test]
fn polls_that_read_slowly_share_their_answer() {
    let mut bench = Bench::new();
    let mut peers = Vec::new();
    for _ in 0..2 {
        let (ours, peer) = bench.pair();
        let poll = bench.poll("c", 0);
        bench.join(ours, Wire::Poll(poll), b"").unwrap();
        peers.push(peer);
    }
    bench.append("c", &[vec![b'x'; 2_000_000]]);
    bench.settle();
    assert_eq!(bench.shard.sides.len(), 2);
    let mut ends = bench.shard.sides.values().map(|side| {
        assert!(side.out.capacity() < 100_000, "it holds a copy of its own");
        side.shared.as_ptr_range().end
    });
    assert_eq!(ends.next(), ends.next());
    drop(ends);
    for mut peer in peers {
        let got = bench.read(&mut peer, 2_000_000);
        assert!(got.starts_with(b"HTTP/1.1 200 OK\r\n"));
    }
}

/// A client may send its next requests while its poll is parked, however large; they wait where they are.
#[test]
fn what_is_sent_behind_a_parked_poll_waits_without_being_held() {
    let mut bench = Bench::new();
    let (ours, mut peer) = bench.pair();
    let poll = bench.poll("c", 0);
    bench.join(ours, Wire::Poll(poll), b"").unwrap();
    peer.set_nonblocking(true).unwrap();
    let mut sent = 0;
    for _ in 0..1_000 {
        sent += peer.write(&[b'p'; 4096]).unwrap_or(0);
        bench.settle();
    }
    assert_eq!(bench.shard.len(), 1, "it is still parked");
    bench.append("c", &[b"hello".to_vec()]);
    bench.settle();
    let returned = bench.shard.take_returned().pop();
    let returned = returned.expect("the connection goes back to HTTP");
    assert!(returned.unread.len() < 100_000, "{}", returned.unread.len());
    let mut rest = vec![0; sent];
    let (mut socket, _) = returned.outlet.into_parts().unwrap();
    let count = socket.read(&mut rest).unwrap();
    assert!(count > 0, "the rest is still in the socket");
}
