//! The publishing connections of a load, and what holds them back.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    client::Client,
    dialect::Envelope,
    ledger::Ledger,
    publish::{self, BatchRequest, PublishRequest},
    session,
};

/// Publishing connections, all at the same pace.
pub struct Publishers {
    publishers: Vec<Publisher>,
    pace: Pace,
    unsent: Vec<u8>,
}

/// One connection and what it publishes.
struct Publisher {
    line: usize,
    /// Published to in turn; mostly one.
    routes: Vec<Route>,
    /// The route of its last entry.
    at: usize,
}

/// A source of numbered entries, and how they are put on the line.
struct Route {
    source: usize,
    over: Over,
}

enum Over {
    WebSocket,
    /// By commands of a session.
    Session(Envelope),
    Http(PublishRequest),
    Batch(BatchRequest),
}

/// When a connection publishes its next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When fewer than `in_flight` of its entries are unseen by some reader: the strict window.
    /// Over HTTP its answer must have come as well. Whoever publishes to several channels in turn
    /// has one in flight.
    Readers {
        /// Entries in flight, at least 1.
        in_flight: usize,
    },
    /// So many in one write, when every reader has seen all of the last write. Whoever publishes to
    /// several channels walks them within it.
    Bursts {
        /// Entries in a write, at least 1.
        entries: usize,
    },
    /// When fewer than `pipelined` of its requests are unanswered, however far the readers are.
    Answers {
        /// Requests under way, at least 1.
        pipelined: usize,
    },
}

impl Publishers {
    /// One source for each of `lines`, which are WebSockets.
    pub fn over_websockets(lines: &[usize], pace: Pace) -> Self {
        let routes = lines.iter().enumerate().map(|(source, &line)| {
            let over = Over::WebSocket;
            (line, vec![Route { source, over }])
        });
        Self::new(routes.collect(), pace)
    }

    /// One source for each of `channels`, all over the session on `line`.
    pub fn over_session(line: usize, channels: &[String], pace: Pace) -> Self {
        let routes = channels.iter().enumerate().map(|(source, channel)| {
            let over = Over::Session(session::publish_envelope(channel));
            Route { source, over }
        });
        Self::new(vec![(line, routes.collect())], pace)
    }

