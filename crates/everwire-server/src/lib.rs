//! The Everwire server: channels as logs, read over every wire, on one port.
//!
//! ```text
//!  front ─▶ http ─┬─▶ publish ─▶ hub ◀─ pull ─┐
//!                 ├─▶ read                    │
//!                 └─▶ a line ─▶ shard ────────┘   over HTTP/1.1: the socket moves
//!                            └▶ stream            over HTTP/2: a task
//! ```
//!
//! In reading order: [`config`] is what can be set, `live` the configuration that holds now, [`auth`] tells who asks
//! and what that may do, [`proxy`] from where, `hub` holds the channels, `budget` counts what is held for peers,
//! `cost` says what everything costs that can be asked for, `presence` who is in them, `lifecycle` tells servers what happens,
//! `outbound` asks other servers, `key_servers` asks for keys, [`webhook`] the operator's application, `http` turns requests into
//! answers and lines, `front` gets requests from sockets, `shard` serves lines, `stream` serves those over
//! HTTP/2, `tls` holds the certificates, [`server`] starts and stops it all, [`reload`] gives it another configuration.
//! `parts` looks after what lives as long as the server.
//! `simulation`, a feature, is a shard without an operating system.

// They panic where nobody reads any more, and wait where nobody reads yet.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod acme;
mod answer;
pub mod auth;
mod budget;
mod census;
mod clock;
pub mod config;
mod cost;
mod fair;
mod front;
mod http;
mod hub;
mod key_servers;
mod lifecycle;
mod live;
mod lost_lines;
mod metrics;
mod outbound;
mod parts;
mod payload_type;
mod presence;
mod press;
pub mod proxy;
mod publish;
mod rate;
pub mod reload;
mod scheme;
pub mod server;
mod shard;
mod shares;
#[cfg(feature = "simulation")]
pub mod simulation;
mod stop;
mod stream;
mod tls;
pub mod webhook;

pub use config::{Config, ConfigError};
pub use cost::{Cost, Row};
pub use http::costs;
pub use lost_lines::{Loss, LostLines};
pub use reload::{Reloaded, Reloader};
pub use server::{Server, StartError};

use everwire_channel::session_id;
