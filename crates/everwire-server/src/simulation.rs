//! A shard whose sockets only count, to measure what lines cost in user space: a million of them need no kernel,
//! no ports and no peers. It is the code that serves connections, over another net.
//!
//! Behind the feature `simulation`, since a server has no use for it.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use everwire_channel::{Append, ContentType, Draft, Mark, SessionId};
use everwire_wire::{Carrier, Framing};

use crate::{
    auth::Caller,
    census::Stay,
    clock::Now,
    config::Config,
    hub::{Channel, Occasion},
    live::Live,
    shard::{
        Entries, LineKey, LineRequest, Net, Outlet, Own, Publishing, Ready, SessionRequest, Shard,
        Shared, Wire,
    },
};

/// One shard, its channels, and readers who take everything at once and say nothing: raw WebSockets and sessions.
pub struct Simulation {
    shard: Shard<Counters>,
    shared: Shared,
    channels: Vec<Arc<Channel>>,
    now: Now,
    /// What each socket was sent, in bytes.
    received: Rc<[Cell<u32>]>,
    connected: u32,
}

impl Simulation {
    /// A shard without lines and with room for so many, and so many channels without entries. Settings are the
    /// default ones but for limits.
    pub fn new(channels: usize, lines_max: usize) -> Self {
        let mut config = Config::default();
        config.limits.lines_max = usize::MAX;
        config.limits.lines_per_address_max = 0;
        config.limits.lines_per_second_max = 0;
        // What the logs keep is no cost of lines.
        config.channels.retain_entries = 1;
        let now = Now::read();
        let shared = Shared::new(
            Live::without_credentials(config),
            Mark(1),
            vec![Arc::default()],
            Now { unix_ms: 0, ..now },
        );
        let received: Rc<[_]> = vec![Cell::new(0); lines_max].into();
        let net = Counters(received.clone());
        let open = |number: usize| {
            let name = format!("simulation/{number}").parse();
            let name = name.expect("digits are a name");
            let opened = (shared.hub).open(
                &shared.live.rules,
                &name,
                (Occasion::LiveRead, None),
                now.unix_ms,
            );
            opened.expect("the default rule makes a channel for a read")
        };
        Self {
            channels: (0..channels).map(open).collect(),
            shard: Shard::new(shared.clone(), Arc::default(), net, now),
            shared,
            now,
            received,
            connected: 0,
        }
    }

    /// Adds a reader of one of the channels, at its head.
    ///
    /// # Panics
    /// If there is room for no more.
    pub fn join(&mut self, channel: usize) {
        let channel = self.channels[channel].clone();
        let sequence = channel.lock().core().log().head_sequence();
        self.add(Wire::Entries(Entries {
            channel,
            framing: Framing::Raw { window: None },
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
        }));
    }

    /// Adds a session over a WebSocket that reads one of the channels, from its head.
    ///
    /// # Panics
    /// If there is room for no more.
    pub fn join_session(&mut self, channel: usize) {
        let channel = self.channels[channel].clone();
        let sequence = channel.lock().core().log().head_sequence();
        self.add(Wire::Session(SessionRequest {
            id: SessionId(self.connected.into()),
            carrier: Carrier::WebSocket { window: None },
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
        }));
    }

    fn add(&mut self, wire: Wire) {
        let account = self.shared.rate.account(&Caller::Anybody, PEER);
        let request = LineRequest {
            response: http::Response::new(()),
            account,
            opening: Bytes::new(),
            wire,
        };
        let seat = self.shared.enter(PEER, Stay::Open, account);
        let seat = seat.expect("there is no limit on lines");
        let visit = self.shared.census.visit(PEER);
        let outlet = Outlet::Socket(Counter(self.connected));
        self.connected += 1;
        assert!(self.connected as usize <= self.received.len());
        let joined = (self.shard).join(outlet, b"", b"", request, (seat, visit), self.now);
        joined.expect("a counter can always be watched");
    }

