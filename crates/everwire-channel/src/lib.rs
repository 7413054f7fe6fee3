//! Channels as logs: names, offsets, entries, retention and cursor reads.

pub mod name;
pub mod pattern;

pub use name::{ChannelName, NameError};
pub use pattern::{Pattern, PatternError};
