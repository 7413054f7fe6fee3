//! Those who leave without a word, and those who do not come back in time.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Presences, lock, rosters::Rosters};
use crate::{clock::Now, stop::Stopping};

/// Tells who has left, until the server stops.
pub(crate) async fn expire(presences: Arc<Presences>, stopping: Stopping) {
    loop {
        tokio::select! {
            () = presences.alarm.ring(presences.started) => {}
            () = stopping.stopped() => return,
        }
        tokio::time::sleep(GATHER).await;
        presences.expire(Now::read());
    }
}

impl Presences {
    /// Tells who has left by now, and sets the alarm for the next.
    pub(super) fn expire(&self, now: Now) {
        // First: whoever sets it meanwhile may belong to a part that was looked after already.
        self.alarm.reset();
        for part in &self.parts {
            while self.expire_some(part, now) {}
            if let Some(at_ms) = lock(part).wake_at_ms() {
                self.alarm.set(at_ms);
            }
        }
    }

    /// Tells some who have left one channel, so that the lock is not held for long. False if nobody is due.
    fn expire_some(&self, part: &Mutex<Rosters>, now: Now) -> bool {
        let now_ms = self.clock_ms(now);
        let mut part = lock(part);
        let Some(channel) = part.take_due(now_ms) else {
            return false;
        };
        if let Some(roster) = part.get(&channel) {
            let before = roster.members().len();
            let left = std::iter::from_fn(|| roster.poll_left(now_ms));
            let changes: Vec<_> = left.take(LEFT_AT_ONCE).collect();
            self.changed(&mut part, (&channel, None), before, &changes, now);
        }
        true
    }
}

/// How long those who are due gather, so that who left together is told together.
const GATHER: Duration = Duration::from_millis(50);

/// How many are told under one lock: a tenth of a millisecond, for which others may have to wait.
const LEFT_AT_ONCE: usize = 100;
