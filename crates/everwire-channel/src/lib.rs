//! Channels as logs: names, offsets, entries, retention and cursor reads.
//!
//! ```text
//!   Append ─▶ Channel ─ judges ─▶ Log  e7:1 e7:2 e7:3 …   trim ─▶ oldest
//!   (drafts,  (media type,        ▲
//!   producer, closed, producers,  └─ after(sequence) ─▶ Entries · CaughtUp · Gap
//!   key)      keys, expiry)
//! ```
//!
//! A channel is a named log. Whoever reads it holds an [`Offset`], the position after an entry,
//! and asks for what follows; the answer has three forms only: entries, caught up, or gap
//! ([`Read`]). So each reader sees each entry once, in order, or is told of one explicit gap, over
//! any number of disconnections.
//!
//! ```
//! use everwire_channel::{Append, Channel, ContentType, Draft, Epoch, Mark, Read, Setup};
//!
//! let mut news = Channel::new(Setup::new(Epoch(1), Mark(0x5eed)), 1_790_000_000_000);
//! let cursor = news.log().head();
//!
//! let hello = Append {
//!     entries: vec![Draft::from(bytes::Bytes::from("hello"))],
//!     content_type: Some(&ContentType::text()),
//!     ..Append::default()
//! };
//! news.append(hello, 1_790_000_000_250)?;
//!
//! // A reader comes back with the token that it was given, over whatever wire.
//! let sequence = news.log().locate(&cursor.to_token().parse()?)?;
//! let Read::Entries(mut entries) = news.log().after(sequence) else { panic!("one was appended") };
//! assert_eq!(entries.next().unwrap().1.payload, "hello");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Nothing here reads a clock, draws a random number, takes a lock or does IO. Times are Unix
//! milliseconds and come in as `now_ms`; epochs and marks come in too.
//!
//! In reading order: [`name`] and [`pattern`] say what a channel is called, [`offset`] and
//! [`start`] where a reader stands, [`label`] and [`entry`] what is stored, [`content_type`] and
//! [`split`](mod@split) how a body becomes entries, [`retention`] and [`log`] how entries are kept
//! and read, [`expiry`], [`producer`] and [`channel`] who may append and for how long,
//! [`session_id`] and [`presence`] who is there.

pub mod name;
pub mod pattern;
mod reserved;

pub mod offset;
pub mod start;

pub mod label;

pub mod entry;

pub mod content_type;
pub mod split;

pub mod log;
pub mod retention;

pub mod channel;
mod control;
pub mod expiry;
pub mod producer;
mod recent;

pub mod presence;
pub mod session_id;

pub use channel::{
    Append, AppendError, Appended, Channel, Confirmed, Guard, Mismatch, RepeatLimits, Setup, Tail,
    Whole,
};
pub use content_type::{ContentKind, ContentType, ContentTypeError};
pub use entry::{Draft, Entry};
pub use expiry::{Expiry, TtlError};
pub use label::{EventName, IdempotencyKey, LabelError, PublisherId, StreamSeq};
pub use log::{Entries, Gap, Log, Read};
pub use name::{ChannelName, NameError};
pub use offset::{Epoch, Mark, Offset, OffsetError, Token};
pub use pattern::{Pattern, PatternError};
pub use presence::{Info, InfoError, Member, Roster, RosterFull, UserName};
pub use producer::{Producer, ProducerAnswer, ProducerError};
pub use retention::Retention;
pub use session_id::SessionId;
pub use split::{ContentError, json_entry, split};
pub use start::Start;
