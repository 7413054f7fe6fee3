//! Channels as logs: names, offsets, entries, retention and cursor reads.

pub mod name;
pub mod pattern;
pub mod offset;
pub mod start;

pub use name::{ChannelName, NameError};
pub use offset::{Epoch, Mark, Offset, OffsetError, Token};
pub use pattern::{Pattern, PatternError};
pub use start::Start;
