//! One channel: its core under a lock, and who is to be told when it changes.

use std::sync::{Arc, Mutex, MutexGuard};

use everwire_channel::{
    Append, AppendError, Appended, Channel as Core, ChannelName, Confirmed, ContentType, Draft,
    Expiry, Mismatch,
};

use super::{
    occupancy::Occupancy,
    pots::{Ledger, Made, Payer, Pots},
};
use crate::{rate::Account, shares::Short};

/// A channel of the hub.
pub struct Channel {
    name: ChannelName,
    state: Mutex<State>,
}

/// What stands under the channel's lock.
pub struct State {
    core: Core,
    watches: Vec<Watch>,
    /// Told of readers that come and go; of a channel that is removed, nobody is told any more.
    occupancy: Option<Occupancy>,
    /// Made by `PUT`, or by the server for others to read, so it stays even while nobody uses it.
    by_request: bool,
    /// Who had it made, if not the server.
    made: Option<Made>,
    removed: bool,
    /// Its core is being changed. Who finds this after a panic cannot tell what has become of the change.
    is_changing: bool,
    /// When somebody last used it, in Unix milliseconds.
    used_ms: u64,
    /// Whose the bytes of the log are; none any more once it was removed.
    ledger: Option<Ledger>,
}

/// Whoever reads channels as they grow: a shard.
pub trait Watcher: Send + Sync {
    /// The channel that it knows by this key has changed. Called under the channel's lock, once until the watcher has
    /// looked.
    fn changed(&self, key: WatchKey);
}

/// A watcher of this channel.
struct Watch {
    watcher: Arc<dyn Watcher>,
    key: WatchKey,
    /// Told, and has not looked yet: it need not be told again.
    told: bool,
}

/// Why an append was not made.
#[derive(Debug, PartialEq, Eq)]
pub enum NotAppended {
    /// The channel does not take it.
    Refused(AppendError),
    /// There is no room for it in all logs, or none for the payer.
    NoRoom(Short),
}

/// The append came to a channel that is no longer there.
#[derive(Debug)]
pub struct Removed<'a>(pub Append<'a>);

/// The number by which a watcher knows a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchKey(pub u32);

