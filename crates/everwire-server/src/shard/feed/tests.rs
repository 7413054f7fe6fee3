//! The walk against a naive model: every line has one long string of bytes to get.

use bytes::Bytes;
use everwire_channel::{Append, ContentType, Draft, Mark};
use proptest::prelude::*;

use super::*;
use crate::{
    config::Config,
    hub::{Hub, Occasion},
    live::Settings,
    shard::net::memory::{Memory, Peer, Socket},
};

/// A feed with the shard's part in it played by hand, and what each line should have got.
struct Bench {
    channel: Arc<Channel>,
    net: Memory,
    feed: Feed<Socket>,
    deflaters: Deflaters,
    /// All that was ever encoded.
    all: Vec<u8>,
    joined: Vec<Joined>,
    lines: LineKey,
}

/// A line of the feed.
struct Joined {
    line: LineKey,
    /// What had been encoded before it joined.
    from: usize,
    peer: Peer,
    got: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let settings = Settings::from(Config::default());
        let hub = Hub::new(settings.clone(), None, Mark(7), 0);
        let name = "model".parse().unwrap();
        let channel = hub
            .open(&settings.now().rules, &name, (Occasion::Append, None), 0)
            .unwrap();
        let framing = Framing::Raw { window: None };
        let feed = Feed::new(
            channel.clone(),
            LocalKey::at(0),
            framing,
            0,
            &channel.lock(),
        );
        Self {
            channel,
            net: Memory::default(),
            feed,
            deflaters: Deflaters::default(),
            all: Vec::new(),
            joined: Vec::new(),
            lines: LineKey::at(0),
        }
    }

    fn publish(&mut self, size: usize) {
        let payload = self.append(size, false);
        if self.joined.is_empty() {
            // Nothing is encoded for nobody, and the positions begin anew.
            return self.all.clear();
        }
        self.all.extend_from_slice(&[0x81, size as u8]);
        self.all.extend_from_slice(&payload);
    }

    /// Appends an entry of so many bytes, and perhaps the end, and pulls it into the tail.
    fn append(&mut self, size: usize, close: bool) -> Bytes {
        let payload = Bytes::from(vec![b'a' + (self.all.len() % 26) as u8; size]);
        let text = ContentType::text();
        let append = Append {
            entries: vec![Draft::from(payload.clone())],
            content_type: Some(&text),
            close,
            ..Append::default()
        };
        self.channel.append(append, None, 0).unwrap().unwrap();
        let state = self.channel.lock();
        assert_eq!(self.feed.pull(&state, &mut self.deflaters, 0), Pulled::All);
        payload
    }

    fn join(&mut self, room: usize) {
        let (socket, peer) = self.net.connect(room, usize::MAX);
        self.joined.push(Joined {
            line: self.lines,
            from: self.all.len(),
            peer,
            got: Vec::new(),
        });
        self.feed.add(Subscriber {
            position: self.feed.tail.end(),
            socket: Some(socket),
            line: self.lines,
        });
        self.lines = LineKey::at(self.lines.index() + 1);
    }

    /// One slice of the walk, and what the shard does with what it met.
    fn walk(&mut self, mut budget: usize) {
        let mut met = Met::default();
        self.feed.walk(&self.net, &mut budget, &mut met);
        for line in met.blocked {
            let index = self.index(line);
            // As a blocked line does: it leaves the tail at its place, gets the rest from elsewhere, and comes back.
            let position = self.feed.subscribers[index].position;
            let place = self.feed.tail.place(position);
            let mut rest = Vec::new();
            self.feed.tail.rest(position, &mut rest);
            let at = position as usize;
            assert_eq!(place.rest, rest.len());
            assert_eq!(rest, self.all[at..at + place.rest]);
            self.feed.subscribers[index].position = self.feed.tail.end();
            let same = |joined: &&mut Joined| joined.line == line;
            let joined = self.joined.iter_mut().find(same).unwrap();
            joined.got.extend(joined.peer.heard());
            joined.got.extend_from_slice(&self.all[at..]);
        }
        for line in met.broken {
            let index = self.index(line);
            self.leave(index);
        }
        if !self.feed.is_walking() {
            self.feed.release_if_walked();
            assert!(self.feed.tail.is_empty(), "what all have is kept by nobody");
        }
    }

    fn leave(&mut self, index: usize) {
        let (removed, moved) = self.feed.remove(SubscriberKey::at(index));
        self.joined.retain(|joined| joined.line != removed.line);
        assert_eq!(
            moved,
            self.feed.subscribers.get(index).map(|moved| moved.line)
        );
    }

    fn index(&self, line: LineKey) -> usize {
        let same = |subscriber: &Subscriber<Socket>| subscriber.line == line;
        self.feed.subscribers.iter().position(same).unwrap()
    }

    /// Once every line was met, each has all that was encoded since it joined, once and in order.
    fn finish(&mut self) {
        while self.feed.is_walking() {
            self.walk(3);
        }
        assert_eq!(self.joined.len(), self.feed.subscribers.len());
        for joined in &mut self.joined {
            joined.got.extend(joined.peer.heard());
            assert_eq!(joined.got, self.all[joined.from..]);
        }
    }
}

