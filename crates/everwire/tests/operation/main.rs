//! Operating the real binary: reloads, signals, and what a service manager sees of it.

mod process;
mod reload;
mod requests;
mod service;
