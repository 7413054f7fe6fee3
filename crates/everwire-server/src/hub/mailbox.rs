//! What others have for a shard: which channels changed, and the order to stop.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::channel::WatchKey;

/// One message to a shard.
#[derive(Debug)]
pub enum Mail {
    /// A channel that it watches has changed. Told once until the shard looks.
    Changed(WatchKey),
    /// The server stops: end all lines.
    Drain,
}

/// A shard's mailbox. A burst of mail wakes the shard once.
#[derive(Default)]
pub struct Mailbox {
    mail: Mutex<Vec<Mail>>,
    wake: Notify,
}

impl Mailbox {
    /// Leaves a message.
    pub fn post(&self, mail: Mail) {
        let mut waiting = self.mail.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push(mail);
        let first = waiting.len() == 1;
        drop(waiting);
        if first {
            self.wake.notify_one();
        }
    }

    /// Takes all messages into `taken`, which is empty; its capacity is kept.
    pub fn take(&self, taken: &mut Vec<Mail>) {
        debug_assert!(taken.is_empty());
        std::mem::swap(
            &mut *self.mail.lock().unwrap_or_else(PoisonError::into_inner),
            taken,
        );
    }

    /// Whether something was not taken.
    #[cfg(test)]
    pub fn has_mail(&self) -> bool {
        !self
            .mail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Resolves when there is mail that was not taken.
    pub async fn notified(&self) {
        self.wake.notified().await;
    }

    /// Wakes the shard without a message, for work that was put before it on its own thread.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}