/// What is given back when a round ends is what its lines have had, and not what a line still needs that blocked
/// a moment ago.
#[test]
fn a_line_that_blocks_at_the_end_of_a_round_still_finds_its_place() {
    let mut bench = Bench::new();
    for room in [usize::MAX, 12, usize::MAX, usize::MAX] {
        bench.join(room);
    }
    bench.publish(10);
    bench.walk(2);
    // The lines 2 and 3 end the round; the next begins with 24 bytes, of which line 1 has 12.
    bench.publish(10);
    bench.walk(3);
    // Line 1 blocks, and in the same slice the walk comes round again.
    bench.publish(10);
    bench.walk(4);
    bench.finish();
}

/// Lines that read from the log by themselves have no use for a tail, and find its place where they get to.
#[test]
fn nothing_is_encoded_for_lines_that_are_all_behind() {
    let mut bench = Bench::new();
    bench.join(usize::MAX);
    bench.join(usize::MAX);
    bench.publish(10);
    bench.walk(2);
    bench.feed.subscribers[0].position = BEHIND;
    bench.publish(10);
    assert!(!bench.feed.tail.is_empty(), "one line is sent it");
    bench.walk(2);
    bench.feed.subscribers[1].position = BEHIND;
    bench.publish(10);
    assert!(bench.feed.tail.is_empty() && !bench.feed.is_walking());
    let head = bench.channel.lock().core().log().head_sequence();
    assert_eq!(bench.feed.tail.sequence(), head);
}

#[derive(Clone, Debug)]
enum Step {
    Publish(usize),
    Join(usize),
    Leave(usize),
    Break(usize),
    Read(usize, usize),
    Walk(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0usize..120).prop_map(Step::Publish),
        2 => prop_oneof![Just(0), 1usize..300, Just(usize::MAX)].prop_map(Step::Join),
        1 => any::<usize>().prop_map(Step::Leave),
        1 => any::<usize>().prop_map(Step::Break),
        1 => (any::<usize>(), 1usize..200).prop_map(|(line, room)| Step::Read(line, room)),
        4 => (1usize..6).prop_map(Step::Walk),
    ]
}

proptest! {
    #[test]
    fn each_line_gets_each_byte_once_and_in_order(steps in prop::collection::vec(step(), 1..80)) {
        let mut bench = Bench::new();
        for step in steps {
            let count = bench.feed.subscribers.len().max(1);
            let at = |line: usize| line % count;
            match step {
                Step::Publish(size) => bench.publish(size),
                Step::Join(room) => bench.join(room),
                Step::Leave(line) if !bench.feed.subscribers.is_empty() => bench.leave(at(line)),
                Step::Break(line) => {
                    if let Some(found) = bench.joined.get(at(line)) {
                        found.peer.reset();
                    }
                }
                Step::Read(line, room) => {
                    if let Some(found) = bench.joined.get(at(line)) {
                        found.peer.take(room, usize::MAX);
                    }
                }
                Step::Leave(_) => {}
                Step::Walk(budget) => bench.walk(budget),
            }
        }
        bench.finish();
    }
}

/// Entries small and large, a heartbeat, and the end: wherever a line leaves, it has the rest of what it is
/// inside of, or how far it got in it, and hears of the end once.
#[test]
fn a_line_may_leave_the_tail_at_any_byte() {
    let mut bench = Bench::new();
    let mut ends = vec![0];
    for size in [0, 100, 5_000, 3, 9_000] {
        bench.append(size, false);
        ends.push(bench.feed.tail.end() as usize);
    }
    bench.feed.push_heartbeat();
    let heartbeat = bench.feed.tail.end() as usize;
    bench.append(7, true);
    ends.push(heartbeat + 2 + 7);
    let end = bench.feed.tail.end() as usize;
    let mut all = Vec::new();
    let mut slices = [IoSlice::new(&[]); SLICES_MAX];
    let (count, _) = bench.feed.tail.after(0, &mut slices);
    slices[..count]
        .iter()
        .for_each(|slice| all.extend_from_slice(slice));
    for position in 0..end {
        let Departure { rest, behind } = bench.feed.depart(position as u64);
        assert_eq!(rest, all[position..position + rest.len()], "at {position}");
        let after = position + rest.len();
        let Some(behind) = behind else {
            assert_eq!(
                after, end,
                "only who hears the end needs no more, at {position}"
            );
            continue;
        };
        let at = ends[behind.sequence as usize] + behind.skip;
        assert!(
            after < end,
            "who heard the end needs no more, at {position}"
        );
        // What a line may miss is a heartbeat, for it is being sent something else.
        assert!(
            at == after || (ends[5]..=heartbeat).contains(&after) && at == ends[5],
            "at {position} it goes on at {at} after {after}"
        );
        assert!(rest.is_empty() || behind.skip == 0, "at {position}");
    }
}
