//! A client of Everwire: reads channels over whichever wire gets through, resumes by itself, and publishes exactly once.
//!
//! A [`Line`] is one session with a server. It carries any number of channels, both ways:
//!
//! ```
//! use everwire_client::{Line, LineOptions, Publication, SubscribeOptions, Update};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut config = everwire_server::Config { dev: true, threads: 1, ..Default::default() };
//! # config.listen.set_port(0);
//! # config.stop.drain_ms = 1;
//! # let running = everwire_server::Server::start(config)?;
//! # let server = format!("http://{}", running.address());
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let line = Line::connect(server.parse()?, LineOptions::default())?;
//! let lobby = line.channel("chat/lobby")?;
//! let mut updates = lobby.subscribe(SubscribeOptions::default())?;
//!
//! lobby.publish(Publication::json(&["hello", "lobby"])?).await?;
//! let Some(Update::Entry(entry)) = updates.next().await? else {
//!     panic!("the first update is the entry");
//! };
//! assert_eq!(entry.data.as_bytes(), br#"["hello","lobby"]"#);
//!
//! line.close().await;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # })?;
//! # running.stop()?;
//! # Ok(())
//! # }
//! ```
//!
//! What the line does by itself:
//!
//! - **It chooses the wire**: a WebSocket, else an event stream, ndjson, or long polls. A wire that is refused is left
//!   at once, one that swallows what goes up or down after [`LineOptions::prove`]. From a lesser wire the best one is
//!   tried *beside* the open line after a while, and the line moves over only when a message went up and its answer
//!   came down.
//! - **It comes back**, with full jitter, or when the server says so (drain, `Retry-After`, close codes). Missing
//!   heartbeats end a dead line. It gives up only where the server says that coming back unchanged is no use.
//! - **It resumes** each channel after its last entry: each entry is yielded once and in order, and what cannot be had
//!   any more is one [`Gap`]. Presence is resumed in the same way, or told anew.
//! - **It waits for slow readers**: a subscription of which nobody takes leaves its channel, and goes on where it was
//!   left. The log keeps what the memory need not.
//! - **It publishes once**: a publication waits while there is no line, within limits, and is sent again with the same
//!   key until it is answered.
//!
//! A [`Reader`] reads one channel at its own URL over a wire that one names, and a [`Publisher`] publishes to one by
//! plain requests, where it can name the media type.
//!
//! ```text
//!  Line ────── channel() ─▶ Channel ─ subscribe() ─▶ Subscription ─ next() ─▶ Update
//!    core      courses, readings, queue, wires             no IO, a virtual clock
//!    driver    sockets and timers                          tokio, hyper
//!
//!  Reader ──── next() ─▶ Item       Entry · Gap · Closed · Connected · Disconnected
//!    plan      what to ask when, from which offset         no IO, a virtual clock
//!    link      one connection                              tokio, hyper
//!
//!  Publisher ─ publish() ─▶ Receipt     the same key with every attempt
//!
//!  decode      bytes of each wire to entries, messages and problems, for all of them
//! ```
//!
//! Whatever happens, a cut, a restart of the server, a change of wire, what is asked for next is what follows the
//! offset of the last entry. `https://` and `wss://` are spoken with rustls, and believe the system's authorities and
//! those of a [`Trust`]. A [`Credential`] says who asks.

mod credential;
mod info;
mod offset;
mod trust;
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
pub use credential::Credential;
pub use info::Info;
pub use line::{
    AlreadySubscribed, AskError, Channel, History, Line, LineError, LineOptions, LineStatus,
    Member, Members, Presence, Publication, SubscribeError, SubscribeOptions, Subscription, Update,
};
pub use offset::{Offset, OffsetError, Start};
pub use problem::Problem;
pub use publisher::{Message, PublishError, Publisher, PublisherOptions, Receipt};
pub use reader::{Cause, Data, Entry, Gap, Item, ReadError, Reader, ReaderOptions, Unreadable};
pub use trust::{Trust, TrustError};
pub use url::{ChannelUrl, ServerUrl, UrlError};
pub use wire::{LineWire, Wire, WireError};