    /// One source for each of `connections`, over HTTP connections that are opened here; all
    /// publish to `channel`.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn over_http(
        client: &mut Client,
        channel: &str,
        ledger: &Ledger,
        connections: usize,
        pace: Pace,
    ) -> Result<Self> {
        let request = client.publish_request(channel, ledger)?;
        let mut publishers = Vec::new();
        for source in 0..connections {
            let over = Over::Http(request.clone());
            publishers.push((client.open_publisher()?, vec![Route { source, over }]));
        }
        Ok(Self::new(publishers, pace))
    }

    /// One source for each of `channels`, which `connections` opened here share among them. Each
    /// walks its share in turn, and goes on when its last entry was seen by all and answered.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn in_turn(
        client: &mut Client,
        channels: &[String],
        ledger: &Ledger,
        connections: usize,
    ) -> Result<Self> {
        let mut publishers = Vec::new();
        for connection in 0..connections {
            let share = channels.iter().enumerate().skip(connection);
            let routes = share.step_by(connections).map(|(source, channel)| {
                let over = Over::Http(client.publish_request(channel, ledger)?);
                Ok(Route { source, over })
            });
            let routes: Vec<Route> = routes.collect::<Result<_>>()?;
            publishers.push((client.open_publisher()?, routes));
        }
        publishers.retain(|(_, routes)| !routes.is_empty());
        Ok(Self::new(publishers, Pace::Readers { in_flight: 1 }))
    }

    /// As [`over_http`](Self::over_http), with `entries` in each request and one under way.
    ///
    /// # Errors
    /// If the system gives no socket.
    pub fn in_batches(
        client: &mut Client,
        channel: &str,
        ledger: &Ledger,
        connections: usize,
        entries: usize,
    ) -> Result<Self> {
        let request = BatchRequest::new(client.server(), channel, entries, ledger);
        let mut publishers = Vec::new();
        for source in 0..connections {
            let over = Over::Batch(request.clone());
            publishers.push((client.open_publisher()?, vec![Route { source, over }]));
        }
        Ok(Self::new(publishers, Pace::Answers { pipelined: 1 }))
    }

    fn new(publishers: Vec<(usize, Vec<Route>)>, pace: Pace) -> Self {
        let publishers = publishers.into_iter().map(|(line, routes)| Publisher {
            line,
            routes,
            at: 0,
        });
        Self {
            publishers: publishers.collect(),
            pace,
            unsent: Vec::new(),
        }
    }

    /// Publishes for `duration` as fast as the pace allows, then waits until every reader has
    /// seen everything and every request is answered.
    ///
    /// # Errors
    /// If a line failed or delivered something wrong.
    pub fn drive(
        &mut self,
        client: &mut Client,
        ledger: &mut Ledger,
        duration: Duration,
    ) -> Result<()> {
        let end = Instant::now() + duration;
        loop {
            if Instant::now() < end {
                self.refill(client, ledger)?;
            } else if self.is_done(client, ledger) {
                return Ok(());
            }
            client.turn(ledger)?;
        }
    }

    /// Whether every reader has seen everything and every request is answered.
    pub fn is_done(&self, client: &Client, ledger: &Ledger) -> bool {
        let is_answered = |publisher: &Publisher| client.unanswered(publisher.line) == 0;
        ledger.is_drained() && self.publishers.iter().all(is_answered)
    }

    /// Publishes what the pace allows now, in one write for each connection.
    ///
    /// # Errors
    /// If a connection broke.
    pub fn refill(&mut self, client: &mut Client, ledger: &mut Ledger) -> Result<()> {
        for publisher in &mut self.publishers {
            let unanswered = client.unanswered(publisher.line);
            let in_flight = ledger.in_flight(publisher.routes[publisher.at].source);
            let requests = match self.pace {
                Pace::Readers { in_flight: most } => most - in_flight.max(unanswered),
                Pace::Bursts { entries } if unanswered == 0 && publisher.is_seen(ledger) => entries,
                Pace::Bursts { .. } => 0,
                Pace::Answers { pipelined } => pipelined - unanswered,
            };
            if requests == 0 {
                continue;
            }
            self.unsent.clear();
            for _ in 0..requests {
                publisher.at = (publisher.at + 1) % publisher.routes.len();
                let Route { source, over } = &publisher.routes[publisher.at];
                match over {
                    Over::WebSocket => {
                        client.write_frame(publisher.line, ledger, *source, &mut self.unsent)?;
                    }
                    Over::Session(envelope) => {
                        publish::write_frame(ledger, *source, envelope, &mut self.unsent);
                    }
                    Over::Http(request) => request.write(ledger, *source, &mut self.unsent),
                    Over::Batch(request) => request.write(ledger, *source, &mut self.unsent),
                }
            }
            client.send(publisher.line, &self.unsent, requests)?;
        }
        Ok(())
    }
}

