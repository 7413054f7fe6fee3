//! A shard driven turn by turn, on a clock that stands still, with peers at the other end of real sockets; and, in
//! `simulated`, over a net in memory.

mod clocks;
mod lines;
mod revoke;
mod simulated;
mod slow;

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    time::Duration,
};

use everwire_channel::{Append, ContentType, Draft, Mark, PublisherId};
use everwire_wire::{Carrier, Framing, Transfer};
use socket2::{Domain, SockRef, Socket, Type};

use super::*;
use crate::{answer::PollShape, auth::Caller, config::Config, hub::Occasion};

/// A raw WebSocket.
const RAW: Framing = Framing::Raw { window: None };
/// An event stream of Durable Streams whose bytes are not divided into chunks.
const DURABLE: Framing = Framing::DurableEventStream(Transfer::Bare);

struct Bench {
    shard: Shard,
    shared: Shared,
    listener: TcpListener,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let shared = shared(config);
        let now = Now::read();
        Self {
            shard: Shard::new(shared.clone(), Arc::default(), Kernel::new().unwrap(), now),
            shared,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            now,
        }
    }

    fn channel(&self, name: &str) -> Arc<Channel> {
        let name = name.parse().unwrap();
        let rules = &self.shared.live.rules;
        (self.shared.hub)
            .open(rules, &name, (Occasion::Append, None), 0)
            .unwrap()
    }

    fn append(&self, name: &str, payloads: &[Vec<u8>]) {
        assert!(append(&self.channel(name), payloads, 0));
    }

    /// Both ends of a connection through which little fits unread.
    fn pair(&self) -> (TcpStream, TcpStream) {
        let peer = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        peer.set_recv_buffer_size(BUFFER).unwrap();
        peer.connect(&self.listener.local_addr().unwrap().into())
            .unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let (ours, _) = self.listener.accept().unwrap();
        SockRef::from(&ours).set_send_buffer_size(BUFFER).unwrap();
        ours.set_nonblocking(true).unwrap();
        (ours, peer.into())
    }

    fn join(&mut self, socket: TcpStream, wire: Wire, unread: &[u8]) -> io::Result<()> {
        let here = [127, 0, 0, 1].into();
        let account = self.shared.rate.account(&Caller::Anybody, here);
        let seat = self.shared.enter(here, Stay::Open, account).unwrap();
        let request = LineRequest {
            response: http::Response::new(()),
            account,
            opening: Bytes::new(),
            wire,
        };
        let visit = self.shared.census.visit(here);
        let outlet = Outlet::Socket(mio::net::TcpStream::from_std(socket));
        self.shard
            .join(outlet, unread, b"", request, (seat, visit), self.now)
    }

    /// A line on a channel from a place; its peer's end.
    fn reader(&mut self, name: &str, framing: Framing, sequence: u64) -> TcpStream {
        let (ours, peer) = self.pair();
        let entries = self.entries(name, framing, sequence);
        self.join(ours, Wire::Entries(entries), b"").unwrap();
        peer
    }

    fn entries(&self, name: &str, framing: Framing, sequence: u64) -> Entries {
        entries(self.channel(name), framing, sequence)
    }

    fn poll(&self, name: &str, sequence: u64) -> PollRequest {
        PollRequest {
            request_id: None,
            is_lent: false,
            channel: self.channel(name),
            shape: PollShape {
                sequence,
                cursor: None,
                publisher: None,
                allow_origin: None,
            },
            account: (self.shared.rate).account(&Caller::Anybody, [127, 0, 0, 1].into()),
            caller: Caller::Anybody,
            wait_ms: 20_000,
            answer_to: AnswerTo::Connection { keep_alive: true },
        }
    }

    /// One turn; true if there is more to do.
    fn turn(&mut self) -> bool {
        self.shard.turn(self.now, true).unwrap()
    }

    /// Turns until nothing is left to do now.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mail = self.shard.mailbox.has_mail();
            if !self.turn() && !mail {
                return;
            }
        }
        panic!("the shard does not come to rest");
    }

    fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += time.as_millis() as u64;
    }

    /// The next bytes that a peer gets while the shard turns: so many, or all up to the connection's end.
    fn read(&mut self, peer: &mut TcpStream, count: usize) -> Vec<u8> {
        let mut all = vec![0; count];
        let mut len = 0;
        let began = Instant::now();
        peer.set_nonblocking(true).unwrap();
        while len < count {
            self.settle();
            match peer.read(&mut all[len..]) {
                Ok(0) => break,
                Ok(count) => len += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    assert!(began.elapsed() < PATIENCE, "{len} bytes came, not {count}");
                }
                Err(error) => panic!("{error}"),
            }
        }
        all.truncate(len);
        all
    }
}

/// What is common to the shards of a test.
fn shared(config: Config) -> Shared {
    shared_of(Live::without_credentials(config))
}

fn shared_of(mut live: Live) -> Shared {
    // Its clock is a real one.
    live.config.limits.lines_per_second_max = 0;
    let now = Now {
        instant: Instant::now(),
        unix_ms: 0,
    };
    Shared::new(live, Mark(7), vec![Arc::default()], now)
}

/// Appends these texts. False if the channel was removed.
fn append(channel: &Channel, payloads: &[Vec<u8>], now_ms: u64) -> bool {
    let text = ContentType::text();
    let drafts = payloads
        .iter()
        .map(|payload| Draft::from(Bytes::from(payload.clone())));
    let append = Append {
        entries: drafts.collect(),
        content_type: Some(&text),
        ..Append::default()
    };
    let appended = channel.append(append, None, now_ms);
    appended.map(Result::unwrap).is_ok()
}

/// Appends a text that somebody says.
fn append_as(channel: &Channel, payload: &[u8], publisher: &str) {
    let text = ContentType::text();
    let append = Append {
        entries: vec![Draft {
            publisher: Some(PublisherId::new(publisher).unwrap()),
            ..Draft::from(Bytes::copy_from_slice(payload))
        }],
        content_type: Some(&text),
        ..Append::default()
    };
    channel.append(append, None, 0).unwrap().unwrap();
}

/// A stream of a channel's entries from after `sequence`, as a request asks for it that asks for nothing special.
fn entries(channel: Arc<Channel>, framing: Framing, sequence: u64) -> Entries {
    Entries {
        channel,
        framing,
        sequence,
        deflate: None,
        publish: Publishing::Granted,
        fail_on_gap: false,
        cursor: None,
        publisher: None,
        lifetime_ms: None,
        is_lent: false,
        until_ms: None,
        caller: Caller::Anybody,
    }
}

/// A session on a channel's own URL, from after `sequence`.
fn session(channel: Arc<Channel>, carrier: Carrier, sequence: u64) -> SessionRequest {
    SessionRequest {
        id: SessionId(fastrand::u64(..)),
        carrier,
        deflate: None,
        publisher: None,
        own: Some(Own {
            channel,
            sequence,
            fail_on_gap: false,
            ends_ms: None,
        }),
        evidence: None,
        secret: None,
        caller: Caller::Anybody,
    }
}

/// What fits into each end of a connection, about. Less than a segment of loopback would wait for probes.
const BUFFER: usize = 64 * 1024;

/// How long a peer waits for what must come.
const PATIENCE: Duration = Duration::from_secs(8);
