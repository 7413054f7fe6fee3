//! A client of Everwire: reads a channel over any wire, resumes by itself, and publishes exactly once.
//!
//! ```text
//!  Reader ─ next() ─▶ Item       Entry · Gap · Closed · Connected · Disconnected
//!    │
//!    ├─ plan    what to ask when, from which offset        no IO, a virtual clock
//!    ├─ decode  bytes of each wire to the same signals     no IO
//!    └─ link    one connection: HTTP/1.1 or a WebSocket    tokio, hyper
//!
//!  Publisher ─ publish() ─▶ Receipt     the same key with every attempt
//! ```
//!
//! A reader holds one thing that matters: the offset after the last entry that it yielded. Whatever
//! happens, a cut, a restart of the server, a change of wire, it asks for what follows that offset.
//!
//! This version speaks clear text (`http://`) only.

mod offset;
mod url;
mod wire;

mod backoff;
mod decode;
mod http;
mod line;
mod problem;
mod publisher;
mod random;
mod reader;
mod signal;
mod websocket;

#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;

pub use backoff::Backoff;
pub use line::{
    AlreadySubscribed, AskError, Channel, History, Line, LineError, LineOptions, LineStatus,
    Member, Members, Presence, Publication, SubscribeError, SubscribeOptions, Subscription, Update,
};
pub use offset::{Offset, OffsetError, Start};
pub use problem::Problem;
pub use publisher::{Message, PublishError, Publisher, PublisherOptions, Receipt};
pub use reader::{Cause, Data, Entry, Gap, Item, ReadError, Reader, ReaderOptions};
pub use url::{ChannelUrl, ServerUrl, UrlError};
pub use wire::{LineWire, Wire, WireError};
