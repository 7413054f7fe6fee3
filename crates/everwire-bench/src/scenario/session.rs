//! Sessions: lines that read several channels each.

pub mod fanout;
pub mod memory;
pub mod storm;

use std::{ops::Range, sync::Arc};

use anyhow::Result;

use super::Stage;
use crate::{
    client::Client,
    dialect::Subscription,
    ledger::Ledger,
    session::{self, Wish},
    wire,
};

/// Who reads what: each session so many channels in a row, beginning one after where the session
/// before it does, so that neighbours differ and each channel has as many readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The number of the first channel.
    pub first: usize,
    /// How many channels there are.
    pub channels: usize,
    /// How many of them each session reads.
    pub each: usize,
}

/// An open session of the load.
#[derive(Clone, Debug)]
pub struct Session {
    /// The client's line.
    pub line: usize,
    /// The ledger's readers, one for each channel, in the order in which they are asked for.
    pub readers: Range<usize>,
}

impl Plan {
    /// The channels of the session with this number.
    pub fn channels_of(self, session: usize) -> impl Iterator<Item = usize> {
        let Self {
            first,
            channels,
            each,
        } = self;
        (0..each).map(move |at| first + (session + at) % channels)
    }

    /// The ledger's readers for the session with this number, who join it here.
    pub fn join(self, session: usize, ledger: &mut Ledger) -> Range<usize> {
        let start = ledger.join(first_of(self, session));
        let mut end = start + 1;
        for channel in self.channels_of(session).skip(1) {
            end = ledger.join(channel) + 1;
        }
        start..end
    }
}

fn first_of(plan: Plan, session: usize) -> usize {
    plan.first + session % plan.channels
}

/// Where a session asks the server to begin.
pub enum Begin {
    /// Now.
    Now,
    /// Now, and it is among the members.
    Present,
    /// After the last entry that each reader has seen; now where it has seen none.
    Last,
}

/// Commands that subscribe to the channels of `readers`.
pub fn subscribe(readers: Range<usize>, begin: &Begin, ledger: &Ledger) -> Vec<u8> {
    let mut commands = Vec::new();
    for reader in readers {
        let (channel, last) = ledger.place(reader);
        let wish = match begin {
            Begin::Now => Wish::Now,
            Begin::Present => Wish::Present,
            Begin::Last => last.map_or(Wish::Now, Wish::After),
        };
        session::write_subscribe(&wire::channel_name(channel), wish, &mut commands);
    }
    commands
}

/// A line that opens a session and asks for the channels of `readers`.
pub fn opening(
    client: &Client,
    readers: Range<usize>,
    begin: &Begin,
    ledger: &Ledger,
) -> Arc<Subscription> {
    let commands = readers.len();
    let greeting = subscribe(readers, begin, ledger);
    Arc::new(Subscription::session(client.server(), greeting, commands))
}

impl Stage<'_> {
    /// Opens the sessions of `plan` with these numbers, each with the first `asked` of its
    /// channels, and waits until all are at rest.
    ///
    /// # Errors
    /// If one is refused.
    pub fn open_sessions(
        &mut self,
        plan: Plan,
        numbers: Range<usize>,
        asked: usize,
    ) -> Result<Vec<Session>> {
        let (all, mut opened) = (numbers.len(), 0);
        let mut sessions: Vec<Session> = Vec::new();
        for number in numbers {
            let readers = plan.join(number, &mut self.ledger);
            let first = readers.start..readers.start + asked;
            let subscription = opening(&self.client, first, &Begin::Now, &self.ledger);
            let line = self
                .client
                .open(readers.clone(), subscription, &self.ledger)?;
            sessions.push(Session { line, readers });
            while opened + OPENING_MAX < sessions.len() {
                opened += self.client.turn(&mut self.ledger)?.opened;
            }
            let detail = format!("{opened} of {all} sessions");
            self.bench.progress.detail(&detail);
        }
        while opened < all {
            opened += self.client.turn(&mut self.ledger)?.opened;
        }
        Ok(sessions)
    }

    /// As [`open_sessions`](Self::open_sessions), over event streams and with all their channels.
    ///
    /// # Errors
    /// If one is refused.
    pub fn open_stream_sessions(&mut self, plan: Plan, numbers: Range<usize>) -> Result<()> {
        let requests = self.client.open_publisher()?;
        for number in numbers {
            let readers = plan.join(number, &mut self.ledger);
            let subscription = Arc::new(Subscription::session_stream(self.client.server()));
            let line = self.client.open(readers, subscription, &self.ledger)?;
            self.await_opened()?;
            let channels: Vec<String> = plan.channels_of(number).map(wire::channel_name).collect();
            self.client
                .subscribe_by_request(line, requests, &channels)?;
            self.await_opened()?;
        }
        self.client.close(requests);
        Ok(())
    }

    fn await_opened(&mut self) -> Result<()> {
        while self.client.turn(&mut self.ledger)?.opened == 0 {}
        Ok(())
    }

    /// Has each of `sessions` do what `commands` makes, and waits until all has succeeded.
    ///
    /// # Errors
    /// If something is refused.
    pub fn command_all(
        &mut self,
        sessions: &[Session],
        commands: impl Fn(&Session, &Ledger) -> (Vec<u8>, usize),
    ) -> Result<()> {
        let mut done = 0;
        for (at, session) in sessions.iter().enumerate() {
            let (bytes, count) = commands(session, &self.ledger);
            self.client.command(session.line, &bytes, count)?;
            while done + OPENING_MAX <= at {
                done += self.client.turn(&mut self.ledger)?.opened;
            }
        }
        while done < sessions.len() {
            done += self.client.turn(&mut self.ledger)?.opened;
        }
        Ok(())
    }
}

/// Sessions that are being opened, or have commands under way, at once.
const OPENING_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Payloads;

    #[test]
    fn each_channel_has_as_many_readers() {
        for (channels, each, sessions) in [(1_000, 10, 1_000), (10, 10, 7), (1, 1, 5)] {
            let plan = Plan {
                first: 1,
                channels,
                each,
            };
            let mut readers = vec![0; channels + 1];
            for session in 0..sessions {
                let mut of_one: Vec<usize> = plan.channels_of(session).collect();
                of_one.iter().for_each(|channel| readers[*channel] += 1);
                of_one.sort_unstable();
                of_one.dedup();
                assert_eq!(of_one.len(), each, "each channel once");
            }
            let expected = sessions * each / channels;
            assert_eq!(readers[1..], vec![expected; channels]);
        }
    }

    #[test]
    fn a_session_joins_as_readers_in_a_row() {
        let mut ledger = Ledger::of_channels(Payloads::new(32), &[1; 4]);
        let plan = Plan {
            first: 1,
            channels: 3,
            each: 2,
        };
        assert_eq!(plan.join(0, &mut ledger), 0..2);
        let readers = plan.join(2, &mut ledger);
        let channels = readers.map(|reader| ledger.place(reader).0);
        assert_eq!(channels.collect::<Vec<_>>(), [3, 1]);
    }
}
