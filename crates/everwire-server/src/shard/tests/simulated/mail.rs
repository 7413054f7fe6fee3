//! How a shard learns of a change and when it may sleep.
//!
//! ```text
//!  publisher   [append, told?, post] ─ wake                 each [ ] is under one lock: the channel's for
//!  shard       [take mail] ─ [not told, look] ─ … ─ sleep   "append" and "look", the mailbox's inside for "post"
//! ```
//!
//! Threads share nothing outside these locks, so what they do together is one of the orders of these steps. The
//! first test tries each order with the code itself; the second has threads find what no order of steps shows.

use std::{
    future::poll_fn,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use super::{super::*, world::has_woken};
use crate::{
    hub::WatchKey,
    shard::net::memory::{Memory, Peer, Socket},
};

/// A shard with one reader of one channel, taken through its turn step by step.
struct Steps {
    shared: Shared,
    shard: Shard<Memory>,
    net: Memory,
    now: Now,
    peer: Peer,
    heard: usize,
    next: Step,
}

/// What the shard does next.
#[derive(Clone, Debug)]
enum Step {
    TakeMail,
    Look(Vec<WatchKey>),
    Walk,
    Sleep,
}

impl Steps {
    fn new() -> Self {
        let shared = shared(Config::default());
        let net = Memory::default();
        let now = Now::read();
        let shard = Shard::new(shared.clone(), Arc::default(), net.clone(), now);
        let (socket, peer) = net.connect(usize::MAX, usize::MAX);
        let mut steps = Self {
            shared,
            shard,
            net,
            now,
            peer,
            heard: 0,
            next: Step::TakeMail,
        };
        steps.join(socket, 0);
        steps
    }

    fn join(&mut self, socket: Socket, sequence: u64) {
        let here = [127, 0, 0, 1].into();
        let account = self.shared.rate.account(&Caller::Anybody, here);
        let seat = self.shared.enter(here, Stay::Open, account).unwrap();
        let request = LineRequest {
            response: http::Response::new(()),
            account,
            opening: Bytes::new(),
            wire: Wire::Entries(entries(self.channel(), RAW, sequence)),
        };
        let visit = self.shared.census.visit(here);
        self.shard
            .join(
                Outlet::Socket(socket),
                b"",
                b"",
                request,
                (seat, visit),
                self.now,
            )
            .unwrap();
    }

    fn channel(&self) -> Arc<Channel> {
        let name = "c".parse().unwrap();
        let rules = &self.shared.live.rules;
        (self.shared.hub)
            .open(rules, &name, (Occasion::Append, None), 0)
            .unwrap()
    }

    /// Another thread's part: all under the channel's lock.
    fn append(&mut self) {
        append(&self.channel(), &[b"x".to_vec()], 0);
    }

    /// The shard's next step. False if it sleeps and nothing has woken it.
    fn step(&mut self) -> bool {
        self.next = match std::mem::replace(&mut self.next, Step::TakeMail) {
            Step::TakeMail => {
                let mut mail = Vec::new();
                self.shard.mailbox.take(&mut mail);
                // One from the channel until the shard looks, one from the shard to itself.
                assert!(mail.len() <= 2, "{mail:?}");
                let changed = |mail: &Mail| match mail {
                    Mail::Changed(key) => *key,
                    other => unreachable!("nobody sends {other:?}"),
                };
                Step::Look(mail.iter().map(changed).collect())
            }
            Step::Look(mut channels) => match channels.pop() {
                Some(watch) => {
                    self.shard.pull(watch.into());
                    Step::Look(channels)
                }
                None => Step::Walk,
            },
            Step::Walk => {
                self.shard.walk();
                self.heard += self.peer.heard().len() / b"\x81\x01x".len();
                Step::Sleep
            }
            Step::Sleep if has_woken(&self.shard.mailbox) => Step::TakeMail,
            Step::Sleep => {
                self.next = Step::Sleep;
                return false;
            }
        };
        true
    }

    /// Turns and sleeps, as a core thread does, until a peer has heard an entry.
    fn hear_one(&mut self, peer: &Peer) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let mut heard = 0;
        while heard < b"\x81\x01x".len() {
            while self.shard.turn(self.now, true).unwrap() {}
            heard += peer.heard().len();
            if heard == 0 {
                let mailbox = self.shard.mailbox.clone();
                let woken = runtime.block_on(async {
                    tokio::time::timeout(PATIENCE, poll_fn(|cx| mailbox.poll(cx))).await
                });
                woken.expect("a change that was not told");
            }
        }
    }
}

/// Appends that happen while the shard takes mail, looks, walks and goes to sleep.
const APPENDS: u32 = 3;
/// Steps of the shard between which they happen.
const PLACES: u32 = 14;

#[test]
fn in_whatever_order_appends_and_looks_happen_no_entry_is_left_behind() {
    let orders = (0u32..1 << (PLACES + APPENDS)).filter(|order| order.count_ones() == APPENDS);
    for order in orders {
        let mut steps = Steps::new();
        for place in 0..PLACES + APPENDS {
            match order >> place & 1 {
                1 => steps.append(),
                _ => drop(steps.step()),
            }
        }
        while steps.step() {}
        assert_eq!(steps.heard, APPENDS as usize, "order {order:#b}");
    }
}

/// A reader joins a channel that nobody here watches yet, while another thread appends.
#[test]
fn an_entry_that_is_appended_while_a_line_joins_is_not_missed() {
    let rounds = 10_000;
    let mut steps = Steps::new();
    let channel = steps.channel();
    // Its first reader leaves, so that each round begins to watch anew.
    steps.peer.reset();
    let begun = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=rounds {
                while begun.load(Ordering::Acquire) < round {
                    std::hint::spin_loop();
                }
                // Anywhere in the time that the join takes.
                for _ in 0..fastrand::u32(..400) {
                    std::hint::spin_loop();
                }
                append(&channel, &[b"x".to_vec()], 0);
            }
        });
        let _all_begun = AllBegun(&begun);
        for round in 1..=rounds {
            let (socket, peer) = steps.net.connect(usize::MAX, usize::MAX);
            begun.store(round, Ordering::Release);
            steps.join(socket, round - 1);
            steps.hear_one(&peer);
            peer.reset();
            while steps.shard.len() > 0 {
                steps.shard.turn(steps.now, true).unwrap();
            }
        }
    });
}

/// Begins all rounds when the test ends, however it does, so that nobody waits for them.
struct AllBegun<'a>(&'a AtomicU64);

impl Drop for AllBegun<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Ordering::Release);
    }
}
