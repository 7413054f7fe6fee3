//! The order to stop, known to all threads.

use std::convert::Infallible;

use tokio::sync::{mpsc, watch};

/// Whether the server stops. Clones share it.
#[derive(Clone)]
pub(crate) struct Stopping {
    receiver: watch::Receiver<Phase>,
}

/// How far the server is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// It serves on, and says that it will stop.
    Leaving,
    Stopping,
}

/// Gives the order.
pub(crate) struct Stop {
    sender: watch::Sender<Phase>,
}

impl Stop {
    pub fn new() -> (Self, Stopping) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        (Self { sender }, Stopping { receiver })
    }

    /// Tells that the order will come.
    pub fn leave(&self) {
        self.sender.send_replace(Phase::Leaving);
    }

    /// Gives the order; it is never taken back.
    pub fn stop(&self) {
        self.sender.send_replace(Phase::Stopping);
    }
}

impl Stopping {
    /// Whether the order was given.
    pub fn is_stopping(&self) -> bool {
        *self.receiver.borrow() == Phase::Stopping
    }

    /// Whether the order was given, or will be.
    pub fn is_leaving(&self) -> bool {
        *self.receiver.borrow() >= Phase::Leaving
    }

    /// Resolves when the order is given.
    pub async fn stopped(&self) {
        let mut receiver = self.receiver.clone();
        // The sender lives as long as the server; if it is gone, so is the server.
        let _ = receiver.wait_for(|phase| *phase == Phase::Stopping).await;
    }
}

/// Proof that somebody is still served; clones are the same proof.
pub(crate) type Alive = mpsc::Sender<Infallible>;

/// Sees the end of the last [`Alive`].
pub(crate) struct AllGone {
    receiver: mpsc::Receiver<Infallible>,
}

impl AllGone {
    pub fn new() -> (Self, Alive) {
        let (sender, receiver) = mpsc::channel(1);
        (Self { receiver }, sender)
    }

    /// Resolves when nobody is served any more.
    pub async fn gone(&mut self) {
        // Nothing is ever sent, so this resolves when the last sender is dropped.
        let _ = self.receiver.recv().await;
    }
}
