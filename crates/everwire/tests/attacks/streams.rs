//! How much one connection over HTTP/2, whose streams take nothing, can have the server keep: a place in a log for each
//! line, and what its pipe holds. Each bound is a small part of what whole entries for each would be.

use crate::{
    common::{End, Streams, client_frame},
    victim::Victim,
};

const MIB: usize = 1024 * 1024;

/// No limit by address, which is not what is tried here.
const MANY: &str = "\n[limits]\nlines_per_second_max = 0\nlines_per_address_max = 0\n";

/// Each row: how an entry is asked for, and what of. Control characters are six times as long in JSON, and line ends
/// seven times in an event stream.
#[test]
fn a_thousand_streams_that_take_nothing_cost_a_pipe_each() {
    let ndjson = ("accept", "application/x-ndjson");
    let events = ("accept", "text/event-stream");
    for (accept, byte) in [(ndjson, b'x'), (ndjson, 1), (events, b'\n')] {
        let victim = Victim::start(MANY);
        // They take a byte each, so that the library that speaks HTTP/2 has a piece for each too.
        let mut greedy = Streams::that_take(victim.address, 1);
        let grown = victim.grows(|| {
            for _ in 0..1_000 {
                greedy.get("/channels/target", &[accept]);
            }
            while victim.metric("everwire_lines") < 1_001 {
                greedy.round_trip();
            }
            let entry = vec![byte; MIB];
            for _ in 0..3 {
                let published = victim.connect().append("target", "text/plain", &entry);
                assert_eq!(published.status, 204);
            }
            // Those who are met are behind from then on, all in the first entry.
            while victim.metric("everwire_lines_behind_total") < 1_000 {
                greedy.round_trip();
            }
            victim.serves_others("streams that take nothing");
        });
        assert!(grown < 160 * MIB, "{accept:?} {byte}: {grown} bytes");
    }
}

/// One entry answers them all, and they share it.
#[test]
fn parked_polls_that_take_nothing_share_their_answer() {
    let victim = Victim::start(MANY);
    let mut greedy = Streams::that_take(victim.address, 0);
    let grown = victim.grows(|| {
        let published = victim.connect().append("target", "text/plain", b"first");
        assert_eq!(published.status, 204);
        for _ in 0..300 {
            greedy.get("/channels/target?live=long-poll&offset=now", &[]);
        }
        while victim.metric("everwire_lines") < 301 {
            greedy.round_trip();
        }
        let entry = vec![b'x'; 4 * MIB];
        let published = victim.connect().append("target", "text/plain", &entry);
        assert_eq!(published.status, 204);
        while victim.metric("everwire_lines") > 1 {
            greedy.round_trip();
        }
        victim.serves_others("polls that take nothing");
    });
    assert!(grown < 64 * MIB, "{grown} bytes");
}

/// As over HTTP/1.1 (`memory::messages_that_never_end_share_a_bounded_room`).
#[test]
fn messages_that_never_end_share_a_bounded_room_over_http2_too() {
    let room = 4 * MIB;
    let victim = Victim::start(&format!("{MANY}kept_bytes_max = {room}\n"));
    let mut greedy = Streams::connect(victim.address);
    let mut begun = client_frame(0x1, &vec![b'x'; 900_000]);
    begun[0] &= 0x7f;
    let grown = victim.grows(|| {
        let sockets: Vec<u32> = (0..40)
            .map(|_| greedy.websocket("/channels/target", &[]))
            .collect();
        for socket in &sockets {
            assert!(greedy.is_ok(*socket));
            greedy.send(*socket, &begun);
        }
        let mut closed = 0;
        for socket in sockets {
            // Answered after all that came before it.
            greedy.send(socket, &client_frame(0x9, b""));
            let head = greedy.take(socket, 2);
            if head[0] == 0x88 {
                closed += 1;
                let code = greedy.take(socket, 2);
                assert!(matches!(
                    u16::from_be_bytes([code[0], code[1]]),
                    1013 | 4429
                ));
                assert_eq!(greedy.rest(socket).1, End::Ended);
            } else {
                assert_eq!(head, [0x8a, 0]);
            }
        }
        assert!((36..40).contains(&closed), "{closed} of forty are closed");
        let counted = victim.metric("everwire_limits_met_total");
        assert_eq!(counted, closed);
        victim.serves_others("messages that never end");
    });
    assert!(grown < 40 * MIB, "{grown} bytes");
}

/// Whoever takes no replies is not listened to, and its window stays closed.
#[test]
fn who_says_much_over_http2_and_takes_nothing_has_to_wait() {
    let victim = Victim::start(MANY);
    let mut greedy = Streams::that_take(victim.address, 0);
    let socket = greedy.websocket("/channels/target", &[]);
    let pings = client_frame(0x9, &[b'x'; 100]).repeat(160);
    let (mut sent, mut idle) = (0, 0);
    while sent < 16 * MIB && idle < 100 {
        let count = match sent % pings.len() {
            0 => greedy.send_some(socket, &pings),
            some => greedy.send_some(socket, &pings[some..]),
        };
        sent += count;
        match count {
            0 => idle += 1,
            _ => idle = 0,
        }
        greedy.round_trip();
    }
    // A window of a mebibyte, and what is on its way through pipes.
    assert!(sent < 2 * MIB, "{sent} bytes were taken");
    victim.serves_others("one who takes no replies");
}
