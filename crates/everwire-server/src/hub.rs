//! The channels of this server, by name.
//!
//! ```text
//!  append ─▶ Hub ─▶ Channel ──▶ log (everwire-channel)     the truth
//!                      │
//!                      └──▶ watchers: shards and streams   told once that there is something; they read the log
//! ```
//!
//! A channel's log and its watchers stand under one lock: whoever starts to watch sees all that came before in
//! the log and is told of all that comes after. The lock is held for the append or the read of a batch, never
//! while bytes are sent.

mod channel;
mod occupancy;
mod own;
mod pots;
mod problem;
mod sweep;

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use everwire_channel::{
    ChannelName, ContentType, Epoch, Expiry, Guard, Mark, Retention, Setup, Tail,
};
use hashbrown::HashTable;

pub use channel::{Channel, NotAppended, Removed, State, WatchKey, Watcher};
pub use occupancy::Audience;
pub use own::Own;
pub use pots::{Payer, Pots};
pub(crate) use problem::{no_channel, no_room};
pub use sweep::sweep;

use self::occupancy::Occupancy;
use crate::{
    config::{Create, Rules},
    live::Settings,
    rate::Account,
    shares::{Pot, Short},
};

/// All channels, and what is common to them.
pub struct Hub {
    /// Each channel under the hash of its name, which is computed once. Middle bits choose the part, since the table
    /// uses those at both ends.
    parts: Vec<Mutex<Part>>,
    hasher: RandomState,
    settings: Settings,
    /// The newest epoch given out; epochs rise over all channels.
    epoch: AtomicU64,
    /// Random for each start, so that an offset of an earlier life is never taken for one of this life.
    mark: Mark,
    count: AtomicUsize,
    pots: Arc<Pots>,
    /// Told of channels that get their first reader and lose their last.
    /// Told which channels have readers, if anybody is.
    audience: Option<Arc<dyn Audience>>,
}

/// Why a channel cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoChannel {
    /// There is none, and this caller does not make one.
    Missing,
    /// There are as many as the server takes.
    TooMany,
    /// This caller has its share of all there may be, and the rest is for others.
    Share,
}

/// Why a channel was not deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotDeleted {
    /// There is none.
    Missing,
    /// It ends elsewhere than it was to.
    Moved(Tail),
}

/// What makes a channel, if there is none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// An append.
    Append,
    /// A read that stays open.
    LiveRead,
    /// A read of what is there.
    Read,
}

type Part = HashTable<Arc<Channel>>;

const PARTS: usize = 64;

