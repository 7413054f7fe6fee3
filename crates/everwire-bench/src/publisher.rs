//! The publishing connections of a load, and what holds them back.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{
    client::Client,
    ledger::Ledger,
    publish::{self, PublishRequest},
};

/// Publishing connections, each one source of numbered entries.
pub struct Publishers {
    over: Over,
    /// The line of each source.
    lines: Vec<usize>,
    pace: Pace,
    unsent: Vec<u8>,
}

enum Over {
    WebSocket,
    Http(PublishRequest),
}

/// When a source publishes its next entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When fewer than `in_flight` of its entries are unseen by some reader: the strict window.
    /// Over HTTP its answer must have come as well.
    Readers {
        /// Entries in flight, at least 1.
        in_flight: usize,
    },
    /// When fewer than `pipelined` of its requests are unanswered, however far the readers are.
    Answers {
        /// Requests under way, at least 1.
        pipelined: usize,
    },
}

impl Publishers {
    /// One source, over the WebSocket `line`.
    pub fn over_websocket(line: usize, in_flight: usize) -> Self {
        let (over, pace) = (Over::WebSocket, Pace::Readers { in_flight });
        Self {
            over,
            lines: vec![line],
            pace,
            unsent: Vec::new(),
        }
    }

    /// One source for each of `connections`, over HTTP connections that are opened here.
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
        let request = PublishRequest::new(client.server(), channel, ledger);
        let lines = (0..connections)
            .map(|_| client.open_publisher())
            .collect::<Result<_>>()?;
        Ok(Self {
            over: Over::Http(request),
            lines,
            pace,
            unsent: Vec::new(),
        })
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
            } else if ledger.is_drained()
                && self.lines.iter().all(|line| client.unanswered(*line) == 0)
            {
                return Ok(());
            }
            client.turn(ledger)?;
        }
    }

    /// Publishes what the pace allows now, in one write for each source.
    fn refill(&mut self, client: &mut Client, ledger: &mut Ledger) -> Result<()> {
        for (source, line) in self.lines.iter().enumerate() {
            let unanswered = client.unanswered(*line);
            let entries = match self.pace {
                Pace::Readers { in_flight } => in_flight - ledger.in_flight(source).max(unanswered),
                Pace::Answers { pipelined } => pipelined - unanswered,
            };
            if entries == 0 {
                continue;
            }
            self.unsent.clear();
            for _ in 0..entries {
                match &self.over {
                    Over::WebSocket => publish::write_frame(ledger, source, &mut self.unsent),
                    Over::Http(request) => request.write(ledger, source, &mut self.unsent),
                }
            }
            client.send(*line, &self.unsent, entries)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{floor::testing, interrupt::Interrupt, payload::Payloads, wire::Wire};

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
            for source in 0..publishers.lines.len() {
                if let Pace::Readers { in_flight } = publishers.pace {
                    assert!(ledger.in_flight(source) <= in_flight);
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
            let mut publishers = Publishers::over_websocket(lines[0], in_flight);
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
}
