//! Two shards on one hub, and readers who check what they hear.

mod end;
mod reader;

use std::task::{Context, Waker};

use everwire_channel::{ChannelName, Guard, Read as LogRead};

use super::super::*;
use crate::{
    census,
    config::Action,
    shard::net::memory::{Memory, Socket},
};

pub use end::End;
pub use reader::{Appetite, Reader, State, chunk, frame};

/// Everything there is.
pub struct World {
    pub cores: [Core; 2],
    pub lives: Vec<Life>,
    pub readers: Vec<Reader>,
    pub shared: Shared,
    now: Now,
    /// What the lines of readers have for a connection.
    links: Links,
}

/// What lines have for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Clear,
    Tls,
    /// A pipe, as over HTTP/2.
    Pipes,
}

/// A core thread, which sleeps when its shard says so and wakes by what wakes a real one.
pub struct Core {
    pub shard: Shard<Memory>,
    pub net: Memory,
    more: bool,
}

/// One life of a channel, and all that was published in it.
pub struct Life {
    name: ChannelName,
    pub channel: Arc<Channel>,
    pub entries: Vec<Vec<u8>>,
    pub deleted: bool,
}

impl World {
    pub fn new() -> Self {
        Self::of(Live::without_credentials(Self::config()))
    }

    /// Everybody may do everything, and logs are short.
    pub fn config() -> Config {
        let mut config = Config::default();
        config.channels.retain_entries = RETAINED;
        config.channels.anonymous = vec![Action::Read, Action::Publish, Action::Presence];
        config.presence.linger_ms = 0;
        config
    }

    pub fn of(live: Live) -> Self {
        fastrand::seed(7);
        let shared = shared_of(live);
        let now = Now::read();
        let core = |shared: &Shared| {
            let net = Memory::default();
            Core {
                shard: Shard::new(shared.clone(), Arc::default(), net.clone(), now),
                net,
                more: false,
            }
        };
        Self {
            cores: [core(&shared), core(&shared)],
            lives: Vec::new(),
            readers: Vec::new(),
            shared,
            now,
            links: Links::Clear,
        }
    }

    /// One whose readers come under TLS.
    pub fn under_tls() -> Self {
        Self {
            links: Links::Tls,
            ..Self::new()
        }
    }

    /// One whose readers come by streams of HTTP/2.
    pub fn through_pipes() -> Self {
        Self {
            links: Links::Pipes,
            ..Self::new()
        }
    }

    /// Makes a channel; tells which life that is.
    pub fn create(&mut self, name: &str) -> usize {
        let name: ChannelName = name.parse().unwrap();
        let kind = Some(ContentType::text());
        let created = (self.shared.hub).create(
            &self.shared.live.rules,
            &name,
            kind,
            None,
            (None, self.now.unix_ms),
        );
        let (channel, new) = created.unwrap();
        assert!(new, "an earlier life goes on");
        self.lives.push(Life {
            name,
            channel,
            entries: Vec::new(),
            deleted: false,
        });
        self.lives.len() - 1
    }

    /// Publishes entries of so many bytes, or a little more.
    pub fn publish(&mut self, life: usize, sizes: &[usize]) {
        let life = &mut self.lives[life];
        life.publish(sizes, self.now.unix_ms);
    }

    /// Has another thread publish while a shard sends its next bytes.
    pub fn publish_mid_send(&mut self, core: usize, life: usize, sizes: &[usize]) {
        let channel = self.lives[life].channel.clone();
        let (payloads, now_ms) = (payloads(sizes), self.now.unix_ms);
        self.cores[core].net.interrupt(move || {
            append(&channel, &payloads, now_ms);
        });
    }

    pub fn delete(&mut self, life: usize) {
        let life = &mut self.lives[life];
        life.deleted = true;
        assert!(
            self.shared
                .hub
                .delete(&life.name, &Guard::default())
                .is_ok()
        );
    }

    /// A reader of a life from after `sequence`, on one of the two shards; tells which reader that is.
    pub fn join(
        &mut self,
        core: usize,
        life: usize,
        framing: Framing,
        sequence: u64,
        appetite: Appetite,
    ) -> usize {
        let reader = self.line(core, life, framing, sequence, appetite);
        self.readers.push(reader);
        self.readers.len() - 1
    }

    /// Has a reader whose line is over come back for what it has not got.
    pub fn come_back(&mut self, reader: usize, appetite: Appetite) {
        let Reader {
            core,
            life,
            framing,
            sequence,
            state,
            ..
        } = self.readers[reader];
        if state == State::Over && !self.lives[life].deleted {
            self.readers[reader] = self.line(1 - core, life, framing, sequence, appetite);
        }
    }

