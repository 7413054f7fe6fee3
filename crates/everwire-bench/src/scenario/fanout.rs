//! What it takes to deliver each entry of one channel to many readers.

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
pub struct Fanout {
    /// The wire of the readers.
    pub wire: Wire,
    /// How many read.
    pub readers: usize,
    /// Entries that may be unseen by some reader, over all publishers.
    pub in_flight: usize,
    /// Who publishes.
    pub publisher: Publisher,
    /// Size of each payload.
    pub payload_bytes: usize,
}

/// Who publishes in a fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publisher {
    /// One of the readers, over its own WebSocket; the other readers use the load's wire.
    WebSocket,
    /// As many HTTP connections as entries may be in flight; each has one.
    Http,
}

impl Publisher {
    /// The name used in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Http => "http",
        }
    }
}

impl Load for Fanout {
    type Sample = Work;

    fn name(&self) -> String {
        format!(
            "{} to {}, {} in flight, {} bytes, published by {}",
            self.wire.name(),
            self.readers,
            self.in_flight,
            self.payload_bytes,
            self.publisher.name()
        )
    }

    /// The floor sends as many bytes over the same wire. Nobody polls when there is a wire that
    /// needs no asking, so polls are compared with WebSockets.
    fn floors(&self) -> Floors<Self> {
        let wire = match self.wire {
            Wire::LongPoll => Wire::WebSocket,
            live => live,
        };
        Floors::floor(Self { wire, ..*self })
    }

    fn suits(&self, rival: &Rival) -> bool {
        let publishes = match self.publisher {
            Publisher::WebSocket => rival.publishes_over_websocket(),
            Publisher::Http => rival.publishes_over_http(),
        };
        publishes && rival.speaks(self.wire) && (self.wire != Wire::LongPoll || rival.polls_again())
    }

    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Work> {
        let Self {
            wire,
            readers,
            in_flight,
            publisher,
            payload_bytes,
        } = *self;
        let sources = match publisher {
            Publisher::WebSocket => 1,
            Publisher::Http => in_flight,
        };
        let scene = Scene::of_one_channel(sources, payload_bytes);
        bench.on_stage(subject, &scene, |stage| {
            let mut publishers = match publisher {
                Publisher::WebSocket => {
                    let line = stage.open_readers(Wire::WebSocket, 1)?;
                    stage.open_readers(wire, readers - 1)?;
                    Publishers::over_websockets(&line, Pace::Readers { in_flight })
                }
                Publisher::Http => {
                    stage.open_readers(wire, readers)?;
                    let pace = Pace::Readers { in_flight: 1 };
                    let (client, channel) = (&mut stage.client, &stage.channels[0]);
                    Publishers::over_http(client, channel, &stage.ledger, in_flight, pace)?
                }
            };
            stage.settle()?;
            stage.drive(&mut publishers, Count::Deliveries)
        })
    }
}
