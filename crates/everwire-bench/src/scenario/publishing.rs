//! What it takes to accept an entry over HTTP.

use anyhow::Result;

use super::{Bench, Count, Floors, Load, Scene, Work};
use crate::{
    publisher::{Pace, Publishers},
    rival::Rival,
    subject::Subject,
    wire::Wire,
};

/// One load of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publishing {
    /// Kept connections that publish.
    pub connections: usize,
    /// What each has under way.
    pub under_way: UnderWay,
    /// WebSocket readers of the channel.
    pub readers: usize,
    /// Size of each payload.
    pub payload_bytes: usize,
}

/// What a publishing connection has under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderWay {
    /// So many requests of one entry each.
    Requests(usize),
    /// One request of so many entries, by `POST /publish`.
    Batch(usize),
}

impl UnderWay {
    /// Requests of each connection that have no answer yet.
    pub fn pipelined(self) -> usize {
        match self {
            Self::Requests(pipelined) => pipelined,
            Self::Batch(_) => 1,
        }
    }

    /// Entries in each request.
    pub fn entries(self) -> usize {
        match self {
            Self::Requests(_) => 1,
            Self::Batch(entries) => entries,
        }
    }
}

impl Load for Publishing {
    type Sample = Work;

    fn name(&self) -> String {
        format!(
            "publish over {} connections, {} pipelined of {} entries, {} readers",
            self.connections,
            self.under_way.pipelined(),
            self.under_way.entries(),
            self.readers
        )
    }

    /// Bare hyper takes requests and has no readers.
    fn floors(&self) -> Floors<Self> {
        Floors {
            hyper: Some(Self {
                readers: 0,
                ..*self
            }),
            ..Floors::floor(*self)
        }
    }

    /// No description tells how to publish many at once.
    fn suits(&self, rival: &Rival) -> bool {
        let is_read = self.readers == 0 || rival.speaks(Wire::WebSocket);
        is_read && rival.publishes_over_http() && matches!(self.under_way, UnderWay::Requests(_))
    }

    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Work> {
        let scene = Scene::of_one_channel(self.connections, self.payload_bytes);
        bench.on_stage(subject, &scene, |stage| {
            stage.open_readers(Wire::WebSocket, self.readers)?;
            let (client, channel, ledger) = (&mut stage.client, &stage.channels[0], &stage.ledger);
            let connections = self.connections;
            let mut publishers = match self.under_way {
                UnderWay::Requests(pipelined) => {
                    let pace = Pace::Answers { pipelined };
                    Publishers::over_http(client, channel, ledger, connections, pace)?
                }
                UnderWay::Batch(entries) => {
                    Publishers::in_batches(client, channel, ledger, connections, entries)?
                }
            };
            stage.settle()?;
            stage.drive(&mut publishers, Count::Published)
        })
    }
}