impl Hub {
    /// A hub without channels. `mark` is random; epochs start above `now_ms`, so that they rise over restarts
    /// too, as long as the clock does. The `audience` is told which channels have readers.
    pub fn new(
        settings: Settings,
        audience: Option<Arc<dyn Audience>>,
        mark: Mark,
        now_ms: u64,
    ) -> Self {
        Self {
            parts: (0..PARTS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            epoch: AtomicU64::new(now_ms),
            mark,
            count: AtomicUsize::new(0),
            pots: Arc::default(),
            audience,
            settings,
        }
    }

    /// The configuration that holds now.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A channel that exists and has not expired.
    pub fn find(&self, name: &ChannelName, now_ms: u64) -> Option<Arc<Channel>> {
        let (part, hash) = self.part(name);
        let channel = part.find(hash, |channel| channel.name() == name).cloned()?;
        drop(part);
        let mut state = channel.lock();
        let is_over = |state: &State| state.is_removed() || state.core().is_expired(now_ms);
        let was_over = is_over(&state);
        if !was_over {
            state.used(now_ms);
        }
        drop(state);
        if was_over {
            self.forget_if(&channel, is_over);
            return None;
        }
        Some(channel)
    }

    /// A channel for an append or a read, made on that occasion where its rule says so.
    pub fn open(
        &self,
        rules: &Rules,
        name: &ChannelName,
        (occasion, by): (Occasion, Option<Account>),
        now_ms: u64,
    ) -> Result<Arc<Channel>, NoChannel> {
        self.open_or_make(rules, name, (occasion, by), now_ms)
            .map(|(channel, _)| channel)
    }

    /// The same, telling whether it was made for this very occasion: of those who come at once, one is told so.
    pub fn open_or_make(
        &self,
        rules: &Rules,
        name: &ChannelName,
        (occasion, by): (Occasion, Option<Account>),
        now_ms: u64,
    ) -> Result<(Arc<Channel>, bool), NoChannel> {
        if let Some(channel) = self.find(name, now_ms) {
            return Ok((channel, false));
        }
        if name.is_reserved() {
            return Err(NoChannel::Missing); // made by the server itself, or not there
        }
        let rule = rules.of(name);
        match (occasion, rule.create) {
            (Occasion::Append, Create::OnPublish | Create::OnDemand)
            | (Occasion::LiveRead, Create::OnDemand) => {
                let setup = self.setup(rule.retention(), None, None);
                self.insert(name, setup, (false, by), now_ms)
            }
            _ => Err(NoChannel::Missing),
        }
    }

    /// Makes a channel by request, or finds the one that is there; tells which.
    pub fn create(
        &self,
        rules: &Rules,
        name: &ChannelName,
        content_type: Option<ContentType>,
        expiry: Option<Expiry>,
        (by, now_ms): (Option<Account>, u64),
    ) -> Result<(Arc<Channel>, bool), NoChannel> {
        let setup = Setup {
            created: true,
            ..self.setup(rules.of(name).retention(), content_type, expiry)
        };
        // One that has expired makes room. Whether one is there is decided where it is put, so that of two
        // that create at once one finds the other's.
        drop(self.find(name, now_ms));
        self.insert(name, setup, (true, by), now_ms)
    }

    /// Removes a channel whose tail is as the guard has it; its readers are told that it ended.
    pub fn delete(&self, name: &ChannelName, guard: &Guard) -> Result<(), NotDeleted> {
        let (mut part, hash) = self.part(name);
        let Ok(found) = part.find_entry(hash, |channel| channel.name() == name) else {
            return Err(NotDeleted::Missing);
        };
        let mut tail = None;
        // Before another can be made under its name, which has readers of its own.
        let removed = found.get().remove_if(|state| {
            tail = Some(state.core().tail());
            tail.is_some_and(|tail| guard.admits(tail))
        });
        match (removed, tail) {
            (true, _) => {
                found.remove();
                self.count.fetch_sub(1, Ordering::Relaxed);
                Ok(())
            }
            (false, Some(tail)) => Err(NotDeleted::Moved(tail)),
            (false, None) => Err(NotDeleted::Missing),
        }
    }

    /// The number of channels.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The bytes that all logs take, as retention counts them.
    pub fn log_bytes(&self) -> u64 {
        self.pots.log_bytes()
    }

    /// Who holds what.
    pub fn pots(&self) -> &Arc<Pots> {
        &self.pots
    }

    fn insert(
        &self,
        name: &ChannelName,
        setup: Setup,
        (by_request, by): (bool, Option<Account>),
        now_ms: u64,
    ) -> Result<(Arc<Channel>, bool), NoChannel> {
        let (mut part, hash) = self.part(name);
        if let Some(channel) = part.find(hash, |channel| channel.name() == name) {
            return Ok((channel.clone(), false));
        }
        let live = self.settings.now();
        let channels_max = live.config.limits.channels_max;
        let channels = self.count.fetch_add(1, Ordering::Relaxed);
        let made = match by {
            _ if channels >= channels_max => Err(NoChannel::TooMany),
            None => Ok(None),
            Some(account) => {
                let pot = Pot {
                    size: channels_max as u64,
                    held: channels as u64,
                    percent: live.share_percent(),
                };
                let made = self.pots.make(account, pot);
                made.map(Some).map_err(|short| match short {
                    Short::Pot => NoChannel::TooMany,
                    Short::Share => NoChannel::Share,
                })
            }
        };
        let made = made.inspect_err(|_| {
            self.count.fetch_sub(1, Ordering::Relaxed);
        })?;
        let core = everwire_channel::Channel::new(setup, now_ms);
        let channel = Arc::new(Channel::new(
            name.clone(),
            core,
            by_request,
            Occupancy::of(name, self.audience.as_ref()),
            (self.pots.clone(), made),
            now_ms,
        ));
        part.insert_unique(hash, channel.clone(), |channel| {
            self.hasher.hash_one(channel.name())
        });
        Ok((channel, true))
    }

    /// Removes this very channel, if the condition holds under its lock: what is appended or starts to read
    /// meanwhile either comes first and is seen, or finds the channel removed.
    fn forget_if(&self, channel: &Arc<Channel>, condition: impl FnOnce(&State) -> bool) {
        let (mut part, hash) = self.part(channel.name());
        if let Ok(found) = part.find_entry(hash, |found| Arc::ptr_eq(found, channel))
            // One that has ended and is still here was ended by a panic.
            && (channel.lock().is_removed() || channel.remove_if(condition))
        {
            found.remove();
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn setup(
        &self,
        retention: Retention,
        content_type: Option<ContentType>,
        expiry: Option<Expiry>,
    ) -> Setup {
        let epoch = Epoch(self.epoch.fetch_add(1, Ordering::Relaxed) + 1);
        Setup {
            content_type,
            expiry,
            retention,
            ..Setup::new(epoch, self.mark)
        }
    }

    /// The part that a channel of this name is in, and the name's hash.
    fn part(&self, name: &ChannelName) -> (MutexGuard<'_, Part>, u64) {
        let hash = self.hasher.hash_one(name);
        let part = self.parts[(hash >> 32) as usize % PARTS].lock();
        (part.unwrap_or_else(PoisonError::into_inner), hash)
    }
}