    fn line(
        &mut self,
        core: usize,
        life: usize,
        framing: Framing,
        sequence: u64,
        appetite: Appetite,
    ) -> Reader {
        let (room, bite) = match appetite {
            Appetite::All => (usize::MAX, usize::MAX),
            Appetite::Bytes { room, bite } => (room, bite),
        };
        let channel = self.lives[life].channel.clone();
        let wire = match framing {
            Framing::Session(carrier) => Wire::Session(session(channel, carrier, sequence)),
            framing => Wire::Entries(entries(channel, framing, sequence)),
        };
        // In place of the head and the welcome, something that each wire has.
        let mut opening = BytesMut::new();
        framing.encode_heartbeat(&mut opening);
        let opening = opening.freeze();
        let end = match self.links {
            Links::Pipes => {
                let mailbox = &self.cores[core].shard.mailbox;
                let (pipe, end) = end::through_a_pipe(wire.id(), mailbox, room);
                let seat = self.seat();
                mailbox.post(Mail::Open(Box::new(OpenLine {
                    pipe,
                    opening,
                    wire,
                    seat,
                })));
                end
            }
            Links::Clear | Links::Tls => {
                let core = &mut self.cores[core];
                let (socket, peer) = core.net.connect(room, bite);
                let (outlet, end) = match self.links {
                    Links::Tls => end::under_tls(socket, peer),
                    _ => (Outlet::Socket(socket), End::Clear(peer)),
                };
                core.join(outlet, opening, wire, &self.shared, self.now);
                end
            }
        };
        let mut reader = Reader::new(end, core, life, framing, sequence);
        reader.prompt = appetite == Appetite::All;
        reader
    }

    /// How many bytes of their own the lines of both shards keep to be sent.
    pub fn bytes_to_say(&self) -> usize {
        let sides = self.cores.iter().flat_map(|core| core.shard.sides.values());
        sides.map(|side| side.out.len() + side.replies.len()).sum()
    }

    /// How many are among those present on a channel.
    pub fn members(&self, channel: &str) -> usize {
        let name = channel.parse().unwrap();
        let snapshot = self.shared.presences.snapshot(&name, self.now).unwrap();
        let members = String::from_utf8(snapshot.members.to_vec()).unwrap();
        members.matches("\"user\"").count()
    }

    /// One turn of a shard, if it is awake. True if it was.
    pub fn turn(&mut self, core: usize) -> bool {
        let turned = self.cores[core].turn(self.now);
        self.look();
        turned
    }

    /// Turns of both shards until both sleep.
    pub fn settle(&mut self) {
        let mut rests = 0;
        for _ in 0..100_000 {
            let awake = [self.turn(0), self.turn(1)];
            rests = match awake {
                [false, false] => rests + 1,
                _ => 0,
            };
            // What a reader took after the first of the two turns may have woken that shard.
            if rests == 2 {
                return;
            }
        }
        panic!("the shards do not come to rest");
    }

    /// Lets time pass, a second at a time. What is to be done before that is done in time.
    pub fn pass(&mut self, seconds: u64) {
        self.settle();
        for _ in 0..seconds {
            self.now.instant += Duration::from_secs(1);
            self.now.unix_ms += 1000;
            for reader in &mut self.readers {
                if reader.peer.is_full() {
                    reader.starved_ms += 1000;
                }
            }
            self.settle();
        }
    }

    /// Has all readers take and answer everything, and checks that each has what it should, and that nothing is
    /// kept for anybody.
    pub fn finish(mut self) {
        for reader in &mut self.readers {
            reader.deaf = false;
            reader.speak_out();
            reader.eat(Appetite::All);
        }
        self.settle();
        for reader in &self.readers {
            reader.assert_content(&self.lives[reader.life]);
        }
        for core in &self.cores {
            core.assert_at_rest();
        }
        self.leave_all();
    }

    /// Has all readers leave, and checks that nothing is left of them.
    fn leave_all(&mut self) {
        for reader in &mut self.readers {
            reader.state = State::Left;
            reader.peer.end();
        }
        self.settle();
        for life in &self.lives {
            assert!(!life.channel.lock().is_watched());
        }
        assert_eq!(self.shared.census.lines(), 0);
        // The timers of what is gone are forgotten when they fire.
        self.now.instant += Duration::from_secs(400);
        self.settle();
        for core in &self.cores {
            core.assert_empty();
        }
    }

    /// A counted place for a session that has no socket.
    pub fn seat(&self) -> census::Seat {
        let here = [127, 0, 0, 1].into();
        let account = self.shared.rate.account(&Caller::Anybody, here);
        self.shared.enter(here, Stay::Open, account).unwrap()
    }

