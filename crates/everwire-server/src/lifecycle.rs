//! What happens on the server, told to servers: which sessions come and go, and which channels have readers.
//!
//! ```text
//!  sessions ─▶ connected, disconnected ─┐              once in a while
//!                                       ├─▶ Journal ──▶ entries ──▶ $everwire/sessions
//!  hub      ─▶ occupied, vacated ───────┘                           $everwire/channels
//! ```
//!
//! To note something is a lock and a push, since it is done where lines come and go. A task on the workers makes
//! entries of what has gathered, so that ten thousand who lose their connections at once are twenty entries.

mod journal;
#[cfg(test)]
mod tests;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use everwire_channel::{ChannelName, SessionId, UserName};
use tokio::sync::Notify;

use self::journal::{Journal, SessionOfUser, Turn};
use crate::{
    clock,
    hub::{Audience, Hub, NoChannel, Own},
    metrics::Metrics,
    stop::Stopping,
};

/// What happened and has not been told.
pub(crate) struct Lifecycle {
    enabled: bool,
    journals: Mutex<Journals>,
    /// Woken when the first thing happens after all was told.
    noted: Notify,
}

#[derive(Default)]
struct Journals {
    sessions: Journal<SessionOfUser>,
    channels: Journal<ChannelName>,
}

/// How long events gather before they are told.
const GATHER: Duration = Duration::from_millis(100);

const SESSIONS: &str = "$everwire/sessions";
const CHANNELS: &str = "$everwire/channels";

impl Lifecycle {
    /// Nothing happened yet. If it is not enabled, nothing is noted ever.
    pub fn new(enabled: bool) -> Self {
        Self {
            enabled,
            journals: Mutex::default(),
            noted: Notify::new(),
        }
    }

    /// Whether anything is told.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// A session has begun.
    pub fn connected(&self, session: SessionId, user: Option<&UserName>) {
        self.session(Turn::Began, session, user);
    }

    /// A session has ended.
    pub fn disconnected(&self, session: SessionId, user: Option<&UserName>) {
        self.session(Turn::Ended, session, user);
    }

    /// Itself as what the hub tells, if anything is told.
    pub fn audience(self: &Arc<Self>) -> Option<Arc<dyn Audience>> {
        self.enabled.then(|| self.clone() as Arc<dyn Audience>)
    }

    fn session(&self, turn: Turn, session: SessionId, user: Option<&UserName>) {
        self.note(|journals| {
            let user = user.cloned();
            journals
                .sessions
                .note(turn, SessionOfUser { session, user });
        });
    }

    fn channel(&self, turn: Turn, channel: &ChannelName) {
        self.note(|journals| journals.channels.note(turn, channel.clone()));
    }

    fn note(&self, note: impl FnOnce(&mut Journals)) {
        if !self.enabled {
            return;
        }
        let mut journals = self.lock();
        let is_first = journals.sessions.is_empty() && journals.channels.is_empty();
        note(&mut journals);
        drop(journals);
        if is_first {
            self.noted.notify_one();
        }
    }

    /// Tells all that has gathered.
    fn tell(&self, hub: &Hub, metrics: &Metrics, now_ms: u64) {
        let Journals { sessions, channels } = std::mem::take(&mut *self.lock());
        let told = [
            (SESSIONS, sessions.entries(), sessions.counts()),
            (CHANNELS, channels.entries(), channels.counts()),
        ];
        for (name, entries, (noted, left_out)) in told {
            let appended = match entries.is_empty() {
                true => Ok(()),
                false => hub.append_own(&own(hub, name), entries, None, now_ms),
            };
            match appended {
                Ok(()) => metrics.events_told(noted, left_out),
                Err(NoChannel::TooMany | NoChannel::Share | NoChannel::Missing) => {
                    metrics.events_told(0, noted + left_out);
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Journals> {
        self.journals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audience for Lifecycle {
    fn occupied(&self, channel: &ChannelName) {
        self.channel(Turn::Began, channel);
    }

    fn vacated(&self, channel: &ChannelName) {
        self.channel(Turn::Ended, channel);
    }
}

/// Tells what happens, until the server stops.
pub(crate) async fn tell(
    lifecycle: Arc<Lifecycle>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    stopping: Stopping,
) {
    if !lifecycle.is_enabled() {
        return;
    }
    loop {
        tokio::select! {
            () = lifecycle.noted.notified() => {}
            () = stopping.stopped() => return,
        }
        tokio::time::sleep(GATHER).await;
        lifecycle.tell(&hub, &metrics, clock::unix_ms());
    }
}

/// Makes the channels that servers read, so that they are there before anything happens.
pub(crate) fn open(lifecycle: &Lifecycle, hub: &Hub, now_ms: u64) {
    if lifecycle.is_enabled() {
        for name in [SESSIONS, CHANNELS] {
            // Where not even these have room, they are tried again with the first event.
            let _ = hub.open_own(&own(hub, name), now_ms);
        }
    }
}

fn own(hub: &Hub, name: &str) -> Own {
    let name = name.parse().expect("the name of the server's own is one");
    Own {
        retention: hub.settings().now().rules.of(&name).retention(),
        name,
        by: None,
        kept: true,
    }
}