    /// Appends one binary entry to a channel.
    pub fn publish(&mut self, channel: usize, payload: &[u8]) {
        let content_type = ContentType::octet_stream();
        let append = Append {
            entries: vec![Draft::from(Bytes::copy_from_slice(payload))],
            content_type: Some(&content_type),
            ..Append::default()
        };
        let appended = self.channels[channel].append(append, None, self.now.unix_ms);
        appended
            .expect("the channel is not removed")
            .expect("nothing stands against the entry");
    }

    /// One turn of the shard. True if there is more to do at once.
    pub fn turn(&mut self) -> bool {
        let turned = self.shard.turn(self.now, true);
        turned.expect("counters have no events that could fail")
    }

    /// Moves both clocks on.
    pub fn pass(&mut self, time: Duration) {
        self.now.instant += time;
        self.now.unix_ms += u64::try_from(time.as_millis()).expect("years fit");
    }

    /// The time between two heartbeats.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.shared.live.config.http.heartbeat_ms)
    }

    /// The number of open lines.
    pub fn lines(&self) -> usize {
        self.shard.len()
    }

    /// How many bytes the reader with the fewest and the one with the most have got, modulo 2³².
    pub fn received(&self) -> (u32, u32) {
        let counts = self.received[..self.connected as usize]
            .iter()
            .map(Cell::get);
        counts.fold((u32::MAX, 0), |(least, most), count| {
            (least.min(count), most.max(count))
        })
    }

    /// Sends these bytes to each reader past the shard: what the sockets alone cost. The shard knows nothing of it.
    pub fn send_past_shard(&self, bytes: &[u8]) {
        let net = Counters(self.received.clone());
        for socket in 0..self.connected {
            let sent = net.send(&Counter(socket), &[IoSlice::new(bytes)]);
            std::hint::black_box(sent.is_ok());
        }
    }

    /// What a reader's socket takes of the simulation's own memory, in bytes.
    pub const SOCKET_BYTES: usize = size_of::<Cell<u32>>();
}

/// Sockets that take everything and count it. Nothing ever happens to them.
struct Counters(Rc<[Cell<u32>]>);

/// The number of a socket. As large as a file descriptor, so that lines are as large as in a server.
struct Counter(u32);

impl Net for Counters {
    type Socket = Counter;

    fn watch(&self, _: &mut Counter, _: LineKey) -> io::Result<()> {
        Ok(())
    }

    fn watch_again(&self, _: &mut Counter, _: LineKey, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn unwatch(&self, _: &mut Counter) -> io::Result<()> {
        Ok(())
    }

    fn poll(&mut self, _: &mut Vec<Ready>) -> io::Result<bool> {
        Ok(false)
    }

    fn read(&self, _: &Counter, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    fn send(&self, socket: &Counter, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        let received = &self.0[socket.0 as usize];
        received.set(received.get().wrapping_add(bytes as u32));
        Ok(bytes)
    }

    fn end(&self, _: &Counter) -> io::Result<()> {
        Ok(())
    }
}

/// Where all readers are.
const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_gets_messages_that_name_the_channel() {
        let mut simulation = Simulation::new(1, 3);
        for _ in 0..3 {
            simulation.join_session(0);
        }
        simulation.publish(0, b"hello");
        while simulation.turn() {}
        let (least, most) = simulation.received();
        assert_eq!((simulation.lines(), least), (3, most));
        assert!(
            least > 100,
            "{least} bytes are a frame with channel, offset, time and payload"
        );
    }

    #[test]
    fn each_reader_gets_what_its_channel_is_sent_and_no_more() {
        let mut simulation = Simulation::new(2, 300);
        for line in 0..300 {
            simulation.join(line % 2);
        }
        assert_eq!((simulation.lines(), simulation.received()), (300, (0, 0)));
        simulation.publish(0, b"hello");
        while simulation.turn() {}
        assert_eq!(simulation.received(), (0, 7));
        simulation.publish(1, b"hello");
        while simulation.turn() {}
        assert_eq!(
            simulation.received(),
            (7, 7),
            "two bytes are the frame's head"
        );
    }
}
