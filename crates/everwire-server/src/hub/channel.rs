//! One channel: its core under a lock, and who is to be told when it changes.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use everwire_channel::{
    Append, AppendError, Appended, Channel as Core, ChannelName, Confirmed, ContentType, Expiry,
    Mismatch,
};

use super::{
    mailbox::{Mail, Mailbox},
    occupancy::Occupancy,
};

/// A channel of the hub.
pub struct Channel {
    name: ChannelName,
    state: Mutex<State>,
}

/// What stands under the channel's lock.
pub struct State {
    core: Core,
    watchers: Vec<Watcher>,
    /// Told of readers that come and go; of a channel that is removed, nobody is told any more.
    occupancy: Option<Occupancy>,
    /// Made by `PUT`, or by the server for others to read, so it stays even while nobody uses it.
    by_request: bool,
    removed: bool,
    /// When somebody last used it, in Unix milliseconds.
    used_ms: u64,
    /// What the log last counted towards the bytes of all logs.
    bytes_counted: u64,
    bytes_of_all: Arc<AtomicU64>,
}

/// A shard that has readers of this channel.
struct Watcher {
    mailbox: Arc<Mailbox>,
    key: WatchKey,
    /// Told, and has not looked yet: it need not be told again.
    told: bool,
}

/// The append came to a channel that is no longer there.
#[derive(Debug)]
pub struct Removed<'a>(pub Append<'a>);

/// Under which number a shard knows a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchKey(pub u32);

impl Channel {
    pub(super) fn new(
        name: ChannelName,
        core: Core,
        by_request: bool,
        occupancy: Option<Occupancy>,
        bytes_of_all: Arc<AtomicU64>,
        now_ms: u64,
    ) -> Self {
        let state = State {
            core,
            watchers: Vec::new(),
            occupancy,
            by_request,
            removed: false,
            used_ms: now_ms,
            bytes_counted: 0,
            bytes_of_all,
        };
        Self {
            name,
            state: Mutex::new(state),
        }
    }

    /// The channel's name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// The channel's state, for as long as the guard lives.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while it was held is a bug that was reported; the log itself is changed in one step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends, and tells all watchers. If the channel was removed meanwhile, the append is given back.
    pub fn append<'a>(
        &self,
        append: Append<'a>,
        now_ms: u64,
    ) -> Result<Result<Appended, AppendError>, Removed<'a>> {
        let mut state = self.lock();
        if state.removed {
            return Err(Removed(append));
        }
        let result = state.core.append(append, now_ms);
        if result.is_ok() {
            state.used_ms = now_ms;
            state.count_bytes();
            state.tell();
        }
        Ok(result)
    }

    /// Ends the channel if the condition holds: its readers are told so.
    pub(super) fn remove_if(&self, condition: impl FnOnce(&State) -> bool) -> bool {
        let mut state = self.lock();
        if state.removed || !condition(&state) {
            return false;
        }
        state.removed = true;
        if let Some(occupancy) = state.occupancy.take() {
            occupancy.changed(state.is_watched(), false);
        }
        let counted = std::mem::take(&mut state.bytes_counted);
        state.bytes_of_all.fetch_sub(counted, Ordering::Relaxed);
        state.tell();
        true
    }
}

impl State {
    /// The channel itself.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Whether the channel was deleted or has expired: nothing follows what is in its log.
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// Whether nothing will follow what is in the log.
    pub fn is_ended(&self) -> bool {
        self.removed || self.core.is_closed()
    }

    /// Notes that somebody asked for the channel.
    pub(super) fn used(&mut self, now_ms: u64) {
        self.used_ms = now_ms;
    }

    /// Notes that somebody reads, which also moves a sliding expiry.
    pub fn touch(&mut self, now_ms: u64) {
        self.used_ms = now_ms;
        self.core.touch(now_ms);
    }

    /// Confirms that the channel is what a creation asks for, and keeps it from then on.
    pub fn confirm(
        &mut self,
        content_type: Option<&ContentType>,
        expiry: Option<Expiry>,
        closed: bool,
        now_ms: u64,
    ) -> Result<Confirmed, Mismatch> {
        let confirmed = self.core.confirm(content_type, expiry, closed, now_ms)?;
        self.by_request = true;
        Ok(confirmed)
    }

    /// Starts to tell a shard of changes. What is in the log now is not told.
    pub fn watch(&mut self, mailbox: &Arc<Mailbox>, key: WatchKey) {
        self.change_readers(|state| {
            state.watchers.push(Watcher {
                mailbox: mailbox.clone(),
                key,
                told: false,
            });
        });
    }

    /// Ends it.
    pub fn unwatch(&mut self, mailbox: &Arc<Mailbox>, key: WatchKey) {
        let is_other =
            |watcher: &Watcher| watcher.key != key || !Arc::ptr_eq(&watcher.mailbox, mailbox);
        self.change_readers(|state| state.watchers.retain(is_other));
    }

    /// The shard looks now: the next change is told again.
    pub fn looked(&mut self, mailbox: &Arc<Mailbox>) {
        for watcher in &mut self.watchers {
            if Arc::ptr_eq(&watcher.mailbox, mailbox) {
                watcher.told = false;
            }
        }
    }

    /// Whether somebody reads the channel as it grows.
    pub fn is_watched(&self) -> bool {
        !self.watchers.is_empty()
    }

    /// Whether the channel may be forgotten: made by use, empty, and unused for `forget_ms`.
    pub(super) fn is_forgettable(&self, forget_ms: u64, now_ms: u64) -> bool {
        !self.by_request
            && !self.is_watched()
            && self.core.log().is_empty()
            && now_ms.saturating_sub(self.used_ms) >= forget_ms
    }

    /// Lets go of entries that are past their age.
    pub(super) fn trim(&mut self, now_ms: u64) {
        self.core.trim(now_ms);
        self.count_bytes();
    }

    fn change_readers(&mut self, change: impl FnOnce(&mut Self)) {
        let was_watched = self.is_watched();
        change(self);
        if let Some(occupancy) = &self.occupancy {
            occupancy.changed(was_watched, self.is_watched());
        }
    }

    fn count_bytes(&mut self) {
        let bytes = self.core.bytes();
        if bytes >= self.bytes_counted {
            self.bytes_of_all
                .fetch_add(bytes - self.bytes_counted, Ordering::Relaxed);
        } else {
            self.bytes_of_all
                .fetch_sub(self.bytes_counted - bytes, Ordering::Relaxed);
        }
        self.bytes_counted = bytes;
    }

    fn tell(&mut self) {
        for watcher in &mut self.watchers {
            if !watcher.told {
                watcher.told = true;
                watcher.mailbox.post(Mail::Changed(watcher.key));
            }
        }
    }
}
