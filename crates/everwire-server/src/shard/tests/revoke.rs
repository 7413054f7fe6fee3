//! Lines whose credential is taken back while they are open.

use everwire_channel::UserName;

use super::*;
use crate::{
    auth::{Known, Proof, Who},
    config::Revoked,
};

/// Somebody with a token of this name.
fn holder(id: &str) -> Caller {
    Caller::known(Known {
        proof: Proof::Key([0; 32]),
        who: Who::Token {
            user: Some(UserName::new("ada").unwrap()),
            info: None,
            id: Some(id.to_owned()),
            issued_s: None,
        },
        grants: Vec::new(),
        told: None,
        can: Vec::new(),
        ends_ms: None,
    })
}

impl Bench {
    /// Takes a token back; the shard is told by mail, as each is.
    fn revoke(&self, id: &str) {
        let revoked = Revoked::Token {
            id: id.to_owned(),
            ends_s: None,
        };
        let live = &self.shared.live;
        let added = live
            .authority
            .revocations()
            .add(&revoked, &live.config.tokens, 0);
        added.unwrap();
        self.shard.mailbox.post(Mail::Revoked);
    }

    /// A line of the holder of a token; its peer's end.
    fn held(&mut self, wire: Wire, id: &str) -> TcpStream {
        let caller = holder(id);
        let wire = match wire {
            Wire::Entries(entries) => Wire::Entries(Entries { caller, ..entries }),
            Wire::Session(session) => Wire::Session(SessionRequest { caller, ..session }),
            Wire::Poll(poll) => Wire::Poll(PollRequest { caller, ..poll }),
            Wire::Echo { .. } | Wire::Ended => panic!("nobody asks who that is"),
        };
        let (ours, peer) = self.pair();
        self.join(ours, wire, b"").unwrap();
        peer
    }

    /// Each kind of line that somebody can hold, with how it ends.
    fn kinds(&self) -> Vec<(&'static str, Wire, &'static [u8])> {
        let mut own = self.entries("c", RAW, 0);
        own.publisher = Some(PublisherId::new("me").unwrap());
        let carrier = Carrier::WebSocket { window: None };
        let ndjson = Framing::Ndjson(Transfer::Chunked);
        vec![
            (
                "a raw WebSocket",
                Wire::Entries(self.entries("c", RAW, 0)),
                b"\x88",
            ),
            ("one that does not hear itself", Wire::Entries(own), b"\x88"),
            (
                "a stream",
                Wire::Entries(self.entries("c", ndjson, 0)),
                b"0\r\n\r\n",
            ),
            (
                "a session",
                Wire::Session(session(self.channel("c"), carrier, 0)),
                b"\x88",
            ),
            ("a poll", Wire::Poll(self.poll("c", 0)), b"HTTP/1.1 204 "),
        ]
    }
}

#[test]
fn each_line_of_a_token_that_is_taken_back_ends_and_no_other() {
    let count = Bench::new().kinds().len();
    for kind in 0..count {
        let mut bench = Bench::new();
        let (what, wire, goodbye) = bench.kinds().swap_remove(kind);
        let mut ended = bench.held(wire, "a");
        let (_, wire, _) = bench.kinds().swap_remove(kind);
        let mut stays = bench.held(wire, "b");
        let mut anybody = bench.reader("c", RAW, 0);
        bench.settle();
        bench.revoke("a");
        let told = bench.read(&mut ended, goodbye.len());
        assert_eq!(told, goodbye, "{what}");
        bench.append("c", &[b"on".to_vec()]);
        assert_eq!(bench.read(&mut anybody, 4), b"\x81\x02on", "{what}");
        assert_ne!(bench.read(&mut stays, goodbye.len()), goodbye, "{what}");
        drop((ended, stays, anybody));
        bench.settle();
        bench.pass(Duration::from_secs(30));
        bench.settle();
        assert!(bench.shard.credentials.is_empty(), "{what}");
    }
}

#[test]
fn a_token_that_is_taken_back_between_its_check_and_the_line_opens_none() {
    let count = Bench::new().kinds().len();
    for kind in 0..count {
        let mut bench = Bench::new();
        bench.revoke("a");
        // The shard has looked: nobody was there.
        bench.settle();
        let (what, wire, goodbye) = bench.kinds().swap_remove(kind);
        let mut peer = bench.held(wire, "a");
        let told = bench.read(&mut peer, goodbye.len());
        assert_eq!(told, goodbye, "{what}");
    }
}

#[test]
fn what_waits_for_a_line_is_not_sent_once_its_token_is_taken_back() {
    let mut bench = Bench::new();
    let wire = Wire::Entries(bench.entries("c", RAW, 0));
    let mut peer = bench.held(wire, "a");
    // More than the connection holds, so the line is inside the first entry.
    bench.append("c", &[vec![b'a'; 500_000], b"never".to_vec()]);
    bench.settle();
    bench.revoke("a");
    bench.settle();
    let told = bench.read(&mut peer, 10 + 500_000 + 4);
    assert_eq!(
        told[10 + 500_000],
        0x88,
        "the Close frame follows the entry"
    );
    assert_eq!(told[10 + 500_000 + 2..], 4401u16.to_be_bytes());
}

#[test]
fn very_many_lines_are_looked_at_a_slice_at_a_time() {
    const LINES: usize = 300;
    let mut bench = Bench::new();
    let mut peers: Vec<_> = (0..LINES)
        .map(|_| {
            let wire = Wire::Entries(bench.entries("c", RAW, 0));
            bench.held(wire, "a")
        })
        .collect();
    bench.settle();
    let lines = |bench: &Bench| bench.shard.credentials.len();
    assert_eq!(lines(&bench), LINES);
    bench.revoke("a");
    let mut left = LINES;
    while left > 0 {
        let more = bench.turn();
        let now_left = lines(&bench);
        assert!(left - now_left <= SLICE, "{left} and then {now_left}");
        assert!(
            more || now_left == 0,
            "the shard would sleep with {now_left} left"
        );
        assert!(now_left < left);
        left = now_left;
    }
    bench.settle();
    for peer in &mut peers {
        assert_eq!(bench.read(peer, 1), b"\x88");
    }
}

#[test]
fn who_comes_while_lines_are_looked_at_has_them_all_looked_at_once_more() {
    let mut bench = Bench::new();
    let mut peers = Vec::new();
    for id in ["b", "a"] {
        for _ in 0..SLICE + 1 {
            let wire = Wire::Entries(bench.entries("c", RAW, 0));
            peers.push(bench.held(wire, id));
        }
    }
    bench.settle();
    bench.revoke("a");
    bench.turn();
    // The lines before where the shard is.
    bench.revoke("b");
    bench.settle();
    for peer in &mut peers {
        assert_eq!(bench.read(peer, 1), b"\x88");
    }
}
