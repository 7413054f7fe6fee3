//! The front: connections until they are lines.
//!
//! ```text
//!  accept ─▶ PROXY header, where proxies send one
//!         ─▶ TLS handshake, where it is spoken
//!         ─▶ first bytes ─┬─ "PRI * HTTP/2.0" ─▶ HTTP/2, on the workers
//!                         └─ anything else    ─▶ HTTP/1.1 by hyper, on this thread
//!                                                   │ a response that stays open
//!                                                   ▼
//!                                     hand-over: socket, TLS, unread bytes ─▶ shard
//!                                                   ▲─ an answered long poll comes back
//! ```

mod accept;
mod announced;
mod core;
mod h1;
mod h2;
mod handshake;
mod io;
mod listen;
mod request_head;
mod stream;
mod stream_errors;
mod watch;

pub(crate) use self::core::run as run_core;
pub(crate) use listen::{listen, share};
