//! What the kernel gives for several entries in one send: the floor against itself.

use anyhow::Result;

use super::{Bench, Count, Floors, Load, Scene, Work};
use crate::{
    publisher::{Pace, Publishers},
    subject::Subject,
    wire::Wire,
};

/// One load of this kind, over WebSockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Joining {
    /// Entries in each send, and in each write of the publisher.
    pub joined: usize,
    /// How many read.
    pub readers: usize,
    /// Size of each payload.
    pub payload_bytes: usize,
}

impl Load for Joining {
    type Sample = Work;

    fn name(&self) -> String {
        format!("{} in each send to {}", self.joined, self.readers)
    }

    fn floors(&self) -> Floors<Self> {
        let joined = self.joined;
        Floors {
            floor: Some((Subject::Floor { joined }, *self)),
            hyper: None,
            server: false,
        }
    }

    fn measure(&self, bench: &Bench, subject: &Subject) -> Result<Work> {
        let scene = Scene::of_one_channel(1, self.payload_bytes);
        bench.on_stage(subject, &scene, |stage| {
            let lines = stage.open_readers(Wire::WebSocket, self.readers)?;
            // Exactly as many as the floor joins, so that it never waits for more.
            let entries = self.joined;
            let mut publishers = Publishers::over_websockets(&lines[..1], Pace::Bursts { entries });
            stage.settle()?;
            stage.drive(&mut publishers, Count::Deliveries)
        })
    }
}
