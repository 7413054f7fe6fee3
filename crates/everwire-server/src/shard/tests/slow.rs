//! Lines whose peers read slowly.

use super::*;

/// A line is blocked over and over; one timer looks after it.
#[test]
fn a_line_that_blocks_often_has_one_stall_timer() {
    let mut bench = Bench::new();
    let mut peer = bench.reader("c", RAW, 0);
    bench.settle();
    let before = bench.shard.wheel.armed();
    for _ in 0..20 {
        bench.append("c", &[vec![b'x'; 100_000]]);
        bench.settle();
        assert_eq!(bench.read_all(&mut peer).len(), 100_010);
    }
    assert_eq!(bench.shard.wheel.armed(), before + 1);
}

/// Who takes bytes is there, even where a backlog keeps pings from it that it could answer.
#[test]
fn a_slow_line_that_takes_bytes_is_not_taken_for_dead() {
    let mut bench = Bench::new();
    let mut peer = bench.reader("c", RAW, 0);
    bench.append("c", &[vec![b'x'; 400_000]]);
    bench.settle();
    let mut some = [0; 8192];
    for _ in 0..30 {
        bench.pass(Duration::from_secs(10));
        let _ = peer.read(&mut some).unwrap();
        bench.settle();
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
    bench.append("c", &[vec![b'x'; 300_000], vec![b'y'; 300_000]]);
    bench.settle();
    peer.write_all(b"\x89\x80\0\0\0\0").unwrap();
    let got = bench.read_all(&mut peer);
    assert_eq!(got.len(), 2 * 300_010 + 2);
    let pong = got.windows(2).position(|bytes| bytes == b"\x8a\0").unwrap();
    assert_eq!(pong % 300_010, 0, "it is on a boundary");
}
