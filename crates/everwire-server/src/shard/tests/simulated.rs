//! Whole shards over a net in memory, on a virtual clock: nothing here waits, and the same steps always do the same.

mod decisions;
mod mail;
mod races;
mod random;
mod sessions;
mod world;
