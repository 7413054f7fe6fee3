//! The numbers by which a shard knows what it holds: each kind has a type of its own, so that none is taken for another.

use std::{
    marker::PhantomData,
    ops::{Index, IndexMut},
};

use slab::Slab;

use crate::hub::WatchKey;

/// A number of four bytes, since a shard has fewer than 2^32 of anything.
pub(crate) trait Key: Copy {
    /// The key of what stands at an index.
    fn at(index: usize) -> Self;

    /// Where it stands.
    fn index(self) -> usize;
}

macro_rules! keys {
    ($($(#[doc = $about:literal])+ $name:ident;)+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(u32);

        impl Key for $name {
            fn at(index: usize) -> Self {
                Self(u32::try_from(index).expect("a shard has fewer than 2^32 of anything"))
            }

            fn index(self) -> usize {
                self.0 as usize
            }
        }
    )+};
}

keys! {
    /// The number of a line; also its token in the event queue.
    LineKey;
    /// The number of a feed.
    FeedKey;
    /// The number of a channel that has readers on the shard.
    LocalKey;
    /// The place of a line among the subscribers of a feed, which changes when others leave.
    SubscriberKey;
    /// The place of a long poll among those of a channel, which changes when others leave.
    PollKey;
}

/// Values under keys of one kind. The key of one that was removed is given to another.
#[derive(Debug)]
pub(crate) struct Arena<K, T> {
    slab: Slab<T>,
    keys: PhantomData<K>,
}

impl<K: Key, T> Arena<K, T> {
    pub fn new() -> Self {
        Self {
            slab: Slab::new(),
            keys: PhantomData,
        }
    }

    /// The key that the next value gets.
    pub fn vacant_key(&self) -> K {
        K::at(self.slab.vacant_key())
    }

    pub fn insert(&mut self, value: T) -> K {
        K::at(self.slab.insert(value))
    }

    /// Removes a value.
    ///
    /// # Panics
    ///
    /// If there is none under the key.
    pub fn remove(&mut self, key: K) -> T {
        self.slab.remove(key.index())
    }

    pub fn get(&self, key: K) -> Option<&T> {
        self.slab.get(key.index())
    }

    pub fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.slab.get_mut(key.index())
    }

    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// An index that is beyond all keys in use.
    pub fn end(&self) -> usize {
        self.slab.capacity()
    }

    /// The values with their keys, from the lowest.
    pub fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.slab.iter().map(|(index, value)| (K::at(index), value))
    }
}

impl<K: Key, T> Index<K> for Arena<K, T> {
    type Output = T;

    fn index(&self, key: K) -> &T {
        &self.slab[key.index()]
    }
}

impl<K: Key, T> IndexMut<K> for Arena<K, T> {
    fn index_mut(&mut self, key: K) -> &mut T {
        &mut self.slab[key.index()]
    }
}

/// A channel is watched by its number here.
impl From<LocalKey> for WatchKey {
    fn from(key: LocalKey) -> Self {
        Self(key.0)
    }
}

impl From<WatchKey> for LocalKey {
    fn from(key: WatchKey) -> Self {
        Self(key.0)
    }
}