impl Publisher {
    /// Whether every reader has seen all that it published.
    fn is_seen(&self, ledger: &Ledger) -> bool {
        let mut sources = self.routes.iter().map(|route| route.source);
        sources.all(|source| ledger.in_flight(source) == 0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        dialect::Subscription, floor::testing, interrupt::Interrupt, payload::Payloads, wire::Wire,
    };

    fn client_and_ledger(floor: &testing::Running, sources: usize) -> (Client, Ledger) {
        let client = Client::new(floor.address(), Interrupt::default()).unwrap();
        (client, Ledger::new(Payloads::new(128), sources))
    }

    /// Publishes until `entries` are under way or seen, then waits for the rest.
    fn publish(
        publishers: &mut Publishers,
        client: &mut Client,
        ledger: &mut Ledger,
        entries: u64,
    ) {
        while ledger.published() < entries {
            publishers.refill(client, ledger).unwrap();
            for publisher in &publishers.publishers {
                if let Pace::Readers { in_flight: most } | Pace::Bursts { entries: most } =
                    publishers.pace
                {
                    let in_flight = publisher
                        .routes
                        .iter()
                        .map(|route| ledger.in_flight(route.source));
                    assert!(in_flight.sum::<usize>() <= most);
                }
            }
            client.turn(ledger).unwrap();
        }
        publishers.drive(client, ledger, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_websocket_publisher_waits_for_the_last_reader() {
        let floor = testing::start();
        for in_flight in [1, 8] {
            let (mut client, mut ledger) = client_and_ledger(&floor, 1);
            let lines = client
                .open_readers(Wire::WebSocket, "a", 20, &mut ledger, |_| {})
                .unwrap();
            let mut publishers =
                Publishers::over_websockets(&lines[..1], Pace::Readers { in_flight });
            publish(&mut publishers, &mut client, &mut ledger, 100);
            assert!(ledger.is_drained());
            assert_eq!(ledger.deliveries(), ledger.published() * 20);
            for line in lines {
                client.close(line);
            }
        }
    }

    #[test]
    fn each_http_publisher_is_a_source_of_its_own() {
        let paces = [
            Pace::Readers { in_flight: 1 },
            Pace::Answers { pipelined: 8 },
        ];
        for pace in paces {
            let floor = testing::start();
            let (mut client, mut ledger) = client_and_ledger(&floor, 4);
            client
                .open_readers(Wire::WebSocket, "a", 3, &mut ledger, |_| {})
                .unwrap();
            let mut publishers = Publishers::over_http(&mut client, "a", &ledger, 4, pace).unwrap();
            publish(&mut publishers, &mut client, &mut ledger, 400);
            assert_eq!(ledger.deliveries(), ledger.published() * 3, "{pace:?}");
        }
    }

    /// The floor holds an entry back until so many have come, so a pace that published fewer at
    /// once would end in silence.
    #[test]
    fn bursts_fill_a_send_that_joins_as_many() {
        let floor = testing::start_joining(4);
        let (mut client, mut ledger) = client_and_ledger(&floor, 1);
        let lines = client
            .open_readers(Wire::WebSocket, "a", 5, &mut ledger, |_| {})
            .unwrap();
        let mut publishers = Publishers::over_websockets(&lines[..1], Pace::Bursts { entries: 4 });
        publish(&mut publishers, &mut client, &mut ledger, 40);
        assert_eq!(ledger.deliveries(), ledger.published() * 5);
        assert_eq!(ledger.published() % 4, 0);
    }

    #[test]
    fn connections_walk_their_own_share_of_the_channels() {
        let floor = testing::start();
        let mut client = Client::new(floor.address(), Interrupt::default()).unwrap();
        let channels: Vec<String> = (0..5).map(|channel| format!("c/{channel}")).collect();
        let mut ledger = Ledger::of_channels(Payloads::new(128), &[1; 5]);
        let asked = (0..10).map(|reader| {
            let request = Wire::WebSocket.request(floor.address(), &channels[reader / 2]);
            let subscription = Subscription::plain(Wire::WebSocket, request);
            (reader / 2, Arc::new(subscription))
        });
        client.open_lines(asked, &mut ledger, |_| {}).unwrap();
        let mut publishers = Publishers::in_turn(&mut client, &channels, &ledger, 2).unwrap();
        let shares = publishers.publishers.iter().map(|publisher| {
            let sources = publisher.routes.iter().map(|route| route.source);
            sources.collect::<Vec<_>>()
        });
        assert_eq!(shares.collect::<Vec<_>>(), [vec![0, 2, 4], vec![1, 3]]);
        publish(&mut publishers, &mut client, &mut ledger, 100);
        assert_eq!(ledger.deliveries(), ledger.published() * 2);
    }

    #[test]
    fn a_batch_is_one_request_of_many_entries() {
        let floor = testing::start();
        let (mut client, mut ledger) = client_and_ledger(&floor, 2);
        let mut publishers = Publishers::in_batches(&mut client, "a", &ledger, 2, 10).unwrap();
        publish(&mut publishers, &mut client, &mut ledger, 100);
        assert_eq!(ledger.published() % 10, 0);
    }
}
