//! Operating the real binary: reloads, signals, and what a service manager sees of it.

mod logs;
mod process;
mod proxies;
mod reload;
mod requests;
mod service;
