//! What ends at a date, while the clock that tells dates is set. The time that passes is told by another.

use proptest::prelude::*;

use super::*;
use crate::auth::{Known, Proof, Who};

const S: Duration = Duration::from_secs(1);
/// When the credential of each line ends, in seconds from its beginning.
const ENDS_S: i64 = 1000;
const DAY_S: i64 = 24 * 60 * 60;

impl Bench {
    /// Sets the clock, forward or back by so many seconds. No time passes.
    fn set(&mut self, seconds: i64) {
        let now_ms = self.now.unix_ms.checked_add_signed(seconds * 1000);
        self.now.unix_ms = now_ms.unwrap();
    }

    /// Lines of each kind that has an end, by a credential that ends in so many seconds.
    fn ending(&mut self, seconds: i64) -> Vec<TcpStream> {
        let ends_ms = self.now.unix_ms.checked_add_signed(seconds * 1000);
        let caller = caller_until(ends_ms);
        let in_feed = self.entries("c", RAW, 0);
        let mut lent = self.entries("c", Framing::Ndjson(Transfer::Chunked), 0);
        (lent.is_lent, lent.until_ms) = (true, ends_ms);
        let mut own = self.entries("c", RAW, 0);
        own.publisher = Some(PublisherId::new("me").unwrap());
        let carrier = Carrier::WebSocket { window: None };
        let session = session(self.channel("c"), carrier, 0);
        let (anybody, held) = (Caller::Anybody, |entries| Entries {
            caller: caller.clone(),
            ..entries
        });
        lent.caller = anybody;
        let wires = [
            Wire::Entries(held(in_feed)),
            Wire::Entries(lent),
            Wire::Entries(held(own)),
            Wire::Session(SessionRequest {
                caller: caller.clone(),
                ..session
            }),
        ];
        wires.map(|wire| self.ending_line(wire)).into()
    }

    fn ending_line(&mut self, wire: Wire) -> TcpStream {
        let (ours, peer) = self.pair();
        self.join(ours, wire, b"").unwrap();
        peer
    }

    /// How many lines have not been told that they are over.
    fn reading(&self) -> usize {
        let lines = self.shard.lines.iter();
        let seated = |line: &Line<_>| matches!(line.seat, Seat::Feed { .. } | Seat::Session(_));
        lines.filter(|(_, line)| seated(line)).count()
    }
}

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

/// Nobody is asked within its time whether it is there.
fn bench() -> Bench {
    Bench::with(|config| config.http.heartbeat_ms = 100_000_000)
}

/// A line is over as soon as one of both clocks has come to its end.
#[test]
fn a_line_ends_at_its_date_and_no_later_than_it_would_have_if_no_clock_was_set() {
    for (what, steps, expected) in [
        ("no clock is set, in time", &[(0, ENDS_S - 1)][..], true),
        ("no clock is set, too late", &[(0, ENDS_S + 1)], false),
        ("forward, beyond the end", &[(ENDS_S, 1)], false),
        ("forward by a day", &[(DAY_S, 1)], false),
        ("forward, in time", &[(ENDS_S - 10, 9)], true),
        ("forward, too late", &[(ENDS_S - 10, 11)], false),
        ("back, in time", &[(-DAY_S, ENDS_S - 1)], true),
        ("back, too late", &[(-DAY_S, ENDS_S + 1)], false),
        (
            "forward and back",
            &[(900, 50), (-900, 900)], // the timer of a date that was near is of no use then
            true,
        ),
        ("back and forward", &[(-DAY_S, 500), (DAY_S, 499)], true),
        (
            "back and too far",
            &[(-DAY_S, 500), (DAY_S + 500, 1)],
            false,
        ),
    ] {
        let mut bench = bench();
        let peers = bench.ending(ENDS_S);
        for (set_s, pass_s) in steps {
            bench.set(*set_s);
            bench.pass(S * *pass_s as u32);
            bench.settle();
        }
        let reading = bench.reading();
        let expected = if expected { peers.len() } else { 0 };
        assert_eq!(reading, expected, "{what}: lines that read on");
    }
}

/// Nothing tells a process that its clock was set.
#[test]
fn the_date_is_looked_at_each_second_while_a_line_ends_at_one() {
    let mut bench = bench();
    let open = bench.reader("c", RAW, 0);
    bench.settle();
    let sleeps = bench.shard.wake_at().map(|at| at - bench.now.instant);
    assert!(sleeps.is_none_or(|sleeps| sleeps > S), "{sleeps:?}");
    let _ending = bench.ending(ENDS_S);
    bench.settle();
    let sleeps = bench.shard.wake_at().unwrap() - bench.now.instant;
    assert!(sleeps <= S, "{sleeps:?}");
    drop(open);
}

#[test]
fn lines_that_a_clock_ends_together_end_a_slice_at_a_time() {
    let mut bench = bench();
    let peers: Vec<_> = (0..50).flat_map(|_| bench.ending(ENDS_S)).collect();
    bench.settle();
    bench.set(DAY_S);
    let mut left = peers.len();
    while left > 0 {
        let more = bench.turn();
        let reading = bench.reading();
        assert!(more || reading == 0, "there is more to do at once");
        assert!(
            reading < left && left - reading <= SLICE,
            "{left}, {reading}"
        );
        left = reading;
    }
}

/// A session whose credential is renewed again and again, on a clock that is set again and again.
#[test]
fn a_session_that_is_renewed_has_as_few_timers_as_one_that_is_not() {
    let mut bench = bench();
    let _peers = bench.ending(10);
    bench.settle();
    let key = bench.shard.lines.iter().find_map(|(key, line)| {
        matches!(&line.seat, Seat::Session(session) if matches!(session.speech.framing(), Framing::Session(_)))
            .then_some(key)
    });
    let key = key.unwrap();
    let before = bench.shard.timers.wheel.armed();
    for round in 0..100 {
        let ends_ms = bench.now.unix_ms + 10_000;
        let caller = caller_until(Some(ends_ms));
        bench.shard.session_mut(key).unwrap().caller = caller;
        bench.shard.watch_expiry(key);
        bench.set(if round % 2 == 0 { 5 } else { -5 });
        bench.pass(S * 4);
        bench.settle();
    }
    assert!(
        bench.shard.session(key).is_some(),
        "it was always renewed in time"
    );
    let armed = bench.shard.timers.wheel.armed();
    assert!(armed <= before + 4, "{armed} timers, {before} before");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the clock is set: what a line does is what the two clocks say.
    #[test]
    fn lines_end_as_two_clocks_say(
        steps in prop::collection::vec((-2000_i64..2000, 1_i64..300), 1..12),
    ) {
        let mut bench = bench();
        // Far enough from 1970 to be set back.
        bench.now.unix_ms += 1_000_000_000;
        let peers = bench.ending(ENDS_S);
        let (mut date_s, mut passed_s, mut is_over) = (0, 0, false);
        for (set_s, pass_s) in steps {
            bench.set(set_s);
            bench.settle();
            date_s += set_s;
            is_over |= date_s >= ENDS_S;
            prop_assert_eq!(bench.reading(), if is_over { 0 } else { peers.len() }, "when it was set");
            bench.pass(S * pass_s as u32);
            (date_s, passed_s) = (date_s + pass_s, passed_s + pass_s);
            // The wheel is late by up to a tick.
            if passed_s == ENDS_S {
                bench.pass(S / 5);
            }
            bench.settle();
            is_over |= date_s >= ENDS_S || passed_s >= ENDS_S;
            prop_assert_eq!(bench.reading(), if is_over { 0 } else { peers.len() }, "when time had passed");
        }
    }
}