    /// A line of another kind on one of the two shards.
    pub fn join_as(&mut self, core: usize, socket: Socket, wire: Wire) {
        let outlet = Outlet::Socket(socket);
        self.cores[core].join(outlet, Bytes::new(), wire, &self.shared, self.now);
    }

    /// Learns what was published by lines, and has readers hear what they were sent.
    pub fn look(&mut self) {
        for life in &mut self.lives {
            life.look();
        }
        for reader in &mut self.readers {
            reader.hear(&self.lives[reader.life]);
        }
    }
}

impl Core {
    fn join(
        &mut self,
        outlet: Outlet<Socket>,
        opening: Bytes,
        wire: Wire,
        shared: &Shared,
        now: Now,
    ) {
        let here = [127, 0, 0, 1].into();
        let account = shared.rate.account(&Caller::Anybody, here);
        let seat = shared.enter(here, Stay::Open, account).unwrap();
        let request = LineRequest {
            response: http::Response::new(()),
            account,
            opening,
            wire,
        };
        let joined = (self.shard).join(
            outlet,
            b"",
            b"",
            request,
            (seat, shared.census.visit(here)),
            now,
        );
        joined.unwrap();
    }

    fn turn(&mut self, now: Now) -> bool {
        let edge = self.net.take_edge();
        let awake = edge || self.is_awake(now);
        if awake {
            self.more = self.shard.turn(now, edge).unwrap();
        }
        awake
    }

    /// As a core thread's loop and its sleep, besides the queue's edge: what was to be done at once, mail, a timer.
    fn is_awake(&self, now: Now) -> bool {
        let timer = self.shard.wake_at().is_some_and(|at| at <= now.instant);
        has_woken(&self.shard.mailbox) || timer || self.more
    }

    /// Everybody has everything: no line has a side, and no feed keeps bytes.
    fn assert_at_rest(&self) {
        let shard = &self.shard;
        assert!(
            shard.sides.is_empty(),
            "{} lines are busy",
            shard.sides.len()
        );
        assert!(shard.walking.is_empty() && shard.again.is_empty());
        for (_, feed) in shard.feeds.iter() {
            assert!(feed.tail.is_empty(), "what all have is kept by nobody");
            let behind = |subscriber: &Subscriber<Socket>| subscriber.position == BEHIND;
            assert!(
                !feed.subscribers.iter().any(behind),
                "a line is left behind"
            );
        }
        assert_eq!((shard.held.bytes(), shard.encodings.bytes()), (0, 0));
    }

    fn assert_empty(&self) {
        let shard = &self.shard;
        assert_eq!((shard.len(), shard.lines.len()), (0, 0));
        assert_eq!((shard.feeds.len(), shard.locals.len()), (0, 0));
        assert!(shard.local_by_channel.is_empty() && shard.sides.is_empty());
        assert!(shard.remotes.is_empty(), "a session is gone that is found");
        assert!(shard.timers.is_empty());
    }
}

impl Life {
    /// Publishes entries of so many bytes each, or a little more; nothing if it was deleted.
    pub fn publish(&mut self, sizes: &[usize], now_ms: u64) {
        append(&self.channel, &payloads(sizes), now_ms);
        self.look();
    }

    /// The place before the oldest entry that is kept.
    pub fn oldest(&self) -> u64 {
        self.channel.lock().core().log().oldest().sequence
    }

    /// Learns what lines have published.
    fn look(&mut self) {
        let state = self.channel.lock();
        match state.core().log().after(self.entries.len() as u64) {
            LogRead::CaughtUp => {}
            LogRead::Entries(entries) => {
                self.entries
                    .extend(entries.map(|(_, entry)| entry.payload.to_vec()));
            }
            LogRead::Gap(_) => panic!("more was published in one turn than the log keeps"),
        }
    }
}

/// Whether mail would wake a shard that sleeps now.
pub fn has_woken(mailbox: &Mailbox) -> bool {
    mailbox.poll(&Context::from_waker(Waker::noop())).is_ready()
}

/// Payloads of so many bytes each, or a few more, so that no two in a row are equal.
fn payloads(sizes: &[usize]) -> Vec<Vec<u8>> {
    let payload = |size: &usize| {
        let mut payload = fastrand::u32(..).to_string().into_bytes();
        payload.resize(payload.len().max(*size), b'x');
        payload
    };
    sizes.iter().map(payload).collect()
}

/// Entries that a log keeps: few, so that slow readers miss some.
pub const RETAINED: u64 = 24;