impl Channel {
    pub(super) fn new(
        name: ChannelName,
        core: Core,
        by_request: bool,
        occupancy: Option<Occupancy>,
        (pots, made): (Arc<Pots>, Option<Made>),
        now_ms: u64,
    ) -> Self {
        let state = State {
            core,
            watches: Vec::new(),
            occupancy,
            by_request,
            made,
            removed: false,
            is_changing: false,
            used_ms: now_ms,
            ledger: Some(Ledger::new(pots)),
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

    /// The channel's state, for as long as the guard lives. If a panic broke off a change of it, the channel has ended: its
    /// readers are told, instead of being sent half of that. A panic of who only looked harms nobody else.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| {
            self.state.clear_poison();
            let mut state = poisoned.into_inner();
            if std::mem::take(&mut state.is_changing) {
                state.end();
            }
            state
        })
    }

    /// Appends, and tells all watchers. What comes of it is held by the payer; without one, by whoever had the channel
    /// made. If the channel was removed meanwhile, the append is given back.
    pub fn append<'a>(
        &self,
        append: Append<'a>,
        payer: Option<Payer>,
        now_ms: u64,
    ) -> Result<Result<Appended, NotAppended>, Removed<'a>> {
        let mut state = self.lock();
        if state.removed {
            return Err(Removed(append));
        }
        let bytes: u64 = append.entries.iter().map(Draft::accounted_bytes).sum();
        if let (Some(payer), Some(ledger), 1..) = (payer, &state.ledger, bytes)
            && let Err(short) = ledger.admit(payer, bytes)
        {
            return Ok(Err(NotAppended::NoRoom(short)));
        }
        let result = state.change(|core| core.append(append, now_ms));
        if let Ok(appended) = &result {
            state.used_ms = now_ms;
            let added = if appended.is_new() { bytes } else { 0 };
            state.count_bytes(payer.map(Payer::account), added);
            state.tell();
        }
        Ok(result.map_err(NotAppended::Refused))
    }

    /// Ends the channel if the condition holds: its readers are told so.
    pub(super) fn remove_if(&self, condition: impl FnOnce(&State) -> bool) -> bool {
        let mut state = self.lock();
        if state.removed || !condition(&state) {
            return false;
        }
        state.end();
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
        let confirm = |core: &mut Core| core.confirm(content_type, expiry, closed, now_ms);
        let confirmed = self.change(confirm)?;
        self.by_request = true;
        Ok(confirmed)
    }

    /// Starts to tell a watcher of changes. What is in the log now is not told.
    pub fn watch(&mut self, watcher: Arc<dyn Watcher>, key: WatchKey) {
        self.change_readers(|state| {
            state.watches.push(Watch {
                watcher,
                key,
                told: false,
            });
        });
    }

    /// Ends what [`watch`](Self::watch) started.
    pub fn unwatch(&mut self, watcher: &dyn Watcher, key: WatchKey) {
        let is_other = |watch: &Watch| watch.key != key || !watch.is_of(watcher);
        self.change_readers(|state| state.watches.retain(is_other));
    }

    /// The watcher looks now: the next change is told again.
    pub fn looked(&mut self, watcher: &dyn Watcher) {
        for watch in &mut self.watches {
            if watch.is_of(watcher) {
                watch.told = false;
            }
        }
    }

    /// Whether somebody reads the channel as it grows.
    pub fn is_watched(&self) -> bool {
        !self.watches.is_empty()
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
        self.change(|core| core.trim(now_ms));
        let takes = self.core.bytes();
        if let Some(ledger) = &mut self.ledger {
            ledger.settle(takes);
        }
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut Core) -> T) -> T {
        self.is_changing = true;
        let outcome = change(&mut self.core);
        self.is_changing = false;
        outcome
    }

    /// Nothing follows any more, which the readers are told.
    fn end(&mut self) {
        self.removed = true;
        if let Some(occupancy) = self.occupancy.take() {
            occupancy.changed(self.is_watched(), false);
        }
        self.ledger = None;
        self.made = None;
        self.tell();
    }

    fn change_readers(&mut self, change: impl FnOnce(&mut Self)) {
        let was_watched = self.is_watched();
        change(self);
        if let Some(occupancy) = &self.occupancy {
            occupancy.changed(was_watched, self.is_watched());
        }
    }

    fn count_bytes(&mut self, by: Option<Account>, added: u64) {
        let takes = self.core.bytes();
        let by = by.or_else(|| self.made.as_ref().map(Made::account));
        if let Some(ledger) = &mut self.ledger {
            ledger.append(by, added, takes);
        }
    }

    fn tell(&mut self) {
        for watch in &mut self.watches {
            if !watch.told {
                watch.told = true;
                watch.watcher.changed(watch.key);
            }
        }
    }
}

impl Watch {
    fn is_of(&self, watcher: &dyn Watcher) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.watcher), watcher)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::atomic::{AtomicU32, Ordering},
    };

    use everwire_channel::Mark;

    use super::*;
    use crate::{
        config::Config,
        hub::{Hub, Occasion},
        live::{Live, Settings},
    };

    #[derive(Default)]
    struct Told(AtomicU32);

    impl Watcher for Told {
        fn changed(&self, _: WatchKey) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn panics(work: impl FnOnce()) {
        assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
    }

    #[test]
    fn a_channel_ends_whose_change_was_broken_off_and_goes_on_after_any_other_panic() {
        let settings = Settings::new(Live::without_credentials(Config::default()));
        let hub = Hub::new(settings.clone(), None, Mark(1), 0);
        let name: ChannelName = "c".parse().unwrap();
        let open = || {
            let rules = &settings.now().rules;
            hub.open(rules, &name, (Occasion::Append, None), 0).unwrap()
        };
        let append = |channel: &Channel| channel.append(Append::default(), None, 0).is_ok();
        let (channel, told) = (open(), Arc::new(Told::default()));
        channel.lock().watch(told.clone(), WatchKey(1));

        panics(|| {
            let _looks = channel.lock();
            panic!("planted");
        });
        assert!(!channel.lock().is_ended() && append(&channel));
        assert!(Arc::ptr_eq(&open(), &channel));

        let before = told.0.load(Ordering::Relaxed);
        channel.lock().looked(&*told);
        panics(|| channel.lock().change::<()>(|_| panic!("planted")));
        assert!(channel.lock().is_ended() && !append(&channel));
        assert_eq!(told.0.load(Ordering::Relaxed), before + 1);

        let next = open();
        assert!(!next.lock().is_ended(), "another has taken its place");
        assert!(append(&next));
        assert_eq!(hub.count(), 1);
    }
}
